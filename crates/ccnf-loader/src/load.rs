//! Loading, and what has been loaded.

use crate::config::PluginSource;
use crate::file::{Inspected, inspect};
use ccnf::core::list_all;
use ccnf::core::panics::catch;
use ccnf::prelude::{Error, ErrorKind, Result, ResultExt};
use serde::Serialize;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// A plugin that has been loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plugin {
    /// Its name: that of its crate.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its file, without links.
    pub path: PathBuf,
    /// The SHA-256 of the file.
    pub sha256: String,
    /// Kind and name of the components that came with it.
    pub components: Vec<(&'static str, &'static str)>,
}

static LOADED: Mutex<Vec<Plugin>> = Mutex::new(vec![]);
static COMMON: Mutex<Vec<Plugin>> = Mutex::new(vec![]);

/// The plugins of this process, in the order in which they were loaded.
pub fn loaded() -> Vec<Plugin> {
    LOADED.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Loads plugins for everything that this process does, such as those of a command line.
pub fn load_common(sources: &[PluginSource]) -> Result<()> {
    let plugins = load(sources)?;
    COMMON.lock().unwrap_or_else(PoisonError::into_inner).extend(plugins);
    Ok(())
}

/// What [`load_common`] has loaded: part of every model of this process.
pub fn common() -> Vec<Plugin> {
    COMMON.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// As [`loaded`], without waiting for a thread that is loading some.
#[cfg(feature = "dynamic")]
pub(crate) fn try_loaded() -> Option<Vec<Plugin>> {
    LOADED.try_lock().ok().map(|plugins| plugins.clone())
}

/// Loads the plugins that are not loaded yet; a file named twice is one plugin. Returns all that were named.
///
/// # Errors
///
/// Those of [`inspect`]; a program that loads no plugins; a plugin built against another shared core; libraries or symbols that this process does
/// not have; a component of a name that another crate has, naming both; a plugin without components.
pub fn load(sources: &[PluginSource]) -> Result<Vec<Plugin>> {
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    let mut named: Vec<Plugin> = vec![];
    for source in sources {
        let path = source.path();
        let place = || format!("plugin `{}`", path.display());
        // A pinned plugin may have moved since: what counts is its content.
        let same = std::fs::canonicalize(path).ok();
        let known = loaded.iter().find(|p| match source.sha256() {
            Some(pinned) => pinned.eq_ignore_ascii_case(&p.sha256),
            None => Some(&p.path) == same.as_ref(),
        });
        let plugin = match known {
            Some(plugin) => plugin.clone(),
            None => {
                // Without a shared core nothing fits, and other reasons would mislead.
                if !crate::SUPPORTED {
                    return Err(unsupported()).at(place);
                }
                let file = inspect(path, source.sha256())?;
                let plugin = match loaded.iter().find(|p| p.sha256 == file.sha256) {
                    Some(copy) => copy.clone(),
                    None => one(file).at(place)?,
                };
                if !loaded.contains(&plugin) {
                    loaded.push(plugin.clone());
                    #[cfg(unix)]
                    crate::ends::naming(&loaded);
                }
                plugin
            }
        };
        if !named.contains(&plugin) {
            named.push(plugin);
        }
    }
    Ok(named)
}

fn unsupported() -> Error {
    let (what, help) =
        match cfg!(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))) {
            true => (
                "this program loads no plugins: it was built without the feature `dynamic`".to_owned(),
                "use the program of an SDK (ccnf plugin sdk), or link the plugin in: ccnf plugin bundle",
            ),
            false => (
                format!(
                    "plugins are not loaded at run time on {}-{}",
                    std::env::consts::OS,
                    std::env::consts::ARCH
                ),
                "link the plugin into a program of your own: ccnf plugin bundle",
            ),
        };
    Error::new(ErrorKind::Plugin, what).help(help)
}

fn one(file: Inspected) -> Result<Plugin> {
    let before = list_all();
    #[cfg(feature = "dynamic")]
    crate::host::open(&file)?;
    // Between reading and loading somebody may have built it again: a run would then note a hash that is not that of its code.
    if crate::file::sha256(&ccnf::core::read_file(&file.path)?) != file.sha256 {
        let found =
            format!("the file of `{}` {} was changed while it was being loaded", file.name, file.version);
        return Err(
            Error::new(ErrorKind::Plugin, found).help("run the same command again when its build is done")
        );
    }
    let components = catch(|| "describing its components".to_owned(), || new_components(&before))?;
    if components.is_empty() {
        let found = format!("`{}` {} registers no component", file.name, file.version);
        return Err(Error::new(ErrorKind::Plugin, found).help("ccnf::register_component!(…) is missing"));
    }
    Ok(Plugin { name: file.name, version: file.version, path: file.path, sha256: file.sha256, components })
}

/// What the registry has now and had not before; no two of a kind may have one name.
fn new_components(before: &[ccnf::core::Listed]) -> Result<Vec<(&'static str, &'static str)>> {
    let now = list_all();
    for pair in now.windows(2) {
        let (a, b) = (&pair[0], &pair[1]);
        if (a.kind, a.name) == (b.kind, b.name) {
            let found = format!(
                "two components of kind {} are called `{}`, one of the crate `{}` {} and one of the crate `{}` {}",
                a.kind, a.name, a.krate, a.version, b.krate, b.version
            );
            return Err(Error::new(ErrorKind::Plugin, found).help("leave one of the two out, or rename one"));
        }
    }
    let is_new = |c: &&ccnf::core::Listed| !before.iter().any(|b| (b.kind, b.name) == (c.kind, c.name));
    Ok(now.iter().filter(is_new).map(|c| (c.kind, c.name)).collect())
}
