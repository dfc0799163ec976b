//! Flows of the detector `ccnf` that work on whole maps: Haar steps between the blocks, and subnets that see the neighbours.

use ccnf::core::{Config, PhaseConfig, PlainUpdate, TrainConfig, build};
use ccnf::prelude::*;
use ccnf_bundle as _;
use ccnf_plugin_flow::{CcnfConfig, Conditions, Flow, FlowSpec, flow_output};
use serde_json::{Value, json};
use std::sync::Arc;

fn level(height: usize, width: usize, channels: usize) -> LevelSpec {
    LevelSpec { name: format!("{height}x{width}"), height, width, channels }
}

fn flow_of(keys: &Value, level: &LevelSpec) -> Result<Flow> {
    let section = Config::from_json("test", keys).unwrap().root().unwrap();
    let config: CcnfConfig = section.read()?;
    let streams = Streams::new(2);
    let spec = FlowSpec { scope: "level0".into(), level: level.clone(), warmup_steps: 0, streams };
    let mut flow = Flow::new(&config, &Build { section: &section, spec: &() }, &spec)?;
    for class in ["a", "b"] {
        flow.conditioner_mut().grow(class, &RowInit::Random)?;
    }
    flow.begin_step(None)?;
    for p in flow.params_mut().into_iter().filter(|p| p.is_trainable()) {
        let noise = streams.normal(p.name(), p.len());
        p.set(p.to_vec().iter().zip(noise).map(|(v, n)| v + 0.2 * n).collect())?;
    }
    Ok(flow)
}

/// Two Haar steps in a flow of three blocks on maps of 4 x 4.
fn twice() -> (Flow, LevelSpec) {
    let coupling = json!({ "kind": "affine", "subnet": { "hidden": 6 } });
    let keys = json!({ "blocks": 3, "haar": [1, 2], "position": 4, "coupling": coupling });
    let level = level(4, 4, 2);
    (flow_of(&keys, &level).unwrap(), level)
}

/// Conditions of `maps` maps, whose classes take turns.
fn conditions(flow: &Flow, maps: usize) -> Conditions {
    let tokens = flow.level().tokens();
    let class: Index = (0..maps * tokens).map(|n| (n / tokens % 2) as u32).collect();
    let position: Index = (0..maps * tokens).map(|n| (n % tokens) as u32).collect();
    flow.condition(&[0, 1], &class, &position).unwrap()
}

fn tokens(level: &LevelSpec, maps: usize) -> Mat {
    mat(Streams::new(6).normal("x", maps * level.len()), maps * level.tokens(), level.channels).unwrap()
}

#[test]
fn the_log_determinant_of_a_flow_with_haar_steps_is_that_of_the_numeric_jacobian() {
    let (flow, level) = twice();
    let (x, conditions, e) = (tokens(&level, 1).as_vec(), conditions(&flow, 1), 4e-3f32);
    let forward = |x: Vec<f32>| {
        let x = constant(&mat(x, level.tokens(), level.channels).unwrap());
        flow.forward(&x, &conditions).unwrap()
    };
    let moved = |j: usize, by: f32| {
        let mut x = x.clone();
        x[j] += by;
        forward(x).z.as_vec()
    };
    let columns: Vec<Vec<f64>> = (0..level.len())
        .map(|j| {
            let [a, b, c, d] = [-2.0, -1.0, 1.0, 2.0].map(|k| moved(j, k * e));
            let slope =
                |i: usize| (8.0 * f64::from(c[i] - b[i]) - f64::from(d[i] - a[i])) / (12.0 * f64::from(e));
            (0..level.len()).map(slope).collect()
        })
        .collect();
    let out = forward(x.clone());
    let stated: f64 = out.log_det.as_vec().iter().map(|v| f64::from(*v)).sum();
    let numeric = ccnf_testkit::log_abs_det(columns);
    assert!((stated - numeric).abs() < 5e-3, "{stated} stated, {numeric} numeric");
    assert!(stated.abs() > 0.1, "the flow hardly changes volumes: {stated}");
    assert_eq!(out.z.as_vec().len(), level.len());
}

#[test]
fn the_inverse_of_a_flow_with_haar_steps_gives_back_the_maps() {
    let (flow, level) = twice();
    let (x, conditions) = (tokens(&level, 3), conditions(&flow, 3));
    let z = flow.forward(&constant(&x), &conditions).unwrap().z;
    let back = flow.inverse(&mat(z.as_vec(), 3, level.len()).unwrap(), &conditions).unwrap().as_vec();
    for (a, b) in back.iter().zip(x.as_vec()) {
        assert!((a - b).abs() < 1e-4, "{a} is not {b}");
    }
}

