//! The top level of a run's configuration.

use crate::protocol::ProtocolConfig;
use ccnf_core::schemars::{JsonSchema, schema_for};
use ccnf_core::{Component, FusionConfig, Result, Section, TrainConfig, list_all};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The keys of a run's configuration.
pub const RUN_KEYS: &[&str] =
    &["seed", "dataset", "protocol", "encoder", "detector", "strategy", "train", "scoring", "run"];

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
    pub(crate) fn read(root: &Section) -> Result<Self> {
        root.only(RUN_KEYS)?;
        root.read()
    }
}

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
