//! Composed configuration: layers, sections, and errors that name key path and source.

use crate::error::{Error, ErrorKind, Result, did_you_mean};
use figment::error::{Kind, OneOf};
use figment::providers::{Format, Toml};
use figment::value::{Dict, Map, Tag, Value};
use figment::{Figment, Metadata, Profile, Provider};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// The prefix of environment variables that set config keys: `CCNF_CONFIG__TRAIN__CLIP=0.5` sets `train.clip`.
pub const ENV_PREFIX: &str = "CCNF_CONFIG__";

/// A value of the resolved configuration and where it came from.
#[derive(Debug, Clone, PartialEq, Serialize)]
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
    /// A TOML text that is part of the program; the name is used in messages.
    Embedded(&'static str, &'static str),
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
                ConfigFile::Embedded(name, text) => Figment::from(Embedded(name, text)),
            };
            config.push(vec![figment])?;
        }
        config.push(environment())?;
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
        Ok(Section { config: self.clone(), path: vec![], value: self.value.clone() })
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

    fn record(&self, path: &str, value: serde_json::Value, source: String) {
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

/// Keys of which a table has one at most: a layer that sets one drops the other of the layers below.
const EXCLUSIVE: &[(&str, &str)] = &[("preset", "tasks")];

/// `top` over `below`. With `by_kind` a table of another `kind` replaces the one below as a whole.
fn merge(below: Value, top: Value, by_kind: bool) -> Value {
    match (below, top) {
        (Value::Dict(_, mut below), Value::Dict(tag, top)) => {
            let kind = |d: &Dict| d.get("kind").and_then(|v| v.as_str().map(str::to_owned));
            let (a, b) = (kind(&below), kind(&top));
            if by_kind && a.is_some() && b.is_some() && a != b {
                return Value::Dict(tag, top);
            }
            if by_kind {
                for (a, b) in EXCLUSIVE {
                    for (set, other) in [(a, b), (b, a)] {
                        if top.contains_key(*set) && !top.contains_key(*other) {
                            below.remove(*other);
                        }
                    }
                }
            }
            for (k, v) in top {
                let merged = match below.remove(&k) {
                    Some(old) => merge(old, v, by_kind),
                    None => v,
                };
                below.insert(k, merged);
            }
            Value::Dict(tag, below)
        }
        (_, top) => top,
    }
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

fn check_toml(text: &str, name: &str) -> Result<()> {
    Toml::from_str::<Dict>(text).map(|_| ()).map_err(|e| {
        Error::new(
            ErrorKind::Config,
            format!("the config `{name}` is not valid TOML: {}", e.to_string().trim()),
        )
    })
}

struct Embedded(&'static str, &'static str);
impl Provider for Embedded {
    fn metadata(&self) -> Metadata {
        Metadata::named(format!("built-in config {}", self.0))
    }
    fn data(&self) -> figment::error::Result<Map<Profile, Dict>> {
        Toml::string(self.1).data()
    }
}

struct Json(&'static str, Dict);
impl Provider for Json {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.0)
    }
    fn data(&self) -> figment::error::Result<Map<Profile, Dict>> {
        Ok(Map::from([(Profile::Default, self.1.clone())]))
    }
}

/// The environment variables that set keys, sorted; values are read like those of `--set`.
fn environment() -> Vec<Figment> {
    let mut variables: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
        .filter(|(k, _)| k.starts_with(ENV_PREFIX) && k.len() > ENV_PREFIX.len())
        .collect();
    variables.sort();
    let layer = |(name, text): (String, String)| {
        let key = name[ENV_PREFIX.len()..].to_lowercase().replace("__", ".");
        Figment::from(SetOption {
            source: format!("environment variable {name}"),
            key,
            value: toml_value(&text),
        })
    };
    variables.into_iter().map(layer).collect()
}

/// A value in TOML syntax, or else a bare string.
fn toml_value(text: &str) -> Value {
    #[derive(Deserialize)]
    struct Holder {
        v: Value,
    }
    match Toml::from_str::<Holder>(&format!("v = {}", text.trim())) {
        Ok(h) => h.v,
        Err(_) => Value::from(text.trim()),
    }
}

struct SetOption {
    source: String,
    key: String,
    value: Value,
}

impl SetOption {
    fn parse(text: &str) -> Result<Self> {
        let (key, value) = text.split_once('=').filter(|(k, _)| !k.trim().is_empty()).ok_or_else(|| {
            Error::new(ErrorKind::Usage, format!("`--set {text}` is not of the form key=value"))
                .help("for example --set train.first.steps=500")
        })?;
        let key = key.trim().to_owned();
        Ok(SetOption { source: format!("--set {key}"), value: toml_value(value), key })
    }
}

impl Provider for SetOption {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.source.clone())
    }
    fn data(&self) -> figment::error::Result<Map<Profile, Dict>> {
        let nested = figment::util::nest(&self.key, self.value.clone());
        Ok(Map::from([(Profile::Global, nested.into_dict().unwrap_or_default())]))
    }
}

