//! Matrix products on rows that are in the cache: the inner loops of the fused operations, for the widest vectors of the processor.
//!
//! The weight is packed once per call, in groups of panels of one vector each, so that the inner loop reads both operands in order.
//! Every value of a product is one chain of fused multiply-adds over the inner dimension, so no result depends on how rows are
//! grouped into tiles, chunks or threads.
#![allow(
    unsafe_code,
    reason = "a bounds check per element halves the speed of the inner loop; the one read is guarded by an assertion"
)]

use super::pool::Buffer;
use pulp::{Arch, Simd, WithSimd};

/// The number of `f32` values of a vector.
pub(super) fn lanes() -> usize {
    struct Lanes;
    impl WithSimd for Lanes {
        type Output = usize;
        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> usize {
            S::F32_LANES
        }
    }
    Arch::new().dispatch(Lanes)
}

/// Panels that one tile covers: as many sums as the registers hold, with room for the operands.
const fn group_of<S: Simd>() -> usize {
    if S::REGISTER_COUNT >= 32 { 3 } else { 2 }
}

/// Rows of a full tile.
const fn rows_of<S: Simd>() -> usize {
    if S::REGISTER_COUNT >= 32 { 8 } else { 6 }
}

/// The panels of the next group when `left` are left: never a last group of one where two of two will do.
const fn next_group<S: Simd>(left: usize) -> usize {
    match (group_of::<S>(), left) {
        (_, 0 | 1) => left,
        (3, 2 | 4) | (2, _) => 2,
        _ => 3,
    }
}

/// A result that is computed in tiles of `M` rows and `P` panels.
trait Tiles {
    fn rows(&self) -> usize;
    fn panels<S: Simd>(&self) -> usize;
    fn tile<S: Simd, const M: usize, const P: usize>(&mut self, simd: S, row: usize, panel: usize);
}

/// Runs all tiles, group of panels by group of panels.
#[inline(always)]
fn all_tiles<S: Simd, T: Tiles>(result: &mut T, simd: S) {
    let (mut panel, panels) = (0, result.panels::<S>());
    while panel < panels {
        let count = next_group::<S>(panels - panel);
        match count {
            3 => column_of_tiles::<S, T, 3>(result, simd, panel),
            2 => column_of_tiles::<S, T, 2>(result, simd, panel),
            _ => column_of_tiles::<S, T, 1>(result, simd, panel),
        }
        panel += count;
    }
}

/// Runs the tiles of one group of panels: full ones, then smaller ones for the rest of the rows.
#[inline(always)]
fn column_of_tiles<S: Simd, T: Tiles, const P: usize>(result: &mut T, simd: S, panel: usize) {
    let (mut row, rows) = (0, result.rows());
    if rows_of::<S>() == 8 {
        while row + 8 <= rows {
            result.tile::<S, 8, P>(simd, row, panel);
            row += 8;
        }
    } else {
        while row + 6 <= rows {
            result.tile::<S, 6, P>(simd, row, panel);
            row += 6;
        }
    }
    while row + 4 <= rows {
        result.tile::<S, 4, P>(simd, row, panel);
        row += 4;
    }
    while row < rows {
        result.tile::<S, 1, P>(simd, row, panel);
        row += 1;
    }
}

/// The right operand of a product, `[inner, outputs]`, packed: `[group][inner][panel of the group][lane]`, zeros up to a whole vector.
pub(super) struct Packed {
    inner: usize,
    panels: usize,
    values: Buffer,
}

/// How a row-major matrix becomes the right operand.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Operand {
    /// As it is: `[inner, outputs]`.
    Plain,
    /// Transposed: the matrix is `[outputs, inner]`.
    Transposed,
}

