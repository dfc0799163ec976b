//! What training of the detector `ccnf` may do beyond fitting the likelihood of its tokens: switches of the first stage, painted defects.

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

/// An image whose middle four cells are moved a little in a direction that is the same for all classes.
fn painted(class: &str, number: usize) -> PaintedImage {
    let direction = Streams::new(9).normal("defect", 6);
    let mut map = image(class, number).level(0).unwrap().into_owned();
    let mut mask = Mask { width: 4, height: 4, data: vec![false; 16] };
    for cell in [5, 6, 9, 10] {
        mask.data[cell] = true;
        map[6 * cell..6 * cell + 6].iter_mut().zip(&direction).for_each(|(v, d)| *v += 0.6 * d);
    }
    PaintedImage { of: number, features: Arc::new(vec![map]), mask: Arc::new(mask) }
}

fn painted_view(stage: usize, classes: &[&str]) -> TrainView {
    let class = |c: &TrainClass| {
        let name = c.name().to_owned();
        c.clone().with_painted((0..12).map(|i| painted(&name, i)).collect())
    };
    let plain = view(stage, classes);
    TrainView::new(stage, levels(), plain.classes().iter().map(class).collect())
}

/// How much higher the energy of defective tokens is than that of normal ones, in deviations of the latter, on unseen images of a class.
fn told_apart(d: &dyn Detector, class: &str) -> f64 {
    let images: Vec<_> = (100..140).map(|i| painted(class, i).features).collect();
    let images: Vec<&dyn ImageFeatures> = images.iter().map(|i| i.as_ref()).collect();
    let scores = d.score(&images, ScoreRequest { given: Some(class), routed: false }).unwrap();
    let (mut normal, mut defective) = (vec![], vec![]);
    for (i, v) in scores.iter().flat_map(|s| s.given[0].data.iter().enumerate()) {
        if [5, 6, 9, 10].contains(&i) { &mut defective } else { &mut normal }.push(f64::from(*v));
    }
    let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
    let spread = normal.iter().map(|v| (v - mean(&normal)).powi(2)).sum::<f64>() / normal.len() as f64;
    (mean(&defective) - mean(&normal)) / spread.sqrt()
}

#[test]
fn a_flow_trained_against_painted_defects_tells_those_of_a_new_class_too() {
    let trained = |versions: usize| {
        let keys = json!({ "defects": { "versions": versions, "weight": 1.0 },
                           "layers": [{ "kind": "whitening", "mode": "position-mean" }] });
        let mut d = built(keys, 250).unwrap();
        assert_eq!(d.painted_defects(0), versions);
        let mut first = StepReport::new();
        for (stage, classes) in [&CLASSES[..2], &CLASSES[2..]].into_iter().enumerate() {
            let view = painted_view(stage, classes);
            let scope = if stage == 0 { TrainScope::All } else { TrainScope::NewClasses };
            d.begin_stage(&view, scope).unwrap();
            let before = hashes(&*d);
            for step in 0..250 {
                let report = d.step(&view, step, &mut PlainUpdate).unwrap();
                if (stage, step) == (0, 0) {
                    first = report;
                }
            }
            d.end_stage(&view).unwrap();
            if stage == 0 {
                d.freeze_shared().unwrap();
                continue;
            }
            let after = hashes(&*d);
            let moved = before.iter().filter(|t| after.iter().any(|a| a.0 == t.0 && a != *t));
            let moved: Vec<_> = moved.map(|t| t.1.clone()).collect();
            assert!(!moved.is_empty() && moved.iter().all(|o| *o == Owner::Class("c".into())), "{moved:?}");
        }
        assert_eq!(first.contains_key("level0.defects"), versions > 0);
        told_apart(&*d, "c")
    };
    let (with, without) = (trained(1), trained(0));
    assert!(
        with > without + 0.2,
        "defects stand out by {with} deviations, without such training by {without}"
    );
}

#[test]
fn without_a_flow_no_defects_are_painted() {
    let keys = json!({ "blocks": 0, "defects": { "versions": 3 }, "layers": [{ "kind": "whitening" }] });
    assert_eq!(built(keys, 5).unwrap().painted_defects(0), 0);
}

#[test]
fn impossible_switches_are_config_errors() {
    for (keys, key) in [
        (json!({ "first_task": { "noise": -0.1 } }), "first_task.noise"),
        (json!({ "first_task": { "mixup": 1.5 } }), "first_task.mixup"),
        (json!({ "defects": { "versions": 65 } }), "defects.versions"),
        (json!({ "defects": { "weight": 0.0 } }), "defects.weight"),
        (json!({ "defects": { "sharpness": -1.0 } }), "defects.sharpness"),
        (json!({ "defects": { "versions": 1 }, "haar": [1] }), "defects.versions"),
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
