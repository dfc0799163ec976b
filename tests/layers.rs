//! Class-private layers around the flow of the detector `ccnf`: what they promise together.

use ccnf::core::{Config, PhaseConfig, PlainUpdate, TrainConfig, build, hashes};
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
    vec![level(6, 5), level(3, 7)]
}

/// Correlated channels, and a pattern over the whole map whose strength differs from image to image.
fn image(class: &str, number: usize) -> Arc<dyn ImageFeatures> {
    let s = Streams::new(9);
    let code = s.normal(&format!("{class}.{number}"), 1)[0];
    let level = |spec: LevelSpec| {
        let (name, d) = (&spec.name, spec.channels);
        let mean = s.normal(&format!("{class}.{name}"), d);
        let mix = s.normal(&format!("{class}.{name}.mix"), d * d);
        let pattern = s.normal(&format!("{class}.{name}.pattern"), spec.len());
        let noise = s.normal(&format!("{class}.{number}.{name}"), spec.len());
        let token = |i: usize| {
            let (t, c) = (i / d, i % d);
            let mixed: f32 = (0..d).map(|j| mix[c * d + j] * noise[t * d + j]).sum();
            2.0 * mean[c] + 0.4 * mixed + code * pattern[i]
        };
        (0..spec.len()).map(token).collect::<Vec<f32>>()
    };
    Arc::new(levels().into_iter().map(level).collect::<Vec<_>>())
}

const CLASSES: [&str; 3] = ["a", "b", "c"];

fn view(stage: usize, classes: &[&str], images: usize) -> TrainView {
    let class = |c: &&str| TrainClass::new(*c, (0..images).map(|i| image(c, i)).collect());
    TrainView::new(stage, levels(), classes.iter().map(class).collect())
}

fn built(detector: Value, norm: LevelNorm) -> Result<Box<dyn Detector>> {
    let phase = PhaseConfig { steps: 8, tokens: 64, lr: 2e-3 };
    let train = TrainConfig { first: phase.clone(), later: phase, ..TrainConfig::default() };
    let fusion = FusionConfig { levels: norm, ..FusionConfig::default() };
    let spec = DetectorSpec { levels: levels(), train, fusion, streams: Streams::new(4) };
    let root = Config::from_json("test", &json!({ "detector": detector })).unwrap().root().unwrap();
    build::<dyn Detector>(&root.child("detector"), &spec)
}

/// Trains `a` and `b`, freezes, then learns `c`.
fn learnt(detector: Value, norm: LevelNorm) -> Box<dyn Detector> {
    let mut d = built(detector, norm).unwrap();
    for (stage, classes, scope) in
        [(0, &CLASSES[..2], TrainScope::All), (1, &CLASSES[2..], TrainScope::NewClasses)]
    {
        let view = view(stage, classes, 20);
        d.begin_stage(&view, scope).unwrap();
        for step in 0..d.steps(stage) {
            d.step(&view, step, &mut PlainUpdate).unwrap();
        }
        d.end_stage(&view).unwrap();
        if stage == 0 {
            d.freeze_shared().unwrap();
        }
    }
    d
}

/// The maps of three images that were not trained on.
fn maps(d: &dyn Detector, class: &str) -> Vec<Vec<f32>> {
    unseen(d, class, 3)
}

fn unseen(d: &dyn Detector, class: &str, images: usize) -> Vec<Vec<f32>> {
    let images: Vec<_> = (100..100 + images).map(|i| image(class, i)).collect();
    let images: Vec<&dyn ImageFeatures> = images.iter().map(|i| i.as_ref()).collect();
    let scores = d.score(&images, ScoreRequest { given: Some(class), routed: false }).unwrap();
    scores.into_iter().flat_map(|s| s.given.into_iter().map(|m| m.data)).collect()
}

fn mean(maps: &[Vec<f32>]) -> f64 {
    let all = maps.concat();
    all.iter().map(|v| f64::from(*v)).sum::<f64>() / all.len() as f64
}

fn whitening() -> Value {
    json!({ "kind": "whitening", "region_grid": 2 })
}

