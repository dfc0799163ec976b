//! `onnx`: what a file gives, and what is refused.

use crate::common::{encode, encoder, picture, refused};
use crate::tiny::{Dim, changed, floats, info, network, node};
use ccnf::prelude::*;
use ccnf::serde_json::{Value, json};
use ccnf_testkit::conformance;
use prost::Message;
use std::path::{Path, PathBuf};
use tract_onnx::pb::GraphProto;

fn file(folder: &Path, bytes: &[u8]) -> PathBuf {
    let path = folder.join("network.onnx");
    std::fs::write(&path, bytes).unwrap();
    path
}

fn config(path: &Path, more: Value) -> Value {
    let mut config = json!({ "kind": "onnx", "path": path, "size": 4, "pool": 1 });
    for (key, value) in more.as_object().into_iter().flatten() {
        config[key] = value.clone();
    }
    config
}

/// The message with which a changed network is refused; it must name the file.
fn refused_network(change: impl FnOnce(&mut GraphProto), more: Value) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), &changed(change));
    let message = refused(config(&path, more), ErrorKind::Encoder);
    assert!(message.contains("network.onnx"), "{message}");
    message
}

#[test]
fn outputs_become_channel_last_levels() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), &network().encode_to_vec());
    let onnx = encoder(config(&path, json!({}))).unwrap();
    let shapes: Vec<_> = onnx.levels().into_iter().map(|l| (l.name, l.height, l.width, l.channels)).collect();
    assert_eq!(shapes, [("double".to_owned(), 4, 4, 2), ("half".to_owned(), 2, 2, 2)]);
    let image = picture(4, 4, 1);
    let maps = encode(&*onnx, std::slice::from_ref(&image)).unwrap().remove(0);
    let unit = |cell: usize, c: usize| f32::from(image.data[cell * 3 + c]) / 255.0;
    for (cell, pair) in maps[0].chunks(2).enumerate() {
        assert!(
            (pair[0] - 2.0 * unit(cell, 0)).abs() < 1e-6 && (pair[1] - (unit(cell, 2) - 1.0)).abs() < 1e-6
        );
    }
    let corner = [0, 1, 4, 5].iter().map(|&cell| maps[0][cell * 2]).sum::<f32>() / 4.0;
    assert!((maps[1][0] - corner).abs() < 1e-6);
}

#[test]
fn any_tensor_of_the_network_can_be_a_level() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), &network().encode_to_vec());
    let more = json!({ "outputs": ["half", "inner"], "input": "image", "pool_levels": { "inner": 3 } });
    let onnx = encoder(config(&path, more)).unwrap();
    let names: Vec<_> = onnx.levels().into_iter().map(|l| l.name).collect();
    assert_eq!(names, ["half", "inner"]);
    let white = RgbImage { width: 4, height: 4, data: vec![255; 48] };
    assert_eq!(encode(&*onnx, &[white]).unwrap()[0][1], [2.0, 1.0].repeat(16), "before the bias");
}

#[test]
fn mean_and_std_are_applied() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), &network().encode_to_vec());
    let more = json!({ "outputs": ["double"], "mean": [0.5, 0.0, 0.0], "std": [0.25, 1.0, 1.0] });
    let white = RgbImage { width: 9, height: 5, data: vec![255; 135] };
    assert_eq!(
        encode(&*encoder(config(&path, more)).unwrap(), &[white]).unwrap()[0][0],
        [4.0, 0.0].repeat(16)
    );
}

#[test]
fn the_fingerprint_follows_the_file_and_the_settings() {
    let folder = tempfile::tempdir().unwrap();
    let print =
        |bytes: &[u8], more| encoder(config(&file(folder.path(), bytes), more)).unwrap().fingerprint();
    let plain = network().encode_to_vec();
    let base = print(&plain, json!({}));
    assert_eq!(base, print(&plain, json!({ "outputs": ["double", "half"] })));
    let other = changed(|g| g.initializer[1] = floats("bias", &[1, 2, 1, 1], &[0.0, -2.0]));
    assert_ne!(base, print(&other, json!({})), "weights");
    for more in [json!({ "mean": [0.1, 0.0, 0.0] }), json!({ "outputs": ["half"] }), json!({ "size": 6 })] {
        assert_ne!(base, print(&plain, more.clone()), "{more}");
    }
}

#[test]
fn files_that_are_no_network_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let missing = refused(config(&folder.path().join("gone.onnx"), json!({})), ErrorKind::Encoder);
    assert!(missing.contains("gone.onnx") && missing.contains("encoder.path"), "{missing}");
    let directory = refused(config(folder.path(), json!({})), ErrorKind::Encoder);
    assert!(directory.contains("cannot be read"), "{directory}");
    for bytes in [&b"this is a text file, not a network\n"[..], b"", &network().encode_to_vec()[..70]] {
        let message = refused(config(&file(folder.path(), bytes), json!({})), ErrorKind::Encoder);
        assert!(message.contains("is not an ONNX model") && message.contains("network.onnx"), "{message}");
    }
    assert!(refused(json!({ "kind": "onnx" }), ErrorKind::Config).contains("encoder.path"));
}

