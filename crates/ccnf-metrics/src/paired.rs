//! The difference of two methods on the same images, with its uncertainty.

use crate::binary::auroc;
use crate::error::MetricsError;
use crate::joint::{RunScores, joint_bootstrap, spread_of_draws};
use crate::metric::Metric;

/// Scores of the images of one class under two methods, in the same order.
#[derive(Debug, Clone, Copy)]
pub struct PairedScores<'a> {
    /// Whether each image is anomalous.
    pub labels: &'a [bool],
    /// Scores of the first method.
    pub first: &'a [f32],
    /// Scores of the second method.
    pub second: &'a [f32],
}

/// Mean AUROC of the first method minus that of the second, over classes.
#[derive(Debug, Clone, PartialEq)]
pub struct PairedDifference {
    /// The difference on all images.
    pub difference: Metric,
    /// Standard deviation of the difference over the bootstrap draws.
    pub standard_error: Metric,
    /// 2.5 % and 97.5 % quantiles of the draws.
    pub interval: (Metric, Metric),
}

/// Paired bootstrap over images (Efron 1979): a draw takes, for every class, as many normal and as many anomalous images as there are,
/// with replacement, the same ones for both methods. It covers the choice of test images, and not that of seeds or classes.
///
/// `index(n)` gives a uniform random number below `n`. Everything is undefined where a class has no normal or no anomalous image, or
/// a score is not finite; fails where lengths differ.
pub fn paired_auroc_difference(
    classes: &[PairedScores<'_>],
    draws: usize,
    index: impl FnMut(usize) -> usize,
) -> Result<PairedDifference, MetricsError> {
    let difference = mean_difference(classes)?;
    if let Some(reason) = difference.reason().map(str::to_owned) {
        let undefined = || Metric::undefined(reason.clone());
        let interval = (undefined(), undefined());
        return Ok(PairedDifference { difference, standard_error: undefined(), interval });
    }
    let labels: Vec<Vec<bool>> = classes.iter().map(|c| c.labels.to_vec()).collect();
    let one = |of: fn(&PairedScores<'_>) -> Vec<f32>| {
        vec![RunScores {
            learnt: vec![0; classes.len()],
            scores: vec![classes.iter().map(|c| Some(of(c))).collect()],
        }]
    };
    let methods = [one(|c| c.first.to_vec()), one(|c| c.second.to_vec())];
    let found = joint_bootstrap(&labels, &methods, draws, index)?;
    let drawn: Vec<f64> =
        found[0].draws.iter().zip(&found[1].draws).map(|(a, b)| a.accuracy - b.accuracy).collect();
    let [standard_error, low, high] = spread_of_draws(&drawn);
    Ok(PairedDifference { difference, standard_error, interval: (low, high) })
}

fn mean_difference(classes: &[PairedScores<'_>]) -> Result<Metric, MetricsError> {
    if classes.is_empty() {
        return Ok(Metric::undefined("no class"));
    }
    let mut total = 0.0;
    for class in classes {
        let (first, second) = (auroc(class.first, class.labels)?, auroc(class.second, class.labels)?);
        match (first.value(), second.value()) {
            (Some(a), Some(b)) => total += a - b,
            _ => {
                let reason = first.reason().or(second.reason()).unwrap_or("undefined").to_owned();
                return Ok(Metric::undefined(reason));
            }
        }
    }
    Ok(Metric::of(total / classes.len() as f64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::joint::tests::random;

    const LABELS: [bool; 6] = [false, false, false, true, true, true];

    #[test]
    fn a_method_has_no_difference_to_itself_in_any_draw() {
        let scores = [0.1, 0.5, 0.3, 0.4, 0.6, 0.2];
        let class = PairedScores { labels: &LABELS, first: &scores, second: &scores };
        let d = paired_auroc_difference(&[class], 50, random()).unwrap();
        assert_eq!((d.difference.value(), d.standard_error.value()), (Some(0.0), Some(0.0)));
        assert_eq!((d.interval.0.value(), d.interval.1.value()), (Some(0.0), Some(0.0)));
    }

    #[test]
    fn a_perfect_method_is_half_above_a_constant_one_without_spread() {
        let class =
            PairedScores { labels: &LABELS, first: &[0.0, 0.1, 0.2, 0.8, 0.9, 1.0], second: &[1.0; 6] };
        let d = paired_auroc_difference(&[class, class], 50, random()).unwrap();
        assert_eq!((d.difference.value(), d.standard_error.value()), (Some(0.5), Some(0.0)));
    }

    #[test]
    fn the_standard_error_of_two_unrelated_methods_is_near_its_known_value() {
        // One normal image below half of the anomalous ones: the AUROC of a draw is the drawn share above it, a binomial of 40 trials.
        let labels: Vec<bool> = (0..41).map(|i| i > 0).collect();
        let first: Vec<f32> = (0..41).map(|i| if i == 0 { 0.5 } else { (i % 2) as f32 }).collect();
        let class = PairedScores { labels: &labels, first: &first, second: &[0.0; 41] };
        let d = paired_auroc_difference(&[class], 4000, random()).unwrap();
        let expected = (0.25f64 / 40.0).sqrt();
        let error = d.standard_error.value().unwrap();
        assert!((error / expected - 1.0).abs() < 0.05, "{error} is not about {expected}");
    }

    #[test]
    fn a_class_without_anomalies_makes_all_undefined_and_lengths_must_agree() {
        let class = PairedScores { labels: &[false, false], first: &[0.0, 1.0], second: &[0.0, 1.0] };
        let d = paired_auroc_difference(&[class], 10, random()).unwrap();
        assert!(!d.difference.is_defined() && d.standard_error.reason() == Some("no anomalous sample"));
        let short = PairedScores { labels: &LABELS, first: &[0.0], second: &[0.0; 6] };
        assert!(paired_auroc_difference(&[short], 10, random()).is_err());
    }
}
