//! `features`: files made elsewhere.

use crate::common::{encoder, refused};
use ccnf::prelude::*;
use ccnf::serde_json::{Value, json};
use npyz::WriterBuilder;
use safetensors::tensor::{Dtype, TensorView};
use std::path::Path;

type Level<'a> = (&'a str, [usize; 3], f32);

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// Writes a file whose levels count upwards from a first value.
fn write(folder: &Path, name: &str, levels: &[Level<'_>]) {
    let data: Vec<Vec<u8>> = levels
        .iter()
        .map(|(_, shape, first)| {
            bytes(&(0..shape.iter().product()).map(|i: usize| first + i as f32).collect::<Vec<_>>())
        })
        .collect();
    let views = levels
        .iter()
        .zip(&data)
        .map(|((name, shape, _), d)| (*name, TensorView::new(Dtype::F32, shape.to_vec(), d).unwrap()));
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

fn write_npy<T: npyz::Serialize + npyz::AutoSerialize + Copy>(
    path: &Path,
    shape: &[u64],
    values: &[T],
    order: npyz::Order,
) {
    let mut out = vec![];
    let options = npyz::WriteOptions::new().default_dtype().shape(shape).order(order);
    let mut writer = options.writer(&mut out).begin_nd().unwrap();
    writer.extend(values.iter().copied()).unwrap();
    writer.finish().unwrap();
    std::fs::write(path, out).unwrap();
}

fn read(encoder: &dyn Encoder, source: ImageSource) -> Result<EncodedImage> {
    let open = || Err(Error::new(ErrorKind::Image, "the pixels are not needed"));
    Ok(encoder.encode(&[EncoderInput { source: &source, open: &open }])?.remove(0))
}

fn generated(id: &str) -> ImageSource {
    ImageSource::Generated(id.into())
}

fn config(folder: &Path, more: Value) -> Value {
    let mut config = json!({ "kind": "features", "path": folder });
    for (key, value) in more.as_object().into_iter().flatten() {
        config[key] = value.clone();
    }
    config
}

const FINE: Level<'static> = ("fine", [2, 3, 2], 0.0);
const COARSE: Level<'static> = ("coarse", [1, 2, 3], 100.0);

#[test]
fn features_are_found_by_the_last_four_parts_of_the_path() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "bolt/train/good/000.safetensors", &[COARSE, FINE]);
    write(folder.path(), "made/7.safetensors", &[COARSE, ("fine", [2, 3, 2], 50.0)]);
    let features = encoder(config(folder.path(), json!({}))).unwrap();
    let names: Vec<_> = features.levels().into_iter().map(|l| l.name).collect();
    assert_eq!(names, ["fine", "coarse"], "the level with most cells comes first");
    assert!(!features.cacheable());
    let maps = read(&*features, ImageSource::File("/data/mvtec/bolt/train/good/000.png".into())).unwrap();
    assert_eq!(maps[0], (0..12).map(|v| v as f32).collect::<Vec<_>>());
    assert_eq!(maps[1][0], 100.0);
    assert_eq!(read(&*features, generated("made/7")).unwrap()[0][0], 50.0);
}

#[test]
fn levels_can_be_chosen_and_ordered() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a.safetensors", &[COARSE, FINE]);
    let all = encoder(config(folder.path(), json!({}))).unwrap();
    let one = encoder(config(folder.path(), json!({ "levels": ["coarse"] }))).unwrap();
    assert_eq!(read(&*one, generated("a")).unwrap().len(), 1);
    assert_ne!(all.fingerprint(), one.fingerprint());
    for (levels, hint) in [(json!(["corse"]), "did you mean `coarse`?"), (json!(["fine", "fine"]), "twice")] {
        let message = refused(config(folder.path(), json!({ "levels": levels })), ErrorKind::Config);
        assert!(message.contains("encoder.levels") && message.contains(hint), "{message}");
    }
}

#[test]
fn levels_json_states_names_and_order() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a.safetensors", &[COARSE, FINE]);
    let stated = folder.path().join("levels.json");
    std::fs::write(&stated, r#"[{"name": "coarse", "height": 1, "width": 2, "channels": 3}]"#).unwrap();
    let features = encoder(config(folder.path(), json!({}))).unwrap();
    assert_eq!(features.levels(), [LevelSpec { name: "coarse".into(), height: 1, width: 2, channels: 3 }]);
    for bad in ["{}", "[]", "nonsense", r#"[{"name": "a", "height": 0, "width": 2, "channels": 3}]"#] {
        std::fs::write(&stated, bad).unwrap();
        let message = refused(config(folder.path(), json!({})), ErrorKind::Encoder);
        assert!(message.contains("levels.json"), "{message}");
    }
}

