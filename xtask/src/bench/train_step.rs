//! One training step of a flow, against the same step in PyTorch, eager and compiled.

use super::cuda;
use super::gemm::Ceiling;
use super::peer::Peer;
use super::problem::{CLASSES, Problem, TOKENS};
use super::stats::Samples;
use super::turns::{WARM_UP, interleave};
use super::{Bench, Outcome, Settings, THREADS, machine};
use crate::Result;
use ccnf::prelude::*;
use ccnf::tensor::{AdamSettings, synchronize};
use ccnf_plugin_flow::{flow_output, step_loss};
use std::path::Path;
use std::time::Instant;

/// The benches `train_step.*`.
pub(crate) const BENCH: Bench = Bench {
    names: &["train_step.d64", "train_step.d112", "train_step.d272", "train_step.rows_vs_full"],
    run,
};

const LEARNING_RATE: f64 = 1e-3;

fn run(name: &str, settings: &Settings) -> Result<Outcome> {
    match name.strip_prefix("train_step.d").map(str::parse) {
        Some(dim) => against_torch(name, dim?, settings),
        None => rows_against_full(name, settings),
    }
}

/// The problem and its optimiser.
struct Trainer {
    problem: Problem,
    adam: Adam,
}

impl Trainer {
    fn new(dim: usize) -> Result<Self> {
        let settings = AdamSettings { betas: [0.9, 0.99], eps: 1e-8, weight_decay: 1e-4, clip: Some(1.0) };
        Ok(Trainer { problem: Problem::new(dim)?, adam: Adam::new(settings) })
    }

    /// One whole optimiser step; returns the loss.
    fn step(&mut self) -> Result<f64> {
        let problem = &mut self.problem;
        problem.flow.begin_step(None)?;
        let x = constant(&problem.x);
        let classes: Vec<usize> = (0..CLASSES).collect();
        let (loss, (), mut grads) = gradients(|| {
            let output = flow_output(&problem.flow, &x, &classes, &problem.class, &problem.cell, None)?;
            Ok::<_, Error>((step_loss(output, &problem.regularizers)?.total, ()))
        })?;
        self.adam.step(&mut problem.flow.params_mut(), &mut grads, LEARNING_RATE)?;
        synchronize()?;
        Ok(f64::from(loss))
    }
}

fn against_torch(name: &str, dim: usize, settings: &Settings) -> Result<Outcome> {
    let mut ours = Trainer::new(dim)?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("problem.safetensors");
    ours.problem.save(&file)?;
    let parameters = ours.problem.parameters();
    let mut peers = vec![];
    if !settings.alone {
        peers.push(("torch_eager", start(&file, "eager", parameters)?));
        peers.push(("torch_compile", start(&file, "compile", parameters)?));
    }
    let mut peaks = vec![f64::NAN; peers.len()];
    let mut ceiling = Ceiling::new()?;
    machine::reset_peak();
    let turns = interleave(
        settings.rounds,
        &mut peers,
        || ours.step(),
        |turn, loss, replies| {
            ceiling.sample(replies.first().and_then(|r| r.values["gemm_seconds"].as_f64()))?;
            for (peak, reply) in peaks.iter_mut().zip(replies) {
                *peak = reply.values["peak_kib"].as_f64().unwrap_or(f64::NAN) / 1024.0;
                reply.same_loss(turn, *loss)?;
            }
            Ok(())
        },
    )?;
    let ours_peak = machine::peak_mib();
    let work = ours.problem.flops();
    let ceiling = ceiling.gflops();
    let rate = work / (1e6 * turns.ours.median_ms());
    let mut values = vec![
        (format!("{name}.gflop"), work / 1e9),
        (format!("{name}.gemm_gflops"), ceiling),
        (format!("{name}.gemm_share"), rate / ceiling),
    ];
    values.extend(ours_peak.map(|p| (format!("{name}.ours_peak_mib"), p)));
    values.extend(peers.iter().zip(&peaks).map(|((key, _), p)| (format!("{name}.{key}_peak_mib"), *p)));
    let notes = vec![format!(
        "Roofline: {:.1} GFLOP of matrix products a step after hoisting, at {ceiling:.0} GFLOP/s (large products in the same turns, \
         the faster of ours and PyTorch's) {:.0} ms; reached {:.0} ms, {:.0} % of the ceiling.",
        work / 1e9,
        work / (1e6 * ceiling),
        turns.ours.median_ms(),
        100.0 * rate / ceiling
    )];
    Ok(Outcome {
        work: format!(
            "training step, N = {TOKENS}, D = {dim}, 8 blocks, FiLM, spectral norm, four penalties, clip, AdamW; {parameters} parameters"
        ),
        name: name.into(),
        turns,
        values,
        notes,
    })
}

fn start(problem: &Path, mode: &str, parameters: usize) -> Result<Peer> {
    let threads = THREADS.to_string();
    let arguments = [problem.as_ref(), threads.as_ref(), mode.as_ref(), cuda::DEVICE.as_ref()];
    let peer = Peer::start("train_step.py", &arguments, THREADS)?;
    let theirs = peer.ready["parameters"].as_u64();
    if theirs != Some(parameters as u64) {
        return Err(
            format!("not the same model: {parameters} parameters here, {theirs:?} in the peer").into()
        );
    }
    Ok(peer)
}

/// A step that trains class rows only, against one that trains everything; the same batch and flow, both ours.
fn rows_against_full(name: &str, settings: &Settings) -> Result<Outcome> {
    const DIM: usize = 112;
    let (mut full, mut rows) = (Trainer::new(DIM)?, Trainer::new(DIM)?);
    rows.problem.freeze_shared()?;
    let mut full_times = Samples::default();
    let turns = interleave(
        settings.rounds,
        &mut [],
        || rows.step(),
        |turn, _, _| {
            let start = Instant::now();
            full.step()?;
            if turn >= WARM_UP {
                full_times.push(start.elapsed().as_secs_f64());
            }
            Ok(())
        },
    )?;
    let ratio = turns.ours.median_ms() / full_times.median_ms();
    Ok(Outcome {
        name: name.into(),
        work: format!("training step that trains class rows only, D = {DIM}; against the full step"),
        values: vec![(name.into(), ratio), (format!("{name}.full_ms"), full_times.median_ms())],
        turns,
        notes: vec![],
    })
}