#[test]
fn whitening_without_a_flow_is_the_region_gaussian() {
    for mode in ["pooled", "position-mean", "region", "per-position"] {
        let layer = json!({ "kind": "whitening", "mode": mode, "region_grid": 2 });
        for norm in [LevelNorm::Mean, LevelNorm::ZNorm, LevelNorm::Position] {
            let gaussian = learnt(json!({ "kind": "mahalanobis", "mode": mode, "region_grid": 2 }), norm);
            let layers = json!({ "kind": "ccnf", "blocks": 0, "folds": 0, "layers": [layer] });
            let chain = learnt(layers, norm);
            for class in CLASSES {
                let (a, b) = (maps(&*gaussian, class).concat(), maps(&*chain, class).concat());
                for (a, b) in a.iter().zip(&b) {
                    assert!(
                        (a - b).abs() < 2e-4 * a.abs().max(1.0),
                        "{mode}, {norm:?}, class {class}: {a} and {b}"
                    );
                }
            }
        }
    }
}

#[test]
fn held_out_statistics_are_those_of_images_that_were_not_fitted() {
    // In-sample maps of an over-fitted covariance are too small, so that unseen normal images look anomalous.
    let chain = |folds: usize| {
        json!({ "kind": "ccnf", "blocks": 0, "folds": folds,
                "layers": [{ "kind": "whitening", "mode": "per-position" }, { "kind": "factor", "rank": 3, "block": 1 }] })
    };
    for norm in [LevelNorm::ZNorm, LevelNorm::Position] {
        let (fitted, held_out) = (learnt(chain(0), norm), learnt(chain(4), norm));
        for class in CLASSES {
            let (fitted, held_out) =
                (mean(&unseen(&*fitted, class, 200)), mean(&unseen(&*held_out, class, 200)));
            assert!(
                held_out.abs() < 0.6 * fitted,
                "{norm:?}, class {class}: {held_out} held out, {fitted} fitted"
            );
        }
    }
}

#[test]
fn thresholds_see_training_images_as_images_that_were_not_trained_on() {
    let keys =
        json!({ "kind": "ccnf", "blocks": 0, "layers": [{ "kind": "whitening", "mode": "per-position" }] });
    let d = learnt(keys, LevelNorm::ZNorm);
    let images: Vec<_> = (0..20).map(|i| image("c", i)).collect();
    let numbered: Vec<(usize, &dyn ImageFeatures)> =
        images.iter().map(|i| i.as_ref()).enumerate().step_by(2).collect();
    let of = |scores: Vec<ImageScores>| {
        mean(&scores.into_iter().flat_map(|s| s.given.into_iter().map(|m| m.data)).collect::<Vec<_>>())
    };
    let held_out = of(d.score_training("c", &numbered).unwrap());
    let plain: Vec<&dyn ImageFeatures> = numbered.iter().map(|i| i.1).collect();
    let fitted = of(d.score(&plain, ScoreRequest { given: Some("c"), routed: false }).unwrap());
    let unseen = mean(&unseen(&*d, "c", 200));
    assert!(fitted < -0.2, "the covariances fit their own images too well: {fitted}");
    assert!(held_out.abs() < 0.15, "held-out scores are standardised: {held_out}");
    assert!(
        (unseen - held_out).abs() < 0.5 * (unseen - fitted),
        "{fitted} fitted, {held_out} held out, {unseen} unseen"
    );
    assert!(d.score_training("c", &[(20, images[0].as_ref())]).is_err(), "there is no image 20");
}

#[test]
fn a_factor_layer_explains_what_varies_over_the_whole_map() {
    // Of unseen images: the likelihood rises by what the pattern costs.
    let chain = |layers: Value| json!({ "kind": "ccnf", "blocks": 0, "layers": layers });
    let pooled = json!({ "kind": "whitening", "mode": "position-mean" });
    let alone = learnt(chain(json!([pooled])), LevelNorm::Mean);
    let both = learnt(chain(json!([pooled, { "kind": "factor", "rank": 3, "block": 1 }])), LevelNorm::Mean);
    for class in CLASSES {
        let (alone, both) = (mean(&maps(&*alone, class)), mean(&maps(&*both, class)));
        assert!(both < alone - 0.05, "class {class}: {both} nats per dimension with, {alone} without");
    }
}

