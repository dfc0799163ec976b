//! What every registered component must do, whatever its kind:
//!
//! * its name is kebab-case and unique in its kind, its description is one line;
//! * its example config survives JSON, is read back as it stands, and builds;
//! * an unknown key is refused by name;
//! * every key has a description in the schema;
//! * a number too large for any machine is refused with an error, or costs nothing while building (see `sizes.rs`).

use super::Extra;
use super::common::Must;
use ccnf::core::{ComponentKind, Config, Entry, build, entries};
use ccnf::prelude::*;
use serde_json::{Map, Value};
use std::cell::RefCell;

thread_local! {
    /// What this thread checks, as far as it said so.
    static DOING: RefCell<String> = const { RefCell::new(String::new()) };
}

/// The check that this thread has begun last: `kind `name`: check`.
pub(super) fn doing() -> String {
    DOING.with_borrow(String::clone)
}

/// Says what this thread begins to check.
pub(super) fn begin(what: String) {
    DOING.set(what);
}

/// A registered component and the keys to build it with.
pub(super) struct Case<K: ComponentKind + ?Sized> {
    pub(super) entry: &'static Entry<K>,
    pub(super) keys: Map<String, Value>,
}

/// A key that no component has.
const UNKNOWN: &str = "no_such_key_anywhere";

impl<K: ComponentKind + ?Sized> Case<K> {
    /// The component called `name`; panics unless exactly one is registered.
    pub(super) fn find(name: &str, extra: &Extra) -> Self {
        let all = entries::<K>();
        let hits: Vec<_> = all.iter().filter(|e| e.name == name).collect();
        let known = super::names::<K>().join(", ");
        assert!(!hits.is_empty(), "{} `{name}`: not registered; there are: {known}", K::NAME);
        let crates: Vec<&str> = hits.iter().map(|e| e.krate).collect();
        assert_eq!(hits.len(), 1, "{} `{name}`: registered more than once, by {crates:?}", K::NAME);
        Case { entry: hits[0], keys: extra.keys(K::NAME, name) }
    }

    /// `kind `name`: check`, the start of every message. A check says it when it begins.
    pub(super) fn at(&self, check: impl AsRef<str>) -> String {
        let at = self.place(check.as_ref());
        begin(at.clone());
        at
    }

    /// Runs a part of a check that has a name of its own; afterwards the check goes on.
    pub(super) fn within<T>(&self, part: &str, work: impl FnOnce(&str) -> T) -> T {
        let before = doing();
        let done = work(&self.at(part));
        begin(before);
        done
    }

    fn place(&self, check: &str) -> String {
        format!("{} `{}`: {check}", K::NAME, self.entry.name)
    }

    /// Builds it with the given keys and, over them, `more`.
    pub(super) fn try_build(&self, more: &Map<String, Value>, spec: &K::Spec) -> Result<Box<K>> {
        Ok(self.build_recorded(more, spec)?.0)
    }

    fn build_recorded(&self, more: &Map<String, Value>, spec: &K::Spec) -> Result<(Box<K>, Value)> {
        let mut keys = self.keys.clone();
        keys.extend(more.clone());
        keys.insert("kind".into(), self.entry.name.into());
        let config = Config::from_json("conformance", &serde_json::json!({ "part": keys }))?;
        let part = config.root()?.child("part");
        let built = self.within("building it", |_| build::<K>(&part, spec))?;
        Ok((built, config.resolved_json()["part"].clone()))
    }

    /// Builds it with the given keys.
    pub(super) fn build(&self, spec: &K::Spec) -> Box<K> {
        self.try_build(&Map::new(), spec).must(&self.place("builds"))
    }

    /// The checks of this file.
    pub(super) fn check_entry(&self, spec: &K::Spec) {
        let (name, doc) = (self.entry.name, self.entry.doc);
        let lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let kebab = name.split('-').all(|part| !part.is_empty() && part.chars().all(lower));
        assert!(
            kebab && !name.starts_with(|c: char| c.is_ascii_digit()),
            "{}",
            self.at("the name is not kebab-case")
        );
        assert!(
            !doc.trim().is_empty() && !doc.contains('\n'),
            "{}",
            self.at(format!("not one line of description: {doc:?}"))
        );
        assert!(
            !self.entry.krate.is_empty() && !self.entry.version.is_empty(),
            "{}",
            self.at("no crate or version")
        );
        self.check_example(spec);
        self.check_unknown_key(spec);
        let schema = (self.entry.schema)();
        self.check_described(&schema, "");
        self.check_sizes(&schema, spec);
    }

    fn check_example(&self, spec: &K::Spec) {
        let example = (self.entry.example)();
        let Value::Object(keys) = &example else {
            panic!("{}", self.at(format!("the example is not a table: {example}")))
        };
        let again: Value = serde_json::from_str(&example.to_string()).expect("JSON that was just written");
        assert_eq!(again, example, "{}", self.at("the example does not survive JSON"));
        // Keys that a component cannot do without come from the caller; the example's own are read as they stand.
        let mut all = keys.clone();
        all.extend(self.keys.clone());
        let (_, read) = self.build_recorded(&all, spec).must(&self.at("the example config builds"));
        let own = keys.iter().filter(|(k, _)| !self.keys.contains_key(*k));
        for (key, value) in own.filter(|(_, v)| !holds_components(v) && !is_empty_table(v)) {
            let at = self.at(format!("`{key}` of the example is not read back as it stands"));
            assert_eq!(read.get(key), Some(value), "{at}");
        }
    }

    fn check_unknown_key(&self, spec: &K::Spec) {
        let more = Map::from_iter([(UNKNOWN.to_owned(), Value::from(1))]);
        let Err(e) = self.try_build(&more, spec) else {
            panic!("{}", self.at(format!("takes the unknown key `{UNKNOWN}`")))
        };
        assert_eq!(
            e.kind(),
            ErrorKind::Config,
            "{}",
            self.at(format!("an unknown key is not a config error: {e}"))
        );
        assert!(
            e.to_string().contains(UNKNOWN),
            "{}",
            self.at(format!("the error does not name the unknown key: {e}"))
        );
    }

    /// Every property of the schema, also of nested tables, has a description.
    fn check_described(&self, schema: &Value, path: &str) {
        match schema {
            Value::Object(o) => {
                for (key, property) in o.get("properties").and_then(Value::as_object).into_iter().flatten() {
                    // A component's `kind` stands in the schema as a constant.
                    let said = property
                        .get("description")
                        .and_then(Value::as_str)
                        .is_some_and(|d| !d.trim().is_empty());
                    assert!(said, "{}", self.at(format!("the schema does not describe `{path}{key}`")));
                }
                o.iter().for_each(|(k, v)| self.check_described(v, &format!("{path}{k}.")));
            }
            Value::Array(a) => a.iter().for_each(|v| self.check_described(v, path)),
            _ => {}
        }
    }
}

/// A component inside the config, which records itself under its own keys.
fn holds_components(value: &Value) -> bool {
    value.get("kind").is_some()
        || value.as_array().is_some_and(|a| a.is_empty() || a.iter().any(|v| v.get("kind").is_some()))
}

/// Tables without keys leave no trace in the resolved config.
fn is_empty_table(value: &Value) -> bool {
    value.as_object().is_some_and(Map::is_empty)
}