#[test]
fn joined_tokens_give_their_likelihood_in_equal_parts_to_their_tokens() {
    let (flow, level) = twice();
    let x = tokens(&level, 2);
    let class: Index = (0..32).map(|n| n / 16).collect();
    let position: Index = (0..32).map(|n| n % 16).collect();
    let out = flow_output(&flow, &constant(&x), &[0, 1], &class, &position, None).unwrap();
    // behind both steps a map is one token of 32 dims
    assert_eq!((out.z.as_vec().len(), &out.class[..]), (64, &[0, 1][..]));
    let z = out.z.as_vec();
    let prior = out.log_prior.as_vec();
    for (map, z) in z.chunks(32).enumerate() {
        let whole = -0.5 * z.iter().map(|v| v * v).sum::<f32>() - 16.0 * std::f32::consts::TAU.ln();
        let of_tokens = &prior[16 * map..16 * (map + 1)];
        assert!(of_tokens.iter().all(|v| (v - whole / 16.0).abs() < 1e-4), "{whole}: {of_tokens:?}");
    }
    let both = out.log_prior.as_vec().into_iter().zip(out.log_det.as_vec()).map(|(a, b)| a + b);
    assert!(both.zip(out.log_prob.as_vec()).all(|(a, b)| (a - b).abs() < 1e-4));
    // of the first block every token has its own part
    let parts = out.log_det.as_vec();
    assert!(parts[..16].windows(2).any(|w| w[0] != w[1]));
}

#[test]
fn a_map_that_cannot_be_halved_and_a_step_without_blocks_are_errors() {
    let keys = |haar: Value| json!({ "blocks": 3, "haar": haar });
    let failing = |haar: Value, level: &LevelSpec| match flow_of(&keys(haar), level) {
        Err(e) => e.to_string(),
        Ok(_) => panic!("built"),
    };
    let odd = failing(json!([1]), &level(7, 7, 4));
    assert!(odd.contains("7 x 7") && odd.contains("haar"), "{odd}");
    let twice = failing(json!([1, 2]), &level(6, 6, 4));
    assert!(twice.contains("3 x 3"), "{twice}");
    for haar in [json!([0]), json!([3]), json!([2, 1]), json!([1, 1])] {
        let message = failing(haar.clone(), &level(8, 8, 4));
        assert!(message.contains("ascending"), "{haar}: {message}");
    }
}

#[test]
fn what_works_on_single_tokens_is_refused_with_a_flow_that_needs_whole_maps() {
    let level = level(4, 4, 4);
    let subnet = json!({ "context": "depthwise" });
    let context = json!({ "kind": "affine", "subnet": subnet });
    let noise = json!({ "noise": 0.1 });
    for (keys, key) in [
        (json!({ "blocks": 2, "coupling": context, "first_task": noise }), "first_task"),
        (json!({ "blocks": 2, "haar": [1], "first_task": noise }), "first_task"),
        (json!({ "blocks": 2, "haar": [1], "private_blocks": 1 }), "haar"),
    ] {
        let error = flow_of(&keys, &level).err().expect("an error").to_string();
        assert!(error.contains(key), "{keys}: {error}");
    }
}

#[test]
fn tokens_that_are_no_whole_maps_are_errors() {
    let (flow, _) = twice();
    let index = |n: u32| -> Index { (0..n).map(|_| 0).collect() };
    let error = flow.condition(&[0], &index(17), &index(17)).err().expect("an error").to_string();
    assert!(error.contains("whole maps"), "{error}");
}

fn levels() -> Vec<LevelSpec> {
    vec![level(4, 6, 5), level(2, 4, 3)]
}

/// Neighbours share a wave that differs from image to image; one token alone says little about it.
fn image(class: &str, number: usize) -> Arc<dyn ImageFeatures> {
    let s = Streams::new(9);
    let of_level = |spec: LevelSpec| {
        let mean = s.normal(&format!("{class}.{}", spec.name), spec.channels);
        let code = s.normal(&format!("{class}.{number}"), 3);
        let noise = s.normal(&format!("{class}.{number}.{}", spec.name), spec.len());
        let value = |i: usize| {
            let (cell, c) = (i / spec.channels, i % spec.channels);
            let (row, column) = ((cell / spec.width) as f32, (cell % spec.width) as f32);
            mean[c] + code[c % 3] * (row + column + c as f32).sin() + 0.3 * noise[i]
        };
        (0..spec.len()).map(value).collect::<Vec<f32>>()
    };
    Arc::new(levels().into_iter().map(of_level).collect::<Vec<_>>())
}

