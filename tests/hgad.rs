//! What HGAD promises beside the reference vectors: what each phase and freeze switch may change, growth, distillation, clear refusals.

use ccnf::core::{Config, PhaseConfig, PlainUpdate, TrainConfig, build, snapshot};
use ccnf::prelude::*;
use ccnf_plugin_hgad::{Losses, Mixture, Phase, losses};
use ccnf_testkit::finite_difference_error;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ccnf_bundle as _;

const CHANNELS: usize = 6;
const STEPS: u64 = 50;

fn levels() -> Vec<LevelSpec> {
    vec![LevelSpec { name: "l".into(), height: 3, width: 3, channels: CHANNELS }]
}

fn detector(keys: Value) -> Result<Box<dyn Detector>> {
    let mut table = json!({ "kind": "hgad", "blocks": 2, "position": 4, "intra": 3 });
    table.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    let root = Config::from_json("test", &json!({ "detector": table }))?.root()?;
    let phase = PhaseConfig { steps: STEPS, tokens: 32, lr: 2e-3 };
    let train = TrainConfig { first: phase.clone(), later: phase, ..TrainConfig::default() };
    let (fusion, streams) = (FusionConfig::default(), Streams::new(1));
    build::<dyn Detector>(&root.child("detector"), &DetectorSpec { levels: levels(), train, fusion, streams })
}
fn images(class: &str, n: usize) -> Vec<Arc<dyn ImageFeatures>> {
    let s = Streams::new(9);
    let mean = s.normal(class, CHANNELS);
    let image = |i: usize| -> Arc<dyn ImageFeatures> {
        let noise = s.normal(&format!("{class}.{i}"), 9 * CHANNELS);
        Arc::new(vec![
            noise.iter().enumerate().map(|(k, e)| 2.0 * mean[k % CHANNELS] + e).collect::<Vec<f32>>(),
        ])
    };
    (0..n).map(image).collect()
}

fn view(stage: usize, classes: &[&str]) -> TrainView {
    let classes = classes.iter().map(|c| TrainClass::new(*c, images(c, 6))).collect();
    TrainView::new(stage, levels(), classes)
}

fn steps(d: &mut dyn Detector, view: &TrainView, range: std::ops::Range<u64>) {
    for step in range {
        d.step(view, step, &mut PlainUpdate).unwrap();
    }
}

fn train(d: &mut dyn Detector, view: &TrainView) {
    d.begin_stage(view, TrainScope::All).unwrap();
    steps(d, view, 0..STEPS);
    d.end_stage(view).unwrap();
}

fn tensors(d: &dyn Detector) -> BTreeMap<String, Vec<f32>> {
    d.params().iter().map(|p| (p.name().to_owned(), p.to_vec())).collect()
}

/// The names that changed, without the last part of the flow's and with their class for the mixture's: `flow`, `mu.a`, ….
fn changed(before: &BTreeMap<String, Vec<f32>>, d: &dyn Detector) -> BTreeSet<String> {
    let short = |name: &str| {
        let name = name.strip_prefix("level0.").unwrap_or(name);
        if name.starts_with("block") { "flow".to_owned() } else { name.to_owned() }
    };
    let after = tensors(d);
    before.iter().filter(|(name, values)| after[*name] != **values).map(|(name, _)| short(name)).collect()
}

fn names(all: &[&str]) -> BTreeSet<String> {
    all.iter().map(|s| (*s).to_owned()).collect()
}

const OLD: [&str; 4] = ["mu.a", "phi_inter.a", "mu.b", "phi_inter.b"];
const NEW: [&str; 4] = ["mu.c", "mu_deltas.c", "phi_inter.c", "phi_intra.c"];

#[test]
fn freeze_switches_leave_what_they_name_bit_for_bit_and_train_the_rest() {
    for (flow, mixture, moved) in [
        ("update", "update", [&["flow"], &OLD[..], &NEW].concat()),
        ("freeze", "update", [&OLD[..], &NEW].concat()),
        ("update", "freeze", [&["flow"], &NEW[..]].concat()),
        ("freeze", "freeze", NEW.to_vec()),
    ] {
        let mut d = detector(json!({ "later_flow": flow, "later_mixture": mixture })).unwrap();
        train(&mut *d, &view(0, &["a", "b"]));
        let second = view(1, &["c"]);
        d.begin_stage(&second, TrainScope::All).unwrap();
        let before = tensors(&*d);
        steps(&mut *d, &second, 0..STEPS);
        assert_eq!(changed(&before, &*d), names(&moved), "flow: {flow}, mixture: {mixture}");
    }
}

