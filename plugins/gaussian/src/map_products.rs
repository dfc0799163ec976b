//! The fit of the layer `factor`, as far as it needs only the products of maps.

use ccnf::prelude::*;
use ccnf::tensor::leading_eigenvectors;
use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};

/// Products of maps among each other, `[n, n]`: all that the fit needs of them but the directions themselves.
pub(crate) struct Products {
    n: usize,
    values: Vec<f64>,
}

/// A direction as weights of maps: `u = sum_j weights_j s_j`, of length 1.
pub(crate) type Weights = Vec<f64>;

impl Products {
    pub(crate) fn new(sums: &[f64], n: usize, m: usize) -> Products {
        let mut values = vec![0.0; n * n];
        let s = MatRef::from_row_major_slice(sums, n, m);
        matmul(
            MatMut::from_row_major_slice_mut(&mut values, n, n),
            Accum::Replace,
            s,
            s.transpose(),
            1.0,
            Par::Seq,
        );
        Products { n, values }
    }

    /// The directions of largest variance of the maps `members`, at most `rank` and two fewer than maps.
    pub(crate) fn directions(&self, members: &[usize], rank: usize) -> Result<Vec<Weights>> {
        let k = members.len();
        let row = |i: usize| members.iter().map(move |j| self.values[members[i] * self.n + j]);
        let means: Vec<f64> = (0..k).map(|i| row(i).sum::<f64>() / k as f64).collect();
        let mean = means.iter().sum::<f64>() / k.max(1) as f64;
        let centred: Vec<f64> = (0..k)
            .flat_map(|i| row(i).zip(&means).map(|(v, m)| v - m - means[i] + mean).collect::<Vec<_>>())
            .collect();
        let trace: f64 = (0..k).map(|i| centred[i * k + i]).sum();
        let found = leading_eigenvectors(&centred, k, rank.min(k.saturating_sub(2)))?;
        // The eigenvectors are orthogonal to the constant one, so that centring the maps in `u` is not needed.
        let usable = found.into_iter().take_while(|(v, _)| *v > 1e-10 * trace);
        Ok(usable.map(|(v, a)| a.into_iter().map(|a| a / v.sqrt()).collect()).collect())
    }

    /// Mean squared codes of held-out maps, at least 1.
    pub(crate) fn variances(&self, rank: usize, folds: usize) -> Result<Vec<f64>> {
        let (mut sums, mut counts) = (vec![0.0; rank], vec![0usize; rank]);
        for fold in 0..folds.min(self.n) {
            let (out, members): (Vec<_>, Vec<_>) = (0..self.n).partition(|i| i % folds == fold);
            for (i, weights) in self.directions(&members, rank)?.iter().enumerate() {
                for x in &out {
                    let products = members.iter().map(|j| self.values[j * self.n + x]);
                    let code: f64 = weights.iter().zip(products).map(|(w, p)| w * p).sum();
                    sums[i] += code * code;
                    counts[i] += 1;
                }
            }
        }
        Ok(sums.iter().zip(counts).map(|(s, n)| if n == 0 { 1.0 } else { (s / n as f64).max(1.0) }).collect())
    }
}
