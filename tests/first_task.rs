//! What the first stage of the detector `ccnf` may do beyond training its classes' rows.

use ccnf::core::{Config, PhaseConfig, PlainUpdate, TrainConfig, build, hashes};
use ccnf::prelude::*;
use ccnf_bundle as _;
use serde_json::{Value, json};
use std::sync::Arc;

fn levels() -> Vec<LevelSpec> {
    vec![LevelSpec { name: "grid".into(), height: 4, width: 4, channels: 6 }]
}

/// Tokens around the mean of the class; every second image of a class is of another kind.
fn image(class: &str, number: usize) -> Arc<dyn ImageFeatures> {
    let s = Streams::new(9);
    let (mean, kind) = (s.normal(class, 6), s.normal(&format!("{class}.{}", number % 2), 6));
    let noise = s.normal(&format!("{class} {number}"), 16 * 6);
    let token = |i: usize| 1.5 * mean[i % 6] + 1.5 * kind[i % 6] + 0.4 * noise[i];
    Arc::new(vec![(0..16 * 6).map(token).collect::<Vec<f32>>()])
}

const CLASSES: [&str; 3] = ["a", "b", "c"];

fn view(stage: usize, classes: &[&str]) -> TrainView {
    let class = |c: &&str| TrainClass::new(*c, (0..12).map(|i| image(c, i)).collect());
    TrainView::new(stage, levels(), classes.iter().map(class).collect())
}

fn built(keys: Value, steps: u64) -> Result<Box<dyn Detector>> {
    let subnet = json!({ "hidden": 16 });
    let mut all = json!({ "kind": "ccnf", "blocks": 3, "position": 0, "regularizers": [],
                          "coupling": { "kind": "affine", "subnet": subnet },
                          "conditioner": { "kind": "embedding", "width": 4 } });
    all.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    let phase = PhaseConfig { steps, tokens: 192, lr: 1e-2 };
    let train = TrainConfig { first: phase.clone(), later: phase, ..TrainConfig::default() };
    let fusion = FusionConfig { levels: LevelNorm::Mean, ..FusionConfig::default() };
    let spec = DetectorSpec { levels: levels(), train, fusion, streams: Streams::new(4) };
    let root = Config::from_json("test", &json!({ "detector": all })).unwrap().root().unwrap();
    build::<dyn Detector>(&root.child("detector"), &spec)
}

/// A detector after its first stage, and what its steps reported.
fn learnt(first_task: Value, steps: u64) -> (Box<dyn Detector>, Vec<StepReport>) {
    let mut d = built(json!({ "first_task": first_task }), steps).unwrap();
    d.begin_stage(&view(0, &CLASSES), TrainScope::All).unwrap();
    let reports =
        (0..steps).map(|step| d.step(&view(0, &CLASSES), step, &mut PlainUpdate).unwrap()).collect();
    d.end_stage(&view(0, &CLASSES)).unwrap();
    d.freeze_shared().unwrap();
    (d, reports)
}

/// The mean negative log-likelihood per dimension of unseen images of all classes, each under its own row moved by `by` times a normal vector.
fn nll_near_rows(d: &mut dyn Detector, by: f32) -> f64 {
    let move_rows = |d: &mut dyn Detector, by: f32| {
        for p in d.params_mut().into_iter().filter(|p| p.name().contains(".row.")) {
            let noise = Streams::new(77).normal(p.name(), p.len());
            p.set(p.to_vec().iter().zip(noise).map(|(v, n)| v + by * n).collect()).unwrap();
        }
    };
    move_rows(d, by);
    let of = |class: &str| {
        let images: Vec<_> = (100..120).map(|i| image(class, i)).collect();
        let images: Vec<&dyn ImageFeatures> = images.iter().map(|i| i.as_ref()).collect();
        let all = d.negative_log_likelihood(&images, class).unwrap().unwrap().concat();
        all.iter().sum::<f64>() / all.len() as f64
    };
    CLASSES.into_iter().map(of).sum::<f64>() / CLASSES.len() as f64
}

