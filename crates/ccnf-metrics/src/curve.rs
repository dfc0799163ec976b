//! The three label-only metrics as one pass over the steps of a ranking.
//!
//! A step of a binned ranking holds scores of an interval in unknown order. Every metric takes them as ties;
//! the error bound comes from the best and the worst order that they could have. Below, T and F are the true
//! and false positives before a step, p and n the anomalous and normal samples that it adds, P and N the
//! totals. The counts at the end of a step are those of a real threshold.

use serde::Serialize;

use crate::metric::Metric;
use crate::ranking::Ranking;

/// The best F1 over all thresholds and the threshold that reaches it. Both are undefined together.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct F1Max {
    /// max over t of 2 TP / (2 TP + FP + FN), in (0, 1].
    pub f1: Metric,
    /// The highest score t for which flagging `score >= t` reaches it, in the unit of the scores. Where the
    /// F1 has an error bound, a t that reaches the F1 given.
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
///
/// Bound: of the p n pairs within a step, half are counted as won, but none or all of them could be. The
/// error is at most sum p n / (2 P N).
pub(crate) fn auroc(ranking: &Ranking) -> Metric {
    if let Some(undefined) = without_positives(ranking) {
        return undefined;
    }
    if ranking.negatives == 0 {
        return Metric::undefined("no normal sample");
    }
    let (mut twice_wins, mut tied) = (0_u128, 0_u128);
    for step in ranking.steps() {
        let below = ranking.negatives - step.false_positives;
        let new_positives = u128::from(step.new_positives);
        twice_wins += new_positives * u128::from(2 * below + step.new_negatives);
        tied += new_positives * u128::from(step.new_negatives);
    }
    let twice_pairs = 2.0 * (u128::from(ranking.positives) * u128::from(ranking.negatives)) as f64;
    let bound = if ranking.is_exact() { 0.0 } else { tied as f64 / twice_pairs };
    Metric::within(twice_wins as f64 / twice_pairs, bound)
}

/// Sum over the thresholds of (recall - previous recall) x precision, without interpolation.
///
/// Bound: the precision of an anomalous sample of the step is at most (T + p)/(T + p + F), which all reach if
/// they are tied above the normal ones. The j-th best of them has a precision of at least
/// (T + j)/(T + j + M), M = F + n, reached if they are distinct and below the normal ones; the sum over j is
/// p - M sum 1/(T + j + M) >= p - M ln((T + M + p + 1/2)/(T + M + 1/2)), since 1/x is convex.
pub(crate) fn average_precision(ranking: &Ranking) -> Metric {
    if let Some(undefined) = without_positives(ranking) {
        return undefined;
    }
    let (mut sum, mut above, mut below) = (0.0, 0.0, 0.0);
    for step in ranking.steps().filter(|step| step.new_positives > 0) {
        let (hits, false_hits) = (step.true_positives as f64, step.false_positives as f64);
        let new = step.new_positives as f64;
        let term = new * (hits / (hits + false_hits));
        sum += term;
        let best = new * (hits / (hits + false_hits - step.new_negatives as f64));
        let worst = new - false_hits * (new / (hits - new + false_hits + 0.5)).ln_1p();
        above += best - term;
        below += term - worst;
    }
    let positives = ranking.positives as f64;
    let bound = if ranking.is_exact() { 0.0 } else { f64::max(above, below) / positives };
    Metric::within(sum / positives, bound)
}

/// Compares F1 = 2 TP / (TP + FP + P) of the thresholds as exact fractions; the first (highest) of equals
/// wins.
///
/// Bound: the ends of the steps are real thresholds, so the maximum over them is reached. Within a step no
/// threshold has more than T + p true or less than F false positives: none exceeds 2 (T + p)/(T + p + F + P).
pub(crate) fn f1_max(ranking: &Ranking) -> F1Max {
    if let Some(undefined) = without_positives(ranking) {
        return F1Max { f1: undefined.clone(), threshold: undefined };
    }
    let (mut numerator, mut denominator, mut threshold) = (0_u64, 1_u64, f32::NAN);
    let mut highest = 0.0;
    for step in ranking.steps() {
        let candidate = 2 * step.true_positives;
        let flagged_and_positive = step.true_positives + step.false_positives + ranking.positives;
        if u128::from(candidate) * u128::from(denominator)
            > u128::from(numerator) * u128::from(flagged_and_positive)
        {
            (numerator, denominator, threshold) = (candidate, flagged_and_positive, step.threshold);
        }
        if step.new_positives > 0 {
            let fewest = flagged_and_positive - step.new_negatives;
            highest = f64::max(highest, candidate as f64 / fewest as f64);
        }
    }
    let f1 = numerator as f64 / denominator as f64;
    let bound = if ranking.is_exact() { 0.0 } else { highest - f1 };
    F1Max { f1: Metric::within(f1, bound), threshold: Metric::of(f64::from(threshold)) }
}