#[test]
fn the_first_phase_leaves_the_intra_class_tensors_alone() {
    let mut d = detector(json!({})).unwrap();
    let first = view(0, &["a", "b"]);
    d.begin_stage(&first, TrainScope::All).unwrap();
    let before = tensors(&*d);
    steps(&mut *d, &first, 0..4);
    assert_eq!(changed(&before, &*d), names(&[&["flow"], &OLD[..]].concat()));
    let before = tensors(&*d);
    steps(&mut *d, &first, 4..8);
    let moved = changed(&before, &*d);
    for name in ["mu_deltas.a", "phi_intra.a", "mu_deltas.b", "phi_intra.b"] {
        assert!(moved.contains(name), "`{name}` is not trained in the second phase");
    }
}

#[test]
fn a_new_class_starts_at_the_mean_inter_class_weight_and_five_from_the_other_starts() {
    let mut m = Mixture::new("l", 4, 2, Streams::new(2));
    m.grow("a", vec![0.0; 4]).unwrap();
    m.grow("b", vec![0.0; 4]).unwrap();
    let set = |m: &mut Mixture, name: &str, v: f32| {
        m.params_mut().into_iter().find(|p| p.name() == name).unwrap().set(vec![v]).unwrap();
    };
    set(&mut m, "l.phi_inter.a", 1.0);
    set(&mut m, "l.phi_inter.b", -0.5);
    m.grow("c", vec![0.0; 4]).unwrap();
    let start = |name: &str| m.params().into_iter().find(|p| p.name() == name).unwrap().to_vec();
    assert_eq!(start("l.phi_inter.c"), [0.25]);
    assert_eq!(start("l.phi_intra.c"), [0.0, 0.0]);
    assert!(start("l.mu_deltas.c") != start("l.mu_deltas.a"), "offsets of two classes differ");
    assert_eq!(m.grow("b", vec![0.0; 4]).unwrap_err().kind(), ErrorKind::Contract);
}

#[test]
fn more_classes_than_the_centres_have_places_for_is_a_config_error_that_says_what_to_do() {
    let refused = |keys: Value, stages: &[&[&str]]| -> Error {
        let mut d = detector(keys).unwrap();
        let (last, earlier) = stages.split_last().unwrap();
        for (i, classes) in earlier.iter().enumerate() {
            train(&mut *d, &view(i, classes));
        }
        d.begin_stage(&view(earlier.len(), last), TrainScope::All).unwrap_err()
    };
    let seven = ["a", "b", "c", "d", "e", "f", "g"];
    for (keys, stages, says) in [
        (json!({ "centres": "official" }), vec![&seven[..2], &seven[2..3]], "laid out for 2 classes"),
        (json!({ "centres": "official" }), vec![&seven[..]], "has 6 channels"),
        (json!({ "centres": "official", "centre_classes": 3 }), vec![&seven[..4]], "laid out for 3 classes"),
        (json!({}), vec![&seven[..]], "has centres for 6"),
        (json!({}), vec![&seven[..5], &seven[5..]], "there are 7"),
    ] {
        let e = refused(keys, &stages);
        assert_eq!(e.kind(), ErrorKind::Config, "{e}");
        assert!(e.to_string().contains(says) && e.advice().is_some(), "{e}");
    }
    let mut d = detector(json!({ "centres": "official", "centre_classes": 3 })).unwrap();
    train(&mut *d, &view(0, &seven[..2]));
    d.begin_stage(&view(1, &seven[2..3]), TrainScope::All).unwrap();
}

#[test]
fn values_out_of_range_are_refused_with_their_key() {
    for (key, value) in [
        ("blocks", json!(0)),
        ("intra", json!(1)),
        ("label_smoothing", json!(1.0)),
        ("information_weight", json!(-1.0)),
        ("weight_decay", json!(-0.1)),
        ("position", json!(7)),
    ] {
        let e = detector(json!({ key: value })).err().unwrap();
        assert_eq!(e.kind(), ErrorKind::Config, "{key}: {e}");
        assert!(e.to_string().contains(&format!("detector.{key}")), "{e}");
    }
}

