//! The line `conformance!` as a component's file has it.

use ccnf_testkit::conforms;
use serde_json::{Value, json};
use std::path::Path;

ccnf_testkit::conformance!(Coupling, "honest", { "start": 0.3 }, { "start": -0.2 },);
ccnf_testkit::conformance!(mod with_files: Coupling, "honest", with written, { "start": 0.1 });
ccnf_testkit::conformance!(mod with_a_closure: Coupling, "honest", with |_| json!({ "start": -0.4 }));

/// Leaves a file in the folder and leads the component there.
fn written(folder: &Path) -> Value {
    std::fs::write(folder.join("start"), "0.5").unwrap();
    let text = std::fs::read_to_string(folder.join("start")).unwrap();
    json!({ "start": text.parse::<f32>().unwrap() })
}

fn nothing(_: &Path) -> Value {
    json!({})
}

#[test]
#[should_panic(expected = "log-determinant, past warm-up (D = 2, seed 1): off by")]
fn a_component_that_breaks_its_contract_fails() {
    conforms("coupling", "wrong-log-det", nothing, json!({}));
}

#[test]
#[should_panic(expected = "\n  config: {\"start\":\"much\"}")]
fn a_failure_says_which_config_it_was() {
    conforms("coupling", "honest", written, json!({ "start": "much" }));
}

#[test]
#[should_panic(expected = "unknown key `path`")]
fn what_the_function_returns_reaches_the_component() {
    conforms("coupling", "honest", |folder| json!({ "path": folder }), json!({}));
}

#[test]
fn the_folder_is_gone_afterwards() {
    static FOLDER: std::sync::Mutex<Option<std::path::PathBuf>> = std::sync::Mutex::new(None);
    let noted = |folder: &Path| {
        assert!(folder.is_dir());
        *FOLDER.lock().unwrap() = Some(folder.to_owned());
        json!({})
    };
    conforms("coupling", "honest", noted, json!({}));
    assert!(!FOLDER.lock().unwrap().as_ref().unwrap().exists());
}