/// A component inside a config: a table with `kind` and the keys of that component.
/// It is left unread until the registry builds the component.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(description = "A component: `kind` names it, the other keys are its own (see `ccnf describe`).")]
pub struct Component {
    /// The component's name in the registry.
    pub kind: String,
    /// Its own keys.
    #[serde(flatten)]
    pub rest: BTreeMap<String, serde_json::Value>,
}

impl Component {
    /// The component `kind` with its defaults.
    pub fn of(kind: &str) -> Self {
        Component { kind: kind.to_owned(), rest: BTreeMap::new() }
    }

    /// Sets one key.
    pub fn with(mut self, key: &str, value: impl Into<serde_json::Value>) -> Self {
        self.rest.insert(key.to_owned(), value.into());
        self
    }
}

/// A part of the configuration with its absolute key path.
#[derive(Clone)]
pub struct Section {
    config: Config,
    path: Vec<String>,
    value: Value,
}

impl Section {
    /// The absolute key path; empty for the root.
    pub fn path(&self) -> String {
        self.path.join(".")
    }

    fn child_value(v: &Value, key: &str) -> Option<Value> {
        match v {
            Value::Dict(_, d) => d.get(key).cloned(),
            Value::Array(_, a) => a.get(key.parse::<usize>().ok()?).cloned(),
            _ => None,
        }
    }

    /// Whether the key is set in any layer.
    pub fn has(&self, key: &str) -> bool {
        Self::child_value(&self.value, key).is_some()
    }

    /// The sub-section `key`; an empty table when no layer sets it.
    pub fn child(&self, key: &str) -> Section {
        let mut path = self.path.clone();
        path.push(key.to_owned());
        let value = Self::child_value(&self.value, key).unwrap_or_else(|| Value::from(Dict::new()));
        Section { config: self.config.clone(), path, value }
    }

    /// This section with `key` set to `value`, for a component that decides about a key of one of its parts.
    pub fn with(&self, key: &str, value: impl Into<Value>) -> Section {
        let mut s = self.clone();
        if let Value::Dict(_, d) = &mut s.value {
            d.insert(key.to_owned(), value.into());
        }
        s
    }

    /// The section of the component `default` at `key`: a layer that sets only some keys of the component, or nothing at all,
    /// gets the kind (and, for the same kind, the keys) of `default`.
    pub fn component(&self, key: &str, default: &Component) -> Section {
        let mut s = self.child(key);
        let given = s.value.as_dict().cloned().unwrap_or_default();
        let given_kind = given.get("kind").and_then(|v| v.as_str().map(str::to_owned));
        let same_kind = given_kind.as_deref().is_none_or(|k| k == default.kind);
        if let (true, Value::Dict(..), Ok(Value::Dict(tag, mut merged))) =
            (same_kind, &s.value, Value::serialize(default))
        {
            merged.extend(given);
            s.value = Value::Dict(tag, merged);
        }
        s
    }

    /// The sections of the array of components at `key`, or of `default` when no layer sets the key.
    pub fn components(&self, key: &str, default: &[Component]) -> Result<Vec<Section>> {
        let list = self.child(key);
        if !self.has(key) {
            return Ok(default.iter().enumerate().map(|(i, c)| list.component(&i.to_string(), c)).collect());
        }
        let Some(items) = list.value.as_array() else {
            return Err(self.error(key, "expected an array of tables, each with a `kind`"));
        };
        if items.is_empty() {
            self.config.record(&list.path(), serde_json::json!([]), self.config.source_of(list.value.tag()));
        }
        Ok((0..items.len()).map(|i| list.child(&i.to_string())).collect())
    }