impl Packed {
    /// Packs the `rows x cols` matrix `values`.
    pub(super) fn new(values: &[f32], rows: usize, cols: usize, operand: Operand) -> Packed {
        struct Pack<'a>(&'a [f32], usize, usize, Operand);
        impl WithSimd for Pack<'_> {
            type Output = Packed;
            #[inline(always)]
            fn with_simd<S: Simd>(self, _: S) -> Packed {
                Packed::pack::<S>(self.0, self.1, self.2, self.3)
            }
        }
        Arch::new().dispatch(Pack(values, rows, cols, operand))
    }

    #[inline(always)]
    fn pack<S: Simd>(values: &[f32], rows: usize, cols: usize, operand: Operand) -> Packed {
        let lanes = S::F32_LANES;
        let (inner, outputs) = if operand == Operand::Plain { (rows, cols) } else { (cols, rows) };
        let panels = outputs.div_ceil(lanes);
        let mut packed = Buffer::zeros(panels * inner * lanes);
        let (mut panel, mut rest) = (0, &mut packed[..]);
        while panel < panels {
            let count = next_group::<S>(panels - panel);
            let (group, after) = rest.split_at_mut(count * inner * lanes);
            let (from, width) = (panel * lanes, count * lanes);
            let used = width.min(outputs - from);
            match operand {
                Operand::Plain => {
                    for (to, row) in group.chunks_exact_mut(width).zip(values.chunks_exact(cols.max(1))) {
                        to[..used].copy_from_slice(&row[from..from + used]);
                    }
                }
                Operand::Transposed => {
                    for (lane, row) in
                        values[from * inner..(from + used) * inner].chunks_exact(inner.max(1)).enumerate()
                    {
                        group[lane..].iter_mut().step_by(width).zip(row).for_each(|(to, v)| *to = *v);
                    }
                }
            }
            (panel, rest) = (panel + count, after);
        }
        Packed { inner, panels, values: packed }
    }

    /// Columns of a result, with the zeros.
    pub(super) fn width(&self) -> usize {
        self.panels * lanes()
    }

    /// `out = a b` for `rows` rows: `a` has `a_stride` values per row, of which the first `inner` are used; `out` has
    /// [`width`](Packed::width).
    pub(super) fn rows_times(&self, a: &[f32], a_stride: usize, rows: usize, out: &mut [f32]) {
        Arch::new().dispatch(RowsTimes { b: self, a, a_stride, rows, out });
    }
}

struct RowsTimes<'a> {
    b: &'a Packed,
    a: &'a [f32],
    a_stride: usize,
    rows: usize,
    out: &'a mut [f32],
}

impl WithSimd for RowsTimes<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        all_tiles(&mut self, simd);
    }
}

impl Tiles for RowsTimes<'_> {
    fn rows(&self) -> usize {
        self.rows
    }
    fn panels<S: Simd>(&self) -> usize {
        self.b.panels
    }
    #[inline(always)]
    fn tile<S: Simd, const M: usize, const P: usize>(&mut self, simd: S, row: usize, panel: usize) {
        let (k, stride, lanes) = (self.b.inner, self.a_stride, S::F32_LANES);
        let b = &S::as_simd_f32s(&self.b.values).0[panel * k..(panel + P) * k];
        let a = &self.a[row * stride..];
        assert!(k <= stride && (M - 1) * stride + k <= a.len(), "the left operand of a product is too short");
        // SAFETY: i < M, so i * stride <= (M - 1) * stride, which the assertion above puts inside `a` (at its end for k = 0).
        let rows: [*const f32; M] = std::array::from_fn(|i| unsafe { a.as_ptr().add(i * stride) });
        let mut sums = [[simd.splat_f32s(0.0); P]; M];
        // four at a time: fewer instructions around the multiply-adds
        let whole = k - k % 4;
        for q in (0..whole).step_by(4) {
            for q in q..q + 4 {
                // SAFETY: q < k; the assertion above puts the first k values of each row inside `a`, and `b` has P * k vectors.
                unsafe { multiply_add::<S, M, P>(simd, &rows, b, q, &mut sums) };
            }
        }
        for q in whole..k {
            // SAFETY: as above.
            unsafe { multiply_add::<S, M, P>(simd, &rows, b, q, &mut sums) };
        }
        let width = self.b.panels * lanes;
        for (i, sums) in sums.iter().enumerate() {
            let at = (row + i) * width + panel * lanes;
            let (to, _) = S::as_mut_simd_f32s(&mut self.out[at..at + P * lanes]);
            to.copy_from_slice(sums);
        }
    }
}

/// `sums[i][j] += rows[i][q] * b[q * P + j]`.
///
/// # Safety
///
/// More than `q` values must follow each pointer of `rows`, and `b` must have more than `q * P + P - 1` vectors.
#[inline(always)]
unsafe fn multiply_add<S: Simd, const M: usize, const P: usize>(
    simd: S,
    rows: &[*const f32; M],
    b: &[S::f32s],
    q: usize,
    sums: &mut [[S::f32s; P]; M],
) {
    for (row, sums) in rows.iter().zip(sums) {
        // SAFETY: the caller's promise.
        let x = simd.splat_f32s(unsafe { *row.add(q) });
        for (j, sum) in sums.iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            let b = unsafe { *b.get_unchecked(q * P + j) };
            *sum = simd.mul_add_f32s(x, b, *sum);
        }
    }
}

/// `sum += g^T x` over the rows of `g` and `x`: the gradient of a weight. `g` is `[rows, g_stride]`, of which the first `outputs`
/// columns are used; `x` is `[rows, x_stride]`, a whole number of vectors; `sum` is `[outputs, x_stride]`.
pub(super) fn add_outer(
    sum: &mut [f32],
    g: &[f32],
    g_stride: usize,
    outputs: usize,
    x: &[f32],
    x_stride: usize,
) {
    Arch::new().dispatch(AddOuter { sum, g, g_stride, outputs, x, x_stride });
}

