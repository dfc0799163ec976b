//! A scorer and a router for the tests, data of a known distribution, and shorthands. The plugin crates do not know each
//! other, so the tests bring their own parts.

use ccnf::core::{Config, TrainConfig, build};
use ccnf::prelude::*;
use ccnf_plugin_gaussian as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;

#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct NoKeys {}

/// `S = -l`.
struct TestScorer;
impl TestScorer {
    fn new(_: NoKeys, _: &Build<ScorerSpec>) -> Result<Self> {
        Ok(TestScorer)
    }
}
ccnf::stateless!(TestScorer);
impl Scorer for TestScorer {
    fn score(&self, tokens: &TokenLikelihoods<'_>) -> Result<Vec<f32>> {
        Ok(tokens.by_class[tokens.class].iter().map(|l| -l).collect())
    }
}
ccnf::register_component!(Scorer, "test", NoKeys, TestScorer::new, "minus l");

/// The most likely class.
struct TestRouter;
impl TestRouter {
    fn new(_: NoKeys, _: &Build<RouterSpec>) -> Result<Self> {
        Ok(TestRouter)
    }
}
ccnf::stateless!(TestRouter);
impl Router for TestRouter {
    fn route(&self, input: &RouteInput<'_>) -> Result<usize> {
        let l: Vec<f32> = input.log_likelihood.iter().map(|l| l.unwrap_or(f32::NEG_INFINITY)).collect();
        Ok((0..l.len()).max_by(|a, b| l[*a].total_cmp(&l[*b])).unwrap_or(0))
    }
}
ccnf::register_component!(Router, "test", NoKeys, TestRouter::new, "argmax");

pub(crate) type Images = Vec<Arc<dyn ImageFeatures>>;

pub(crate) const MODES: [&str; 4] = ["pooled", "position-mean", "region", "per-position"];

pub(crate) fn level(height: usize, width: usize, channels: usize) -> LevelSpec {
    LevelSpec { name: format!("{height}x{width}"), height, width, channels }
}

pub(crate) fn build_detector(keys: Value, levels: &[LevelSpec]) -> Result<Box<dyn Detector>> {
    let mut table =
        json!({ "kind": "mahalanobis", "scorer": { "kind": "test" }, "router": { "kind": "test" } });
    table.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    let root = Config::from_json("test", &json!({ "detector": table }))?.root()?;
    let fusion = FusionConfig { levels: LevelNorm::Mean, ..FusionConfig::default() };
    let (train, streams) = (TrainConfig::default(), Streams::new(1));
    build::<dyn Detector>(
        &root.child("detector"),
        &DetectorSpec { levels: levels.to_vec(), train, fusion, streams },
    )
}

pub(crate) fn detector(keys: Value, levels: &[LevelSpec]) -> Box<dyn Detector> {
    build_detector(keys, levels).unwrap()
}

/// `n` images whose tokens are `offset + A e`, `e` standard normal, `A` lower triangular with `A_ii = 1 + i/2`, `A_i0 = 0.5`.
pub(crate) fn images(name: &str, n: usize, levels: &[LevelSpec], offset: f32) -> Images {
    let image = |i: usize| -> Arc<dyn ImageFeatures> {
        let values = levels.iter().enumerate().map(|(l, spec)| {
            let e = Streams::new(5).normal(&format!("{name}.{i}.{l}"), spec.len());
            let token = |e: &[f32]| -> Vec<f32> {
                let x =
                    |j: usize| offset + (1.0 + j as f32 / 2.0) * e[j] + if j > 0 { 0.5 * e[0] } else { 0.0 };
                (0..e.len()).map(x).collect()
            };
            e.chunks(spec.channels).flat_map(token).collect::<Vec<f32>>()
        });
        Arc::new(values.collect::<Vec<_>>())
    };
    (0..n).map(image).collect()
}

pub(crate) fn view(stage: usize, levels: &[LevelSpec], classes: &[(&str, &Images)]) -> TrainView {
    let classes = classes.iter().map(|(name, images)| TrainClass::new(*name, (*images).clone())).collect();
    TrainView::new(stage, levels.to_vec(), classes)
}

pub(crate) fn train(d: &mut dyn Detector, view: &TrainView, scope: TrainScope) -> Result<()> {
    d.begin_stage(view, scope)?;
    assert_eq!(d.steps(view.stage()), 0);
    d.end_stage(view)
}

/// Scores under `class` per image, all levels after each other.
pub(crate) fn scores(d: &dyn Detector, images: &Images, class: &str) -> Vec<Vec<f32>> {
    let images: Vec<&dyn ImageFeatures> = images.iter().map(|i| i.as_ref()).collect();
    let request = ScoreRequest { given: Some(class), routed: true };
    let out = d.score(&images, request).unwrap();
    out.into_iter().map(|s| s.given.into_iter().flat_map(|m| m.data).collect()).collect()
}

pub(crate) fn mean(values: &[Vec<f32>]) -> f64 {
    let all = values.concat();
    all.iter().map(|v| f64::from(*v)).sum::<f64>() / all.len() as f64
}
