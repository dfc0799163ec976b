//! Gradients of a coupling: exact, and there for every trainable parameter, the tokens and the tables of the condition.

use super::common::Must;
use super::coupling_bench::{Bench, Leaf, Setup};
use super::entry::Case;
use crate::finite_difference_error;
use ccnf::prelude::*;
use std::collections::BTreeMap;

/// Largest error of a gradient along a random direction, relative to the gradient's size.
const TOLERANCE: f64 = 1e-4;
/// Fresh draws of all numbers that a setup gets.
const ATTEMPTS: u64 = 20;

/// Compares the gradients of a random objective of `(y, log_det, log_scale)` with finite differences.
///
/// A kink of ReLU near a value spoils the difference quotient for all step sizes, not the gradient. So a leaf that fails is
/// tried again with other numbers, and is wrong only if none of the draws gives less than [`TOLERANCE`]: a wrong gradient is
/// wrong for all of them. The same holds for a gradient that is zero everywhere. Returns the largest of the best errors.
pub(super) fn check(case: &Case<dyn Coupling>, setup: Setup) -> f64 {
    let mut best: BTreeMap<Leaf, (String, f64, bool)> = BTreeMap::new();
    for attempt in 0..ATTEMPTS {
        let setup = Setup { seed: setup.seed + 1000 * attempt, ..setup };
        let at = case.at(format!("gradients ({setup})"));
        let mut bench = Bench::new(case, setup);
        let good = |best: &BTreeMap<Leaf, (String, f64, bool)>, l: &Leaf| {
            best.get(l).is_some_and(|b| b.1 < TOLERANCE && b.2)
        };
        let leaves: Vec<Leaf> = bench.leaves().into_iter().filter(|l| !good(&best, l)).collect();
        if leaves.is_empty() {
            break;
        }
        let gradients = bench.gradients(&leaves, &at);
        for (leaf, gradient) in leaves.into_iter().zip(gradients) {
            let name = bench.name(&leaf);
            let error = error(&mut bench, &leaf, &gradient, &format!("{at}, `{name}`"));
            let reached = gradient.iter().any(|g| *g != 0.0);
            let entry = best.entry(leaf).or_insert((name, f64::MAX, false));
            entry.1 = entry.1.min(error);
            entry.2 |= reached;
        }
    }
    let mut worst = 0f64;
    for (name, error, reached) in best.into_values() {
        assert!(reached, "{}", case.at(format!("no gradient reaches `{name}` ({setup})")));
        let wrong = format!(
            "the gradient of `{name}` is off by {error:e} of its size, allowed {TOLERANCE:e} ({setup})"
        );
        assert!(error < TOLERANCE, "{}", case.at(wrong));
        worst = worst.max(error);
    }
    worst
}

fn error(bench: &mut Bench, leaf: &Leaf, gradient: &[f32], at: &str) -> f64 {
    let values = bench.values(leaf);
    let streams = Streams::new(bench.setup.seed);
    let error = finite_difference_error(&values, gradient, &streams, |moved| {
        bench.set(leaf, moved.to_vec()).must(at);
        let out = bench.forward(at);
        bench.objective(&out)
    });
    bench.set(leaf, values).must(at);
    error
}
