//! The top level of a run's configuration.

use crate::protocol::ProtocolConfig;
use ccnf_core::schemars::{JsonSchema, schema_for};
use ccnf_core::{Component, Config, FusionConfig, Result, ResultExt, Section, TrainConfig, list_all};
use ccnf_loader::{Plugin, PluginsConfig};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The keys of a run's configuration.
pub const RUN_KEYS: &[&str] =
    &["seed", "dataset", "protocol", "encoder", "detector", "strategy", "train", "scoring", "run", "plugins"];

/// The whole configuration of a run, for the JSON schema and as documentation.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RunConfig {
    /// The seed from which every random number derives.
    pub seed: u64,
    /// Where the images come from.
    pub dataset: Component,
    /// Which classes come in which task.
    pub protocol: ProtocolConfig,
    /// The frozen network.
    pub encoder: Component,
    /// The model.
    pub detector: Component,
    /// How the model meets the tasks.
    pub strategy: Component,
    /// Gradient training.
    pub train: TrainConfig,
    /// From level maps to image scores.
    pub scoring: FusionConfig,
    /// What a run writes; no influence on results.
    pub run: RunSection,
    /// Plugins that are loaded before anything is built.
    pub plugins: PluginsConfig,
}

/// The `[run]` section: what has no influence on results.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RunSection {
    /// Folder of the feature cache; left out: `$CCNF_CACHE`, else `ccnf` in the user's cache folder.
    pub cache: Option<PathBuf>,
    /// Overlays per class of the best and of the worst cases, after the last stage.
    pub overlays: usize,
}

impl Default for RunSection {
    fn default() -> Self {
        RunSection { cache: None, overlays: 3 }
    }
}

impl RunSection {
    /// The folder of the feature cache.
    pub fn cache_folder(&self) -> PathBuf {
        let env = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        self.cache
            .clone()
            .or_else(|| env("CCNF_CACHE"))
            .or_else(|| env("XDG_CACHE_HOME").map(|p| p.join("ccnf")))
            .or_else(|| env("HOME").map(|p| p.join(".cache/ccnf")))
            .unwrap_or_else(|| PathBuf::from(".ccnf-cache"))
    }
}

impl Default for RunConfig {
    fn default() -> Self {
        RunConfig {
            seed: 0,
            dataset: Component::of("synthetic"),
            protocol: ProtocolConfig::default(),
            encoder: Component::of("efficientnet-lite0"),
            detector: Component::of("ccnf"),
            strategy: Component::of("freeze-expand"),
            train: TrainConfig::default(),
            scoring: FusionConfig::default(),
            run: RunSection::default(),
            plugins: PluginsConfig::default(),
        }
    }
}

/// The plain values at the top level.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Top {
    pub(crate) seed: u64,
}

impl Top {
    /// Reads the plain values and loads the plugins, without which components may be unknown.
    pub(crate) fn read(config: &Config) -> Result<(Self, Vec<Plugin>)> {
        let root = config.root()?;
        root.only(RUN_KEYS)?;
        Ok((root.read()?, plugins(config, &root)?))
    }
}

/// Loads the plugins of the configuration and notes them, with those of the whole process, as files with their hashes.
fn plugins(config: &Config, root: &Section) -> Result<Vec<Plugin>> {
    let (named, source) = match root.has("plugins") {
        false => (PluginsConfig::default(), COMMAND_LINE.to_owned()),
        true => {
            let named = root.child("plugins").read()?;
            let source = config.resolved().get(PLUGINS).map(|r| r.source.clone());
            (named, source.unwrap_or_else(|| COMMAND_LINE.to_owned()))
        }
    };
    let mut plugins = ccnf_loader::load(&named.paths).at(|| format!("key `{PLUGINS}`"))?;
    plugins.extend(ccnf_loader::common());
    plugins.sort_by(|a, b| a.sha256.cmp(&b.sha256));
    plugins.dedup();
    if !plugins.is_empty() {
        let files = plugins.iter().map(|p| serde_json::json!({ "path": p.path, "sha256": p.sha256 }));
        config.record(PLUGINS, files.collect::<Vec<_>>().into(), source);
    }
    Ok(plugins)
}

const PLUGINS: &str = "plugins.paths";
const COMMAND_LINE: &str = "--plugin or CCNF_PLUGINS";

/// The JSON schema of a run's configuration, with a schema for every registered component.
pub fn config_schema() -> serde_json::Value {
    let mut schema = schema_for!(RunConfig).to_value();
    let mut components = serde_json::Map::new();
    for c in list_all() {
        components.insert(format!("{}:{}", c.kind, c.name), c.schema);
    }
    if let Some(o) = schema.as_object_mut() {
        o.insert("x-components".into(), components.into());
    }
    schema
}