fn images(class: &str, numbers: std::ops::Range<usize>) -> Vec<Arc<dyn ImageFeatures>> {
    numbers.map(|i| image(class, i)).collect()
}

fn detector(keys: &Value) -> Box<dyn Detector> {
    let phase = PhaseConfig { steps: 60, tokens: 96, lr: 5e-3 };
    let train = TrainConfig { first: phase.clone(), later: phase, ..TrainConfig::default() };
    let fusion = FusionConfig::default();
    let spec = DetectorSpec { levels: levels(), train, fusion, streams: Streams::new(4) };
    let root = Config::from_json("test", &json!({ "detector": keys })).unwrap().root().unwrap();
    build::<dyn Detector>(&root.child("detector"), &spec).unwrap()
}

/// The negative log-likelihood per dim of the first and of the last steps of a stage, mean over levels.
fn train(d: &mut dyn Detector, view: &TrainView) -> (f64, f64) {
    d.begin_stage(view, TrainScope::All).unwrap();
    let steps = d.steps(view.stage());
    let mut losses = Vec::new();
    for step in 0..steps {
        let report = d.step(view, step, &mut PlainUpdate).unwrap();
        losses.push((report["level0.nll"] + report["level1.nll"]) / 2.0);
    }
    d.end_stage(view).unwrap();
    let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
    (mean(&losses[..5]), mean(&losses[losses.len() - 5..]))
}

const VARIANTS: [&str; 3] = ["context", "haar", "both"];

fn keys(variant: &str) -> Value {
    let context = if variant == "haar" { "none" } else { "depthwise" };
    let haar = if variant == "context" { json!([]) } else { json!([1]) };
    let subnet = json!({ "hidden": 16, "context": context });
    let coupling = json!({ "kind": "affine", "warmup_steps": 0, "subnet": subnet });
    json!({ "kind": "ccnf", "blocks": 2, "haar": haar, "position": 8, "coupling": coupling })
}

#[test]
fn flows_on_whole_maps_learn_and_go_on_with_rehearsed_classes() {
    for variant in VARIANTS {
        let mut d = detector(&keys(variant));
        let first = TrainView::new(
            0,
            levels(),
            vec![TrainClass::new("a", images("a", 0..12)), TrainClass::new("b", images("b", 0..12))],
        );
        let (start, end) = train(&mut *d, &first);
        assert!(end < start - 0.05, "{variant}: {start} nats per dim at first, {end} in the end");
        let later = TrainView::new(1, levels(), vec![TrainClass::new("c", images("c", 0..12))]);
        let later = later.with(vec![TrainClass::rehearsed("a", images("a", 0..2))]);
        let (start, end) = train(&mut *d, &later);
        assert!(end < start, "{variant}, later: {start}, then {end}");
        let unseen = images("c", 100..103);
        let unseen: Vec<&dyn ImageFeatures> = unseen.iter().map(|i| i.as_ref()).collect();
        let scores = d.score(&unseen, ScoreRequest { given: Some("c"), routed: true }).unwrap();
        for maps in scores.iter().flat_map(|s| [&s.given, &s.routed]) {
            let sizes: Vec<_> = maps.iter().map(|m| (m.height, m.width, m.data.len())).collect();
            assert_eq!(sizes, [(4, 6, 24), (2, 4, 8)], "{variant}");
        }
    }
}

#[test]
fn a_map_does_not_depend_on_the_images_it_is_scored_with() {
    for variant in VARIANTS {
        let mut d = detector(&keys(variant));
        let view = TrainView::new(0, levels(), vec![TrainClass::new("a", images("a", 0..6))]);
        train(&mut *d, &view);
        let unseen = images("a", 50..60);
        let unseen: Vec<&dyn ImageFeatures> = unseen.iter().map(|i| i.as_ref()).collect();
        let request = ScoreRequest { given: Some("a"), routed: false };
        let all = d.score(&unseen, request).unwrap();
        for (i, image) in unseen.iter().enumerate() {
            assert_eq!(d.score(&[*image], request).unwrap()[0].given, all[i].given, "{variant}, image {i}");
        }
    }
}
