//! Which plugins to load: the section `[plugins]` and the environment.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The section `[plugins]` of a configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PluginsConfig {
    /// Files of plugins, or `{ path = "…", sha256 = "…" }` to load only exactly that file. Relative paths start at the working directory.
    pub paths: Vec<PluginSource>,
}

/// One plugin to load.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a file, or { path = \"…\", sha256 = \"…\" } and nothing else")]
pub enum PluginSource {
    /// A file.
    File(PathBuf),
    /// A file with exactly this content.
    Pinned(Pinned),
}

/// A file and its hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pinned {
    /// The file.
    pub path: PathBuf,
    /// SHA-256 of the file, 64 hexadecimal digits, as `sha256sum` prints it.
    pub sha256: String,
}

impl PluginSource {
    /// The file.
    pub fn path(&self) -> &PathBuf {
        match self {
            PluginSource::File(path) => path,
            PluginSource::Pinned(pinned) => &pinned.path,
        }
    }

    /// The hash that the file must have.
    pub fn sha256(&self) -> Option<&str> {
        match self {
            PluginSource::File(_) => None,
            PluginSource::Pinned(pinned) => Some(&pinned.sha256),
        }
    }
}

/// The files that `CCNF_PLUGINS` names, separated as in `PATH`.
pub fn from_environment() -> Vec<PluginSource> {
    let value = std::env::var_os("CCNF_PLUGINS").unwrap_or_default();
    std::env::split_paths(&value).filter(|p| !p.as_os_str().is_empty()).map(PluginSource::File).collect()
}
