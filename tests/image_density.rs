//! The image score beside the maps: what the detector `image-density` promises.

use ccnf::core::{Config, PhaseConfig, PlainUpdate, TrainConfig, build, hashes, restore, snapshot};
use ccnf::prelude::*;
use ccnf_bundle as _;
use serde_json::{Value, json};
use std::sync::Arc;

fn levels() -> Vec<LevelSpec> {
    let level = |side: usize, channels: usize| LevelSpec {
        name: format!("{side}x{side}"),
        height: side,
        width: side,
        channels,
    };
    vec![level(4, 5), level(2, 3)]
}

/// Normal images of a class differ in a common brightness; `shift` moves every token of the first channel a little.
fn image(class: &str, number: usize, shift: f32) -> Arc<dyn ImageFeatures> {
    let s = Streams::new(9);
    let bright = s.normal(&format!("{class}.{number}"), 1)[0];
    let level = |spec: LevelSpec| {
        let mean = s.normal(&format!("{class}.{}", spec.name), spec.channels);
        let noise = s.normal(&format!("{class}.{number}.{}", spec.name), spec.len());
        let value = |i: usize| {
            let c = i % spec.channels;
            2.0 * mean[c] + 0.5 * bright + noise[i] + if c == 0 { shift } else { 0.0 }
        };
        (0..spec.len()).map(value).collect::<Vec<f32>>()
    };
    Arc::new(levels().into_iter().map(level).collect::<Vec<_>>())
}

fn view(stage: usize, classes: &[&str]) -> TrainView {
    let class = |c: &&str| TrainClass::new(*c, (0..30).map(|i| image(c, i, 0.0)).collect());
    TrainView::new(stage, levels(), classes.iter().map(class).collect())
}

fn built(keys: Value) -> Result<Box<dyn Detector>> {
    let phase = PhaseConfig { steps: 1, tokens: 8, lr: 1e-3 };
    let train = TrainConfig { first: phase.clone(), later: phase, ..TrainConfig::default() };
    let spec =
        DetectorSpec { levels: levels(), train, fusion: FusionConfig::default(), streams: Streams::new(4) };
    let root = Config::from_json("test", &json!({ "detector": keys })).unwrap().root().unwrap();
    build::<dyn Detector>(&root.child("detector"), &spec)
}

fn keys(weight: f64) -> Value {
    json!({ "kind": "image-density", "weight": weight, "rank": 4, "detector": { "kind": "mahalanobis" } })
}

fn learn(d: &mut dyn Detector, stage: usize, classes: &[&str]) {
    let view = view(stage, classes);
    let scope = if stage == 0 { TrainScope::All } else { TrainScope::NewClasses };
    d.begin_stage(&view, scope).unwrap();
    for step in 0..d.steps(stage) {
        d.step(&view, step, &mut PlainUpdate).unwrap();
    }
    d.end_stage(&view).unwrap();
    d.freeze_shared().unwrap();
}

fn scores(d: &dyn Detector, class: &str, numbers: std::ops::Range<usize>, shift: f32) -> Vec<ImageScores> {
    let images: Vec<_> = numbers.map(|i| image(class, i, shift)).collect();
    let images: Vec<&dyn ImageFeatures> = images.iter().map(|i| i.as_ref()).collect();
    d.score(&images, ScoreRequest { given: Some(class), routed: true }).unwrap()
}

fn terms(d: &dyn Detector, class: &str, numbers: std::ops::Range<usize>, shift: f32) -> Vec<f32> {
    scores(d, class, numbers, shift).iter().map(|s| s.given_image.unwrap().score).collect()
}

fn mean(v: &[f32]) -> f32 {
    v.iter().sum::<f32>() / v.len() as f32
}

#[test]
fn the_maps_are_those_of_the_inner_detector() {
    let (mut around, mut inner) =
        (built(keys(0.5)).unwrap(), built(json!({ "kind": "mahalanobis" })).unwrap());
    for d in [&mut around, &mut inner] {
        learn(&mut **d, 0, &["a", "b"]);
    }
    for (a, b) in scores(&*around, "a", 50..55, 0.0).iter().zip(scores(&*inner, "a", 50..55, 0.0)) {
        assert_eq!((&a.given, &a.routed, &a.routed_class), (&b.given, &b.routed, &b.routed_class));
        assert!(b.given_image.is_none() && a.given_image.is_some_and(|t| t.weight == 0.5));
        let same = a.routed_class == "a";
        assert_eq!(same, a.routed_image == a.given_image, "the routed term is that of `{}`", a.routed_class);
    }
}

