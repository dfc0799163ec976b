//! The three label-only metrics as one pass over the steps of a ranking.

use serde::Serialize;

use crate::metric::Metric;
use crate::ranking::Ranking;

/// The best F1 over all thresholds and the threshold that reaches it. Both are undefined together.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct F1Max {
    /// max over t of 2 TP / (2 TP + FP + FN), in (0, 1].
    pub f1: Metric,
    /// The highest score t for which flagging `score >= t` reaches it, in the unit of the scores.
    pub threshold: Metric,
}

/// The reason that forbids any metric of this ranking: nothing there, or a score that is not finite.
pub(crate) fn unusable(ranking: &Ranking) -> Option<Metric> {
    if let Some(not_finite) = &ranking.not_finite {
        return Some(Metric::undefined(not_finite.to_string()));
    }
    (ranking.len() == 0).then(|| Metric::undefined("no sample"))
}

fn without_positives(ranking: &Ranking) -> Option<Metric> {
    unusable(ranking).or_else(|| (ranking.positives == 0).then(|| Metric::undefined("no anomalous sample")))
}

/// P(positive > negative) + P(equal)/2, counted in integers: exact up to one rounding.
pub(crate) fn auroc(ranking: &Ranking) -> Metric {
    if let Some(undefined) = without_positives(ranking) {
        return undefined;
    }
    if ranking.negatives == 0 {
        return Metric::undefined("no normal sample");
    }
    let mut twice_wins = 0_u128;
    for step in ranking.steps() {
        let below = ranking.negatives - step.false_positives;
        let new_positives = step.new_positives.len() as u128;
        twice_wins += new_positives * u128::from(2 * below + step.new_negatives);
    }
    let pairs = u128::from(ranking.positives) * u128::from(ranking.negatives);
    Metric::of(twice_wins as f64 / (2.0 * pairs as f64))
}

/// Sum over the thresholds of (recall - previous recall) x precision, without interpolation.
pub(crate) fn average_precision(ranking: &Ranking) -> Metric {
    if let Some(undefined) = without_positives(ranking) {
        return undefined;
    }
    let mut sum = 0.0;
    for step in ranking.steps().filter(|step| !step.new_positives.is_empty()) {
        let flagged = (step.true_positives + step.false_positives) as f64;
        sum += step.new_positives.len() as f64 * (step.true_positives as f64 / flagged);
    }
    Metric::of(sum / ranking.positives as f64)
}

/// Compares F1 = 2 TP / (TP + FP + P) of the thresholds as exact fractions; the first (highest) of equals
/// wins.
pub(crate) fn f1_max(ranking: &Ranking) -> F1Max {
    if let Some(undefined) = without_positives(ranking) {
        return F1Max { f1: undefined.clone(), threshold: undefined };
    }
    let (mut numerator, mut denominator, mut threshold) = (0_u64, 1_u64, f32::NAN);
    for step in ranking.steps() {
        let candidate = 2 * step.true_positives;
        let flagged_and_positive = step.true_positives + step.false_positives + ranking.positives;
        if u128::from(candidate) * u128::from(denominator)
            > u128::from(numerator) * u128::from(flagged_and_positive)
        {
            (numerator, denominator, threshold) = (candidate, flagged_and_positive, step.threshold);
        }
    }
    F1Max {
        f1: Metric::of(numerator as f64 / denominator as f64),
        threshold: Metric::of(f64::from(threshold)),
    }
}
