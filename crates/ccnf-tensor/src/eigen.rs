//! Eigenvectors of a symmetric matrix.

use crate::{Result, TensorError};
use faer::diag::Diag;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::evd::{
    ComputeEigenvectors, SelfAdjointEvdParams, self_adjoint_evd, self_adjoint_evd_scratch,
};
use faer::{Mat, Par, Spec};

/// The `count` largest eigenvalues of the symmetric matrix `a` (`[n, n]`), largest first, with their eigenvectors of length 1; fewer
/// where `n` is smaller. On one thread, so that the bits do not depend on the number of processors. Fails with
/// [`TensorError::NonFinite`] for values that are not finite.
pub fn leading_eigenvectors(a: &[f64], n: usize, count: usize) -> Result<Vec<(f64, Vec<f64>)>> {
    if a.len() != n * n {
        return Err(TensorError::shape(
            "leading_eigenvectors",
            format!("{n} x {n} values"),
            format!("{}", a.len()),
        ));
    }
    let not_finite = || TensorError::NonFinite {
        what: "a symmetric matrix".into(),
        value: a.iter().find(|v| !v.is_finite()).map_or(f32::NAN, |v| *v as f32),
        place: "its eigenvectors".into(),
    };
    if a.iter().any(|v| !v.is_finite()) {
        return Err(not_finite());
    }
    let matrix = Mat::from_fn(n, n, |i, j| a[i * n + j]);
    let (mut values, mut vectors) = (Diag::<f64>::zeros(n), Mat::<f64>::zeros(n, n));
    let params: Spec<SelfAdjointEvdParams, f64> = Spec::default();
    let scratch = self_adjoint_evd_scratch::<f64>(n, ComputeEigenvectors::Yes, Par::Seq, params);
    let mut memory = MemBuffer::new(scratch);
    let stack = MemStack::new(&mut memory);
    self_adjoint_evd(matrix.as_ref(), values.as_mut(), Some(vectors.as_mut()), Par::Seq, stack, params)
        .map_err(|_| not_finite())?;
    // They come in increasing order.
    let column = |k: usize| (values[k], (0..n).map(|i| vectors[(i, k)]).collect());
    Ok((0..n).rev().take(count).map(column).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use approx::assert_abs_diff_eq;

    #[test]
    fn the_largest_come_first_with_their_vectors() {
        // Eigenvalues 3, 1 of [[2, 1], [1, 2]] and 5 of the rest.
        let a = [2.0, 1.0, 0.0, 1.0, 2.0, 0.0, 0.0, 0.0, 5.0];
        let found = leading_eigenvectors(&a, 3, 2).unwrap();
        assert_eq!(found.len(), 2);
        assert_abs_diff_eq!(found[0].0, 5.0, epsilon = 1e-12);
        assert_abs_diff_eq!(found[0].1[2].abs(), 1.0, epsilon = 1e-12);
        assert_abs_diff_eq!(found[1].0, 3.0, epsilon = 1e-12);
        assert_abs_diff_eq!(found[1].1[0], found[1].1[1], epsilon = 1e-12);
        assert_abs_diff_eq!(found[1].1[0].abs(), 0.5f64.sqrt(), epsilon = 1e-12);
    }

    #[test]
    fn what_is_not_finite_is_an_error() {
        for v in [f64::NAN, f64::INFINITY] {
            let found = leading_eigenvectors(&[1.0, v, v, 1.0], 2, 1);
            assert!(matches!(found, Err(TensorError::NonFinite { .. })), "{v}: {found:?}");
        }
        assert!(matches!(leading_eigenvectors(&[1.0], 2, 1), Err(TensorError::Shape { .. })));
    }
}
