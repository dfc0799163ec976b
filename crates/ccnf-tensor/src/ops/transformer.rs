//! What a transformer needs beside [`linear`](super::linear): attention, layer normalisation, GELU, dropout. Checked entry points.

use super::Index;
#[cfg(feature = "cuda")]
use super::composed;
#[cfg(not(feature = "cuda"))]
use super::{fused_attention, fused_rows};
use crate::{Result, TensorError, Var};
use dfdx::prelude::HasShape;

/// How rows and columns are divided in [`attention`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttentionSplit {
    /// Groups of consecutive rows, such as images; rows of different groups do not see each other.
    pub groups: usize,
    /// Blocks of consecutive columns that attend on their own.
    pub heads: usize,
}

/// Inverted dropout: a value is set to 0 with probability `rate` and multiplied with `1 / (1 - rate)` otherwise.
///
/// Which ones follows from seed and place by SplitMix64 (Steele, Lea & Flood 2014), so that no mask is stored.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    /// In [0, 1).
    pub rate: f32,
    /// From a random stream; another one for every use.
    pub seed: u64,
}

impl Dropout {
    /// The factor of value number `index`.
    #[inline(always)]
    pub fn factor(&self, index: u64) -> f32 {
        let mut z = self.seed.wrapping_add((index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        let uniform = (z >> 40) as f32 / (1u32 << 24) as f32;
        if uniform < self.rate { 0.0 } else { 1.0 / (1.0 - self.rate) }
    }

    fn check(&self) -> Result<()> {
        if (0.0..1.0).contains(&self.rate) {
            return Ok(());
        }
        Err(TensorError::shape("dropout", "a rate in [0, 1)", self.rate.to_string()))
    }
}

/// Multi-head attention (Vaswani et al. 2017) within groups of rows: for every group and head
///
/// ```text
/// Y = dropout(softmax(Q K^T / sqrt(d / heads))) V
/// ```
///
/// `q` is `[groups * n, d]`, `k` and `v` are `[groups * m, d]`; head `h` has the columns from `h d / heads` on. The result is
/// `[groups * n, d]`; a group's rows do not depend on the other groups, bit for bit.
pub fn attention(q: &Var, k: &Var, v: &Var, split: AttentionSplit, dropout: Option<Dropout>) -> Result<Var> {
    let ((n, d), (m, _)) = (*q.shape(), *k.shape());
    let AttentionSplit { groups, heads } = split;
    if groups == 0 || heads == 0 || n == 0 || m == 0 || d == 0 || n % groups + m % groups + d % heads != 0 {
        return Err(TensorError::shape(
            "attention",
            format!("rows in {groups} groups and columns in {heads} heads"),
            format!("{n} queries, {m} keys, {d} columns"),
        ));
    }
    if k.shape() != v.shape() || k.shape().1 != d {
        return Err(TensorError::shape(
            "attention",
            format!("keys and values of shape [{m}, {d}]"),
            format!("{:?} and {:?}", k.shape(), v.shape()),
        ));
    }
    dropout.iter().try_for_each(Dropout::check)?;
    #[cfg(not(feature = "cuda"))]
    return fused_attention::attention(q, k, v, split, dropout);
    #[cfg(feature = "cuda")]
    return composed::attention(q, k, v, split, dropout);
}

/// Layer normalisation of every row (Ba, Kiros & Hinton 2016): `y = gamma (x - mean) / sqrt(var + eps) + beta`, the variance divided by
/// the number of columns; `gamma` and `beta` are `[1, d]`.
pub fn layer_norm(x: &Var, gamma: &Var, beta: &Var, eps: f32) -> Result<Var> {
    let d = x.shape().1;
    if gamma.shape() != &(1, d) || beta.shape() != &(1, d) {
        return Err(TensorError::shape(
            "layer_norm",
            format!("[1, {d}]"),
            format!("{:?} and {:?}", gamma.shape(), beta.shape()),
        ));
    }
    #[cfg(not(feature = "cuda"))]
    return fused_rows::layer_norm(x, gamma, beta, eps);
    #[cfg(feature = "cuda")]
    return composed::layer_norm(x, gamma, beta, eps);
}

/// `x Phi(x)` with the distribution function of the normal distribution (Hendrycks & Gimpel 2016), not its approximation by tanh.
/// (The gradient of `dfdx`'s `accurate_gelu` is off: its density term is too large by `sqrt 2`.)
pub fn gelu(x: &Var) -> Result<Var> {
    #[cfg(not(feature = "cuda"))]
    return fused_rows::gelu(x);
    #[cfg(feature = "cuda")]
    return composed::gelu(x);
}

/// [`Dropout`] of every value of `x`, counted row by row.
pub fn dropout(x: &Var, dropout: Dropout) -> Result<Var> {
    dropout.check()?;
    #[cfg(not(feature = "cuda"))]
    return fused_rows::dropout(x, dropout);
    #[cfg(feature = "cuda")]
    return composed::dropout(x, dropout);
}

/// Row `index[n]` of `table` for every token `n`: what belongs to a position, for the tokens of many images.
pub fn gather_rows(table: &Var, index: &Index) -> Result<Var> {
    let rows = table.shape().0;
    if let Some(i) = index.iter().find(|i| **i as usize >= rows) {
        return Err(TensorError::Index { op: "gather_rows", index: *i as usize, len: rows });
    }
    #[cfg(not(feature = "cuda"))]
    return fused_rows::gather_rows(table, index);
    #[cfg(feature = "cuda")]
    return composed::gather_rows(table, index);
}

/// `Phi(x)` and the slope `Phi(x) + x phi(x)` of [`gelu`].
#[inline(always)]
pub(super) fn normal_cdf_and_gelu_slope(x: f32) -> (f32, f32) {
    let cdf = 0.5 * (1.0 + libm::erff(x * std::f32::consts::FRAC_1_SQRT_2));
    let density = (-0.5 * x * x).exp() / std::f32::consts::TAU.sqrt();
    (cdf, cdf + x * density)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropout_drops_its_rate_and_keeps_the_mean() {
        let n = 100_000u64;
        let mean = |d: Dropout| (0..n).map(|i| f64::from(d.factor(i))).sum::<f64>() / n as f64;
        let dropped = |d: Dropout| (0..n).filter(|i| d.factor(*i) == 0.0).count() as f64 / n as f64;
        for (rate, seed) in [(0.1, 1), (0.1, 2), (0.5, u64::MAX)] {
            let d = Dropout { rate, seed };
            assert!((dropped(d) - f64::from(rate)).abs() < 0.005, "{}", dropped(d));
            assert!((mean(d) - 1.0).abs() < 0.01, "{}", mean(d));
        }
        let (a, b) = (Dropout { rate: 0.5, seed: 1 }, Dropout { rate: 0.5, seed: 2 });
        let both = (0..n).filter(|i| a.factor(*i) == b.factor(*i)).count() as f64 / n as f64;
        assert!((both - 0.5).abs() < 0.01, "seeds agree on {both}");
        assert!((0..n).all(|i| Dropout { rate: 0.0, seed: 3 }.factor(i) == 1.0));
    }
}
