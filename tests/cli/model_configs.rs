//! Every model of `configs/models` runs from start to end: on tiny generated images, one step a task.

use crate::place::Place;
use std::path::{Path, PathBuf};

/// What is put over a model; the encoder's size goes by `--set`, for its key depends on the encoder.
const TINY: &str = r#"
[dataset]
kind = "synthetic"
size = 32
train = 3
test_good = 1
test_per_defect = 1
[protocol]
tasks = [["bolt", "pine"], ["granite"], ["capsule"]]
[train]
first = { steps = 1, tokens = 16 }
later = { steps = 1, tokens = 16 }
[scoring]
map_size = 32
[run]
overlays = 0
"#;

fn models() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/models");
    let entries = std::fs::read_dir(&folder).expect("the folder of models");
    let mut all: Vec<PathBuf> = entries.map(|e| e.expect("an entry").path()).collect();
    all.sort();
    all
}

fn run(models: impl Iterator<Item = PathBuf>) {
    let p = Place::new();
    std::fs::write(p.path("tiny.toml"), TINY).expect("the overlay");
    let mut count = 0;
    for model in models {
        let name = model.file_stem().expect("a name").to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&model).expect("the model");
        let size =
            if text.contains("kind = \"pyramid\"") { "encoder.encoder.size=128" } else { "encoder.size=32" };
        let file = model.display().to_string();
        p.ok(&["run", &file, "tiny.toml", "--set", size, "--out", &name]);
        let metrics = std::fs::read(p.path(&name).join("metrics.json")).expect("metrics");
        let metrics: serde_json::Value = serde_json::from_slice(&metrics).expect("JSON");
        let seen = metrics["classes"].as_array().map_or(0, Vec::len);
        assert_eq!(seen, 4, "{name}: the classes that were scored");
        let auroc = &metrics["summary"]["image_auroc.given.acc_final"];
        assert!(auroc.is_number(), "{name}: {auroc}");
        count += 1;
    }
    assert!(count > 5, "only {count} models");
}

fn is_ccnf(model: &Path) -> bool {
    model.file_stem().is_some_and(|n| n.to_string_lossy().starts_with("ccnf"))
}

#[test]
fn every_ccnf_model_runs() {
    run(models().into_iter().filter(|m| is_ccnf(m)));
}

#[test]
fn every_rival_runs() {
    run(models().into_iter().filter(|m| !is_ccnf(m)));
}

#[test]
fn the_small_model_keeps_fewer_than_64_000_values_of_a_class() {
    let p = Place::new();
    std::fs::write(p.path("tiny.toml"), TINY.replace("[\"granite\"], [\"capsule\"]", "[\"granite\"]"))
        .expect("the overlay");
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/models/ccnf-small.toml");
    p.ok(&["run", &model.display().to_string(), "tiny.toml", "--out", "a"]);
    let metrics = std::fs::read(p.path("a/metrics.json")).expect("metrics");
    let metrics: serde_json::Value = serde_json::from_slice(&metrics).expect("JSON");
    let classes = metrics["cost"][1]["class_bytes"].as_object().expect("bytes of classes").clone();
    assert_eq!(classes.len(), 3);
    for (class, bytes) in classes {
        let values = bytes.as_u64().expect("bytes") / 4;
        assert!((50_000..64_000).contains(&values), "{class}: {values} values");
    }
}
