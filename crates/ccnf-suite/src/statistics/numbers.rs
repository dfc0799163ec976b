//! Values with what is known of their uncertainty.

use super::types::{Interval, Spread};
use ccnf_engine::Number;
use ccnf_metrics::{Metric, spread_of_draws};

/// A finite number, or the reason why there is none.
pub(super) fn number(value: f64, why: &str) -> Number {
    if value.is_finite() { Metric::of(value).into() } else { Number::undefined(why) }
}

/// Mean and deviation of what every run has; undefined with the reason where one has not.
pub(super) fn spread(values: &[Option<f64>], why: &str) -> Spread {
    let known: Option<Vec<f64>> = values.iter().copied().collect();
    let Some(v) = known.filter(|v| !v.is_empty()) else {
        return Spread { mean: Number::undefined(why), deviation: Number::undefined(why) };
    };
    let mean = v.iter().sum::<f64>() / v.len() as f64;
    let deviation = (v.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (v.len() as f64 - 1.0)).sqrt();
    Spread { mean: number(mean, why), deviation: number(deviation, "a single run") }
}

/// Why a class or run has no forgetting.
pub(super) const ONE_STAGE: &str = "no class was learnt before the last stage";

/// A value with the spread of its draws.
pub(super) fn interval(value: f64, draws: &[f64]) -> Interval {
    let [standard_error, low, high] = spread_of_draws(draws).map(Number::from);
    Interval { value: number(value, ONE_STAGE), standard_error, low, high }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_run_has_a_mean_and_no_deviation() {
        let s = spread(&[Some(0.5)], "none");
        assert_eq!((s.mean.value, s.deviation.reason.as_deref()), (Some(0.5), Some("a single run")));
        assert_eq!(spread(&[Some(0.5), None], "gone").mean.reason.as_deref(), Some("gone"));
    }
}