#[test]
fn identity_maps_are_those_of_the_control_without_a_flow() {
    let keys = |blocks: usize| {
        json!({ "kind": "ccnf", "blocks": blocks, "position": 0, "identity_maps": true,
                "layers": [whitening(), { "kind": "factor", "rank": 3 }] })
    };
    let (flow, control) = (learnt(keys(2), LevelNorm::Position), learnt(keys(0), LevelNorm::Position));
    for class in CLASSES {
        let (flow, control) = (maps(&*flow, class), maps(&*control, class));
        assert_eq!((flow.len(), control.len()), (3 * 4, 3 * 2), "two levels, with the flow and without");
        for image in 0..3 {
            assert_eq!(
                flow[4 * image + 2..4 * image + 4],
                control[2 * image..2 * image + 2],
                "class {class}"
            );
            assert_ne!(flow[4 * image], control[2 * image], "class {class}: the flow changes nothing");
        }
    }
}

#[test]
fn without_blocks_nothing_is_trained_and_no_class_has_a_row() {
    let d = learnt(json!({ "kind": "ccnf", "blocks": 0, "layers": [whitening()] }), LevelNorm::ZNorm);
    assert_eq!((d.steps(0), d.steps(1), d.trainable()), (0, 0, 0));
    let of_c: Vec<String> =
        hashes(&*d).into_iter().filter(|t| t.1 == Owner::Class("c".into())).map(|t| t.0).collect();
    let layer = |l: usize| ["mean", "whitening", "log_det"].map(|t| format!("level{l}.layer0.c.{t}"));
    let expected = [layer(0).to_vec(), layer(1).to_vec(), vec!["scoring.c.statistics".to_owned()]].concat();
    assert_eq!(of_c, expected);
}

#[test]
fn a_class_that_has_layers_is_fitted_again_only_by_who_trains_everything() {
    let mut d = learnt(json!({ "kind": "ccnf", "blocks": 0, "layers": [whitening()] }), LevelNorm::ZNorm);
    let before = hashes(&*d);
    let e = d.begin_stage(&view(2, &["b"], 6), TrainScope::NewClasses).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Contract);
    assert!(e.to_string().contains("`b`"), "{e}");
    assert_eq!(hashes(&*d), before, "a refused stage leaves traces");
}

#[test]
fn impossible_chains_are_config_errors() {
    for (keys, key, hint) in [
        (json!({ "blocks": 0 }), "blocks", "without layers"),
        (json!({ "identity_maps": true }), "identity_maps", "layer"),
        (json!({ "directions": [3, 4, 5] }), "directions", "2 levels"),
        (json!({ "directions": [6] }), "directions", "not 6"),
        (json!({ "directions": [0] }), "directions", "not 0"),
        (json!({ "layers": [{ "kind": "whitenin" }] }), "layers.0.kind", "did you mean `whitening`"),
        (json!({ "layers": [{ "kind": "factor", "rank": 0 }] }), "layers.0.rank", "between 1 and 4096"),
        (json!({ "layers": [{ "kind": "factor", "folds": 1 }] }), "layers.0.folds", "between 2 and 4096"),
        (json!({ "layers": [{ "kind": "whitening", "prior": -1.0 }] }), "layers.0.prior", "not negative"),
    ] {
        let mut all = json!({ "kind": "ccnf" });
        all.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        let Err(e) = built(all, LevelNorm::ZNorm) else { panic!("accepted: {keys}") };
        let said = e.to_string();
        assert!(said.contains(&format!("detector.{key}")) && said.contains(hint), "{keys}: {said}");
    }
}

#[test]
fn projected_levels_have_maps_of_the_same_size() {
    for basis in ["pca", "within-class", "random"] {
        let keys = json!({ "kind": "ccnf", "blocks": 0, "directions": [3], "basis": basis, "layers": [whitening()] });
        let d = learnt(keys, LevelNorm::ZNorm);
        let sizes: Vec<usize> = maps(&*d, "c").iter().map(Vec::len).collect();
        assert_eq!(sizes, [36, 9, 36, 9, 36, 9]);
        let directions = d.params().into_iter().find(|p| p.name() == "level1.directions").unwrap();
        assert_eq!((directions.shape(), directions.owner()), ((3, 7), &Owner::Shared));
        let p = directions.to_vec();
        for (i, a) in p.chunks(7).enumerate() {
            for (j, b) in p.chunks(7).enumerate() {
                let dot: f32 = a.iter().zip(b).map(|(a, b)| a * b).sum();
                assert!(
                    (dot - f32::from(u8::from(i == j))).abs() < 1e-5,
                    "{basis}: rows {i} and {j} have {dot}"
                );
            }
        }
    }
}