struct AddOuter<'a> {
    sum: &'a mut [f32],
    g: &'a [f32],
    g_stride: usize,
    outputs: usize,
    x: &'a [f32],
    x_stride: usize,
}

impl WithSimd for AddOuter<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        all_tiles(&mut self, simd);
    }
}

impl Tiles for AddOuter<'_> {
    fn rows(&self) -> usize {
        self.outputs
    }
    fn panels<S: Simd>(&self) -> usize {
        self.x_stride / S::F32_LANES
    }
    #[inline(always)]
    fn tile<S: Simd, const M: usize, const P: usize>(&mut self, simd: S, output: usize, panel: usize) {
        let lanes = S::F32_LANES;
        let columns = panel * lanes..(panel + P) * lanes;
        let mut sums = [[simd.splat_f32s(0.0); P]; M];
        for (i, sums) in sums.iter_mut().enumerate() {
            let row = &self.sum[(output + i) * self.x_stride..][columns.clone()];
            sums.copy_from_slice(S::as_simd_f32s(row).0);
        }
        let rows = self.g.chunks_exact(self.g_stride).zip(self.x.chunks_exact(self.x_stride));
        for (g, x) in rows {
            let g = &g[output..output + M];
            let (x, _) = S::as_simd_f32s(&x[columns.clone()]);
            for (g, sums) in g.iter().zip(&mut sums) {
                let g = simd.splat_f32s(*g);
                for (sum, x) in sums.iter_mut().zip(x) {
                    *sum = simd.mul_add_f32s(g, *x, *sum);
                }
            }
        }
        for (i, sums) in sums.iter().enumerate() {
            let row = &mut self.sum[(output + i) * self.x_stride..][columns.clone()];
            S::as_mut_simd_f32s(row).0.copy_from_slice(sums);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(n: usize, seed: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 37 + seed * 11) % 101) as f32 / 101.0 - 0.5).collect()
    }

    #[test]
    fn rows_times_is_the_matrix_product_for_all_shapes() {
        for (rows, inner, outputs) in
            [(1, 1, 1), (7, 5, 3), (13, 9, 17), (6, 16, 33), (25, 40, 56), (3, 0, 8)]
        {
            let stride = inner + 3;
            let (a, w) = (values(rows * stride, 1), values(outputs * inner, 2));
            let plain: Vec<f32> =
                (0..inner * outputs).map(|i| w[i % outputs * inner + i / outputs]).collect();
            let transposed = Packed::new(&w, outputs, inner, Operand::Transposed);
            let packed = Packed::new(&plain, inner, outputs, Operand::Plain);
            let width = packed.width();
            let (mut y, mut same) = (vec![f32::NAN; rows * width], vec![f32::NAN; rows * width]);
            packed.rows_times(&a, stride, rows, &mut y);
            transposed.rows_times(&a, stride, rows, &mut same);
            assert_eq!(y, same);
            for r in 0..rows {
                for o in 0..outputs {
                    let expected: f64 =
                        (0..inner).map(|q| f64::from(a[r * stride + q]) * f64::from(w[o * inner + q])).sum();
                    assert!((f64::from(y[r * width + o]) - expected).abs() < 1e-5);
                }
                assert!(y[r * width + outputs..(r + 1) * width].iter().all(|v| *v == 0.0));
            }
        }
    }

    #[test]
    fn a_row_does_not_depend_on_its_company() {
        let (rows, inner, outputs) = (23, 40, 50);
        let (a, w) = (values(rows * inner, 3), values(outputs * inner, 4));
        let packed = Packed::new(&w, outputs, inner, Operand::Transposed);
        let width = packed.width();
        let mut all = vec![0.0; rows * width];
        packed.rows_times(&a, inner, rows, &mut all);
        for r in 0..rows {
            let mut one = vec![0.0; width];
            packed.rows_times(&a[r * inner..(r + 1) * inner], inner, 1, &mut one);
            assert_eq!(one, all[r * width..(r + 1) * width]);
        }
    }

    #[test]
    fn add_outer_adds_the_products_of_all_rows() {
        for (rows, outputs, inner) in [(1, 1, 1usize), (10, 13, 20), (33, 6, 48), (5, 11, 7)] {
            let (g_stride, x_stride) = (outputs + 2, inner.next_multiple_of(lanes()));
            let (g, x) = (values(rows * g_stride, 5), values(rows * x_stride, 6));
            let mut sum = vec![1.0; outputs * x_stride];
            add_outer(&mut sum, &g, g_stride, outputs, &x, x_stride);
            for o in 0..outputs {
                for i in 0..inner {
                    let expected: f64 = 1.0
                        + (0..rows)
                            .map(|r| f64::from(g[r * g_stride + o]) * f64::from(x[r * x_stride + i]))
                            .sum::<f64>();
                    assert!((f64::from(sum[o * x_stride + i]) - expected).abs() < 1e-5);
                }
            }
        }
    }
}
