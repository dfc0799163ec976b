//! Composed configuration: layers, sections, and errors that name key path and source.

mod layers;
mod section;

use crate::error::{Error, ErrorKind, Result};
use figment::Figment;
use figment::providers::{Format, Toml};
use figment::value::{Dict, Tag, Value};
use layers::{Json, Named, SetOption, check_toml, environment, merge};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

pub use layers::ENV_PREFIX;
pub use section::{Component, Section};

/// A value of the resolved configuration and where it came from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Resolved {
    /// The value.
    pub value: serde_json::Value,
    /// The layer that set it: `default`, a file, an environment variable or `--set`.
    pub source: String,
}

/// The layers of a configuration, merged: built-in defaults < files < environment < `--set`.
///
/// Tables are merged key by key. Where a layer sets another `kind` than the layers below it, their keys of that component are dropped:
/// `--set dataset.kind=mvtec` does not leave keys of the generated dataset behind.
#[derive(Clone)]
pub struct Config {
    layers: Arc<Vec<Figment>>,
    value: Value,
    resolved: Arc<Mutex<BTreeMap<String, Resolved>>>,
}

/// Where the text of a config layer comes from.
#[derive(Debug, Clone)]
pub enum ConfigFile {
    /// A TOML file.
    Path(PathBuf),
    /// A TOML text; what to call it in messages, and the text.
    Text(String, String),
}

impl Config {
    /// Merges `files`, the environment and `sets` (each `key.path=value`, the value in TOML syntax or a bare string).
    pub fn compose(files: &[ConfigFile], sets: &[String]) -> Result<Config> {
        let mut config =
            Config { layers: Arc::default(), value: Value::from(Dict::new()), resolved: Arc::default() };
        for f in files {
            let figment = match f {
                ConfigFile::Path(p) => {
                    let text = std::fs::read_to_string(p).map_err(|e| Error::io("read the config", p, e))?;
                    check_toml(&text, &p.display().to_string())?;
                    Figment::from(Toml::file_exact(p))
                }
                ConfigFile::Text(name, text) => {
                    check_toml(text, name)?;
                    Figment::from(Named(name, text))
                }
            };
            config.push(vec![figment])?;
        }
        config.push(environment()?)?;
        // All of `--set` is one layer: the order of its options does not matter.
        config.push(sets.iter().map(|s| Ok(Figment::from(SetOption::parse(s)?))).collect::<Result<_>>()?)?;
        Ok(config)
    }

    /// Puts a layer (made of figments merged key by key) on top.
    fn push(&mut self, layer: Vec<Figment>) -> Result<()> {
        let mut value = Value::from(Dict::new());
        for f in &layer {
            let own = f.find_value("").map_err(|e| Error::new(ErrorKind::Config, e.to_string()))?;
            value = merge(value, own, false);
        }
        self.value = merge(std::mem::replace(&mut self.value, Value::from(Dict::new())), value, true);
        Arc::make_mut(&mut self.layers).extend(layer);
        Ok(())
    }

    /// What `sets` (as in [`compose`](Config::compose)) say, as a JSON object.
    pub fn sets_json(sets: &[String]) -> Result<serde_json::Value> {
        let mut config =
            Config { layers: Arc::default(), value: Value::from(Dict::new()), resolved: Arc::default() };
        config.push(sets.iter().map(|s| Ok(Figment::from(SetOption::parse(s)?))).collect::<Result<_>>()?)?;
        Ok(plain_json(&config.value).unwrap_or_default())
    }

    /// A configuration from a JSON value, for tests and for loading a resolved config back.
    pub fn from_json(name: &'static str, value: &serde_json::Value) -> Result<Config> {
        let value = Value::serialize(value).map_err(|e| Error::new(ErrorKind::Config, e.to_string()))?;
        let dict = value.into_dict().ok_or_else(|| Error::new(ErrorKind::Config, "a config is a table"))?;
        let mut config =
            Config { layers: Arc::default(), value: Value::from(Dict::new()), resolved: Arc::default() };
        config.push(vec![Figment::from(Json(name, dict))])?;
        Ok(config)
    }

    /// The whole configuration as one section.
    pub fn root(&self) -> Result<Section> {
        Ok(Section::root(self, &self.value))
    }

    /// Every value that has been read so far, with its source, by key path.
    pub fn resolved(&self) -> BTreeMap<String, Resolved> {
        self.resolved.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// The values of [`resolved`](Config::resolved) as a nested JSON object.
    pub fn resolved_json(&self) -> serde_json::Value {
        let mut root = serde_json::Value::Object(Default::default());
        for (path, r) in self.resolved() {
            put(&mut root, &path.split('.').collect::<Vec<_>>(), r.value);
        }
        root
    }

    fn source_of(&self, tag: Tag) -> String {
        match self.layers.iter().find_map(|f| f.get_metadata(tag)) {
            None => "default".into(),
            Some(m) => match &m.source {
                Some(s) => format!("{} `{s}`", m.name),
                None => m.name.to_string(),
            },
        }
    }

    /// Notes a value as read; for what is decided outside of the layers, too.
    pub fn record(&self, path: &str, value: serde_json::Value, source: String) {
        let mut map = self.resolved.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        map.insert(path.to_owned(), Resolved { value, source });
    }
}

/// A value as JSON with the shortest decimal of every number: an f32 of 0.7 is 0.7, not 0.699999988.
pub(crate) fn plain_json(value: &impl Serialize) -> Option<serde_json::Value> {
    serde_json::from_str(&serde_json::to_string(value).ok()?).ok()
}

/// An example config as JSON, for the registry.
#[doc(hidden)]
pub fn example_json(value: &impl Serialize) -> serde_json::Value {
    plain_json(value).unwrap_or_default()
}

fn put(at: &mut serde_json::Value, path: &[&str], value: serde_json::Value) {
    use serde_json::Value as J;
    let Some((head, rest)) = path.split_first() else { return };
    let slot = match head.parse::<usize>() {
        Ok(i) => {
            if !at.is_array() {
                *at = J::Array(vec![]);
            }
            let J::Array(a) = at else { return };
            while a.len() <= i {
                a.push(J::Null);
            }
            &mut a[i]
        }
        Err(_) => {
            if !at.is_object() {
                *at = J::Object(Default::default());
            }
            let J::Object(o) = at else { return };
            o.entry(head.to_string()).or_insert(J::Null)
        }
    };
    if rest.is_empty() { *slot = value } else { put(slot, rest, value) }
}
