//! What authors of plugins need around their code: a crate to start from ([`new_plugin`]), the binary SDK of a build ([`collect`]), builds and
//! tests against it ([`build`], [`test()`]), and programs with plugins linked in ([`bundle`]).
//!
//! The SDK is a folder that can be moved and packed:
//!
//! ```text
//! sdk.json                 what is in it, and by which compiler
//! bin/ccnf                 the program that loads plugins
//! lib/ccnf/                the shared core and the standard library, which both use
//! deps/                    what the compiler knows of the core: metadata, macros
//! ```

mod bundle;
mod cargo;
mod collect;
mod manifest;
mod sdk;
mod template;

pub use bundle::{Bundle, bundle};
pub use cargo::{build, test};
pub use collect::{Collect, collect};
pub use sdk::Sdk;
pub use template::{KINDS, New, new_plugin};
