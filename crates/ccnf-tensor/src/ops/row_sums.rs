//! Gradients of row tables: sums of token rows by table row. None of them depends on the number of threads.

use super::kernels::simd;
use rayon::prelude::*;

/// Tables with at most so many rows are summed inside the element-wise pass, by [`RowSums`]; larger ones by [`segment_sum`].
const SMALL: usize = 64;

/// True for a table whose gradient [`RowSums`] takes.
pub(super) fn is_small(table_rows: usize) -> bool {
    table_rows <= SMALL
}

/// Sums of one task's tokens by table row; the tasks' sums are added in order.
#[derive(Debug, Default)]
pub(super) struct RowSums {
    width: usize,
    /// Place of each table row in `rows`, plus one; 0: not met.
    place: Vec<u32>,
    rows: Vec<usize>,
    sums: Vec<f32>,
}

impl RowSums {
    /// No tokens yet.
    pub(super) fn new(table_rows: usize, width: usize) -> Self {
        RowSums { width, place: vec![0; table_rows], rows: vec![], sums: vec![] }
    }

    /// The sum of row `row` so far.
    pub(super) fn row(&mut self, row: usize) -> &mut [f32] {
        if self.place[row] == 0 {
            self.rows.push(row);
            self.place[row] = self.rows.len() as u32;
            self.sums.resize(self.rows.len() * self.width, 0.0);
        }
        let from = (self.place[row] as usize - 1) * self.width;
        &mut self.sums[from..from + self.width]
    }

    /// Adds the sums to the table's gradient.
    pub(super) fn add_to(&self, out: &mut [f32]) {
        for (row, sum) in self.rows.iter().zip(self.sums.chunks_exact(self.width.max(1))) {
            let out = &mut out[row * self.width..(row + 1) * self.width];
            out.iter_mut().zip(sum).for_each(|(o, s)| *o += *s);
        }
    }
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

    #[test]
    fn segment_sum_adds_rows_by_index() {
        let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let mut out = [10.0, 0.0, 0.0, 0.0];
        segment_sum(&mut out, &x, Some(&[1, 0, 1]), 2);
        assert_eq!(out, [13.0, 4.0, 6.0, 8.0]);
    }

    #[test]
    fn row_sums_keep_rows_apart() {
        let mut sums = RowSums::new(3, 2);
        for (row, value) in [(2, 1.0), (0, 5.0), (2, 3.0)] {
            sums.row(row).iter_mut().for_each(|s| *s += value);
        }
        let mut out = [1.0; 6];
        sums.add_to(&mut out);
        assert_eq!(out, [6.0, 6.0, 1.0, 1.0, 5.0, 5.0]);
    }
}
