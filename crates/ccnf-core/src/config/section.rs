//! A part of a configuration, and the components in it.

use super::{Config, plain_json};
use crate::error::{Error, ErrorKind, Result, did_you_mean};
use figment::error::{Kind, OneOf};
use figment::value::{Dict, Value};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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
    pub(super) fn root(config: &Config, value: &Value) -> Section {
        Section { config: config.clone(), path: vec![], value: value.clone() }
    }

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
