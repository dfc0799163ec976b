//! Gradients against finite differences.

use ccnf::prelude::*;

/// The error of `gradient` along a random direction, relative to the size of the gradient, for the function `f` at `at`.
///
/// Fourth-order differences in several step sizes, of which the best counts: in f32 a small step drowns in rounding and a large one meets
/// the kinks of ReLU. The median over directions is robust against the rest: compare that.
pub fn finite_difference_error(
    at: &[f32],
    gradient: &[f32],
    streams: &Streams,
    mut f: impl FnMut(&[f32]) -> f64,
) -> f64 {
    let length = |v: &[f32]| v.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
    let mut errors: Vec<f64> = (0..5)
        .map(|k| {
            let direction = streams.normal(&format!("direction {k}"), at.len());
            let mut along = |e: f32| {
                let moved: Vec<f32> = at.iter().zip(&direction).map(|(v, d)| v + e * d).collect();
                f(&moved)
            };
            let expected: f64 =
                gradient.iter().zip(&direction).map(|(g, d)| f64::from(*g) * f64::from(*d)).sum();
            let scale = length(gradient) * length(&direction) + 1e-3;
            [1e-3f32, 4e-3, 1e-2, 2e-2]
                .into_iter()
                .map(|e| {
                    (8.0 * (along(e) - along(-e)) - (along(2.0 * e) - along(-2.0 * e)))
                        / (12.0 * f64::from(e))
                })
                .map(|d| (d - expected).abs() / scale)
                .fold(f64::MAX, f64::min)
        })
        .collect();
    errors.sort_by(f64::total_cmp);
    errors[2]
}

/// Fails where `a` and `b` differ by more than `tolerance` of the largest value of `b`.
pub fn compare(a: &[f32], b: &[f32], tolerance: f32, what: &str) {
    assert_eq!(a.len(), b.len(), "{what}: lengths");
    let scale = b.iter().fold(0f32, |m, v| m.max(v.abs())).max(1e-6);
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        assert!((a - b).abs() <= tolerance * scale, "{what}[{i}]: {a} against {b} (largest {scale})");
    }
}
