//! A decision threshold from scores alone.

use crate::error::MetricsError;
use crate::metric::Metric;
use crate::ranking::NotFinite;

/// The quantile of `scores` at `level` in [0, 1], in the unit of the scores: linear between order statistics
/// (Hyndman and Fan 1996, type 7; the default of NumPy).
///
/// With x_(0) <= ... <= x_(n-1) and h = level (n - 1) it is x_(⌊h⌋) + (h - ⌊h⌋)(x_(⌊h⌋+1) - x_(⌊h⌋)), in
/// `f64`. Taken over the scores of normal training images, it is the threshold that flags (`score >= t`)
/// about a share 1 - level of normal images.
///
/// Undefined without a score or with a non-finite score.
///
/// # Errors
///
/// [`MetricsError::QuantileLevel`] if the level is not in [0, 1].
pub fn quantile(scores: &[f32], level: f64) -> Result<Metric, MetricsError> {
    if !(0.0..=1.0).contains(&level) {
        return Err(MetricsError::QuantileLevel { level });
    }
    if let Some(index) = scores.iter().position(|score| !score.is_finite()) {
        let reason = NotFinite { place: format!("score {index}"), score: scores[index] };
        return Ok(Metric::undefined(reason.to_string()));
    }
    let Some(last) = scores.len().checked_sub(1) else {
        return Ok(Metric::undefined("no score"));
    };
    let position = level * last as f64;
    let below = (position.floor() as usize).min(last);
    let fraction = position - below as f64;

    let mut scores = scores.to_vec();
    let (_, &mut low, above) = scores.select_nth_unstable_by(below, f32::total_cmp);
    let low = f64::from(low);
    let high = above.iter().copied().min_by(f32::total_cmp).map_or(low, f64::from);
    Ok(Metric::of(low + fraction * (high - low)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interpolates_like_the_numpy_default() -> Result<(), MetricsError> {
        let scores = [4.0, 1.0, 3.0, 2.0];
        for (level, expected) in [(0.0, 1.0), (0.25, 1.75), (0.5, 2.5), (0.75, 3.25), (1.0, 4.0)] {
            assert_eq!(quantile(&scores, level)?.value(), Some(expected));
        }
        assert_eq!(quantile(&[7.0], 0.99)?.value(), Some(7.0));
        Ok(())
    }

    #[test]
    fn undefined_without_a_usable_score() -> Result<(), MetricsError> {
        assert_eq!(quantile(&[], 0.5)?.reason(), Some("no score"));
        assert_eq!(quantile(&[1.0, f32::INFINITY], 0.5)?.reason(), Some("score 1 is not finite (inf)"));
        Ok(())
    }

    #[test]
    fn the_level_must_lie_in_the_unit_interval() {
        for level in [-0.01, 1.01, f64::NAN] {
            assert!(matches!(quantile(&[1.0], level), Err(MetricsError::QuantileLevel { .. })));
        }
    }
}
