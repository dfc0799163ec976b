//! Pixel AUROC and AUPRO of 10^8 pixels, against scikit-learn and anomalib on the same scores and masks.

use super::machine;
use super::peer::Peer;
use super::turns::{Plan, interleave_as};
use super::{Bench, Outcome, Settings, THREADS};
use crate::Result;
use ccnf_metrics::{AUPRO_FPR_LIMIT, Connectivity, Metric, PixelMap, PixelSet, PixelStream};
use rayon::prelude::*;
use std::path::Path;

const SIDE: usize = 320;
const MAPS: usize = 1000;
/// Maps that are stored; the others are made from them while they are pushed, as a detector would.
const BASES: usize = 40;
/// Maps of one push.
const BATCH: usize = 20;
/// The peers need minutes for a turn.
const ROUNDS: usize = 3;
/// Beyond the error bound, AUROC may differ by rounding in `f64`, AUPRO by that of the peer's sums in `f32`.
const ROUNDING: [f64; 2] = [1e-9, 1e-4];

/// The bench `metrics`.
pub(crate) const BENCH: Bench = Bench { names: &["metrics"], run };

/// What the maps are made of.
struct Inputs {
    /// `[BASES, SIDE, SIDE]`.
    scores: Vec<f32>,
    masks: Vec<bool>,
    /// Gain and offset of every map.
    variants: Vec<[f32; 2]>,
}

/// A stream of uniform numbers in [0, 1).
struct Uniform(u64);

impl Uniform {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1_u64 << 24) as f32
    }
}

impl Inputs {
    /// Smooth noise of both signs; every second map has up to three elliptic defects with higher scores, more or less visible.
    fn generate() -> Self {
        let mut uniform = Uniform(7);
        let (mut scores, mut masks) = (Vec::new(), Vec::new());
        for base in 0..BASES {
            const CELL: usize = 20;
            const GRID: usize = SIDE / CELL + 1;
            let grid: Vec<f32> = (0..GRID * GRID).map(|_| uniform.next() + uniform.next() - 1.0).collect();
            let defects: Vec<[f32; 5]> = (0..if base % 2 == 1 { 1 + base % 3 } else { 0 })
                .map(|_| std::array::from_fn(|_| uniform.next()))
                .collect();
            for pixel in 0..SIDE * SIDE {
                let (row, column) = (pixel / SIDE, pixel % SIDE);
                let corner = row / CELL * GRID + column / CELL;
                let [y, x] = [row % CELL, column % CELL].map(|v| v as f32 / CELL as f32);
                let top = grid[corner] * (1.0 - x) + grid[corner + 1] * x;
                let bottom = grid[corner + GRID] * (1.0 - x) + grid[corner + GRID + 1] * x;
                let visible = defects.iter().filter_map(|[centre_y, centre_x, height, width, contrast]| {
                    let side = SIDE as f32;
                    let dy = (row as f32 - centre_y * side) / (4.0 + 40.0 * height);
                    let dx = (column as f32 - centre_x * side) / (4.0 + 40.0 * width);
                    (dy * dy + dx * dx < 1.0).then_some(0.2 + contrast)
                });
                let visible = visible.reduce(f32::max);
                scores.push(top * (1.0 - y) + bottom * y + 0.1 * uniform.next() + visible.unwrap_or(0.0));
                masks.push(visible.is_some());
            }
        }
        let variants = (0..MAPS).map(|_| [0.8 + 0.4 * uniform.next(), 0.1 * uniform.next()]).collect();
        Inputs { scores, masks, variants }
    }

    /// Writes what the peer reads.
    fn write(&self, folder: &Path) -> Result<()> {
        let bytes = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
        std::fs::write(folder.join("maps.f32"), bytes(&self.scores))?;
        std::fs::write(
            folder.join("masks.u8"),
            self.masks.iter().map(|m| u8::from(*m)).collect::<Vec<u8>>(),
        )?;
        std::fs::write(folder.join("variants.f32"), bytes(self.variants.as_flattened()))?;
        Ok(())
    }

