//! `W d` and `|W d|^2` for many residuals `d`, `W` lower triangular.

/// Rows of `W` worked on at once: their sums stay in registers.
const ROWS: usize = 8;
/// Tokens worked on at once.
const TOKENS: usize = 4;

/// A lower triangular `W` in panels of [`ROWS`] rows, column after column, without what lies above the diagonal of the panel:
/// about half the size of the matrix, read in order.
///
/// Every sum has a fixed order that does not depend on how many tokens there are, so a token's result has the same bits in any
/// batch. (A general matrix product does not promise that.)
pub(crate) struct Whitener {
    dim: usize,
    panels: Vec<[f32; ROWS]>,
}

/// Values in the lower triangle of a `dim x dim` matrix.
pub(crate) fn triangle(dim: usize) -> usize {
    dim * (dim + 1) / 2
}

impl Whitener {
    /// From the lower triangle of `W`, row after row.
    pub(crate) fn new(w: &[f32], dim: usize) -> Whitener {
        let at = |i: usize, j: usize| if i < dim && j <= i { w[triangle(i) + j] } else { 0.0 };
        let mut panels = Vec::new();
        for top in (0..dim).step_by(ROWS) {
            for j in 0..(top + ROWS).min(dim) {
                panels.push(std::array::from_fn(|k| at(top + k, j)));
            }
        }
        Whitener { dim, panels }
    }

    /// `|W d|^2` per residual of `residuals` (`[n, D]`), appended to `out`.
    pub(crate) fn squares(&self, residuals: &[f32], out: &mut Vec<f32>) {
        let mut blocks = residuals.chunks_exact(self.dim * TOKENS);
        let mut columns = vec![[0.0; TOKENS]; self.dim];
        for block in &mut blocks {
            self.columns(block, &mut columns);
            out.extend(self.block(&columns));
        }
        for token in blocks.remainder().chunks_exact(self.dim) {
            let (columns, _) = token.as_chunks::<1>();
            out.extend(self.block(columns));
        }
    }

    /// `W d` in place of every residual of `residuals` (`[n, D]`).
    pub(crate) fn whiten(&self, residuals: &mut [f32]) {
        let dim = self.dim;
        let mut blocks = residuals.chunks_exact_mut(dim * TOKENS);
        let mut columns = vec![[0.0; TOKENS]; dim];
        let put = |top: usize, y: &[[f32; ROWS]], block: &mut [f32]| {
            for (token, y) in block.chunks_exact_mut(dim).zip(y) {
                token[top..].iter_mut().zip(y).for_each(|(o, v)| *o = *v);
            }
        };
        for block in &mut blocks {
            self.columns(block, &mut columns);
            self.rows(&columns, |top, y| put(top, y, block));
        }
        for token in blocks.into_remainder().chunks_exact_mut(dim) {
            let residual = token.to_vec();
            let (columns, _) = residual.as_chunks::<1>();
            self.rows(columns, |top, y| put(top, y, token));
        }
    }

    /// The inverse of [`whiten`](Self::whiten): the `d` with `W d = y`, by forward substitution, in place of every row.
    pub(crate) fn unwhiten(&self, rows: &mut [f32]) {
        for y in rows.chunks_exact_mut(self.dim) {
            let mut d = vec![0.0f64; self.dim];
            let mut panels = self.panels.as_slice();
            for top in (0..self.dim).step_by(ROWS) {
                let (panel, rest) = panels.split_at((top + ROWS).min(self.dim));
                panels = rest;
                for i in top..(top + ROWS).min(self.dim) {
                    let k = i - top;
                    let known: f64 = panel[..i].iter().zip(&d).map(|(w, d)| f64::from(w[k]) * d).sum();
                    d[i] = (f64::from(y[i]) - known) / f64::from(panel[i][k]);
                }
            }
            y.iter_mut().zip(d).for_each(|(y, d)| *y = d as f32);
        }
    }

