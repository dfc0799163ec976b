//! The ceiling: the speed of large matrix products on this machine, measured in the same turns as what is compared with it.

use super::THREADS;
use super::stats::Samples;
use crate::Result;
use ccnf::prelude::*;
use std::hint::black_box;
use std::time::Instant;

const ROWS: usize = 4096;
const INNER: usize = 512;

/// The speed of `[4096, 512] x [512, 512]`: by this project's own product, and by the library `gemm`.
pub(crate) struct Ceiling {
    x: Mat,
    w: Mat,
    library: [Vec<f32>; 3],
    own_times: Samples,
    library_times: Samples,
}

impl Ceiling {
    pub(crate) fn new() -> Result<Self> {
        Ok(Ceiling {
            x: mat(vec![0.5; ROWS * INNER], ROWS, INNER)?,
            w: mat(vec![0.25; INNER * INNER], INNER, INNER)?,
            library: [vec![0.5; ROWS * INNER], vec![0.25; INNER * INNER], vec![0.0; ROWS * INNER]],
            own_times: Samples::default(),
            library_times: Samples::default(),
        })
    }

    /// One product of either kind.
    pub(crate) fn sample(&mut self) -> Result<()> {
        let start = Instant::now();
        black_box(ops::linear(&constant(&self.x), &constant(&self.w), None)?);
        self.own_times.push(start.elapsed().as_secs_f64());
        let [x, w, y] = &mut self.library;
        let step = INNER as isize;
        let start = Instant::now();
        // SAFETY: all three matrices are row-major with INNER columns, `x` and `y` with ROWS rows, `w` with INNER; none overlap.
        #[allow(unsafe_code, reason = "the library takes raw pointers")]
        unsafe {
            gemm::gemm(
                ROWS,
                INNER,
                INNER,
                y.as_mut_ptr(),
                1,
                step,
                false,
                x.as_ptr(),
                1,
                step,
                w.as_ptr(),
                1,
                step,
                0.0f32,
                1.0f32,
                false,
                false,
                false,
                gemm::Parallelism::Rayon(THREADS),
            );
        }
        black_box(y);
        self.library_times.push(start.elapsed().as_secs_f64());
        Ok(())
    }

    /// The better of both medians, in GFLOP/s (a multiplication and an addition are two).
    pub(crate) fn gflops(&self) -> f64 {
        let best = self.own_times.median_ms().min(self.library_times.median_ms());
        (2 * ROWS * INNER * INNER) as f64 / (1e6 * best)
    }
}
