//! What the checks of several kinds share.

use ccnf::core::hashes;
use ccnf::prelude::*;
use ccnf::tensor::TensorHash;
use std::collections::BTreeSet;

/// Unwraps with the place of the check.
pub(super) trait Must<T> {
    /// The value; panics with `at` and the error.
    fn must(self, at: &str) -> T;
}

impl<T, E: std::fmt::Display> Must<T> for std::result::Result<T, E> {
    fn must(self, at: &str) -> T {
        self.unwrap_or_else(|e| panic!("{at}: {e}"))
    }
}

/// The error of a call that has to fail.
pub(super) fn refused<T>(result: Result<T>, at: &str) -> Error {
    match result {
        Ok(_) => panic!("{at}: accepted"),
        Err(e) => e,
    }
}

/// Fails unless `a` and `b` have the same bits.
pub(super) fn same_bits(a: &[f32], b: &[f32], at: &str) {
    assert_eq!(a.len(), b.len(), "{at}: {} values against {}", a.len(), b.len());
    let differing: Vec<usize> = (0..a.len()).filter(|i| a[*i].to_bits() != b[*i].to_bits()).collect();
    if let Some(first) = differing.first() {
        let (n, of, a, b) = (differing.len(), a.len(), a[*first], b[*first]);
        panic!(
            "{at}: {n} of {of} values differ, the first at {first}: {a} against {b} (by {:e})",
            (a - b).abs()
        );
    }
}

/// Fails where `a` and `b` differ by more than `tolerance * max(1, |b|)`; returns the largest such error.
pub(super) fn close(a: &[f32], b: &[f32], tolerance: f64, at: &str) -> f64 {
    assert_eq!(a.len(), b.len(), "{at}: {} values against {}", a.len(), b.len());
    let mut worst = 0f64;
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        let error = f64::from(a - b).abs() / f64::from(b.abs().max(1.0));
        assert!(
            error <= tolerance,
            "{at}: value {i} is {a}, not {b}: off by {error:e}, allowed {tolerance:e}"
        );
        worst = worst.max(error);
    }
    worst
}

/// Fails unless all values are finite.
pub(super) fn finite(values: &[f32], at: &str) {
    if let Some(i) = values.iter().position(|v| !v.is_finite()) {
        panic!("{at}: value {i} of {} is {}", values.len(), values[i]);
    }
}

pub(super) type Hashes = Vec<(String, Owner, TensorHash)>;

/// Fails unless every tensor of `before` is in `after`, with the same owner and bits.
pub(super) fn unchanged(before: &Hashes, after: &Hashes, at: &str) {
    for tensor in before {
        match after.iter().find(|t| t.0 == tensor.0) {
            None => panic!("{at}: the tensor `{}` is gone", tensor.0),
            Some(t) => {
                assert!(t == tensor, "{at}: the tensor `{}` (owner: {}) has changed", tensor.0, tensor.1)
            }
        }
    }
}

/// Fails unless tensor names are unique and both lists of tensors are the same; returns the hashes.
pub(super) fn listed(s: &mut (impl Stateful + ?Sized), at: &str) -> Hashes {
    let read: Vec<String> = s.params().iter().map(|p| p.name().to_owned()).collect();
    let write: Vec<String> = s.params_mut().iter().map(|p| p.name().to_owned()).collect();
    assert_eq!(read, write, "{at}: params and params_mut list other tensors");
    let mut seen = BTreeSet::new();
    for name in &read {
        assert!(seen.insert(name), "{at}: two tensors are called `{name}`");
    }
    hashes(s)
}

/// Adds seeded noise of deviation `scale` to every trainable tensor. Layers that start at zero would make most checks vacuous.
pub(super) fn perturb(s: &mut (impl Stateful + ?Sized), streams: &Streams, scale: f32, at: &str) {
    for p in s.params_mut().into_iter().filter(|p| p.is_trainable()) {
        let noise = streams.normal(&format!("noise.{}", p.name()), p.len());
        p.set(p.to_vec().iter().zip(noise).map(|(v, n)| v + scale * n).collect()).must(at);
    }
}

/// A seeded matrix of deviation `scale`.
pub(super) fn normal(streams: &Streams, name: &str, rows: usize, cols: usize, scale: f32) -> Mat {
    let values = streams.normal(name, rows * cols).iter().map(|v| v * scale).collect();
    mat(values, rows, cols).expect("a matrix of the right size")
}

/// `sum of a * b` in f64.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

/// Fails unless what was computed from large input is finite, or an error of kind `NonFinite`.
pub(super) fn finite_or_refused(values: Result<Vec<f32>>, at: &str) {
    match values {
        Ok(values) => finite(&values, at),
        Err(e) => assert_eq!(e.kind(), ErrorKind::NonFinite, "{at}: {e}"),
    }
}