/// Keeps the gradients of the first update and makes none.
#[derive(Default)]
struct Look(BTreeMap<String, Vec<f32>>);

impl UpdateRule for Look {
    fn gradients(&mut self, params: &[&mut Param], grads: &mut Grads) -> Result<Update> {
        for p in params.iter().filter(|p| p.is_trainable()) {
            self.0.insert(p.name().to_owned(), grads.of(p.value())?);
        }
        Ok(Update::Skip)
    }
}

#[test]
fn weight_decay_pulls_the_flow_and_not_the_mixture() {
    let look = |decay: f32| {
        let mut d = detector(json!({ "weight_decay": decay })).unwrap();
        let first = view(0, &["a", "b"]);
        d.begin_stage(&first, TrainScope::All).unwrap();
        let mut rule = Look::default();
        d.step(&first, 10, &mut rule).unwrap();
        (rule.0, tensors(&*d))
    };
    let ((without, values), (with, _)) = (look(0.0), look(0.5));
    for (name, g) in &without {
        let factor = if name.contains("block") { 0.5 } else { 0.0 };
        for ((a, b), w) in with[name].iter().zip(g).zip(&values[name]) {
            assert!((a - b - factor * w).abs() <= 1e-5 * (1.0 + w.abs()), "{name}: {a} - {b}, value {w}");
        }
    }
}

fn maps(d: &dyn Detector, class: &str) -> Vec<f32> {
    let all = images(class, 12);
    let held_out: Vec<&dyn ImageFeatures> = all[6..].iter().map(|i| i.as_ref()).collect();
    let scores = d.score(&held_out, ScoreRequest { given: Some(class), routed: false }).unwrap();
    scores.into_iter().flat_map(|s| s.given).flat_map(|m| m.data).collect()
}

/// How far the maps of an old class move in the second stage.
fn drift(weight: Option<f32>) -> f32 {
    let mut d = detector(json!({ "later_mixture": "freeze" })).unwrap();
    train(&mut *d, &view(0, &["a", "b"]));
    let before = maps(&*d, "a");
    let second = view(1, &["c"]);
    d.begin_stage(&second, TrainScope::All).unwrap();
    let teacher = snapshot(&*d);
    d.distil(weight.map(|weight| Distillation { teacher, weight })).unwrap();
    steps(&mut *d, &second, 0..STEPS);
    let after = maps(&*d, "a");
    before.iter().zip(&after).map(|(a, b)| (a - b).abs()).sum::<f32>() / before.len() as f32
}

#[test]
fn distillation_keeps_latents_near_the_teachers() {
    let (free, unweighted, held) = (drift(None), drift(Some(0.0)), drift(Some(1e4)));
    assert_eq!(free, unweighted, "a teacher of weight 0 changes nothing");
    assert!(held < 0.5 * free, "maps of an old class move by {held} with and {free} without a teacher");
    let mut d = detector(json!({})).unwrap();
    d.begin_stage(&view(0, &["a"]), TrainScope::All).unwrap();
    let e = d.distil(Some(Distillation { teacher: Snapshot::default(), weight: 1.0 })).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Contract);
}

/// A mixture of 3 classes at random places, with latents, log-determinants and classes.
fn problem() -> (Mixture, Mat, Vec<f32>, Index) {
    let (s, n, d) = (Streams::new(4), 10, 5);
    let mut m = Mixture::new("l", d, 3, s);
    (0..3).for_each(|c| m.grow(&format!("c{c}"), s.normal(&format!("centre {c}"), d)).unwrap());
    for p in m.params_mut() {
        let noise = s.normal(&format!("noise {}", p.name()), p.len());
        let moved = p.to_vec().iter().zip(noise).map(|(v, e)| v + 0.4 * e).collect();
        p.set(moved).unwrap();
    }
    let z = mat(s.normal("z", n * d), n, d).unwrap();
    (m, z, s.normal("J", n), (0..n as u32).map(|i| i % 3).collect())
}

fn terms(m: &Mixture, z: &Var, log_det: &[f32], class: &Index) -> Result<Losses> {
    losses(m, z, &ccnf::tensor::constant_vec(log_det.to_vec())?, class, 0.02, Phase::Full)
}

