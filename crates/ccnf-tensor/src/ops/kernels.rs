//! Loops and matrix products on slices: the arithmetic of the fused operations, without tensors.
#![allow(unsafe_code, reason = "gemm takes raw pointers; the one call is guarded by bounds checks")]

use rayon::prelude::*;

/// Rows that one parallel task handles. Fixed, so that results do not depend on the number of threads.
pub(super) const ROWS: usize = 128;

/// A strided read-only matrix over a slice.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_step: usize,
    col_step: usize,
}

impl<'a> View<'a> {
    /// The first `cols` columns of a row-major matrix with `stride` columns.
    pub(super) fn new(data: &'a [f32], rows: usize, cols: usize, stride: usize) -> Self {
        View { data, rows, cols, row_step: stride, col_step: 1 }
    }
    pub(super) fn transposed(self) -> Self {
        View { rows: self.cols, cols: self.rows, row_step: self.col_step, col_step: self.row_step, ..self }
    }
    /// `count` rows from row `from` on.
    fn row_range(self, from: usize, count: usize) -> Self {
        View { data: &self.data[from * self.row_step..], rows: count, ..self }
    }
    fn fits(&self) -> bool {
        self.rows == 0
            || self.cols == 0
            || (self.rows - 1) * self.row_step + (self.cols - 1) * self.col_step < self.data.len()
    }
}

/// `dst[:, ..b.cols] = (accumulate ? dst : 0) + a b`; `dst` is row-major with `stride` columns.
pub(super) fn matmul(dst: &mut [f32], stride: usize, a: View<'_>, b: View<'_>, accumulate: bool) {
    matmul_with(dst, stride, a, b, accumulate, gemm::Parallelism::Rayon(0));
}

/// Tokens that one task of [`add_transposed_product`] sums.
const TALL: usize = 512;

/// `dst += g^T x`, the gradient of a weight: a small result and a long sum over tokens. Blocks of tokens are summed in parallel
/// and added in order, which takes two thirds of the time of one parallel product and does not depend on the number of threads.
pub(super) fn add_transposed_product(dst: &mut [f32], g: View<'_>, x: View<'_>) {
    let (m, n) = (g.cols, x.cols);
    let blocks = g.rows.div_ceil(TALL);
    if blocks < 2 || m * n == 0 {
        return matmul(dst, n, g.transposed(), x, true);
    }
    let sums: Vec<Vec<f32>> = (0..blocks)
        .into_par_iter()
        .map(|b| {
            let (from, count) = (b * TALL, TALL.min(g.rows - b * TALL));
            let (g, x) = (g.row_range(from, count).transposed(), x.row_range(from, count));
            let mut sum = vec![0.0; m * n];
            matmul_with(&mut sum, n, g, x, false, gemm::Parallelism::None);
            sum
        })
        .collect();
    const PIECE: usize = 1 << 13;
    dst[..m * n].par_chunks_mut(PIECE).enumerate().for_each(|(c, dst)| {
        simd(|| {
            for sum in &sums {
                dst.iter_mut().zip(&sum[c * PIECE..]).for_each(|(d, s)| *d += *s);
            }
        });
    });
}

fn matmul_with(
    dst: &mut [f32],
    stride: usize,
    a: View<'_>,
    b: View<'_>,
    accumulate: bool,
    parallelism: gemm::Parallelism,
) {
    let (m, n, k) = (a.rows, b.cols, a.cols);
    if m == 0 || n == 0 {
        return;
    }
    assert!(a.cols == b.rows && a.fits() && b.fits(), "operands of a matrix product do not fit");
    assert!(n <= stride && (m - 1) * stride + n <= dst.len(), "the result of a matrix product does not fit");
    if k == 0 {
        if !accumulate {
            dst.chunks_mut(stride).for_each(|r| r[..n].fill(0.0));
        }
        return;
    }
    let step = |v: usize| v as isize;
    // SAFETY: every element that gemm touches lies inside its slice: the largest index of `a` and `b` is checked by `fits`,
    // that of `dst` above; `dst` is borrowed mutably and so does not overlap `a` or `b`; all values are initialised.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            dst.as_mut_ptr(),
            1,
            step(stride),
            accumulate,
            a.data.as_ptr(),
            step(a.col_step),
            step(a.row_step),
            b.data.as_ptr(),
            step(b.col_step),
            step(b.row_step),
            if accumulate { 1.0 } else { 0.0 },
            1.0f32,
            false,
            false,
            false,
            parallelism,
        );
    }
}

