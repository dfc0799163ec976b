//! Coupling by a monotonic rational-quadratic spline: checked entry points, and the inverse.

use crate::{Mat, Result, TensorError, Var, VarVec, mat};
use dfdx::prelude::HasShape;

#[cfg(feature = "cuda")]
use super::composed;
#[cfg(not(feature = "cuda"))]
use super::fused_spline;

/// A monotonic rational-quadratic spline of `bins` bins on `[-bound, bound]`, the identity outside (Durkan, Bekasov, Murray &
/// Papamakarios 2019, Neural Spline Flows; Gregory & Delbourgo 1982).
///
/// It has `3 bins - 1` raw parameters: widths `r^w`, heights `r^h`, and slopes `r^d` of the inner knots.
///
/// ```text
/// w_k = 2 bound (m + (1 - bins m) softmax(r^w)_k)      x_k = -bound + w_0 + .. + w_(k-1)
/// h_k = 2 bound (m + (1 - bins m) softmax(r^h)_k)      y_k = -bound + h_0 + .. + h_(k-1)
/// d_k = 1 + softplus(r^d_k + c) - softplus(c)          d_0 = d_bins = 1
/// ```
///
/// with `m` = [`MIN_SIZE`] and `softplus(c) = 1 -` [`MIN_SLOPE`]. So raw parameters of 0 give the identity, to the last bit.
/// In the bin of `x`, with `t = (x - x_k) / w_k`, `s = h_k / w_k` and `e = s + (d_k + d_(k+1) - 2 s) t (1 - t)`:
///
/// ```text
/// y     = y_k + h_k (s t^2 + d_k t (1 - t)) / e
/// dy/dx = s^2 (d_(k+1) t^2 + 2 s t (1 - t) + d_k (1 - t)^2) / e^2
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spline {
    /// Bins, 2 to 64.
    pub bins: usize,
    /// Half of the interval; beyond it the map is the identity.
    pub bound: f32,
}

/// Smallest width and height of a bin, as a part of the interval.
pub const MIN_SIZE: f32 = 1e-3;
/// Smallest slope at an inner knot.
pub const MIN_SLOPE: f32 = 1e-3;
/// `c` with `softplus(c) = 1 - MIN_SLOPE`.
pub(super) const SLOPE_OFFSET: f32 = 0.539_742_35;

impl Spline {
    /// Raw parameters per dim.
    pub fn parameters(&self) -> usize {
        3 * self.bins - 1
    }

    fn check(&self) -> Result<()> {
        if !(2..=64).contains(&self.bins) {
            return Err(TensorError::shape("spline", "2 to 64 bins", self.bins.to_string()));
        }
        if !(self.bound > 0.0 && self.bound.is_finite()) {
            return Err(TensorError::shape("spline", "a finite bound above 0", self.bound.to_string()));
        }
        Ok(())
    }

    /// The changed dims of `x` under `raw`.
    fn changed(&self, x: (usize, usize), raw: (usize, usize)) -> Result<usize> {
        self.check()?;
        let changed = raw.1 / self.parameters();
        if raw.0 != x.0 || raw.1 != changed * self.parameters() || changed == 0 || changed > x.1 {
            return Err(TensorError::shape(
                "spline_coupling",
                format!("[{}, {} * D_b] raw parameters with D_b at most {}", x.0, self.parameters(), x.1),
                format!("{raw:?}"),
            ));
        }
        Ok(changed)
    }
}

/// The result of [`spline_coupling`].
#[derive(Clone, Debug)]
pub struct SplineTail {
    /// `[x_a, spline(x_b)]`, `[N, D]`.
    pub y: Var,
    /// `ln |det dy/dx|` per token: the sum of `log_slope`.
    pub log_det: VarVec,
    /// `ln dy_b/dx_b`, `[N, D_b]`.
    pub log_slope: Var,
}