#[test]
fn the_fingerprint_follows_the_content() {
    let folder = tempfile::tempdir().unwrap();
    let print = || encoder(config(folder.path(), json!({}))).unwrap().fingerprint();
    write(folder.path(), "a.safetensors", &[FINE]);
    let first = print();
    assert_eq!(first, print());
    write(folder.path(), "a.safetensors", &[("fine", [2, 3, 2], 1.0)]);
    assert_ne!(first, print());
}

#[test]
fn npy_files_hold_a_single_level() {
    let folder = tempfile::tempdir().unwrap();
    let values: Vec<f64> = (0..12).map(f64::from).collect();
    let singles: Vec<f32> = values.iter().map(|v| *v as f32).collect();
    write_npy(&folder.path().join("a.npy"), &[2, 3, 2], &values, npyz::Order::C);
    write_npy(&folder.path().join("b.npy"), &[2, 3, 2], &singles, npyz::Order::C);
    let features = encoder(config(folder.path(), json!({}))).unwrap();
    assert_eq!(features.levels()[0].name, "features");
    for id in ["a", "b"] {
        assert_eq!(read(&*features, generated(id)).unwrap()[0], singles);
    }
    write_npy(&folder.path().join("f.npy"), &[2, 3, 2], &singles, npyz::Order::Fortran);
    write_npy(&folder.path().join("i.npy"), &[2, 3, 2], &[1i32; 12], npyz::Order::C);
    write_npy(&folder.path().join("s.npy"), &[2, 6], &singles, npyz::Order::C);
    std::fs::write(folder.path().join("t.npy"), "text").unwrap();
    let whole = std::fs::read(folder.path().join("b.npy")).unwrap();
    std::fs::write(folder.path().join("c.npy"), &whole[..whole.len() - 3]).unwrap();
    for (id, hint) in [
        ("f", "Fortran"),
        ("i", "float32 or float64"),
        ("s", "[2, 6]"),
        ("t", "not a .npy"),
        ("c", "damaged"),
    ] {
        let error = read(&*features, generated(id)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Encoder);
        let text = error.to_string();
        assert!(text.contains(hint) && text.contains(&format!("{id}.npy")), "{text}");
    }
}

#[test]
fn a_bad_file_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    write(path, "a.safetensors", &[FINE]);
    write(path, "shape.safetensors", &[("fine", [3, 2, 2], 0.0)]);
    write(path, "name.safetensors", &[COARSE]);
    write(path, "nan.safetensors", &[("fine", [2, 3, 2], f32::INFINITY)]);
    std::fs::write(path.join("text.safetensors"), "no tensors here").unwrap();
    let half = TensorView::new(Dtype::F16, vec![2, 3, 2], &[0; 24]).unwrap();
    std::fs::write(path.join("half.safetensors"), safetensors::serialize([("fine", half)], None).unwrap())
        .unwrap();
    let features = encoder(config(path, json!({}))).unwrap();
    for (id, kind, hint) in [
        ("shape", ErrorKind::Encoder, "[3, 2, 2]; expected [2, 3, 2]"),
        ("name", ErrorKind::Encoder, "no level `fine`; it has `coarse`"),
        ("nan", ErrorKind::NonFinite, "inf"),
        ("text", ErrorKind::Encoder, "not a safetensors file"),
        ("half", ErrorKind::Encoder, "expected F32"),
        ("gone", ErrorKind::Encoder, "cannot be read"),
    ] {
        let error = read(&*features, generated(id)).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        let text = error.to_string();
        assert!(text.contains(hint) && text.contains(&format!("{id}.safetensors")), "{text}");
    }
    for id in ["../a", "/etc/a", ""] {
        assert_eq!(read(&*features, generated(id)).unwrap_err().kind(), ErrorKind::Encoder, "{id}");
    }
}

#[test]
fn a_folder_without_features_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    assert!(refused(config(folder.path(), json!({})), ErrorKind::Encoder).contains("found none"));
    let gone = refused(config(&folder.path().join("gone"), json!({})), ErrorKind::Io);
    assert!(gone.contains("gone") && gone.contains("encoder.path"), "{gone}");
    assert!(refused(json!({ "kind": "features" }), ErrorKind::Config).contains("encoder.path"));
}
