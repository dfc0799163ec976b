//! Five small classes in two stages, and a detector that is trained on them.

use super::common::Must;
use super::entry::{Case, doing};
use ccnf::core::{PhaseConfig, PlainUpdate, TrainConfig};
use ccnf::prelude::*;
use std::sync::Arc;

/// The classes of the two stages.
const STAGES: [&[&str]; 2] = [&["bolt", "pine", "capsule"], &["pcb", "granite"]];
/// Training images of a class.
const IMAGES: usize = 12;
/// Steps of the two stages.
const STEPS: [u64; 2] = [10, 6];

/// The classes of the stages up to `stage`, in order.
pub(super) fn classes(stage: usize) -> Vec<&'static str> {
    STAGES[..=stage].concat()
}

fn levels() -> Vec<LevelSpec> {
    let level = |name: &str, side: usize, channels: usize| LevelSpec {
        name: name.into(),
        height: side,
        width: side,
        channels,
    };
    vec![level("fine", 6, 8), level("coarse", 4, 12)]
}

/// What a detector is built with.
pub(super) fn spec() -> DetectorSpec {
    spec_of(7)
}

pub(super) fn spec_of(seed: u64) -> DetectorSpec {
    let [first, later] = STEPS.map(|steps| PhaseConfig { steps, tokens: 48, lr: 2e-3 });
    let train = TrainConfig { first, later, checkpoint_every: 4, ..TrainConfig::default() };
    DetectorSpec { levels: levels(), train, fusion: FusionConfig::default(), streams: Streams::new(seed) }
}

/// Image number `number` of a class: Gaussian tokens around the class's mean, which varies a little with the position; `shift`
/// is added to every value.
pub(super) fn image(class: &str, number: usize, shift: f32) -> Arc<dyn ImageFeatures> {
    let s = Streams::new(40);
    let values = levels().into_iter().map(|level| {
        let mean = s.normal(&format!("{class}.{}.mean", level.name), level.channels);
        let place = s.normal(&format!("{class}.{}.place", level.name), level.len());
        let noise = s.normal(&format!("{class}.{}.{number}", level.name), level.len());
        let token = |i: usize| 1.5 * mean[i % level.channels] + 0.2 * place[i] + 0.6 * noise[i] + shift;
        (0..level.len()).map(token).collect::<Vec<f32>>()
    });
    Arc::new(values.collect::<Vec<_>>())
}

/// Normal images that no stage trains on.
pub(super) fn held_out(class: &str) -> Vec<Arc<dyn ImageFeatures>> {
    (500..506).map(|i| image(class, i, 0.0)).collect()
}

/// The training images of a stage.
pub(super) fn view(stage: usize) -> TrainView {
    let class = |c: &&str| TrainClass::new(*c, (0..IMAGES).map(|i| image(c, i, 0.0)).collect());
    view_of(stage, STAGES[stage].iter().map(class).collect())
}

/// A view of other training images.
pub(super) fn view_of(stage: usize, classes: Vec<TrainClass>) -> TrainView {
    TrainView::new(stage, levels(), classes)
}

/// The images as the traits take them.
pub(super) fn refs(images: &[Arc<dyn ImageFeatures>]) -> Vec<&dyn ImageFeatures> {
    images.iter().map(|i| i.as_ref()).collect()
}

/// The maps of every image under `class`, all levels one after the other.
pub(super) fn given_maps(
    d: &dyn Detector,
    images: &[Arc<dyn ImageFeatures>],
    class: &str,
    at: &str,
) -> Vec<Vec<f32>> {
    let scores = d.score(&refs(images), ScoreRequest { given: Some(class), routed: false }).must(at);
    scores.into_iter().map(|s| s.given.into_iter().flat_map(|m| m.data).collect()).collect()
}

/// The maps of the held-out images of every class up to `stage`, under their class.
pub(super) fn all_maps(d: &dyn Detector, stage: usize, at: &str) -> Vec<f32> {
    classes(stage).into_iter().flat_map(|c| given_maps(d, &held_out(c), c, at).concat()).collect()
}

/// The mean of all values.
pub(super) fn mean(maps: &[Vec<f32>]) -> f64 {
    let all = maps.concat();
    all.iter().map(|v| f64::from(*v)).sum::<f64>() / all.len().max(1) as f64
}

/// Trains a stage as the engine does.
pub(super) fn train(d: &mut dyn Detector, view: &TrainView, scope: TrainScope) -> Result<()> {
    d.begin_stage(view, scope)?;
    continue_from(d, view, 0)
}

/// The rest of a stage, from a step on.
pub(super) fn continue_from(d: &mut dyn Detector, view: &TrainView, first: u64) -> Result<()> {
    for step in first..d.steps(view.stage()) {
        for (what, value) in d.step(view, step, &mut PlainUpdate)? {
            assert!(value.is_finite(), "{}: step {step} reports {what} = {value}", doing());
        }
    }
    d.end_stage(view)
}

/// A detector after its first stage, everything shared frozen.
pub(super) fn after_first(case: &Case<dyn Detector>, seed: u64) -> Box<dyn Detector> {
    let at = case.at("first stage");
    let mut d = case.build(&spec_of(seed));
    train(&mut *d, &view(0), TrainScope::All).must(&at);
    d.freeze_shared().must(&at);
    d
}