    /// Streams all maps, making them in batches.
    fn stream(&self) -> Result<PixelSet> {
        const PIXELS: usize = SIDE * SIDE;
        let mut stream = PixelStream::new(Connectivity::Eight);
        let mut batch = vec![0.0; BATCH * PIXELS];
        let base_of = |map: usize| map % BASES * PIXELS..(map % BASES + 1) * PIXELS;
        for (number, variants) in self.variants.chunks(BATCH).enumerate() {
            let first = number * BATCH;
            batch.par_chunks_mut(PIXELS).zip(variants).enumerate().for_each(
                |(map, (scores, [gain, offset]))| {
                    let base = &self.scores[base_of(first + map)];
                    scores.iter_mut().zip(base).for_each(|(score, base)| *score = base * gain + offset);
                },
            );
            let maps = batch.chunks(PIXELS).take(variants.len()).enumerate();
            let maps =
                maps.map(|(i, scores)| PixelMap::new(SIDE, SIDE, scores, &self.masks[base_of(first + i)]));
            stream.push(&maps.collect::<std::result::Result<Vec<_>, _>>()?)?;
        }
        Ok(stream.finish())
    }
}

/// The two metrics that the peers compute as well.
fn metrics(set: &PixelSet) -> Result<[Metric; 2]> {
    Ok([set.auroc(), set.aupro(AUPRO_FPR_LIMIT)?])
}

/// Value and error bound.
fn parts(metric: &Metric) -> Result<(f64, f64)> {
    let parts = metric.value().zip(metric.error_bound());
    parts.ok_or_else(|| metric.to_string().into())
}

/// Measures the stream over all maps and both metrics.
fn run(name: &str, settings: &Settings) -> Result<Outcome> {
    let inputs = Inputs::generate();
    let folder = tempfile::tempdir()?;
    inputs.write(folder.path())?;
    machine::reset_peak();
    let set = inputs.stream()?;
    metrics(&set)?;
    let peak = machine::peak_mib();
    let all = [set.auroc(), set.average_precision(), set.f1_max().f1, set.aupro(AUPRO_FPR_LIMIT)?];
    let pixels = set.len() as f64;
    drop(set);

    let (side, maps, threads) = (SIDE.to_string(), MAPS.to_string(), THREADS.to_string());
    let arguments = [folder.path().as_ref(), side.as_ref(), maps.as_ref(), threads.as_ref()];
    let mut peers = vec![];
    if !settings.alone {
        peers.push(("sklearn", Peer::start("metrics.py", &arguments, THREADS)?));
    }
    let mut theirs = vec![];
    let turns = interleave_as(
        &Plan { warm_up: 0, rounds: settings.rounds.min(ROUNDS), patience: 1 },
        &mut peers,
        || metrics(&inputs.stream()?),
        |_, ours, replies| {
            let Some(reply) = replies.first() else { return Ok(()) };
            for ((metric, key), rounding) in ours.iter().zip(["auroc", "aupro"]).zip(ROUNDING) {
                let (value, bound) = parts(metric)?;
                let peer = reply.values[key].as_f64().unwrap_or(f64::NAN);
                // a NaN is not within anything
                let off = (value - peer).abs();
                if off.is_nan() || off > bound + rounding {
                    return Err(format!("{key} differs: {value} +- {bound} here, {peer} in the peer").into());
                }
            }
            theirs =
                ["auroc_seconds", "aupro_seconds", "peak_kib"].map(|k| reply.values[k].as_f64()).to_vec();
            Ok(())
        },
    )?;
    let mut values = vec![("metrics.ours_ns_per_pixel".into(), turns.ours.median_ms() * 1e6 / pixels)];
    values.extend(peak.map(|mib| ("metrics.ours_peak_mib".into(), mib)));
    let mut bounds = vec![];
    for (metric, key) in all.iter().zip(["auroc", "ap", "f1max", "aupro"]) {
        let (value, bound) = parts(metric)?;
        values.push((format!("metrics.{key}_error_bound_ppm"), bound * 1e6));
        bounds.push(format!("{key} {value:.6} +- {bound:.1e}"));
    }
    let mut notes = vec![format!(
        "Ours streams the maps with the default limits and computes both metrics, including the time to make the maps; its peak \
         memory is that of the whole process. Values with their error bounds: {}.",
        bounds.join(", ")
    )];
    if let [Some(auroc), Some(aupro), Some(peak)] = theirs[..] {
        values.push(("metrics.sklearn_peak_mib".into(), peak / 1024.0));
        notes.push(format!(
            "The peers' last turn: AUROC (scikit-learn) {auroc:.1} s, AUPRO (anomalib) {aupro:.1} s. Both sides agree within the \
             error bounds and the rounding of the peer's float32 sums, or the bench fails. At most {ROUNDS} turns, without warm-up; all count."
        ));
    }
    Ok(Outcome {
        name: name.into(),
        work: format!(
            "pixel AUROC and AUPRO of {MAPS} maps of {SIDE} x {SIDE}, {:.2}e8 pixels",
            pixels / 1e8
        ),
        turns,
        values,
        notes,
    })
}
