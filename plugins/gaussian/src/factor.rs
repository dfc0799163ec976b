//! From a covariance to a whitening matrix.

use ccnf::prelude::*;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::cholesky::llt::factor::{
    LltParams, LltRegularization, cholesky_in_place, cholesky_in_place_scratch,
};
use faer::linalg::triangular_inverse::invert_lower_triangular;
use faer::{Mat as Matrix, Par, Spec};

/// `W = L^-1` with `S = L L^T`, lower triangular, so that `d^T S^-1 d = |W d|^2`.
pub(crate) struct Factor {
    /// The lower triangle, row after row: `D(D+1)/2` values.
    pub(crate) whitening: Vec<f32>,
    /// `ln det S`.
    pub(crate) log_det: f64,
    /// What was added to the diagonal of `S`; 0 for a covariance that is positive definite.
    pub(crate) jitter: f64,
}

/// A variance below this part of the mean variance counts as none.
const RELATIVE_FLOOR: f64 = 1e-10;
/// A variance below this counts as none; the input is standardised, so its unit is the variance of the first stage.
const ABSOLUTE_FLOOR: f64 = 1e-12;

/// Factors a covariance `[D, D]`.
///
/// It is positive definite when every pivot `L_ii^2` reaches `f = max(1e-10 tr S / D, 1e-12)`. If not (constant channels
/// without shrinkage, a single image), the smallest of `10 f, 100 f, 1000 f, …` with which it is gets added to the diagonal.
pub(crate) fn factor(covariance: &[f64], dim: usize) -> Result<Factor> {
    let trace: f64 = (0..dim).map(|i| covariance[i * dim + i]).sum();
    let floor = (RELATIVE_FLOOR * trace / dim as f64).max(ABSOLUTE_FLOOR);
    let mut jitter = 0.0;
    while floor.is_finite() && f64::is_finite(jitter) {
        if let Some((whitening, log_det)) = attempt(covariance, dim, jitter, floor) {
            return Ok(Factor { whitening, log_det, jitter });
        }
        jitter = if jitter == 0.0 { 10.0 * floor } else { 10.0 * jitter };
    }
    Err(Error::new(ErrorKind::NonFinite, "a covariance is not finite")
        .help("check the features: values this large overflow when squared"))
}

fn attempt(covariance: &[f64], dim: usize, jitter: f64, floor: f64) -> Option<(Vec<f32>, f64)> {
    let mut lower =
        Matrix::from_fn(dim, dim, |i, j| covariance[i * dim + j] + if i == j { jitter } else { 0.0 });
    let params: Spec<LltParams, f64> = Spec::default();
    let mut memory = MemBuffer::new(cholesky_in_place_scratch::<f64>(dim, Par::Seq, params));
    let stack = MemStack::new(&mut memory);
    cholesky_in_place(lower.as_mut(), LltRegularization::default(), Par::Seq, stack, params).ok()?;
    let mut log_det = 0.0;
    for i in 0..dim {
        let pivot = lower[(i, i)] * lower[(i, i)];
        if !(pivot >= floor && pivot.is_finite()) {
            return None;
        }
        log_det += pivot.ln();
    }
    let mut inverse = Matrix::zeros(dim, dim);
    invert_lower_triangular(inverse.as_mut(), lower.as_ref(), Par::Seq);
    let whitening =
        (0..dim).flat_map(|i| (0..=i).map(move |j| (i, j))).map(|at| inverse[at] as f32).collect();
    Some((whitening, log_det))
}

#[cfg(test)]
mod tests {
    use super::*;
    use approx::assert_abs_diff_eq;

    #[test]
    fn a_known_covariance_has_its_known_factor() {
        // L = [[2, 0], [1, 3]], so L^-1 = [[1/2, 0], [-1/6, 1/3]] and det S = 36.
        let f = factor(&[4.0, 2.0, 2.0, 10.0], 2).unwrap();
        for (a, b) in f.whitening.iter().zip([0.5, -1.0 / 6.0, 1.0 / 3.0]) {
            assert_abs_diff_eq!(*a, b, epsilon = 1e-6);
        }
        assert_abs_diff_eq!(f.log_det, 36f64.ln(), epsilon = 1e-12);
        assert_eq!(f.jitter, 0.0);
    }

    #[test]
    fn a_singular_covariance_gets_the_smallest_jitter() {
        let f = factor(&[1.0, 1.0, 1.0, 1.0], 2).unwrap();
        assert_abs_diff_eq!(f.jitter, 1e-9, epsilon = 1e-15);
        assert!(f.whitening.iter().all(|w| w.is_finite()));
        let zero = factor(&[0.0; 9], 3).unwrap();
        assert_abs_diff_eq!(zero.jitter, 1e-11, epsilon = 1e-20);
        assert_abs_diff_eq!(zero.log_det, 3.0 * 1e-11f64.ln(), epsilon = 1e-9);
    }

    #[test]
    fn a_large_matrix_is_inverted() {
        let d: usize = 130;
        let covariance: Vec<f64> = (0..d * d).map(|k| 0.9f64.powi((k / d).abs_diff(k % d) as i32)).collect();
        let f = factor(&covariance, d).unwrap();
        // W S W^T = I.
        for i in [0, 1, 64, d - 1] {
            for j in 0..d {
                let row = |i: usize, k: usize| {
                    if k > i { 0.0 } else { f64::from(f.whitening[i * (i + 1) / 2 + k]) }
                };
                let ws = |k: usize| (0..d).map(|m| row(i, m) * covariance[m * d + k]).sum::<f64>();
                let v: f64 = (0..d).map(|k| ws(k) * row(j, k)).sum();
                assert_abs_diff_eq!(v, if i == j { 1.0 } else { 0.0 }, epsilon = 1e-5);
            }
        }
        // An AR(1) correlation has determinant (1 - rho^2)^(d - 1).
        assert_abs_diff_eq!(f.log_det, (d - 1) as f64 * 0.19f64.ln(), epsilon = 1e-9);
    }

    #[test]
    fn what_is_not_finite_is_an_error() {
        for v in [f64::NAN, f64::INFINITY] {
            assert_eq!(factor(&[v], 1).err().unwrap().kind(), ErrorKind::NonFinite);
            assert_eq!(factor(&[1.0, v, v, 1.0], 2).err().unwrap().kind(), ErrorKind::NonFinite);
        }
    }
}
