//! Image-level metrics: one score and one label per image.

use crate::curve::{self, F1Max};
use crate::error::MetricsError;
use crate::metric::Metric;
use crate::ranking::{NotFinite, Ranking, key_of, positive};

fn rank(scores: &[f32], labels: &[bool]) -> Result<Ranking, MetricsError> {
    if scores.len() != labels.len() {
        return Err(MetricsError::LengthMismatch { scores: scores.len(), labels: labels.len() });
    }
    let not_finite = scores
        .iter()
        .position(|score| !score.is_finite())
        .map(|index| NotFinite { place: format!("score {index}"), score: scores[index] });
    let of = |wanted: bool| scores.iter().zip(labels).filter(move |(_, label)| **label == wanted);
    let negatives = of(false).map(|(&score, _)| key_of(score)).collect();
    let positives = of(true).map(|(&score, _)| positive(score, 1)).collect();
    Ok(Ranking::sorted(negatives, positives, not_finite))
}

/// Area under the receiver operating characteristic, in [0, 1]; 0.5 for scores that say nothing.
///
/// Equals P(s⁺ > s⁻) + P(s⁺ = s⁻)/2 over all pairs of an anomalous and a normal image (Hanley and McNeil
/// 1982), which is the trapezoid area with ties as straight segments. `scores` and `labels` have one entry
/// per image, `true` for anomalous. A value below 0.5 is reported as it is, not mirrored.
///
/// Undefined without an anomalous image, without a normal image, or with a non-finite score.
///
/// # Errors
///
/// [`MetricsError::LengthMismatch`].
pub fn auroc(scores: &[f32], labels: &[bool]) -> Result<Metric, MetricsError> {
    Ok(curve::auroc(&rank(scores, labels)?))
}

/// Average precision, in (0, 1]: the sum over the distinct thresholds, highest first, of
/// (R_n - R_{n-1}) P_n with recall R and precision P, without interpolation (as in scikit-learn).
///
/// `scores` and `labels` have one entry per image, `true` for anomalous. For scores that are all equal it is
/// the share of anomalous images.
///
/// Undefined without an anomalous image or with a non-finite score. Without a normal image it is 1.
///
/// # Errors
///
/// [`MetricsError::LengthMismatch`].
pub fn average_precision(scores: &[f32], labels: &[bool]) -> Result<Metric, MetricsError> {
    Ok(curve::average_precision(&rank(scores, labels)?))
}

/// The largest F1 = 2 TP / (2 TP + FP + FN) over all thresholds `score >= t`, t a score of the set, and the
/// highest such t.
///
/// The threshold is chosen on the labels it is judged by: an upper bound, not an operating point. For one
/// that is set from normal training images see [`quantile`](crate::quantile).
///
/// Undefined without an anomalous image or with a non-finite score.
///
/// # Errors
///
/// [`MetricsError::LengthMismatch`].
pub fn f1_max(scores: &[f32], labels: &[bool]) -> Result<F1Max, MetricsError> {
    Ok(curve::f1_max(&rank(scores, labels)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Outcome = Result<(), MetricsError>;

    #[test]
    fn auroc_counts_pairs_and_half_ties() -> Outcome {
        // pairs (positive, negative): (2,1) win, (2,2) tie, (1,1) tie, (1,2) loss -> 2/4
        assert_eq!(auroc(&[2.0, 1.0, 1.0, 2.0], &[true, true, false, false])?.value(), Some(0.5));
        assert_eq!(auroc(&[3.0, 1.0, 1.0, 2.0], &[true, true, false, false])?.value(), Some(0.625));
        assert_eq!(auroc(&[0.0, 1.0], &[true, false])?.value(), Some(0.0));
        assert_eq!(auroc(&[-0.0, 0.0], &[true, false])?.value(), Some(0.5));
        Ok(())
    }

    #[test]
    fn average_precision_takes_ties_as_one_step() -> Outcome {
        // thresholds 3: R 1/2, P 1; 2: R 1/2, P 1/2; 1: R 1, P 2/4 -> 1/2 + 1/2 * 1/2
        let labels = [true, true, false, false];
        assert_eq!(average_precision(&[3.0, 1.0, 1.0, 2.0], &labels)?.value(), Some(0.75));
        assert_eq!(average_precision(&[1.0; 4], &labels)?.value(), Some(0.5));
        assert_eq!(average_precision(&[1.0, 2.0], &[true, true])?.value(), Some(1.0));
        Ok(())
    }

    #[test]
    fn f1_max_returns_the_highest_best_threshold() -> Outcome {
        // t 3: 2/3; t 2: 1/2; t 1: 4/6 = 2/3 -> the tie goes to 3
        let best = f1_max(&[3.0, 1.0, 1.0, 2.0], &[true, true, false, false])?;
        assert_eq!((best.f1.value(), best.threshold.value()), (Some(2.0 / 3.0), Some(3.0)));
        Ok(())
    }

    #[test]
    fn missing_labels_make_a_metric_undefined_with_the_reason() -> Outcome {
        let scores = [1.0, 2.0];
        assert_eq!(auroc(&scores, &[false, false])?.reason(), Some("no anomalous sample"));
        assert_eq!(auroc(&scores, &[true, true])?.reason(), Some("no normal sample"));
        assert_eq!(average_precision(&scores, &[false, false])?.reason(), Some("no anomalous sample"));
        let best = f1_max(&scores, &[false, false])?;
        assert_eq!(best.f1.reason(), Some("no anomalous sample"));
        assert_eq!(best.threshold.value(), None);
        assert_eq!(auroc(&[], &[])?.reason(), Some("no sample"));
        Ok(())
    }

    #[test]
    fn a_non_finite_score_is_named() -> Outcome {
        let scores = [1.0, f32::NAN, f32::INFINITY];
        let labels = [true, false, false];
        let reason = "score 1 is not finite (NaN)";
        assert_eq!(auroc(&scores, &labels)?.reason(), Some(reason));
        assert_eq!(average_precision(&scores, &labels)?.reason(), Some(reason));
        assert_eq!(f1_max(&scores, &labels)?.f1.reason(), Some(reason));
        assert_eq!(auroc(&[f32::NEG_INFINITY], &[true])?.reason(), Some("score 0 is not finite (-inf)"));
        Ok(())
    }

    #[test]
    fn lengths_must_agree() {
        let error = MetricsError::LengthMismatch { scores: 2, labels: 1 };
        assert_eq!(auroc(&[1.0, 2.0], &[true]), Err(error.clone()));
        assert!(error.to_string().contains("2 scores but 1 labels"));
    }
}
