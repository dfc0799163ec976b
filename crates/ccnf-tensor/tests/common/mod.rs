//! Own operations against their composed twins and against finite differences.

use ccnf_tensor::{Mat, Result, Scalar, Streams, Var, constant, gradients, mat, tracked};
use dfdx::prelude::*;

pub(crate) fn normal(name: &str, rows: usize, cols: usize) -> Mat {
    mat(Streams::new(11).normal(name, rows * cols), rows, cols).unwrap()
}

/// `sum(v * weights)`: a scalar objective with a dense gradient.
pub(crate) fn weigh(v: &Var, name: &str) -> Scalar {
    let (r, c) = *v.shape();
    (v.clone() * constant(&normal(name, r, c))).sum()
}

pub(crate) fn close(a: &[f32], b: &[f32], tolerance: f32, what: &str) {
    assert_eq!(a.len(), b.len(), "{what}: lengths");
    let scale = b.iter().fold(0f32, |m, v| m.max(v.abs())).max(1e-6);
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        assert!((a - b).abs() <= tolerance * scale, "{what}[{i}]: {a} against {b} (scale {scale})");
    }
}

/// Values and gradients of `own` and `twin` agree to 1e-5 of the largest value, and the gradient agrees with finite
/// differences to 1e-4.
pub(crate) fn check(
    leaves: &[&Mat],
    own: impl Fn(&[Var]) -> Result<Scalar>,
    twin: impl Fn(&[Var]) -> Result<Scalar>,
) {
    let grads = check_twin(leaves, &own, twin);
    for (k, grad) in grads.iter().enumerate() {
        let mut errors: Vec<f64> =
            (0..5).map(|seed| finite_difference_error(leaves, k, grad, seed, &own)).collect();
        errors.sort_by(f64::total_cmp);
        assert!(
            errors[2] < 1e-4,
            "leaf {k}: finite differences are off by {errors:?} of the gradient's size"
        );
    }
}

/// The first half of [`check`]; returns the gradients. For objectives with so many kinks of ReLU that every finite difference meets one.
pub(crate) fn check_twin(
    leaves: &[&Mat],
    own: impl Fn(&[Var]) -> Result<Scalar>,
    twin: impl Fn(&[Var]) -> Result<Scalar>,
) -> Vec<Vec<f32>> {
    let run = |f: &dyn Fn(&[Var]) -> Result<Scalar>| {
        let (value, (), mut g) = gradients(|| {
            Ok::<_, ccnf_tensor::TensorError>((
                f(&leaves.iter().map(|l| tracked(l)).collect::<Vec<_>>())?,
                (),
            ))
        })
        .unwrap();
        (value, leaves.iter().map(|l| g.of(l).unwrap()).collect::<Vec<_>>())
    };
    let (value, grads) = run(&own);
    let (twin_value, twin_grads) = run(&twin);
    close(&[value], &[twin_value], 1e-5, "value");
    for (k, (a, b)) in grads.iter().zip(&twin_grads).enumerate() {
        close(a, b, 1e-5, &format!("gradient of leaf {k} against the twin"));
    }
    grads
}

/// The error of the gradient along a random direction, relative to the gradient's size. Fourth-order differences; a kink of
/// ReLU inside the stencil spoils one step size or direction, not all.
fn finite_difference_error(
    leaves: &[&Mat],
    k: usize,
    grad: &[f32],
    seed: u64,
    f: &impl Fn(&[Var]) -> Result<Scalar>,
) -> f64 {
    let direction: Vec<f32> = Streams::new(seed).normal(&format!("direction {k}"), grad.len());
    let along = |e: f32| -> f64 {
        let moved: Vec<f32> = leaves[k].as_vec().iter().zip(&direction).map(|(v, d)| v + e * d).collect();
        let (r, c) = *leaves[k].shape();
        let moved = mat(moved, r, c).unwrap();
        let vars: Vec<Var> =
            leaves.iter().enumerate().map(|(j, l)| constant(if j == k { &moved } else { l })).collect();
        f64::from(f(&vars).unwrap().as_vec()[0])
    };
    let expected: f64 = grad.iter().zip(&direction).map(|(g, d)| f64::from(*g) * f64::from(*d)).sum();
    let length = |v: &[f32]| v.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
    let scale = length(grad) * length(&direction) + 1e-3;
    [4e-3f32, 1e-2, 2e-2]
        .into_iter()
        .map(|e| (8.0 * (along(e) - along(-e)) - (along(2.0 * e) - along(-2.0 * e))) / (12.0 * f64::from(e)))
        .map(|fd| (fd - expected).abs() / scale)
        .fold(f64::MAX, f64::min)
}