    /// The value of `kind`.
    pub fn kind(&self) -> Result<String> {
        match Self::child_value(&self.value, "kind") {
            Some(v) => match v.as_str() {
                Some(s) => {
                    let path = format!("{}.kind", self.path());
                    self.config.record(
                        path.trim_start_matches('.'),
                        s.into(),
                        self.config.source_of(v.tag()),
                    );
                    Ok(s.to_owned())
                }
                None => {
                    Err(self.error("kind", "expected the name of a component, such as kind = \"affine\""))
                }
            },
            None => Err(self.error("kind", "missing: which component is this? Set kind = \"…\"")),
        }
    }

    /// Reads the section as `T`, without its `kind`. Errors name the key path, the source and the allowed keys.
    /// Every value read, defaults included, is recorded for the resolved config; `Component` fields record themselves when
    /// they are built.
    pub fn read<T: DeserializeOwned + Serialize>(&self) -> Result<T> {
        let mut value = self.value.clone();
        if let Value::Dict(_, d) = &mut value {
            d.remove("kind");
        }
        let read: T = value.deserialize().map_err(|e| self.wrap(e))?;
        if let Some(json) = plain_json(&read) {
            self.record(&self.path(), &json, &self.value);
        }
        Ok(read)
    }

    fn record(&self, path: &str, json: &serde_json::Value, given: &Value) {
        match json {
            serde_json::Value::Object(o) if o.contains_key("kind") => {}
            serde_json::Value::Object(o) if !o.is_empty() => {
                for (k, v) in o {
                    let sub = if path.is_empty() { k.clone() } else { format!("{path}.{k}") };
                    let given = Self::child_value(given, k).unwrap_or_else(|| Value::from(Dict::new()));
                    self.record(&sub, v, &given);
                }
            }
            serde_json::Value::Array(a) if a.iter().any(|v| v.get("kind").is_some()) => {}
            leaf => self.config.record(path, leaf.clone(), self.config.source_of(given.tag())),
        }
    }

    fn wrap(&self, errors: figment::Error) -> Error {
        let mut messages = Vec::new();
        for mut e in errors {
            let hint = match &e.kind {
                Kind::UnknownField(bad, good) | Kind::UnknownVariant(bad, good) => {
                    did_you_mean(bad, good.iter().copied()).map(|g| format!(" (did you mean `{g}`?)"))
                }
                _ => None,
            };
            let what = match &e.kind {
                Kind::UnknownField(bad, []) => format!("unknown key `{bad}`; no key is allowed here"),
                Kind::UnknownField(bad, good) => format!("unknown key `{bad}`, expected {}", OneOf(good)),
                Kind::MissingField(f) => format!("the key `{f}` is missing"),
                k => k.to_string(),
            };
            if let Kind::UnknownField(bad, _) = &e.kind
                && e.path.last() != Some(bad)
            {
                e.path.push(bad.clone());
            }
            let mut at = self.value.clone();
            let mut tag = at.tag();
            for k in &e.path {
                match Self::child_value(&at, k) {
                    Some(c) => {
                        tag = c.tag();
                        at = c;
                    }
                    None => break,
                }
            }
            let key = self.path.iter().chain(&e.path).cloned().collect::<Vec<_>>().join(".");
            let source = match self.config.source_of(tag).as_str() {
                "default" => String::new(),
                s => format!(" in {s}"),
            };
            messages.push((format!("{what}{}", hint.unwrap_or_default()), format!("key `{key}`{source}")));
        }
        let (first, place) = messages.remove(0);
        let mut error = Error::new(ErrorKind::Config, first).at(place);
        for (m, p) in messages {
            error = error.at(format!("also: {m}, {p}"));
        }
        error
    }

    /// An error about `key` of this section that names its source.
    pub fn error(&self, key: &str, message: impl Into<String>) -> Error {
        let mut e = figment::Error::from(message.into());
        e.path = key.split('.').filter(|k| !k.is_empty()).map(String::from).collect();
        self.wrap(e)
    }

    /// Fails for keys of this table that are not in `allowed`.
    pub fn only(&self, allowed: &[&str]) -> Result<()> {
        let Some(d) = self.value.as_dict() else { return Ok(()) };
        for k in d.keys() {
            if !allowed.contains(&k.as_str()) {
                let hint = did_you_mean(k, allowed.iter().copied())
                    .map(|g| format!(" (did you mean `{g}`?)"))
                    .unwrap_or_default();
                return Err(self.error(
                    k,
                    format!("unknown key `{k}`, expected one of `{}`{hint}", allowed.join("`, `")),
                ));
            }
        }
        Ok(())
    }
}