/// A buffer cut for `count` tasks in pieces of `size` values; empty pieces where there is no buffer.
pub(super) fn pieces(buffer: Option<&mut [f32]>, size: usize, count: usize) -> Vec<&mut [f32]> {
    let mut all: Vec<&mut [f32]> = buffer.map(|b| b.chunks_mut(size.max(1)).collect()).unwrap_or_default();
    all.resize_with(count, Default::default);
    all
}

/// Runs a loop compiled for the best vector instructions of this machine.
#[inline(always)]
pub(super) fn simd<R>(f: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(f)
}

/// `e^x`, at most 2 ulp off for results in the normal range (Cephes expf, branch-free so that it vectorises).
/// Arguments are clamped to [-87, 88].
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    let x = x.clamp(-87.0, 88.0);
    let n = (x * std::f32::consts::LOG2_E + 12_582_912.0) - 12_582_912.0;
    let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let p = ((((1.987_569_1e-4 * r + 1.398_199_9e-3) * r + 8.333_452e-3) * r + 4.166_579_6e-2) * r
        + 1.666_666_5e-1)
        * r
        + 0.5;
    let y = p * r * r + r + 1.0;
    y * f32::from_bits((((n as i32) + 127) << 23) as u32)
}

/// `tanh x`, at most 4 ulp off (Cephes tanhf: a polynomial below 0.625, the exponential above; both sides are computed).
#[inline(always)]
pub(super) fn tanh(x: f32) -> f32 {
    let z = x * x;
    let small = x + x
        * z
        * ((((-5.704_988_7e-3 * z + 0.020_639_09) * z - 5.373_971_6e-2) * z + 1.333_144_2e-1) * z
            - 0.333_332_8);
    let e = exp(2.0 * x.abs().clamp(0.0, 20.0));
    let large = (1.0 - 2.0 / (e + 1.0)).copysign(x);
    if x.abs() < 0.625 { small } else { large }
}

/// `a . b` in f64; eight sums side by side, so that it vectorises.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f64 {
    simd(|| {
        let (a, a_rest) = a.as_chunks::<8>();
        let (b, b_rest) = b.as_chunks::<8>();
        let mut sums = [0.0f64; 8];
        for (a, b) in a.iter().zip(b) {
            for ((s, a), b) in sums.iter_mut().zip(a).zip(b) {
                *s += f64::from(*a) * f64::from(*b);
            }
        }
        let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
        sums.iter().sum::<f64>() + rest
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ulps(a: f32, b: f64) -> f64 {
        let b32 = b as f32;
        let ulp = f64::from(f32::from_bits(b32.abs().to_bits() + 1)) - f64::from(b32.abs());
        (f64::from(a) - b).abs() / ulp
    }

    #[test]
    fn exp_and_tanh_keep_their_stated_accuracy() {
        let (mut worst_exp, mut worst_tanh) = (0.0f64, 0.0f64);
        for i in -870_000..870_000 {
            let x = i as f32 * 1e-4;
            worst_exp = worst_exp.max(ulps(exp(x), f64::from(x).exp()));
            if x.abs() < 20.0 && x != 0.0 {
                worst_tanh = worst_tanh.max(ulps(tanh(x), f64::from(x).tanh()));
            }
        }
        assert!(worst_exp <= 2.0, "exp is {worst_exp} ulp off");
        assert!(worst_tanh <= 4.0, "tanh is {worst_tanh} ulp off");
        assert_eq!(tanh(0.0), 0.0);
        assert!(tanh(f32::NAN).is_nan() && exp(f32::NAN).is_nan());
    }

    #[test]
    fn the_gradient_of_a_weight_does_not_depend_on_blocks() {
        let (n, m, k) = (2 * TALL + 3, 5, 4);
        let value = |i: usize| (i * 37 % 101) as f32 / 101.0 - 0.5;
        let g: Vec<f32> = (0..n * m).map(value).collect();
        let x: Vec<f32> = (0..n * k).map(|i| value(i + 7)).collect();
        let (mut blocked, mut whole) = (vec![1.0; m * k], vec![1.0; m * k]);
        let (g, x) = (View::new(&g, n, m, m), View::new(&x, n, k, k));
        add_transposed_product(&mut blocked, g, x);
        matmul(&mut whole, k, g.transposed(), x, true);
        blocked.iter().zip(&whole).for_each(|(a, b)| assert!((a - b).abs() < 1e-4, "{a} {b}"));
    }

    #[test]
    fn dot_covers_the_rest() {
        let a: Vec<f32> = (0..19).map(|i| i as f32).collect();
        assert_eq!(dot(&a, &a), (0..19).map(|i| f64::from(i * i)).sum::<f64>());
    }
}
