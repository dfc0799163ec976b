//! `|W d|^2` for many residuals `d`, `W` lower triangular.

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

impl Whitener {
    /// From `W` `[D, D]`, row-major.
    pub(crate) fn new(w: &[f32], dim: usize) -> Whitener {
        let mut panels = Vec::new();
        for top in (0..dim).step_by(ROWS) {
            for j in 0..(top + ROWS).min(dim) {
                panels
                    .push(std::array::from_fn(|k| if top + k < dim { w[(top + k) * dim + j] } else { 0.0 }));
            }
        }
        Whitener { dim, panels }
    }

    /// `|W d|^2` per residual of `residuals` (`[n, D]`), appended to `out`.
    pub(crate) fn squares(&self, residuals: &[f32], out: &mut Vec<f32>) {
        let mut blocks = residuals.chunks_exact(self.dim * TOKENS);
        let mut columns = vec![[0.0; TOKENS]; self.dim];
        for block in &mut blocks {
            for (j, c) in columns.iter_mut().enumerate() {
                *c = std::array::from_fn(|t| block[t * self.dim + j]);
            }
            out.extend(self.block(&columns));
        }
        for token in blocks.remainder().chunks_exact(self.dim) {
            let (columns, _) = token.as_chunks::<1>();
            out.extend(self.block(columns));
        }
    }

    /// `|W d|^2` of `N` residuals given as columns, `[D][N]`.
    fn block<const N: usize>(&self, columns: &[[f32; N]]) -> [f32; N] {
        let mut squares = [[0.0f32; ROWS]; N];
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
            for t in 0..N {
                for k in 0..ROWS {
                    squares[t][k] += y[t][k] * y[t][k];
                }
            }
        }
        squares.map(|s| s.iter().sum())
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
            let mut w = values(dim * dim, 1);
            for i in 0..dim {
                w[i * dim + i + 1..(i + 1) * dim].fill(0.0);
            }
            for n in [0, 1, 3, 4, 5, 9] {
                let d = values(n * dim, 2);
                let mut out = vec![];
                Whitener::new(&w, dim).squares(&d, &mut out);
                assert_eq!(out.len(), n);
                for (token, s) in d.chunks(dim).zip(&out) {
                    let y = |i: usize| (0..dim).map(|j| f64::from(w[i * dim + j] * token[j])).sum::<f64>();
                    let expected: f64 = (0..dim).map(|i| y(i) * y(i)).sum();
                    assert_relative_eq!(f64::from(*s), expected, max_relative = 1e-4, epsilon = 1e-5);
                }
            }
        }
    }

    #[test]
    fn a_token_has_the_same_bits_in_any_batch() {
        let dim = 19;
        let (w, d) = (values(dim * dim, 3), values(7 * dim, 4));
        let whitener = Whitener::new(&w, dim);
        let mut together = vec![];
        whitener.squares(&d, &mut together);
        let mut alone = vec![];
        d.chunks(dim).for_each(|t| whitener.squares(t, &mut alone));
        assert_eq!(together, alone);
    }
}