/// Sends the last `D_b` dims of `x`, `[N, D]`, through [`Spline`]s. `raw` is `[N, parameters * D_b]`: parameter `p` of dim `j` stands in
/// column `p * D_b + j`, widths before heights before slopes.
pub fn spline_coupling(x: &Var, raw: &Var, spline: &Spline) -> Result<SplineTail> {
    let changed = spline.changed(*x.shape(), *raw.shape())?;
    #[cfg(not(feature = "cuda"))]
    return fused_spline::spline_coupling(x, raw, spline, changed);
    #[cfg(feature = "cuda")]
    return composed::spline_coupling(x, raw, spline, changed);
}

/// The inverse of [`spline_coupling`], computed in f64.
///
/// Within a bin `y(t)` is a quotient of quadratics, so `t` solves `a t^2 + b t + c = 0` with `a = h (s - d_k) + r q`,
/// `b = h d_k - r q`, `c = -s r`, `r = y - y_k` and `q = d_k + d_(k+1) - 2 s`; the root in `[0, 1]` is `2 c / (-b - sqrt(b^2 - 4 a c))`.
pub fn spline_inverse(y: &Mat, raw: &Mat, spline: &Spline) -> Result<Mat> {
    let (n, d) = *y.shape();
    let changed = spline.changed((n, d), *raw.shape())?;
    let mut x = y.as_vec();
    let width = changed * spline.parameters();
    for (row, raw) in x.chunks_exact_mut(d).zip(raw.as_vec().chunks_exact(width)) {
        for (j, v) in row[d - changed..].iter_mut().enumerate() {
            let parameter = |p: usize| f64::from(raw[p * changed + j]);
            *v = inverse(spline, parameter, f64::from(*v)) as f32;
        }
    }
    mat(x, n, d)
}

/// `x` with `spline(x) = y`.
fn inverse(spline: &Spline, parameter: impl Fn(usize) -> f64, y: f64) -> f64 {
    let (bins, bound) = (spline.bins, f64::from(spline.bound));
    if y.is_nan() || y < -bound || y > bound {
        return y;
    }
    let (widths, heights) = (sizes(spline, &parameter, 0), sizes(spline, &parameter, bins));
    let (mut k, mut low, mut left) = (0, -bound, -bound);
    while k + 1 < bins && y >= low + heights[k] {
        low += heights[k];
        left += widths[k];
        k += 1;
    }
    let (w, h, r) = (widths[k], heights[k], y - low);
    let slope = |knot: usize| {
        if knot == 0 || knot == bins { 1.0 } else { slope(parameter(2 * bins + knot - 1)) }
    };
    let (s, first, second) = (h / w, slope(k), slope(k + 1));
    let q = first + second - 2.0 * s;
    let (a, b, c) = (h * (s - first) + r * q, h * first - r * q, -s * r);
    let root = (b * b - 4.0 * a * c).max(0.0).sqrt();
    left + w * (2.0 * c / (-b - root)).clamp(0.0, 1.0)
}

/// Widths (`from` = 0) or heights (`from` = bins) of all bins.
fn sizes(spline: &Spline, parameter: &impl Fn(usize) -> f64, from: usize) -> Vec<f64> {
    let raw: Vec<f64> = (0..spline.bins).map(|k| parameter(from + k)).collect();
    let largest = raw.iter().fold(f64::NEG_INFINITY, |m, v| m.max(*v));
    let all: Vec<f64> = raw.iter().map(|v| (v - largest).exp()).collect();
    let total: f64 = all.iter().sum();
    let (m, bins) = (f64::from(MIN_SIZE), spline.bins as f64);
    all.iter().map(|e| 2.0 * f64::from(spline.bound) * (m + (1.0 - bins * m) * e / total)).collect()
}

/// The slope of an inner knot.
fn slope(raw: f64) -> f64 {
    let softplus = |v: f64| v.max(0.0) + (-v.abs()).exp().ln_1p();
    let c = f64::from(SLOPE_OFFSET);
    1.0 + softplus(raw + c) - softplus(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_slope_is_the_stated_one() {
        assert!((slope(-80.0) - f64::from(MIN_SLOPE)).abs() < 1e-7, "{}", slope(-80.0));
        assert_eq!(slope(0.0), 1.0);
    }
}
