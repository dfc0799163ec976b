//! One full Gaussian: the simplest density that can stand in the place of a mixture.

use ccnf_core::{Error, ErrorKind, Result};
use ccnf_tensor::{constant, leading_eigenvectors, mat, ops};

/// `N(m, S')` of rows in `D` dims. `S' = (1 - a) S + a diag S` with the covariance `S` (divided by the number `n` of rows) and
/// `a = min(1, D / (D + n) + 0.02)`. Shrunk to its own diagonal, the density of features is the same whatever the scale of each channel,
/// but for a constant.
pub(crate) struct FullGaussian {
    mean: Vec<f64>,
    /// `W` with `W^T W = S'^-1`, `[D, D]`.
    whitening: Vec<f32>,
    /// `-(D ln 2 pi + ln det S') / 2`.
    constant: f64,
}

/// Part of the shrinkage that does not depend on the number of rows.
const SHRINKAGE: f64 = 0.02;
/// A variance below this part of the mean variance, or below this, counts as none.
const FLOOR: f64 = 1e-10;

impl FullGaussian {
    /// Fits rows `[n][dim]`.
    pub(crate) fn fit(rows: &[f32], dim: usize) -> Result<FullGaussian> {
        let n = rows.len() / dim.max(1);
        if n == 0 {
            return Err(Error::new(ErrorKind::Contract, "a Gaussian cannot be fitted to no vector"));
        }
        let mut mean = vec![0.0f64; dim];
        for row in rows.chunks_exact(dim) {
            mean.iter_mut().zip(row).for_each(|(m, v)| *m += f64::from(*v));
        }
        mean.iter_mut().for_each(|m| *m /= n as f64);
        let mut covariance = vec![0.0f64; dim * dim];
        let mut centred = vec![0.0f64; dim];
        for row in rows.chunks_exact(dim) {
            centred.iter_mut().zip(row.iter().zip(&mean)).for_each(|(c, (v, m))| *c = f64::from(*v) - m);
            for (i, own) in covariance.chunks_exact_mut(dim).enumerate() {
                own.iter_mut().zip(&centred).for_each(|(s, c)| *s += centred[i] * c);
            }
        }
        let a = (dim as f64 / (dim + n) as f64 + SHRINKAGE).min(1.0);
        for (k, s) in covariance.iter_mut().enumerate() {
            *s /= n as f64;
            if k / dim != k % dim {
                *s *= 1.0 - a;
            }
        }
        let trace: f64 = (0..dim).map(|i| covariance[i * dim + i]).sum();
        let floor = (FLOOR * trace / dim as f64).max(FLOOR);
        let (mut whitening, mut log_det) = (Vec::with_capacity(dim * dim), 0.0);
        for (value, vector) in leading_eigenvectors(&covariance, dim, dim)? {
            let value = value.max(floor);
            log_det += value.ln();
            whitening.extend(vector.iter().map(|v| (v / value.sqrt()) as f32));
        }
        let constant = -0.5 * (dim as f64 * std::f64::consts::TAU.ln() + log_det);
        Ok(FullGaussian { mean, whitening, constant })
    }

    /// `ln N` of every row, in nats.
    pub(crate) fn log_density(&self, rows: &[f32]) -> Result<Vec<f32>> {
        let dim = self.mean.len();
        let centred = |(k, v): (usize, &f32)| (f64::from(*v) - self.mean[k % dim]) as f32;
        let x = mat(rows.iter().enumerate().map(centred).collect(), rows.len() / dim, dim)?;
        let w = mat(self.whitening.clone(), dim, dim)?;
        let squares = ops::square_sum(&ops::linear(&constant(&x), &constant(&w), None)?)?;
        Ok(squares.as_vec().iter().map(|s| (self.constant - 0.5 * f64::from(*s)) as f32).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ccnf_tensor::Streams;

    #[test]
    fn a_small_case_agrees_with_the_formula() {
        let rows = [2.0, 2.0, 0.0, 0.0, 2.0, 1.0, 0.0, 1.0, 1.0, 2.0, 1.0, 0.0];
        let g = FullGaussian::fit(&rows, 2).unwrap();
        // Six rows around (1, 1): variances 4/6, covariance 2/6, a = 2/8 + 0.02.
        let (variance, a) = (4.0 / 6.0, 2.0 / 8.0 + 0.02);
        let covariance = (1.0 - a) * 2.0 / 6.0;
        let det: f64 = variance * variance - covariance * covariance;
        // At (2, 1): d = (1, 0), d^T S^-1 d = variance / det.
        let expected = -std::f64::consts::TAU.ln() - 0.5 * det.ln() - 0.5 * variance / det;
        let found = f64::from(g.log_density(&[2.0, 1.0]).unwrap()[0]);
        assert!((found - expected).abs() < 1e-5, "{found} against {expected}");
    }

    #[test]
    fn the_scale_of_a_channel_changes_nothing_but_a_constant() {
        let rows = Streams::new(1).normal("rows", 300);
        let mixed: Vec<f32> = rows.chunks_exact(3).flat_map(|r| [r[0], r[0] + r[1], r[1] - r[2]]).collect();
        let scaled: Vec<f32> = mixed.iter().enumerate().map(|(k, v)| v * [1.0, 50.0, 0.02][k % 3]).collect();
        let of = |rows: &[f32]| FullGaussian::fit(rows, 3).unwrap().log_density(rows).unwrap();
        let (a, b) = (of(&mixed), of(&scaled));
        let shift = b[0] - a[0];
        assert!(a.iter().zip(&b).all(|(a, b)| (b - a - shift).abs() < 1e-3));
    }

    #[test]
    fn constant_channels_stay_finite_and_no_row_is_an_error() {
        let g = FullGaussian::fit(&[1.0, 5.0, 2.0, 5.0, 3.0, 5.0], 2).unwrap();
        assert!(g.log_density(&[1.0, 5.0, 1.0, 6.0]).unwrap().iter().all(|v| v.is_finite()));
        assert!(FullGaussian::fit(&[], 2).is_err());
    }
}
