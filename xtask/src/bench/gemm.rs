//! The ceiling: the speed of large matrix products on this machine, measured in the same run as what is compared with it.

use super::stats::Samples;
use crate::Result;
use ccnf::prelude::*;
use std::time::Instant;

/// The speed of `[rows, inner] x [inner, cols]` as this project calls it, in GFLOP/s (a multiplication and an addition are two).
/// The best of several runs: a ceiling is what the machine can do when nothing is in the way.
pub(crate) fn gflops(rows: usize, inner: usize, cols: usize) -> Result<f64> {
    let x = constant(&mat(vec![0.5; rows * inner], rows, inner)?);
    let w = constant(&mat(vec![0.25; cols * inner], cols, inner)?);
    let mut samples = Samples::default();
    for _ in 0..20 {
        let start = Instant::now();
        ops::linear(&x, &w, None)?;
        samples.push(start.elapsed().as_secs_f64());
    }
    Ok((2 * rows * inner * cols) as f64 / (1e6 * samples.min_ms()))
}

/// The ceiling for the products of a training step.
pub(crate) fn ceiling() -> Result<f64> {
    gflops(4096, 512, 512)
}