#[test]
fn noise_makes_the_flow_hold_near_the_rows_too() {
    let harm = |first_task: Value| {
        let (mut d, _) = learnt(first_task, 150);
        let before = nll_near_rows(&mut *d, 0.0);
        nll_near_rows(&mut *d, 0.7) - before
    };
    let (with, without) = (harm(json!({ "noise": 0.7 })), harm(json!({})));
    assert!(with < 0.5 * without, "moved rows cost {with} nats per dimension with noise, {without} without");
}

#[test]
fn pseudo_classes_have_rows_in_the_first_stage_only() {
    let mut d = built(json!({ "first_task": { "pseudo_classes": 2 } }), 3).unwrap();
    let rows = |d: &dyn Detector| -> Vec<String> {
        let names = d.params().into_iter().map(|p| p.name().to_owned());
        names.filter_map(|n| n.strip_prefix("level0.row.").map(str::to_owned)).collect()
    };
    d.begin_stage(&view(0, &CLASSES), TrainScope::All).unwrap();
    assert_eq!(rows(&*d), ["a", "b", "c", "a/0", "a/1", "b/0", "b/1", "c/0", "c/1"]);
    assert_eq!(d.classes(), CLASSES);
    let before = hashes(&*d);
    for step in 0..3 {
        d.step(&view(0, &CLASSES), step, &mut PlainUpdate).unwrap();
    }
    let after = hashes(&*d);
    let moved = |name: &str| !before.iter().any(|t| t.0 == name && after.contains(t));
    assert!(moved("level0.row.a/0") && moved("level0.row.a"), "rows are not trained");
    d.end_stage(&view(0, &CLASSES)).unwrap();
    d.freeze_shared().unwrap();
    assert_eq!(rows(&*d), CLASSES);
    d.begin_stage(&view(1, &["d"]), TrainScope::NewClasses).unwrap();
    assert_eq!(rows(&*d), ["a", "b", "c", "d"]);
}

#[test]
fn an_episode_fits_a_row_that_says_more_than_the_mean_of_the_others() {
    let (_, reports) = learnt(json!({ "episodes": 0.5, "inner_lr": 0.3 }), 120);
    let gains: Vec<f64> = reports.iter().filter_map(|r| r.get("level0.episode_gain")).copied().collect();
    assert!((35..85).contains(&gains.len()), "{} episodes in 120 steps", gains.len());
    let late = &gains[gains.len() / 2..];
    assert!(late.iter().all(|g| *g > 0.0), "gains of the later episodes: {late:?}");
    let (_, none) = learnt(json!({}), 5);
    assert!(none.iter().all(|r| !r.contains_key("level0.episode_gain")));
}

#[test]
fn every_switch_changes_the_flow_and_none_changes_nothing() {
    let shared = |first_task: Value| -> Vec<_> {
        let (d, _) = learnt(first_task, 4);
        hashes(&*d).into_iter().filter(|t| t.1 == Owner::Shared).collect()
    };
    let off = shared(json!({}));
    assert!(shared(json!({ "noise": 0.0, "pseudo_classes": 1, "inner_steps": 9 })) == off);
    for on in [
        json!({ "noise": 0.1 }),
        json!({ "mixup": 0.5 }),
        json!({ "pseudo_classes": 2 }),
        json!({ "episodes": 1.0 }),
    ] {
        assert!(shared(on.clone()) != off, "{on} changes nothing");
    }
}

#[test]
fn impossible_switches_are_config_errors() {
    for (keys, key) in [
        (json!({ "first_task": { "noise": -0.1 } }), "first_task.noise"),
        (json!({ "first_task": { "mixup": 1.5 } }), "first_task.mixup"),
        (json!({ "first_task": { "episodes": 2.0 } }), "first_task.episodes"),
        (json!({ "first_task": { "inner_steps": 0 } }), "first_task.inner_steps"),
        (json!({ "first_task": { "inner_lr": 0.0 } }), "first_task.inner_lr"),
        (
            json!({ "first_task": { "episodes": 0.5 }, "conditioner": { "kind": "prototype" } }),
            "first_task.episodes",
        ),
    ] {
        let Err(e) = built(keys.clone(), 1) else { panic!("accepted: {keys}") };
        assert!(e.kind() == ErrorKind::Config && e.to_string().contains(key), "{keys}: {e}");
    }
}