#[test]
fn a_small_shift_of_the_whole_image_shows_in_its_score() {
    let mut d = built(keys(1.0)).unwrap();
    learn(&mut *d, 0, &["a", "b"]);
    let (normal, shifted) = (terms(&*d, "a", 100..140, 0.0), terms(&*d, "a", 100..140, 2.0));
    // two deviations of a token, four of the mean over a map
    assert!(mean(&shifted) > mean(&normal) + 2.0, "{} normal, {} shifted", mean(&normal), mean(&shifted));
}

#[test]
fn thresholds_see_training_images_as_images_that_were_not_trained_on() {
    let mut d = built(keys(1.0)).unwrap();
    learn(&mut *d, 0, &["a", "b"]);
    let images: Vec<_> = (0..30).map(|i| image("a", i, 0.0)).collect();
    let numbered: Vec<(usize, &dyn ImageFeatures)> = images.iter().map(|i| i.as_ref()).enumerate().collect();
    let of = |s: Vec<ImageScores>| mean(&s.iter().map(|s| s.given_image.unwrap().score).collect::<Vec<_>>());
    let held_out = of(d.score_training("a", &numbered).unwrap());
    let fitted = mean(&terms(&*d, "a", 0..30, 0.0));
    let unseen = mean(&terms(&*d, "a", 100..300, 0.0));
    assert!(held_out.abs() < 1e-3, "held-out scores are standardised: {held_out}");
    assert!(fitted < -0.2, "the Gaussian fits its own images too well: {fitted}");
    assert!((unseen - held_out).abs() < 0.5 * (unseen - fitted), "{fitted}, {held_out}, {unseen}");
}

#[test]
fn learning_a_class_changes_no_tensor_and_no_score_of_the_others() {
    let mut d = built(keys(0.5)).unwrap();
    learn(&mut *d, 0, &["a", "b"]);
    let (tensors, before) = (hashes(&*d), terms(&*d, "a", 50..60, 0.3));
    learn(&mut *d, 1, &["c"]);
    let after = hashes(&*d);
    for t in &tensors {
        let now = after.iter().find(|a| a.0 == t.0).unwrap();
        assert_eq!(now, t, "a tensor of an earlier class or a shared one has changed");
    }
    let new: Vec<&str> = after.iter().filter(|t| t.0.starts_with("image.c.")).map(|t| t.0.as_str()).collect();
    assert_eq!(new.len(), 4, "{new:?}");
    assert!(after.iter().filter(|t| t.0.contains(".c.")).all(|t| t.1 == Owner::Class("c".into())));
    let bits = |v: Vec<f32>| v.into_iter().map(f32::to_bits).collect::<Vec<_>>();
    assert_eq!(bits(terms(&*d, "a", 50..60, 0.3)), bits(before));
}

#[test]
fn a_loaded_state_gives_the_same_scores() {
    let mut d = built(keys(0.5)).unwrap();
    learn(&mut *d, 0, &["a", "b"]);
    let mut other = built(keys(0.5)).unwrap();
    restore(&mut *other, &snapshot(&*d)).unwrap();
    assert_eq!(hashes(&*other), hashes(&*d));
    assert_eq!(terms(&*other, "b", 50..60, 0.2), terms(&*d, "b", 50..60, 0.2));
    let foreign = built(json!({ "kind": "mahalanobis" })).unwrap();
    assert!(restore(&mut *other, &snapshot(&*foreign)).is_err());
}

#[test]
fn an_unknown_class_and_settings_out_of_range_are_errors() {
    let mut d = built(keys(0.5)).unwrap();
    learn(&mut *d, 0, &["a"]);
    let one = image("a", 0, 0.0);
    let asked = d.score(&[one.as_ref()], ScoreRequest { given: Some("aa"), routed: false });
    assert!(asked.unwrap_err().to_string().contains("`aa` has not been learnt"));
    for (key, value) in [("weight", json!(1.5)), ("rank", json!(0))] {
        let mut wrong = keys(0.5);
        wrong[key] = value;
        let error = built(wrong).err().expect("an error").to_string();
        assert!(error.contains(key), "{error}");
    }
}
