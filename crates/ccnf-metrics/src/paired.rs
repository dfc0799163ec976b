//! The difference of two methods on the same images, with its uncertainty.

use crate::binary::auroc;
use crate::error::MetricsError;
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
    mut index: impl FnMut(usize) -> usize,
) -> Result<PairedDifference, MetricsError> {
    let difference = mean_difference(classes)?;
    if let Some(reason) = difference.reason().map(str::to_owned) {
        let undefined = || Metric::undefined(reason.clone());
        let interval = (undefined(), undefined());
        return Ok(PairedDifference { difference, standard_error: undefined(), interval });
    }
    let split = |labels: &[bool], wanted: bool| -> Vec<usize> {
        labels.iter().enumerate().filter(|(_, l)| **l == wanted).map(|(i, _)| i).collect()
    };
    let places: Vec<[Vec<usize>; 2]> =
        classes.iter().map(|c| [split(c.labels, false), split(c.labels, true)]).collect();
    let mut drawn = Vec::with_capacity(draws);
    for _ in 0..draws {
        let mut total = 0.0;
        for (class, places) in classes.iter().zip(&places) {
            let chosen: Vec<usize> = places
                .iter()
                .flat_map(|p| (0..p.len()).map(|_| p[index(p.len())]).collect::<Vec<_>>())
                .collect();
            let labels: Vec<bool> = chosen.iter().map(|i| class.labels[*i]).collect();
            let of = |scores: &[f32]| -> Vec<f32> { chosen.iter().map(|i| scores[*i]).collect() };
            let value = |scores: &[f32]| auroc(&of(scores), &labels).map(|m| m.value().unwrap_or(f64::NAN));
            total += value(class.first)? - value(class.second)?;
        }
        drawn.push(total / classes.len() as f64);
    }
    drawn.sort_by(f64::total_cmp);
    let n = drawn.len() as f64;
    let mean = drawn.iter().sum::<f64>() / n;
    let variance = drawn.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let few = || Metric::undefined("fewer than 2 draws");
    if drawn.len() < 2 {
        return Ok(PairedDifference { difference, standard_error: few(), interval: (few(), few()) });
    }
    let quantile =
        |level: f64| Metric::of(drawn[((level * (n - 1.0)).round() as usize).min(drawn.len() - 1)]);
    Ok(PairedDifference {
        difference,
        standard_error: Metric::of(variance.sqrt()),
        interval: (quantile(0.025), quantile(0.975)),
    })
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

    /// A small linear congruential generator: enough to draw images.
    fn random() -> impl FnMut(usize) -> usize {
        let mut state = 1u64;
        move |n| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            ((state >> 33) as usize) % n
        }
    }

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
