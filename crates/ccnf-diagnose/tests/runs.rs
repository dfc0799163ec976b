//! Diagnoses of small finished runs.

use ccnf_core::{Config, ScoreRequest};
use ccnf_diagnose::{Analysis, Cause, Diagnosis, Options, Over, Part, Posterior, Quantity, diagnose};
use ccnf_engine::{Assembly, Reopened, Silent, run};
use serde_json::json;
use std::path::{Path, PathBuf};

use ccnf_bundle as _;

/// Finishes a small run of three stages (or of one) on generated images.
fn finished(root: &Path, name: &str, detector: serde_json::Value, tasks: serde_json::Value) -> PathBuf {
    let phase = json!({ "steps": 12, "tokens": 64, "lr": 3e-3 });
    let config = json!({
        "seed": 3,
        "dataset": { "kind": "synthetic", "size": 64, "train": 6, "test_good": 3, "test_per_defect": 1 },
        "protocol": { "tasks": tasks },
        "encoder": { "kind": "efficientnet-lite0", "size": 64 },
        "detector": detector,
        "strategy": { "kind": "fine-tune" },
        "train": { "first": phase, "later": phase },
        "scoring": { "map_size": 32, "blur_sigma": 1.0 },
        "run": { "overlays": 0, "cache": root.join("cache") },
    });
    let config = Config::from_json("test", &config).unwrap();
    let out = root.join(name);
    run(Assembly::new(&config).unwrap(), Some(&out), &Silent).unwrap();
    out
}

fn three() -> serde_json::Value {
    json!([["bolt", "pine"], ["granite"], ["capsule"]])
}

fn hgad(flow: &str, mixture: &str) -> serde_json::Value {
    json!({ "kind": "hgad", "blocks": 2, "position": 8, "intra": 3, "later_flow": flow, "later_mixture": mixture })
}

fn options() -> Options {
    Options { tokens: 20, draws: 50, perplexity: 5.0, ..Options::default() }
}

fn looked(runs: &[PathBuf]) -> Diagnosis {
    diagnose(runs, &options(), &Silent).unwrap()
}

#[test]
fn the_last_model_put_together_again_is_the_recorded_one() {
    let dir = tempfile::tempdir().unwrap();
    let out = finished(dir.path(), "a", hgad("update", "update"), three());
    let found = looked(std::slice::from_ref(&out));
    let swap = found.runs[0].swap.found().expect("a swap test");
    assert_eq!((swap.class_part.as_str(), swap.rest_changed.len()), ("mixture", 0));
    let of = |name: &str| swap.variants.iter().find(|v| v.name == name).unwrap_or_else(|| panic!("{name}"));
    // Bit for bit the matrix of the run, after the last and after the first stage.
    for (mixed, recorded) in
        [("flow T + mixture T", &swap.recorded[1]), ("flow 0 + mixture 0", &swap.recorded[0])]
    {
        assert_eq!(of(mixed).classes, recorded.classes, "{mixed}");
        assert!(recorded.classes.iter().all(|c| c.image_auroc.value.is_some()), "{recorded:?}");
    }
    // Every part of the mixture alone, and the refits with their control.
    for name in ["mu", "mu_deltas", "phi_inter", "phi_intra"] {
        of(&format!("only {name} of 0, the rest T"));
    }
    for name in ["flow T + Gaussian", "flow 0 + Gaussian", "no flow + Gaussian"] {
        assert!(of(name).image_auroc.value.is_some());
    }
    // The score never looks at the weights of the classes.
    assert_eq!(of("only phi_inter of 0, the rest T").classes, of("flow T + mixture T").classes);
    assert_eq!(swap.differences[0].name, "loss");
    let loss = of("flow 0 + mixture 0").image_auroc.value.unwrap()
        - of("flow T + mixture T").image_auroc.value.unwrap();
    assert!((swap.differences[0].difference.value.unwrap() - loss).abs() < 1e-12);
}

#[test]
fn a_frozen_model_has_not_moved_and_swapping_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let out = finished(dir.path(), "a", hgad("freeze", "freeze"), three());
    let found = looked(&[out]);
    let run = &found.runs[0];
    let zero = Some(0.0);
    let drift = run.drift.found().unwrap();
    assert!(drift.tensors.len() > 20);
    assert!(drift.tensors.iter().all(|t| t.change.value == zero && t.relative.value == zero));
    for f in run.functional.found().unwrap() {
        match f.quantity {
            Quantity::LatentChange => assert_eq!(f.value.value, zero, "{f:?}"),
            Quantity::ClassWeights => assert!(f.value.value.unwrap() < 1e-9, "{f:?}"),
        }
    }
    let swap = run.swap.found().unwrap();
    let four = &swap.variants[..4];
    assert!(four.iter().all(|v| v.classes == four[0].classes), "{four:?}");
    assert_eq!(four[0].classes, swap.recorded[0].classes);
    assert_eq!(swap.cause, Cause::NoLoss);
    // Latents of old classes do not move, so neither do the entropies over them.
    for e in &run.freeze.found().unwrap().entropies {
        if e.over == Over::FirstClasses {
            assert_eq!((e.d_normal.value, e.d_anomalous.value), (zero, zero), "{e:?}");
        }
        assert!(e.normal.value.is_none_or(|h| (0.0..=2f64.ln() + 1e-6).contains(&h)), "{e:?}");
    }
}

