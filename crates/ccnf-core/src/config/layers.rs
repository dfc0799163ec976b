//! The layers of a configuration: where they come from, and how one is put over another.

use crate::error::{Error, ErrorKind, Result, ResultExt};
use figment::providers::{Format, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};
use serde::Deserialize;

/// The prefix of environment variables that set config keys: `CCNF_CONFIG__TRAIN__CLIP=0.5` sets `train.clip`.
pub const ENV_PREFIX: &str = "CCNF_CONFIG__";

/// Keys of which a table has one at most: a layer that sets one drops the others of the layers below.
const EXCLUSIVE: &[&[&str]] = &[&["preset", "tasks"], &["per_class", "items", "bytes"]];

/// `top` over `below`. With `by_kind` a table of another `kind` replaces the one below as a whole.
pub(super) fn merge(below: Value, top: Value, by_kind: bool) -> Value {
    match (below, top) {
        (Value::Dict(_, mut below), Value::Dict(tag, top)) => {
            let kind = |d: &Dict| d.get("kind").and_then(|v| v.as_str().map(str::to_owned));
            let (a, b) = (kind(&below), kind(&top));
            if by_kind && a.is_some() && b.is_some() && a != b {
                return Value::Dict(tag, top);
            }
            if by_kind {
                for group in EXCLUSIVE.iter().filter(|group| group.iter().any(|key| top.contains_key(*key))) {
                    below.retain(|key, _| !group.contains(&key.as_str()));
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

pub(super) fn check_toml(text: &str, name: &str) -> Result<()> {
    Toml::from_str::<Dict>(text).map(|_| ()).map_err(|e| {
        Error::new(
            ErrorKind::Config,
            format!("the config `{name}` is not valid TOML: {}", e.to_string().trim()),
        )
    })
}

/// A TOML text with its name.
pub(super) struct Named<'a>(pub(super) &'a str, pub(super) &'a str);

impl Provider for Named<'_> {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.0.to_owned())
    }
    fn data(&self) -> figment::error::Result<Map<Profile, Dict>> {
        Toml::string(self.1).data()
    }
}

/// A table that was a JSON value, with its name.
pub(super) struct Json(pub(super) &'static str, pub(super) Dict);

impl Provider for Json {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.0)
    }
    fn data(&self) -> figment::error::Result<Map<Profile, Dict>> {
        Ok(Map::from([(Profile::Default, self.1.clone())]))
    }
}

/// The environment variables that set keys, sorted; values are read like those of `--set`.
pub(super) fn environment() -> Result<Vec<Figment>> {
    let mut variables: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
        .filter(|(k, _)| k.starts_with(ENV_PREFIX) && k.len() > ENV_PREFIX.len())
        .collect();
    variables.sort();
    let layer = |(name, text): (String, String)| {
        let key = name[ENV_PREFIX.len()..].to_lowercase().replace("__", ".");
        let source = format!("environment variable {name}");
        let value = toml_value(&text).at(|| source.clone())?;
        Ok(Figment::from(SetOption { source, key, value }))
    };
    variables.into_iter().map(layer).collect()
}

/// A value in TOML syntax, or else a bare string; fails for what begins like a table, a list or a quoted string and is none.
fn toml_value(text: &str) -> Result<Value> {
    #[derive(Deserialize)]
    struct Holder {
        v: Value,
    }
    match Toml::from_str::<Holder>(&format!("v = {}", text.trim())) {
        Ok(h) => Ok(h.v),
        Err(e) if text.trim_start().starts_with(['{', '[', '"', '\'']) => Err(Error::new(
            ErrorKind::Config,
            format!("`{}` is no value in TOML: {}", text.trim(), last_line(&e)),
        )
        .help("such as { kind = \"affine\", clamp = 1.0 } or [1, 2]; in a shell between single quotes")),
        Err(_) => Ok(Value::from(text.trim())),
    }
}

/// What is wrong, without the value's text once more.
fn last_line(e: &impl std::fmt::Display) -> String {
    e.to_string().lines().rfind(|l| !l.trim().is_empty()).unwrap_or_default().trim().to_owned()
}

/// One key that is set to one value.
pub(super) struct SetOption {
    source: String,
    key: String,
    value: Value,
}

impl SetOption {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let (key, value) = text.split_once('=').filter(|(k, _)| !k.trim().is_empty()).ok_or_else(|| {
            Error::new(ErrorKind::Usage, format!("`--set {text}` is not of the form key=value"))
                .help("for example --set train.first.steps=500")
        })?;
        let key = key.trim().to_owned();
        let value = toml_value(value).at(|| format!("--set {key}"))?;
        Ok(SetOption { source: format!("--set {key}"), value, key })
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