#[test]
fn wrong_names_come_with_a_suggestion() {
    let message = refused_network(|_| (), json!({ "outputs": ["doubel"] }));
    assert!(
        message.contains("no output `doubel`") && message.contains("did you mean `double`?"),
        "{message}"
    );
    assert!(message.contains("its outputs: `double`, `half`"), "{message}");
    let message = refused_network(|_| (), json!({ "input": "imag" }));
    assert!(message.contains("no input `imag`") && message.contains("did you mean `image`?"), "{message}");
}

#[test]
fn wrong_inputs_are_refused_with_what_was_found() {
    use Dim::{Any, Is};
    for (dims, kind, found) in [
        (vec![Is(1), Is(3), Is(8), Is(8)], 1, "1 x 3 x 8 x 8; expected height and width 4"),
        (vec![Is(1), Is(1), Is(4), Is(4)], 1, "1 x 1 x 4 x 4; expected 3 channels"),
        (vec![Is(8), Is(3), Any("h"), Any("w")], 1, "8 x 3 x ? x ?; expected a dynamic batch"),
        (vec![Any("n"), Is(4), Is(4), Is(3)], 1, "? x 4 x 4 x 3; expected channels first"),
        (vec![Is(3), Is(4), Is(4)], 1, "3 x 4 x 4; expected 4 dimensions"),
        (vec![Is(1), Is(3), Is(4), Is(4)], 10, "element type 10; expected float32"),
    ] {
        let message = refused_network(|g| g.input = vec![info("image", kind, &dims)], json!({}));
        assert!(message.contains(found), "{message}");
    }
    let message = refused_network(|g| g.input.push(info("mask", 1, &[Is(1)])), json!({}));
    assert!(message.contains("found 2: `image`, `mask`"), "{message}");
}

#[test]
fn outputs_that_are_no_feature_maps_are_refused() {
    let flat = |g: &mut GraphProto| {
        g.node.push(node("Flatten", &["half"], "flat", vec![]));
        g.output = vec![info("flat", 1, &[])];
    };
    let message = refused_network(flat, json!({}));
    assert!(message.contains("`flat`") && message.contains("expected float32 of 1 x channels"), "{message}");
    assert!(message.contains("1,8"), "the found shape is shown: {message}");
}

#[test]
fn contradictory_networks_are_refused_without_a_panic() {
    let message = refused_network(|g| g.output = vec![info("nowhere", 1, &[])], json!({}));
    assert!(message.contains("nowhere"), "{message}");
    for change in [
        (|g: &mut GraphProto| g.node[0].input[0] = "picture".into()) as fn(&mut GraphProto),
        |g| g.node[0].op_type = "NoSuchOperation".into(),
        |g| g.initializer[0].dims = vec![2, 5, 1, 1],
        |g| g.initializer.clear(),
        |g| g.node.clear(),
    ] {
        refused_network(change, json!({}));
    }
}

#[test]
fn wrong_settings_are_config_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), &network().encode_to_vec());
    for (key, value, hint) in [
        ("size", json!(0), "between 1 and 4096"),
        ("pool", json!(4), "odd"),
        ("std", json!([1.0, 0.0, 1.0]), "above 0"),
        ("outputs", json!(["half", "half"]), "twice"),
        ("pool_levels", json!({ "halve": 3 }), "not among the outputs"),
        ("outptus", json!([]), "did you mean `outputs`"),
    ] {
        let message = refused(config(&path, json!({ key: value })), ErrorKind::Config);
        assert!(message.contains(&format!("encoder.{key}")) && message.contains(hint), "{message}");
    }
}

#[test]
fn a_network_that_makes_nan_is_reported_with_level_and_image() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = changed(|g| g.initializer[1] = floats("bias", &[1, 2, 1, 1], &[0.0, f32::NAN]));
    let onnx = encoder(config(&file(folder.path(), &bytes), json!({}))).unwrap();
    let error = encode(&*onnx, &[picture(4, 4, 0)]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NonFinite);
    assert!(error.to_string().contains("double") && error.to_string().contains("test/0"), "{error}");
}

#[test]
fn other_outputs_of_the_file_do_not_matter() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = changed(|g| g.output.push(info("nowhere", 1, &[])));
    let path = file(folder.path(), &bytes);
    assert!(encoder(config(&path, json!({ "outputs": ["half"] }))).is_ok());
    assert!(refused(config(&path, json!({})), ErrorKind::Encoder).contains("no output `nowhere`"));
}

#[test]
fn weights_in_another_file_are_refused() {
    let message = refused_network(|g| g.initializer[0].data_location = Some(1), json!({}));
    assert!(message.contains("`weight` in another file"), "{message}");
}

#[test]
fn the_embedded_network_as_a_file_conforms() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("weights/efficientnet_lite0_stride16.onnx");
    let keys = json!({ "path": path, "size": 64 });
    conformance::encoder("onnx", &conformance::Extra::default().with("encoder", "onnx", keys));
}