#[test]
fn gradients_of_the_total_are_those_of_finite_differences() {
    let (mut m, z, log_det, class) = problem();
    let (n, d) = *z.shape();
    let (_, (), mut grads) =
        gradients(|| Ok::<_, Error>((terms(&m, &tracked(&z), &log_det, &class)?.total(1.0), ()))).unwrap();
    let streams = Streams::new(6);
    let value = |m: &Mixture, z: &Mat| {
        f64::from(terms(m, &constant(z), &log_det, &class).unwrap().total(1.0).as_vec()[0])
    };
    let error = finite_difference_error(&z.as_vec(), &grads.of(&z).unwrap(), &streams, |moved| {
        value(&m, &mat(moved.to_vec(), n, d).unwrap())
    });
    assert!(error < 1e-3, "z: {error:e}");
    // Main centres and inter-class weights have stopped routes, which differences do not see.
    for name in ["l.mu_deltas.c1", "l.phi_intra.c2"] {
        let at = m.params().iter().position(|p| p.name() == name).unwrap();
        let values = m.params()[at].to_vec();
        let gradient = grads.of(m.params()[at].value()).unwrap();
        let error = finite_difference_error(&values, &gradient, &streams, |moved| {
            m.params_mut()[at].set(moved.to_vec()).unwrap();
            value(&m, &z)
        });
        m.params_mut()[at].set(values).unwrap();
        assert!(error < 1e-3, "{name}: {error:e}");
    }
}

#[test]
fn mutual_information_stays_below_the_entropy_of_the_labels() {
    let (m, z, log_det, class) = problem();
    let log_pi = m.log_inter().unwrap().as_vec();
    let label = |c: usize, y: u32| if c == y as usize { 0.98 + 0.02 / 3.0 } else { 0.02 / 3.0 };
    let bound: f32 =
        class.iter().map(|y| -(0..3).map(|c| label(c, *y) * log_pi[c]).sum::<f32>()).sum::<f32>()
            / class.len() as f32;
    let information =
        |m: &Mixture| terms(m, &constant(&z), &log_det, &class).unwrap().information.as_vec()[0];
    assert!(information(&m) < bound);
    // Tokens of unknown classes are refused.
    assert!(terms(&m, &constant(&z), &log_det, &vec![3; 10].into()).is_err());
}

#[test]
fn product_maps_of_an_image_do_not_depend_on_the_other_test_images() {
    let mut d = detector(json!({ "maps": "product" })).unwrap();
    train(&mut *d, &view(0, &["a", "b"]));
    assert!(!d.keeps_old_scores());
    let all = images("a", 12);
    let all: Vec<&dyn ImageFeatures> = all.iter().map(|i| i.as_ref()).collect();
    let request = ScoreRequest { given: Some("a"), routed: true };
    let together = d.score(&all, request).unwrap();
    for (i, image) in all.iter().enumerate() {
        let alone = d.score(&[*image], request).unwrap();
        assert_eq!(alone[0].given, together[i].given, "image {i}");
        assert_eq!(alone[0].routed, together[i].routed, "image {i}, routed");
    }
    // On training images, whose largest values are stored, at most one token per level has the factor 0.
    let values: Vec<f32> = together[..6].iter().flat_map(|s| s.given[0].data.clone()).collect();
    assert!(values.iter().all(|v| *v >= 0.0) && values.iter().any(|v| *v > 0.0));
}

#[test]
fn product_maps_score_images_far_from_every_centre_low_and_likelihood_maps_high() {
    let mean = |keys: Value, shift: f32| {
        let mut d = detector(keys).unwrap();
        train(&mut *d, &view(0, &["a", "b"]));
        let image = images("a", 7).pop().unwrap();
        let moved: Vec<f32> = image.level(0).unwrap().iter().map(|v| v + shift).collect();
        let moved = vec![moved];
        let scores = d.score(&[&moved], ScoreRequest { given: Some("a"), routed: false }).unwrap();
        scores[0].given[0].data.iter().sum::<f32>() / 9.0
    };
    let (product, likelihood) = (json!({ "maps": "product" }), json!({ "maps": "likelihood" }));
    assert!(mean(likelihood.clone(), 30.0) > 10.0 * mean(likelihood, 0.0).abs());
    assert!(mean(product.clone(), 30.0) < mean(product, 0.0));
}
