//! The running process: the shared core it uses, its libraries and symbols, and the loading itself.
#![allow(unsafe_code)]

use crate::file::{CORE, Inspected};
use ccnf::prelude::{Error, ErrorKind, Result};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Compares the plugin with what this process has loaded, and loads it for good.
pub(crate) fn open(file: &Inspected) -> Result<()> {
    let who = format!("`{}` {}", file.name, file.version);
    let refused = |found: String| {
        Error::new(ErrorKind::Plugin, found)
            .help("build the plugin again with the SDK of this program: ccnf plugin build --sdk DIR")
    };
    let core = core_hash()?;
    if file.sdk != core {
        return Err(refused(format!(
            "{who} was built against another shared core: SDK {}, this program has {core}",
            file.sdk
        )));
    }
    let rust = |n: &&String| n.starts_with(CORE) || n.starts_with("libstd-");
    if let Some(missing) = file.needed.iter().filter(rust).find(|n| !is_loaded(n)) {
        return Err(refused(format!(
            "{who} needs the Rust library {missing}, which this program does not use"
        )));
    }
    let missing: Vec<&String> = file.undefined.iter().filter(|s| !has_symbol(s)).collect();
    if let Some(first) = missing.first() {
        let found = format!(
            "{who} needs {} functions that this program does not have, such as {first}",
            missing.len()
        );
        return Err(refused(found));
    }
    ccnf::core::panics::attribute_by(crate::host::plugin_of_this_thread);
    // SAFETY: loading runs the file's constructors. The stamp, the hash of the shared core and the symbols say that it was compiled against the
    // very core that this process uses, so the constructors of `inventory` in it use the types of that core. What else its author put there is
    // trusted, as the documentation says.
    let library = unsafe { Library::open(Some(&file.path), RTLD_NOW | RTLD_LOCAL) };
    let library =
        library.map_err(|e| Error::new(ErrorKind::Plugin, format!("{who} cannot be loaded: {e}")))?;
    // Vtables, the registry's entries and destructors of threads point into it.
    std::mem::forget(library);
    Ok(())
}

/// The hash of the shared core of this process: the id of its SDK.
fn core_hash() -> Result<String> {
    let path = core_file().ok_or_else(|| {
        Error::new(
            ErrorKind::Plugin,
            format!("the shared core, {CORE}.so, is not among this program's libraries"),
        )
        .help("start the program of the SDK, with its folder lib/ccnf beside bin")
    })?;
    crate::sdk_id(&path)
}

/// The file of the shared core, by the address of something that only the core has.
fn core_file() -> Option<PathBuf> {
    let address: fn() -> Vec<ccnf::core::Listed> = ccnf::core::list_all;
    object_of(address as *const libc::c_void)
        .filter(|p| p.file_name().is_some_and(|n| n.as_bytes().starts_with(CORE.as_bytes())))
}

/// The file that an address of code belongs to.
fn object_of(address: *const libc::c_void) -> Option<PathBuf> {
    // SAFETY: `Dl_info` is a C structure of pointers, for which zeros are valid.
    let mut info: libc::Dl_info = unsafe { std::mem::zeroed() };
    // SAFETY: `dladdr` only looks the address up, whatever it is, and writes into `info`.
    let found = unsafe { libc::dladdr(address, &mut info) };
    if found == 0 || info.dli_fname.is_null() {
        return None;
    }
    // SAFETY: `dladdr` succeeded, so `dli_fname` is a C string that lives as long as the object is loaded; nothing is ever unloaded here.
    let name = unsafe { CStr::from_ptr(info.dli_fname) };
    Some(Path::new(OsStr::from_bytes(name.to_bytes())).to_owned())
}

fn is_loaded(library: &str) -> bool {
    let Ok(name) = CString::new(library) else { return false };
    // SAFETY: with RTLD_NOLOAD nothing is loaded and no code runs; `name` is a C string that outlives the call.
    let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOLOAD | libc::RTLD_LAZY) };
    if handle.is_null() {
        return false;
    }
    // SAFETY: the handle came from `dlopen`, which counted it; this takes the count back.
    unsafe { libc::dlclose(handle) };
    true
}

fn has_symbol(symbol: &str) -> bool {
    let Ok(name) = CString::new(symbol) else { return false };
    // SAFETY: looks a name up in what is loaded; `name` is a C string that outlives the call.
    !unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) }.is_null()
}

/// The plugin of the innermost function on the stack that belongs to one, as "`name` version (file)".
fn plugin_of_this_thread() -> Option<String> {
    // The list is locked while a plugin is being loaded: then it has none of its functions on a stack but constructors.
    let plugins = crate::load::try_loaded()?;
    let mut found = None;
    backtrace::trace(|frame| {
        let file = object_of(frame.ip());
        found = file
            .and_then(|f| plugins.iter().find(|p| p.path == f))
            .map(|p| format!("`{}` {} ({})", p.name, p.version, p.path.display()));
        found.is_none()
    });
    found
}
