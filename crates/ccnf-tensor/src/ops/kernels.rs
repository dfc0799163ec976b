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
    fn fits(&self) -> bool {
        self.rows == 0
            || self.cols == 0
            || (self.rows - 1) * self.row_step + (self.cols - 1) * self.col_step < self.data.len()
    }
}

/// `dst[:, ..b.cols] = (accumulate ? dst : 0) + a b`; `dst` is row-major with `stride` columns.
pub(super) fn matmul(dst: &mut [f32], stride: usize, a: View<'_>, b: View<'_>, accumulate: bool) {
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
            gemm::Parallelism::Rayon(0),
        );
    }
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
    let p = ((((1.987_569_1e-4 * r + 1.398_199_9e-3) * r + 8.333_452e-3) * r + 4.166_579_6e-2) * r + 1.666_666_5e-1)
        * r
        + 0.5;
    let y = p * r * r + r + 1.0;
    y * f32::from_bits((((n as i32) + 127) << 23) as u32)
}

/// `tanh x`, at most 4 ulp off (Cephes tanhf: a polynomial below 0.625, the exponential above; both sides are computed).
#[inline(always)]
pub(super) fn tanh(x: f32) -> f32 {
    let z = x * x;
    let small = x
        + x * z
            * ((((-5.704_988_7e-3 * z + 2.063_908_9e-2) * z - 5.373_971_6e-2) * z + 1.333_144_2e-1) * z
                - 3.333_328_2e-1);
    let e = exp(2.0 * x.abs().clamp(0.0, 20.0));
    let large = (1.0 - 2.0 / (e + 1.0)).copysign(x);
    if x.abs() < 0.625 { small } else { large }
}

/// `out[index[n], :] += x[n, :]` for all tokens, in the order of the tokens: the gradient of a row table.
/// Parallel over column blocks, so the sum does not depend on the number of threads.
pub(super) fn segment_sum(out: &mut [f32], x: &[f32], index: Option<&[u32]>, width: usize) {
    if width == 0 || x.is_empty() {
        return;
    }
    let threads = rayon::current_num_threads().max(1);
    let block = width.div_ceil(threads).next_multiple_of(16).min(width);
    let rows = out.len() / width;
    let blocks: Vec<(usize, Vec<f32>)> = (0..width.div_ceil(block))
        .into_par_iter()
        .map(|b| {
            let (from, to) = (b * block, ((b + 1) * block).min(width));
            let w = to - from;
            let mut acc = vec![0.0f32; rows * w];
            simd(|| {
                for (n, row) in x.chunks_exact(width).enumerate() {
                    let r = index.map_or(0, |i| i[n] as usize);
                    let a = &mut acc[r * w..(r + 1) * w];
                    for (a, v) in a.iter_mut().zip(&row[from..to]) {
                        *a += *v;
                    }
                }
            });
            (from, acc)
        })
        .collect();
    for (from, acc) in blocks {
        let w = acc.len() / rows.max(1);
        for (r, a) in acc.chunks_exact(w).enumerate() {
            for (o, v) in out[r * width + from..].iter_mut().zip(a) {
                *o += *v;
            }
        }
    }
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
    fn segment_sum_adds_rows_by_index() {
        let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let mut out = [10.0, 0.0, 0.0, 0.0];
        segment_sum(&mut out, &x, Some(&[1, 0, 1]), 2);
        assert_eq!(out, [13.0, 4.0, 6.0, 8.0]);
    }
}
