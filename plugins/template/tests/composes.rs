//! Whole models from the plugin's components alone, trained and scored on small images.

use ccnf::core::{Config, ConfigFile, Resolved, list_all, write_atomic};
use ccnf::data::synthetic::{render_defect, render_normal};
use ccnf::data::{encode_mask_png, encode_png};
use ccnf_engine::{Assembly, Outcome, Silent, run};
use ccnf_plugin_flow as _;
use ccnf_plugin_template as _;
use std::collections::BTreeMap;
use std::path::Path;
use tempfile::TempDir;

const CLASSES: [(&str, &str); 3] = [("bolt", "rust"), ("pine", "hole"), ("capsule", "contamination")];

/// The classes in the layout of the plugin's dataset.
fn write_images(folder: &Path) {
    let write = |path: String, bytes: Vec<u8>| write_atomic(&folder.join(path), &bytes).unwrap();
    for (class, defect) in CLASSES {
        for (split, images) in [("train", 8), ("ok", 4)] {
            for i in 0..images {
                let image = render_normal(class, split, i, 5, 64).unwrap();
                write(format!("{class}/{split}/{i}.png"), encode_png(&image).unwrap());
            }
        }
        for i in 0..4 {
            let (image, mask) = render_defect(class, defect, i, 5, 64).unwrap();
            write(format!("{class}/ng/{i}.png"), encode_png(&image).unwrap());
            write(format!("{class}/mask/{i}.png"), encode_mask_png(&mask).unwrap());
        }
    }
}

/// A finished run of one of the plugin's configs on such images.
struct Finished {
    /// The component at every key of the config that names one.
    kinds: BTreeMap<String, String>,
    outcome: Outcome,
    _folder: TempDir,
}

fn finished(config: &str) -> Finished {
    let folder = tempfile::tempdir().unwrap();
    write_images(&folder.path().join("images"));
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs").join(config);
    let sets = [
        format!("dataset.path=\"{}\"", folder.path().join("images").display()),
        format!("run.cache=\"{}\"", folder.path().join("cache").display()),
        "run.overlays=1".into(),
        "protocol.tasks=[[\"bolt\", \"pine\"], [\"capsule\"]]".into(),
    ];
    let config = Config::compose(&[ConfigFile::Path(file)], &sets).unwrap();
    let assembly = Assembly::new(&config).unwrap();
    let kind = |(key, r): (String, Resolved)| Some((key.strip_suffix(".kind")?.to_owned(), r.value));
    let kinds = config.resolved().into_iter().filter_map(kind);
    let kinds = kinds.map(|(key, value)| (key, value.as_str().unwrap().to_owned())).collect();
    let outcome = run(assembly, Some(&folder.path().join("run")), &Silent).unwrap();
    Finished { kinds, outcome, _folder: folder }
}

/// Fails unless every test image has finite scores after the last stage, with and without its class given, and they tell defects apart.
fn scores_tell_defects_apart(outcome: &Outcome) {
    let text = std::fs::read_to_string(outcome.folder.join("scores/stage1.csv")).unwrap();
    let mut lines = text.lines().map(|l| l.split(',').collect::<Vec<_>>());
    let header = lines.next().unwrap();
    let columns: Vec<usize> = (0..header.len()).filter(|c| header[*c].contains("score")).collect();
    assert_eq!(columns.len(), 2, "{header:?}");
    let rows: Vec<_> = lines.collect();
    assert_eq!(rows.len(), 8 * CLASSES.len());
    for value in rows.iter().flat_map(|row| columns.iter().map(|c| row[*c])) {
        assert!(value.parse::<f64>().unwrap().is_finite(), "`{value}` is no score:\n{text}");
    }
    for (metric, least) in [("image_auroc", 0.65), ("pixel_auroc", 0.65)] {
        for (which, matrix) in &outcome.metrics.matrices[metric] {
            let last: Vec<f64> = matrix[1].iter().map(|v| v.expect("every class is learnt")).collect();
            let mean = last.iter().sum::<f64>() / last.len() as f64;
            assert!(mean > least, "{metric} {which}: {last:?}, whose mean is {mean}");
        }
    }
}

#[test]
fn the_plugin_has_a_component_of_every_kind() {
    let all = list_all().into_iter().filter(|c| c.krate == "ccnf-plugin-template");
    let found: Vec<_> = all.map(|c| (c.kind, c.name)).collect();
    let kinds = [
        "dataset",
        "encoder",
        "detector",
        "layer",
        "coupling",
        "conditioner",
        "regularizer",
        "scorer",
        "router",
        "strategy",
    ];
    let names = kinds.map(|kind| format!("template-{kind}"));
    let expected: Vec<_> = kinds.into_iter().zip(names.iter().map(String::as_str)).collect();
    assert_eq!(found, expected);
}

#[test]
fn its_detector_makes_a_whole_model_with_its_other_components() {
    let run = finished("template.toml");
    let keys: Vec<&str> = run.kinds.keys().map(String::as_str).collect();
    let expected = ["dataset", "detector", "detector.router", "detector.scorer", "encoder", "strategy"];
    assert_eq!(keys, expected);
    assert!(run.kinds.values().all(|kind| kind.starts_with("template-")), "{:?}", run.kinds);
    scores_tell_defects_apart(&run.outcome);
    // Nothing that an older class uses has changed, though the strategy does not promise it.
    let given = &run.outcome.metrics.matrices["image_auroc"]["given"];
    assert_eq!(given[0][..2], given[1][..2]);
}

#[test]
fn its_parts_make_a_whole_flow_of_the_detector_ccnf() {
    let run = finished("template-flow.toml");
    let detector = run.kinds.iter().filter(|(key, _)| key.starts_with("detector."));
    let detector: Vec<(&str, &str)> = detector.map(|(key, kind)| (key.as_str(), kind.as_str())).collect();
    let expected = [
        ("detector.conditioner", "template-conditioner"),
        ("detector.coupling", "template-coupling"),
        ("detector.layers.0", "template-layer"),
        ("detector.regularizers.0", "template-regularizer"),
        ("detector.router", "template-router"),
        ("detector.scorer", "template-scorer"),
    ];
    assert_eq!(detector, expected);
    let others: Vec<&str> =
        run.kinds.values().map(String::as_str).filter(|k| !k.starts_with("template-")).collect();
    assert_eq!(others, ["ccnf"]);
    scores_tell_defects_apart(&run.outcome);
    // Penalty and strategy took part in the steps.
    let events = std::fs::read_to_string(run.outcome.folder.join("events.jsonl")).unwrap();
    let of_stage = |stage: usize| events.lines().filter(move |l| l.contains(&format!("\"stage\":{stage}")));
    assert_eq!([of_stage(0).count(), of_stage(1).count()], [60, 30]);
    assert!(of_stage(0).all(|l| l.contains("template-regularizer")), "{events}");
    assert!(of_stage(1).all(|l| l.contains("strategy.penalty")), "{events}");
}
