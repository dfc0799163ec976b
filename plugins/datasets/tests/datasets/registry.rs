//! The datasets are registered, and their configs are strict.

use ccnf::core::{Config, Dataset, DatasetSpec, ErrorKind, build, entries};
use serde_json::json;

#[test]
fn all_datasets_are_registered_with_documented_keys() {
    let names: Vec<&str> = entries::<dyn Dataset>().iter().map(|e| e.name).collect();
    assert_eq!(names, ["btad", "folder", "mvtec", "synthetic", "visa"]);
    for entry in entries::<dyn Dataset>() {
        let schema = (entry.schema)();
        for (key, property) in schema["properties"].as_object().unwrap() {
            assert!(property["description"].is_string(), "{}.{key} has no description", entry.name);
        }
    }
}

#[test]
fn the_example_config_builds() {
    for entry in entries::<dyn Dataset>() {
        let mut config = (entry.example)();
        config["kind"] = json!(entry.name);
        let section = Config::from_json("example", &config).unwrap().root().unwrap();
        assert!(build::<dyn Dataset>(&section, &DatasetSpec::default()).is_ok(), "{}", entry.name);
    }
}

#[test]
fn an_unknown_key_is_refused() {
    let config = json!({ "kind": "mvtec", "paht": "x" });
    let section = Config::from_json("test", &config).unwrap().root().unwrap();
    let e = build::<dyn Dataset>(&section, &DatasetSpec::default()).err().expect("is refused");
    assert_eq!(e.kind(), ErrorKind::Config);
    assert!(e.to_string().contains("did you mean `path`"), "{e}");
}