    /// Four tokens, each dim's values beside each other.
    fn columns(&self, block: &[f32], columns: &mut [[f32; TOKENS]]) {
        for (j, c) in columns.iter_mut().enumerate() {
            *c = std::array::from_fn(|t| block[t * self.dim + j]);
        }
    }

    /// `|W d|^2` of `N` residuals given as columns, `[D][N]`.
    fn block<const N: usize>(&self, columns: &[[f32; N]]) -> [f32; N] {
        let mut squares = [[0.0f32; ROWS]; N];
        self.rows(columns, |_, y| {
            for t in 0..N {
                for k in 0..ROWS {
                    squares[t][k] += y[t][k] * y[t][k];
                }
            }
        });
        squares.map(|s| s.iter().sum())
    }

    /// `W d` of `N` residuals given as columns, panel by panel: `take` gets the number of the panel's first row and `[N][ROWS]`.
    #[inline(always)]
    fn rows<const N: usize>(&self, columns: &[[f32; N]], mut take: impl FnMut(usize, &[[f32; ROWS]; N])) {
        let mut panels = self.panels.as_slice();
        for top in (0..self.dim).step_by(ROWS) {
            let (panel, rest) = panels.split_at((top + ROWS).min(self.dim));
            panels = rest;
            let mut y = [[0.0f32; ROWS]; N];
            for (w, d) in panel.iter().zip(columns) {
                for t in 0..N {
                    for k in 0..ROWS {
                        y[t][k] += w[k] * d[t];
                    }
                }
            }
            take(top, &y);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use approx::assert_relative_eq;

    fn values(n: usize, seed: u32) -> Vec<f32> {
        (0..n as u32)
            .map(|i| ((i.wrapping_mul(2_654_435_761).wrapping_add(seed) >> 16) % 200) as f32 / 100.0 - 1.0)
            .collect()
    }

    #[test]
    fn it_equals_the_plain_product_for_any_size() {
        for dim in [1, 2, 7, 8, 9, 24, 41] {
            let w = values(triangle(dim), 1);
            for n in [0, 1, 3, 4, 5, 9] {
                let d = values(n * dim, 2);
                let mut out = vec![];
                Whitener::new(&w, dim).squares(&d, &mut out);
                assert_eq!(out.len(), n);
                for (token, s) in d.chunks(dim).zip(&out) {
                    let y = |i: usize| (0..=i).map(|j| f64::from(w[triangle(i) + j] * token[j])).sum::<f64>();
                    let expected: f64 = (0..dim).map(|i| y(i) * y(i)).sum();
                    assert_relative_eq!(f64::from(*s), expected, max_relative = 1e-4, epsilon = 1e-5);
                }
            }
        }
    }

    #[test]
    fn whitened_residuals_have_those_squares_and_come_back() {
        for dim in [1, 7, 8, 9, 24, 41] {
            let mut w: Vec<f32> = values(triangle(dim), 1).iter().map(|v| 0.2 * v).collect();
            (0..dim).for_each(|i| w[triangle(i) + i] += 1.0);
            let whitener = Whitener::new(&w, dim);
            for n in [1, 4, 7] {
                let d = values(n * dim, 2);
                let (mut y, mut squares) = (d.clone(), vec![]);
                whitener.whiten(&mut y);
                whitener.squares(&d, &mut squares);
                for (y, s) in y.chunks(dim).zip(&squares) {
                    assert_relative_eq!(y.iter().map(|v| v * v).sum::<f32>(), *s, max_relative = 1e-5);
                }
                whitener.unwhiten(&mut y);
                y.iter().zip(&d).for_each(|(a, b)| assert_relative_eq!(*a, *b, epsilon = 1e-4));
            }
        }
    }

    #[test]
    fn a_token_has_the_same_bits_in_any_batch() {
        let dim = 19;
        let (w, d) = (values(triangle(dim), 3), values(7 * dim, 4));
        let whitener = Whitener::new(&w, dim);
        let mut together = vec![];
        whitener.squares(&d, &mut together);
        let mut alone = vec![];
        d.chunks(dim).for_each(|t| whitener.squares(t, &mut alone));
        assert_eq!(together, alone);
    }
}