#[test]
fn a_trained_flow_moves_where_a_frozen_mixture_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let out = finished(dir.path(), "a", hgad("update", "freeze"), three());
    let found = looked(&[out]);
    let run = &found.runs[0];
    let group = |name: &str| -> Vec<f64> {
        let all = run.drift.found().unwrap().summaries.iter();
        let own = all.filter(|s| s.scope == ccnf_diagnose::DriftScope::Group && s.group.to_string() == name);
        own.map(|s| s.pooled_relative.value.unwrap()).collect()
    };
    assert!(group("mixture").iter().all(|r| *r == 0.0));
    assert!(group("flow").len() == 2 && group("flow").iter().all(|r| *r > 0.0));
    let changes = run.functional.found().unwrap();
    assert!(
        changes.iter().filter(|f| f.quantity == Quantity::LatentChange).all(|f| f.value.value.unwrap() > 0.0)
    );
}

#[test]
fn a_diagnosis_repeats_byte_for_byte_and_its_tables_are_written() {
    let dir = tempfile::tempdir().unwrap();
    let out = finished(dir.path(), "a", hgad("update", "update"), three());
    let before = files(&out);
    let runs = [out.clone()];
    let written = ["first", "second"].map(|name| {
        let to = dir.path().join(name);
        looked(&runs).write(&to).unwrap();
        files(&to)
    });
    assert_eq!(written[0], written[1]);
    assert_eq!(files(&out), before, "the run's folder stays as it is");
    let text = |name: &str| {
        let (_, bytes) = written[0].iter().find(|(n, _)| n == name).unwrap_or_else(|| panic!("no {name}"));
        String::from_utf8(bytes.clone()).unwrap()
    };
    for (name, column) in [
        ("drift.csv", "relative"),
        ("drift_summary.csv", "pooled_relative"),
        ("functional.csv", "quantity"),
        ("swap.csv", "image_auroc"),
        ("swap_differences.csv", "low"),
        ("freeze.csv", "dh_normal"),
        ("latents.csv", "silhouette"),
        ("embeddings.csv", "x"),
    ] {
        let table = text(name);
        let head: Vec<&str> = table.lines().next().unwrap().split(',').collect();
        assert!(head.contains(&column) && head.contains(&"reason"), "{name}: {head:?}");
        assert!(table.lines().count() > 4, "{name}: {table}");
    }
    let json: Diagnosis = serde_json::from_str(&text("diagnosis.json")).unwrap();
    // Three stages, two levels: 20 tokens of a class, 16 at the level that has no more in an image and three images.
    let maps = json.runs[0].latents.found().unwrap();
    assert_eq!(maps.len(), 6);
    let points = |m: &ccnf_diagnose::LatentMap| m.points.found().unwrap().len();
    assert!(maps.iter().all(|m| points(m) == m.tokens && m.tokens == 20 * m.classes.len()));
    assert_eq!(maps[5].classes.len(), 4);
    assert!(maps.iter().all(|m| m.accuracy.value.is_some() && m.silhouette.value.is_some()));
    for file in ["diagnosis.md", "diagnosis.html"] {
        assert!(text(file).contains("flow T + mixture T"), "{file}");
    }
    assert!(text("diagnosis.html").contains("<svg"));
    let figures: Vec<String> = files(&dir.path().join("first/figures")).into_iter().map(|f| f.0).collect();
    for name in [
        "a-drift-blocks-1-2",
        "a-drift-blocks-2-3",
        "a-drift-groups",
        "a-drift-classes",
        "a-latent-change",
        "a-class-weights",
        "a-swap-models",
        "a-swap-contrasts",
        "a-latents-stage3-level1",
        "entropy-normal-likelihood",
        "entropy-defective-method",
    ] {
        assert!(figures.contains(&format!("{name}.svg")), "{name} is not in {figures:?}");
    }
}

fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut out: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .flatten()
        .filter(|e| e.path().is_file())
        .map(|e| (e.file_name().to_string_lossy().into_owned(), std::fs::read(e.path()).unwrap()))
        .collect();
    out.sort();
    out
}

