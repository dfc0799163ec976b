//! The ceiling: the speed of large matrix products on this machine, measured in the same turns as what is compared with it.

use super::stats::Samples;
use crate::Result;
use ccnf::prelude::*;
use ccnf::tensor::synchronize;
use std::hint::black_box;
use std::time::Instant;

const ROWS: usize = 4096;
const INNER: usize = 512;

/// The speed of `[4096, 512] x [512, 512]`: by this project's own product and, where it tells, by the peer's.
pub(crate) struct Ceiling {
    x: Mat,
    w: Mat,
    own: Samples,
    peer: Samples,
}

impl Ceiling {
    pub(crate) fn new() -> Result<Self> {
        Ok(Ceiling {
            x: mat(vec![0.5; ROWS * INNER], ROWS, INNER)?,
            w: mat(vec![0.25; INNER * INNER], INNER, INNER)?,
            own: Samples::default(),
            peer: Samples::default(),
        })
    }

    /// One product of ours; `peer` are the seconds of the peer's.
    pub(crate) fn sample(&mut self, peer: Option<f64>) -> Result<()> {
        let start = Instant::now();
        black_box(ops::linear(&constant(&self.x), &constant(&self.w), None)?);
        synchronize()?;
        self.own.push(start.elapsed().as_secs_f64());
        peer.into_iter().for_each(|s| self.peer.push(s));
        Ok(())
    }

    /// The better of both medians, in GFLOP/s (a multiplication and an addition are two).
    pub(crate) fn gflops(&self) -> f64 {
        let best = self.own.median_ms().min(self.peer.median_ms());
        (2 * ROWS * INNER * INNER) as f64 / (1e6 * best)
    }
}
