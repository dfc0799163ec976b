//! Numbers that no machine has the memory for.
//!
//! A failed allocation ends the process, and no code can catch it: a component has to refuse such numbers by itself, naming the key.

use super::entry::Case;
use ccnf::core::ComponentKind;
use ccnf::prelude::*;
use serde_json::{Map, Value, json};

/// So many of anything are more than any machine holds, and still far from an overflow of 64 bits.
const HUGE: u64 = 1_000_000_000_000;

impl<K: ComponentKind + ?Sized> Case<K> {
    /// Every whole number of the config, also in nested tables, set to `HUGE`: building gives a component or an error of the configuration.
    pub(super) fn check_sizes(&self, schema: &Value, spec: &K::Spec) {
        let example = (self.entry.example)();
        for key in whole_numbers(schema, schema, "") {
            let at = self.at(format!("with `{key} = {HUGE}`"));
            if let Err(e) = self.try_build(&with(&example, &self.keys, &key), spec) {
                let of_config = matches!(e.kind(), ErrorKind::Config | ErrorKind::Dataset);
                assert!(of_config, "{at}: no error of the configuration: {e}");
            }
        }
    }
}

/// The keys of whole numbers, with dots between the names of tables.
fn whole_numbers(root: &Value, table: &Value, path: &str) -> Vec<String> {
    let mut found = vec![];
    for (key, property) in table["properties"].as_object().into_iter().flatten() {
        let property = property["$ref"].as_str().map_or(property, |r| named(root, r));
        let path = format!("{path}{key}");
        let is = |kind: &str| match &property["type"] {
            Value::Array(kinds) => kinds.iter().any(|k| k == kind),
            one => one == kind,
        };
        if is("integer") {
            found.push(path);
        } else if is("object") {
            found.extend(whole_numbers(root, property, &format!("{path}.")));
        }
    }
    found
}

/// What `#/$defs/Name` stands for.
fn named<'a>(root: &'a Value, reference: &str) -> &'a Value {
    reference.strip_prefix('#').and_then(|p| root.pointer(p)).unwrap_or(&Value::Null)
}

/// The top-level key that `key` is in, with the number in it and the rest as in the given keys or the example.
fn with(example: &Value, keys: &Map<String, Value>, key: &str) -> Map<String, Value> {
    let Some((table, inner)) = key.split_once('.') else {
        return Map::from_iter([(key.to_owned(), json!(HUGE))]);
    };
    let mut value = keys.get(table).or_else(|| example.get(table)).cloned().unwrap_or_default();
    let mut place = &mut value;
    for part in inner.split('.') {
        if !place.is_object() {
            *place = json!({});
        }
        place = &mut place[part];
    }
    *place = json!(HUGE);
    Map::from_iter([(table.to_owned(), value)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_tables_are_found_and_set() {
        let schema = json!({
            "properties": {
                "width": { "type": "integer" },
                "steps": { "type": ["integer", "null"] },
                "gain": { "type": "number" },
                "subnet": { "$ref": "#/$defs/Subnet" },
            },
            "$defs": { "Subnet": { "type": "object", "properties": { "hidden": { "type": "integer" } } } },
        });
        let mut keys = whole_numbers(&schema, &schema, "");
        keys.sort();
        assert_eq!(keys, ["steps", "subnet.hidden", "width"]);
        let example = json!({ "subnet": { "hidden": 4, "layers": 2 } });
        let set = with(&example, &Map::new(), "subnet.hidden");
        assert_eq!(Value::Object(set), json!({ "subnet": { "hidden": HUGE, "layers": 2 } }));
        assert_eq!(with(&example, &Map::new(), "width")["width"], HUGE);
    }
}
