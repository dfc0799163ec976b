//! Depthwise convolutions, one row of the result at a time.

use super::padded;
use pulp::{Simd, WithSimd};

/// Weights of a depthwise convolution, `[block of channels][row][column][lane]`.
pub(super) struct Taps {
    pub(super) kernel: usize,
    pub(super) stride: usize,
    /// Blocks of one vector of channels.
    pub(super) blocks: usize,
    weight: Vec<f32>,
    bias: Vec<f32>,
    limits: (f32, f32),
}

impl Taps {
    /// `weight` is `[channels][kernel][kernel]`.
    pub(super) fn new(
        weight: &[f32],
        bias: &[f32],
        limits: (f32, f32),
        (kernel, stride): (usize, usize),
        lanes: usize,
    ) -> Taps {
        let (taps, blocks) = (kernel * kernel, bias.len().div_ceil(lanes));
        let mut packed = vec![0.0; blocks * taps * lanes];
        for (c, window) in weight.chunks_exact(taps).enumerate() {
            for (t, w) in window.iter().enumerate() {
                packed[(c / lanes * taps + t) * lanes + c % lanes] = *w;
            }
        }
        Taps { kernel, stride, blocks, weight: packed, bias: padded(bias, lanes), limits }
    }
}

/// One row of the result of a depthwise convolution.
pub(super) struct DepthwiseRow<'a> {
    pub(super) taps: &'a Taps,
    /// Rows of `[block][column][lane]`, padding included.
    pub(super) input: &'a [f32],
    /// Columns of an input row.
    pub(super) columns: usize,
    /// Where the rows under the kernel start.
    pub(super) rows: &'a [usize],
    /// `[pixel][block][lane]`.
    pub(super) output: &'a mut [f32],
}

impl WithSimd for DepthwiseRow<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match (self.taps.kernel, self.taps.stride) {
            (3, 1) => self.row::<S, 3, 1>(simd),
            (3, 2) => self.row::<S, 3, 2>(simd),
            (5, 1) => self.row::<S, 5, 1>(simd),
            (5, 2) => self.row::<S, 5, 2>(simd),
            _ => unreachable!("other kernels are refused when the graph is read"),
        }
    }
}

/// Pixels of a depthwise row that share the loads of the weights.
const SPAN: usize = 7;

impl DepthwiseRow<'_> {
    #[inline(always)]
    fn row<S: Simd, const K: usize, const STRIDE: usize>(self, simd: S) {
        let (weight, _) = S::as_simd_f32s(&self.taps.weight);
        let (bias, _) = S::as_simd_f32s(&self.taps.bias);
        let (input, _) = S::as_simd_f32s(self.input);
        let (output, _) = S::as_mut_simd_f32s(self.output);
        let blocks = self.taps.blocks;
        let pixels = output.len() / blocks;
        let limits = (simd.splat_f32s(self.taps.limits.0), simd.splat_f32s(self.taps.limits.1));
        for (block, bias) in bias.iter().enumerate() {
            let mut rows = [input; K];
            for (row, start) in rows.iter_mut().zip(self.rows) {
                *row = &input[start / S::F32_LANES + block * self.columns..][..self.columns];
            }
            let channels =
                Channels { weight: &weight[block * K * K..][..K * K], bias: *bias, limits, rows, blocks };
            let mut x = 0;
            while x < pixels {
                if pixels >= SPAN {
                    // The last span is moved back so that it is full; what it repeats does not change.
                    let from = x.min(pixels - SPAN);
                    channels.span::<STRIDE, SPAN>(simd, from, &mut output[from * blocks + block..]);
                    x += SPAN;
                } else {
                    channels.span::<STRIDE, 1>(simd, x, &mut output[x * blocks + block..]);
                    x += 1;
                }
            }
        }
    }
}

/// One vector of channels in the rows under the kernel.
struct Channels<'a, S: Simd, const K: usize> {
    weight: &'a [S::f32s],
    bias: S::f32s,
    limits: (S::f32s, S::f32s),
    rows: [&'a [S::f32s]; K],
    blocks: usize,
}

impl<S: Simd, const K: usize> Channels<'_, S, K> {
    /// The `N` pixels from `from` on.
    #[inline(always)]
    fn span<const STRIDE: usize, const N: usize>(&self, simd: S, from: usize, output: &mut [S::f32s]) {
        let mut sums = [self.bias; N];
        for y in 0..K {
            let window = &self.rows[y][from * STRIDE..][..(N - 1) * STRIDE + K];
            for x in 0..K {
                let weight = self.weight[y * K + x];
                for i in 0..N {
                    sums[i] = simd.mul_add_f32s(window[i * STRIDE + x], weight, sums[i]);
                }
            }
        }
        for (i, sum) in sums.iter().enumerate() {
            output[i * self.blocks] = simd.min_f32s(simd.max_f32s(*sum, self.limits.0), self.limits.1);
        }
    }
}
