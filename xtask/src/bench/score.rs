//! Scoring an image as the number of known classes grows: routed with a shortlist, and with all classes evaluated.

use super::gemm::Ceiling;
use super::stats::Samples;
use super::turns::{WARM_UP, interleave};
use super::{Bench, Outcome, Settings};
use crate::Result;
use ccnf::core::{Config, TrainConfig, build};
use ccnf::prelude::*;
use ccnf::serde_json::{Value, json};
use ccnf_bundle as _;
use std::sync::Arc;
use std::time::Instant;

/// The bench `score`.
pub(crate) const BENCH: Bench = Bench { names: &["score"], run };

/// Images that one turn scores in one call.
const IMAGES: usize = 4;
/// Side and channels of the levels: those of EfficientNet-Lite0 at strides 8 and 16 for 224 pixels.
const LEVELS: [(usize, usize); 2] = [(28, 40), (14, 112)];
const BLOCKS: usize = 4;
const HIDDEN: usize = 128;
const POSITION: usize = 32;
/// Classes on the shortlist.
const TOP: usize = 2;
/// What is measured beside ours (100 classes, routed): key, classes, whether there is a shortlist.
const OTHERS: [(&str, usize, bool); 4] =
    [("k1", 1, true), ("k10", 10, true), ("k10_exhaustive", 10, false), ("k100_exhaustive", 100, false)];

fn levels() -> Vec<LevelSpec> {
    let level = |(side, channels): (usize, usize)| LevelSpec {
        name: format!("{side}x{side}"),
        height: side,
        width: side,
        channels,
    };
    LEVELS.map(level).to_vec()
}

/// Image number `number` of class `class`: a mean per class, and noise.
fn image(class: usize, number: usize) -> Vec<Vec<f32>> {
    let streams = Streams::new(5);
    let level = |(l, spec): (usize, LevelSpec)| {
        let mean = streams.normal(&format!("mean{class}.{l}"), spec.channels);
        let mut values = streams.normal(&format!("image{class}.{number}.{l}"), spec.len());
        values.iter_mut().enumerate().for_each(|(i, v)| *v += mean[i % spec.channels]);
        values
    };
    levels().into_iter().enumerate().map(level).collect()
}

/// The model of configs/models/ccnf.toml with `classes` classes. Weights and rows are random: the time does not depend on them.
fn detector(classes: usize, shortlist: bool) -> Result<Box<dyn Detector>> {
    let shortlist = if shortlist { json!({ "kind": "prototype" }) } else { Value::Null };
    let subnet = json!({ "hidden": HIDDEN, "spectral_norm": "cap", "last_layer": "uniform" });
    let config = json!({ "detector": {
        "kind": "ccnf", "blocks": BLOCKS, "position": POSITION, "init": "random",
        "coupling": { "kind": "affine", "clamp": 0.7, "warmup_steps": 0, "subnet": subnet },
        "conditioner": { "kind": "embedding", "width": 64 },
        "router": { "kind": "likelihood", "top": TOP, "shortlist": shortlist },
    }});
    let spec = DetectorSpec {
        levels: levels(),
        train: TrainConfig::default(),
        fusion: FusionConfig::default(),
        streams: Streams::new(1),
    };
    let root = Config::from_json("bench", &config)?.root()?;
    let mut detector = build::<dyn Detector>(&root.child("detector"), &spec)?;
    let class = |c: usize| TrainClass::new(format!("c{c}"), vec![Arc::new(image(c, 0))]);
    let view = TrainView::new(0, levels(), (0..classes).map(class).collect());
    detector.begin_stage(&view, TrainScope::All)?;
    detector.end_stage(&view)?;
    detector.freeze_shared()?;
    Ok(detector)
}

fn score(detector: &dyn Detector, images: &[Vec<Vec<f32>>]) -> Result<()> {
    let views: Vec<&dyn ImageFeatures> = images.iter().map(|i| i as &dyn ImageFeatures).collect();
    let scores = detector.score(&views, ScoreRequest { given: None, routed: true })?;
    if scores.len() == images.len() { Ok(()) } else { Err("an image without scores".into()) }
}

/// Floating-point operations of the matrix products for one image under one class, without what is shared by classes or images.
fn flops() -> f64 {
    let per_token = |d: usize| {
        let (kept, changed) = (d.div_ceil(2), d / 2);
        BLOCKS * (kept * HIDDEN + HIDDEN * HIDDEN + HIDDEN * 2 * changed + d * d)
    };
    LEVELS.iter().map(|(side, d)| (2 * side * side * per_token(*d)) as f64).sum()
}

fn run(name: &str, settings: &Settings) -> Result<Outcome> {
    let images: Vec<_> = (0..IMAGES).map(|i| image(i, 1)).collect();
    let ours = detector(100, true)?;
    let others =
        OTHERS.iter().map(|(_, k, shortlist)| detector(*k, *shortlist)).collect::<Result<Vec<_>>>()?;
    let mut times = vec![Samples::default(); OTHERS.len()];
    let mut ceiling = Ceiling::new()?;
    let turns = interleave(
        settings.rounds,
        &mut [],
        || score(&*ours, &images),
        |turn, (), _| {
            ceiling.sample(None)?;
            for (detector, times) in others.iter().zip(&mut times) {
                let start = Instant::now();
                score(&**detector, &images)?;
                if turn >= WARM_UP {
                    times.push(start.elapsed().as_secs_f64());
                }
            }
            Ok(())
        },
    )?;
    let per_image = |s: &Samples| s.median_ms() / IMAGES as f64;
    let (k1, k100) = (per_image(&times[0]), per_image(&turns.ours));
    let mut values = vec![(format!("{name}.k100_vs_k1"), k100 / k1), (format!("{name}.k100_ms"), k100)];
    for ((key, _, _), times) in OTHERS.iter().zip(&times) {
        values.push((format!("{name}.{key}_ms"), per_image(times)));
        if *key != "k1" {
            values.push((format!("{name}.{key}_vs_k1"), per_image(times) / k1));
        }
    }
    let (k10, k10_all, k100_all) = (per_image(&times[1]), per_image(&times[2]), per_image(&times[3]));
    let ceiling = ceiling.gflops();
    // `k100_all` is the time of 100 classes.
    let share = 100.0 * flops() / (1e6 * k100_all) / ceiling;
    values.push((format!("{name}.gemm_share"), share));
    let notes = vec![
        format!(
            "Milliseconds per image by the number of known classes K (the shortlist has {TOP} classes; \"all\" evaluates every known class):\n\n\
             | K | shortlist | all |\n|---|---|---|\n| 1 | {k1:.2} | {k1:.2} |\n| 10 | {k10:.2} | {k10_all:.2} |\n| 100 | {k100:.2} | {k100_all:.2} |"
        ),
        format!(
            "Roofline: {:.3} GFLOP of matrix products per image and class, at {ceiling:.0} GFLOP/s {:.2} ms. With 100 classes evaluated an image and \
             class takes {:.2} ms, {:.0} % of the ceiling.",
            flops() / 1e9,
            flops() / (1e6 * ceiling),
            k100_all / 100.0,
            100.0 * share
        ),
    ];
    let work = format!(
        "{IMAGES} images in one call, `ccnf` with {BLOCKS} blocks of {HIDDEN}, levels 28x28x40 and 14x14x112, 100 classes, routed by the shortlist"
    );
    Ok(Outcome { name: name.into(), work, turns, values, notes })
}