#[test]
fn the_rows_of_a_conditional_flow_are_its_class_part() {
    let dir = tempfile::tempdir().unwrap();
    let detector = json!({
        "kind": "ccnf", "blocks": 2, "position": 8,
        "coupling": { "kind": "affine", "subnet": { "hidden": 16 } },
        "conditioner": { "kind": "embedding", "width": 8 },
    });
    let out = finished(dir.path(), "a", detector, three());
    let found = looked(&[out]);
    let swap = found.runs[0].swap.found().unwrap();
    assert_eq!(swap.class_part, "rows");
    assert_eq!(swap.variants[0].classes, swap.recorded[1].classes);
    assert_eq!(swap.variants[3].classes, swap.recorded[0].classes);
    let freeze = found.runs[0].freeze.found().unwrap();
    assert!(freeze.entropies.iter().all(|e| e.posterior == Posterior::Likelihood), "no entropy of its own");
    let weights = found.runs[0].functional.found().unwrap();
    let weights = weights.iter().find(|f| f.quantity == Quantity::ClassWeights).unwrap();
    assert!(weights.value.reason.as_ref().unwrap().contains("no class weights"));
}

#[test]
fn what_a_run_does_not_define_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let all = finished(dir.path(), "one-stage", hgad("update", "update"), json!([["bolt", "pine"]]));
    let memory = json!({ "kind": "patch-memory", "patches": 50 });
    let no_probe = finished(dir.path(), "no-probe", memory, three());
    let found = looked(&[all, no_probe]);
    let [one, none] = &found.runs[..] else { panic!("two runs") };
    assert_eq!((one.name.as_str(), none.name.as_str()), ("one-stage", "no-probe"));
    for part in [one.drift.reason(), one.functional.reason(), one.swap.reason(), one.freeze.reason()] {
        assert!(part.is_some_and(|r| r.contains("one stage")), "{part:?}");
    }
    assert_eq!(one.latents.found().unwrap().len(), 2, "latents need no second stage");
    for part in [none.functional.reason(), none.swap.reason(), none.freeze.reason(), none.latents.reason()] {
        assert!(part.is_some_and(|r| r.contains("no probe")), "{part:?}");
    }
    assert!(!none.drift.found().unwrap().tensors.is_empty(), "tensors need no probe");
    // The reasons are in the tables and in the text.
    let to = dir.path().join("out");
    found.write(&to).unwrap();
    let swap = std::fs::read_to_string(to.join("swap.csv")).unwrap();
    assert!(swap.contains("one stage") && swap.contains("no probe"), "{swap}");
    assert!(std::fs::read_to_string(to.join("diagnosis.md")).unwrap().contains("Undefined: "));
}

#[test]
fn only_what_is_asked_for_is_computed_and_bad_calls_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let out = finished(dir.path(), "a", hgad("update", "update"), three());
    let only = Options { analyses: [Analysis::Drift].into(), ..options() };
    let found = diagnose(std::slice::from_ref(&out), &only, &Silent).unwrap();
    assert!(found.runs[0].drift.found().is_some() && found.runs[0].functional.found().is_some());
    assert!(matches!(&found.runs[0].swap, Part::Undefined(r) if r == "not asked for"));
    let none = Options { tokens: 0, ..options() };
    assert!(diagnose(std::slice::from_ref(&out), &none, &Silent).unwrap_err().to_string().contains("tokens"));
    let e = diagnose(&[dir.path().join("nowhere")], &options(), &Silent).unwrap_err();
    assert!(e.to_string().contains("config.toml"), "{e}");
    // A run that lost a file, and one that was stopped.
    std::fs::remove_file(out.join("metrics.json")).unwrap();
    let e = diagnose(std::slice::from_ref(&out), &options(), &Silent).unwrap_err();
    assert!(e.to_string().contains("metrics.json") && e.to_string().contains("finished run"), "{e}");
    let run = std::fs::read_to_string(out.join("run.json")).unwrap();
    let stopped = run.replace("\"finished\": true", "\"finished\": false");
    assert_ne!(run, stopped);
    std::fs::write(out.join("run.json"), stopped).unwrap();
    let e = diagnose(&[out], &options(), &Silent).unwrap_err();
    assert!(e.to_string().contains("has not finished"), "{e}");
}

#[test]
fn states_are_loaded_in_any_order() {
    let dir = tempfile::tempdir().unwrap();
    let out = finished(dir.path(), "a", hgad("update", "update"), three());
    let mut run = Reopened::open(&out, &[]).unwrap();
    let request = ScoreRequest { given: Some("bolt"), routed: false };
    let score =
        |run: &Reopened| run.evaluate("bolt", |images| run.detector().score(images, request)).unwrap().scores;
    let states = [2, 0, 1].map(|s| run.checkpoint(s).unwrap().model);
    let first: Vec<Vec<f32>> = states
        .iter()
        .map(|s| {
            run.load(s).unwrap();
            score(&run)
        })
        .collect();
    assert_ne!(first[0], first[1]);
    for (state, scores) in states.iter().zip(&first).rev() {
        run.load(state).unwrap();
        assert_eq!(score(&run), *scores);
    }
    assert!(run.checkpoint(3).is_err());
    assert_eq!(run.training("bolt", &[0, 5]).unwrap().len(), 2);
    assert!(run.training("bolt", &[6]).is_err());
}
