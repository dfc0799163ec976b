//! Pointwise convolutions: a matrix product for the widest vectors of the processor.
//!
//! Channels are padded to whole vectors and the weights are packed once for the vector width, so every load and store is a
//! whole vector. No result depends on how pixels are grouped into tiles: each value is one chain of multiply-adds.

use super::padded;
use pulp::{Simd, WithSimd};

/// Weights of a matrix product `[inputs] -> [outputs]`, in panels of one vector of outputs: `[panel][input][lane]`.
pub(super) struct Panels {
    pub(super) inputs: usize,
    pub(super) count: usize,
    weight: Vec<f32>,
    bias: Vec<f32>,
    limits: (f32, f32),
}

impl Panels {
    /// `weight` is `[outputs][inputs]`.
    pub(super) fn new(weight: &[f32], bias: &[f32], limits: (f32, f32), lanes: usize) -> Panels {
        let (inputs, count) = (weight.len() / bias.len(), bias.len().div_ceil(lanes));
        let mut packed = vec![0.0; count * inputs * lanes];
        for (o, row) in weight.chunks_exact(inputs).enumerate() {
            for (i, w) in row.iter().enumerate() {
                packed[(o / lanes * inputs + i) * lanes + o % lanes] = *w;
            }
        }
        Panels { inputs, count, weight: packed, bias: padded(bias, lanes), limits }
    }
}

/// A pointwise convolution of some pixels, with its limits and the skip connection.
pub(super) struct Product<'a> {
    /// Pixels, `stride` values each.
    pub(super) input: &'a [f32],
    pub(super) stride: usize,
    pub(super) panels: &'a Panels,
    /// Where in `output` each pixel's first panel goes.
    pub(super) places: &'a [usize],
    /// How far apart the panels of one pixel are.
    pub(super) step: usize,
    /// Added to the result, laid out as `output`.
    pub(super) skip: Option<&'a [f32]>,
    pub(super) output: &'a mut [f32],
}

impl WithSimd for Product<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let count = self.panels.count;
        let mut panel = 0;
        while panel + 3 <= count {
            self.tiles::<S, 3>(simd, panel);
            panel += 3;
        }
        match count - panel {
            2 => self.tiles::<S, 2>(simd, panel),
            1 => self.tiles::<S, 1>(simd, panel),
            _ => {}
        }
    }
}

impl Product<'_> {
    /// `P` panels of all pixels. The last tile is moved back so that it is full; what it repeats does not change.
    #[inline(always)]
    fn tiles<S: Simd, const P: usize>(&mut self, simd: S, panel: usize) {
        let pixels = self.places.len();
        if S::REGISTER_COUNT >= 32 && pixels >= 8 {
            for p in (0..pixels).step_by(8) {
                self.tile::<S, 8, P>(simd, p.min(pixels - 8), panel);
            }
        } else if pixels >= 4 {
            for p in (0..pixels).step_by(4) {
                self.tile::<S, 4, P>(simd, p.min(pixels - 4), panel);
            }
        } else {
            for p in 0..pixels {
                self.tile::<S, 1, P>(simd, p, panel);
            }
        }
    }

    #[inline(always)]
    fn tile<S: Simd, const M: usize, const P: usize>(&mut self, simd: S, pixel: usize, panel: usize) {
        let k = self.panels.inputs;
        let (weight, _) = S::as_simd_f32s(&self.panels.weight);
        let (bias, _) = S::as_simd_f32s(&self.panels.bias);
        let mut columns = [weight; P];
        let mut sums = [[simd.splat_f32s(0.0); P]; M];
        for j in 0..P {
            columns[j] = &weight[(panel + j) * k..][..k];
        }
        let mut rows = [self.input; M];
        for (i, row) in rows.iter_mut().enumerate() {
            *row = &self.input[(pixel + i) * self.stride..][..k];
        }
        for q in 0..k {
            for i in 0..M {
                let x = simd.splat_f32s(rows[i][q]);
                for j in 0..P {
                    sums[i][j] = simd.mul_add_f32s(x, columns[j][q], sums[i][j]);
                }
            }
        }
        let (low, high) = (simd.splat_f32s(self.panels.limits.0), simd.splat_f32s(self.panels.limits.1));
        for (i, sums) in sums.iter().enumerate() {
            for (j, sum) in sums.iter().enumerate() {
                let sum = simd.add_f32s(*sum, bias[panel + j]);
                let mut sum = simd.min_f32s(simd.max_f32s(sum, low), high);
                let at = self.places[pixel + i] + (panel + j) * self.step;
                if let Some(skip) = self.skip {
                    sum = simd.add_f32s(sum, S::as_simd_f32s(&skip[at..at + S::F32_LANES]).0[0]);
                }
                S::as_mut_simd_f32s(&mut self.output[at..at + S::F32_LANES]).0[0] = sum;
            }
        }
    }
}
