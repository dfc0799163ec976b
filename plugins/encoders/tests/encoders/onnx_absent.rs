//! `onnx` in a build without its feature.

use crate::common::refused;
use ccnf::core::list_all;
use ccnf::prelude::*;
use ccnf::serde_json::json;

#[test]
fn a_build_without_an_onnx_runtime_says_so_and_how_to_build_one() {
    let message = refused(json!({ "kind": "onnx", "path": "network.onnx" }), ErrorKind::NotBuilt);
    for part in ["no ONNX runtime", "key `encoder.kind`", "--features onnx"] {
        assert!(message.contains(part), "{message}");
    }
    let listed = list_all().into_iter().find(|c| c.name == "onnx").unwrap();
    assert!(listed.doc.contains("not in this build"), "{}", listed.doc);
    assert!(listed.schema["properties"]["outputs"].is_object(), "its keys are described all the same");
}

#[test]
fn its_keys_are_checked_first() {
    let message = refused(json!({ "kind": "onnx", "outptus": [] }), ErrorKind::Config);
    assert!(message.contains("did you mean `outputs`"), "{message}");
}
