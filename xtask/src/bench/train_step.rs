//! One training step of a flow, against the same step in PyTorch eager.

use super::peer::Peer;
use super::problem::{CLASSES, Problem, TOKENS};
use super::{Outcome, Samples, THREADS, interleave, machine};
use crate::Result;
use ccnf::prelude::*;
use ccnf::tensor::AdamSettings;
use ccnf_plugin_flow::{flow_output, step_loss};
use std::time::Instant;

const LEARNING_RATE: f64 = 1e-3;
/// Turns of which both losses are shown; after more, rounding has driven the two apart.
const SHOWN: usize = 5;
/// How far the two losses of a shown turn may differ, relative to the first.
const TOLERANCE: f64 = 2e-3;

/// Measures steps at dimension `dim`.
pub(crate) fn run(dim: usize, rounds: usize, alone: bool) -> Result<Outcome> {
    let mut problem = Problem::new(dim)?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("problem.safetensors");
    problem.save(&file)?;
    let threads = THREADS.to_string();
    let mut peer = match alone {
        true => None,
        false => Some(Peer::start("train_step.py", &[file.as_ref(), threads.as_ref()], THREADS)?),
    };
    if let Some(peer) = &peer {
        let (ours, theirs) = (problem.parameters() as u64, peer.ready["parameters"].as_u64());
        if theirs != Some(ours) {
            return Err(format!("not the same model: {ours} parameters here, {theirs:?} in the peer").into());
        }
    }
    let settings = AdamSettings { betas: [0.9, 0.99], eps: 1e-8, weight_decay: 1e-4, clip: Some(1.0) };
    let mut adam = Adam::new(settings);
    let classes: Vec<usize> = (0..CLASSES).collect();
    let mut peak_theirs = None;
    machine::reset_peak();
    let turns = interleave(
        rounds,
        peer.as_mut(),
        || {
            problem.flow.begin_step(None)?;
            let x = constant(&problem.x);
            let (loss, (), mut grads) = gradients(|| {
                let output = flow_output(&problem.flow, &x, &classes, &problem.class, &problem.cell, None)?;
                Ok::<_, Error>((step_loss(output, &problem.regularizers)?.total, ()))
            })?;
            adam.step(&mut problem.flow.params_mut(), &mut grads, LEARNING_RATE)?;
            Ok(f64::from(loss))
        },
        |turn, loss, reply| {
            let Some(values) = reply.map(|r| &r.values) else { return Ok(()) };
            peak_theirs = values["peak_kib"].as_f64().map(|k| k / 1024.0);
            let theirs = values["loss"].as_f64().unwrap_or(f64::NAN);
            if turn < SHOWN {
                println!("  step {turn}: loss {loss:.6}, in the peer {theirs:.6}");
                let off = (loss - theirs).abs();
                if off.is_nan() || off > TOLERANCE * theirs.abs().max(1.0) {
                    return Err("the losses differ: the two do not compute the same".into());
                }
            }
            Ok(())
        },
    )?;
    let name = format!("train_step.d{dim}");
    let peaks = [("ours_peak_mib", machine::peak_mib()), ("torch_peak_mib", peak_theirs)];
    let extra = peaks.iter().filter_map(|(k, v)| v.map(|v| (format!("{name}.{k}"), v))).collect();
    Ok(Outcome {
        work: format!(
            "training step, N = {TOKENS}, D = {dim}, 8 blocks, {} parameters",
            problem.parameters()
        ),
        name,
        peer_key: "torch_eager",
        peer: peer.as_ref().map(Peer::version).unwrap_or_default(),
        turns,
        extra,
    })
}

/// Speed of the products that dominate a step, `[4096, 240] x [240, 240]`, as this project calls them.
pub(crate) fn gemm_gflops() -> Result<f64> {
    const K: usize = 240;
    let x = constant(&mat(vec![0.5; TOKENS * K], TOKENS, K)?);
    let w = constant(&mat(vec![0.25; K * K], K, K)?);
    let mut samples = Samples::default();
    for _ in 0..30 {
        let start = Instant::now();
        ops::linear(&x, &w, None)?;
        samples.push(start.elapsed().as_secs_f64());
    }
    Ok((2 * TOKENS * K * K) as f64 / (1e6 * samples.median_ms()))
}
