//! Gradients of row tables: sums of token rows by table row.

use super::kernels::simd;
use super::pool::Buffer;
use rayon::prelude::*;

/// Sums of one segment's tokens by table row.
#[derive(Debug, Default)]
pub(super) struct RowSums {
    width: usize,
    /// Place of each table row in `sums`, plus one; 0: not met.
    place: Vec<u32>,
    met: u32,
    sums: Buffer,
}

impl RowSums {
    /// No tokens yet. The table has `rows` rows (0: no sums are wanted), the segment `tokens` tokens.
    pub(super) fn new(rows: usize, tokens: usize, width: usize) -> Self {
        RowSums { width, place: vec![0; rows], met: 0, sums: Buffer::zeros(rows.min(tokens) * width) }
    }

    /// The sum of row `row` so far.
    #[inline(always)]
    pub(super) fn row(&mut self, row: usize) -> &mut [f32] {
        if self.place[row] == 0 {
            self.met += 1;
            self.place[row] = self.met;
        }
        let from = (self.place[row] as usize - 1) * self.width;
        &mut self.sums[from..from + self.width]
    }

    /// Adds the segments' sums, in order, to the table's gradient.
    pub(super) fn add(segments: &[&RowSums], out: &mut [f32]) {
        /// Table rows that one task adds up.
        const ROWS: usize = 16;
        let width = segments.first().map_or(1, |s| s.width).max(1);
        out.par_chunks_mut(ROWS * width).enumerate().for_each(|(c, out)| {
            simd(
                #[inline(always)]
                || {
                    for (r, out) in out.chunks_exact_mut(width).enumerate() {
                        for segment in segments {
                            let place = segment.place.get(c * ROWS + r).copied().unwrap_or(0) as usize;
                            if place > 0 {
                                let sum = &segment.sums[(place - 1) * width..place * width];
                                out.iter_mut().zip(sum).for_each(|(o, s)| *o += *s);
                            }
                        }
                    }
                },
            );
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_sums_keep_rows_apart_and_add_up_over_segments() {
        let (mut a, mut b) = (RowSums::new(3, 10, 2), RowSums::new(3, 10, 2));
        for (row, value) in [(2, 1.0), (0, 5.0), (2, 3.0)] {
            a.row(row).iter_mut().for_each(|s| *s += value);
        }
        b.row(1)[1] = 7.0;
        b.row(2)[0] = 2.0;
        let mut out = [1.0; 6];
        RowSums::add(&[&a, &b], &mut out);
        assert_eq!(out, [6.0, 6.0, 1.0, 8.0, 7.0, 5.0]);
    }
}
