//! Plugins that are loaded at run time.
//!
//! [`inspect`] reads a plugin's file and says whether it fits this program, without running any code of it; [`load`] does that, loads the file and
//! tells which components came with it. What fits is decided by the stamp of `ccnf::plugin!` ([`ccnf::abi`]), the hash of the shared core, the
//! libraries that the file needs and the symbols that it does not define itself. A loaded plugin is never unloaded: its code is behind every
//! component it has built.
//!
//! These checks prevent accidents. They are no sandbox: a plugin is code, and has the rights of whoever runs it.
//!
//! Only a program built with the feature `dynamic`, on Linux on x86-64 or aarch64, loads plugins; elsewhere [`load`] says so, and plugins are
//! linked statically.

mod config;
#[cfg(unix)]
mod ends;
mod file;
#[cfg(feature = "dynamic")]
mod host;
mod load;
mod seal;
mod stamp;

pub use config::{PluginSource, PluginsConfig, from_environment};
#[cfg(unix)]
pub use ends::{explain_ends, working};
pub use file::{Inspected, inspect};
pub use load::{Plugin, common, load, load_common, loaded};
pub use seal::sealed;

/// Whether this program can load plugins.
pub const SUPPORTED: bool =
    cfg!(all(feature = "dynamic", target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")));

/// The id of an SDK: the first 32 digits of the SHA-256 of its shared core. Plugins are compiled with it as `CCNF_SDK_ID`.
pub fn sdk_id(core: &std::path::Path) -> ccnf::prelude::Result<String> {
    Ok(file::sha256(&ccnf::core::read_file(core)?)[..32].to_owned())
}
