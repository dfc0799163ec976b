//! A value that is either defined or undefined with a reason.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The result of a metric: a finite number, or "undefined" with the reason in words.
///
/// A number that was not computed exactly carries a bound on its error ([`Metric::error_bound`]).
///
/// Serialised as a plain number or `null`; reason and bound are not written. A `null` that is read back is
/// undefined with the reason "no value was recorded".
///
/// ```
/// use ccnf_metrics::Metric;
///
/// assert_eq!(Metric::of(0.5).value(), Some(0.5));
/// let undefined = Metric::undefined("no anomalous sample");
/// assert_eq!(undefined.value(), None);
/// assert_eq!(undefined.reason(), Some("no anomalous sample"));
/// assert_eq!(undefined.to_string(), "undefined (no anomalous sample)");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Metric(State);

#[derive(Clone, Debug, PartialEq)]
enum State {
    Defined { value: f64, bound: f64 },
    Undefined(Cow<'static, str>),
}

impl Metric {
    /// A defined, exact metric. A `value` that is NaN or infinite gives an undefined metric instead, so that
    /// a defined metric is always finite.
    #[must_use]
    pub fn of(value: f64) -> Self {
        Self::within(value, 0.0)
    }

    /// A defined metric whose exact value is at most `bound` away. The result is undefined where one of the
    /// two is NaN or infinite.
    #[must_use]
    pub fn within(value: f64, bound: f64) -> Self {
        if value.is_finite() && bound.is_finite() {
            Self(State::Defined { value, bound })
        } else if value.is_finite() {
            Self::undefined(format!("the error bound is not finite ({bound})"))
        } else {
            Self::undefined(format!("the value is not finite ({value})"))
        }
    }

    /// An undefined metric and the reason, a phrase without a full stop such as "no anomalous sample".
    #[must_use]
    pub fn undefined(reason: impl Into<Cow<'static, str>>) -> Self {
        Self(State::Undefined(reason.into()))
    }

    /// The value, or `None` where the metric is undefined.
    #[must_use]
    pub fn value(&self) -> Option<f64> {
        match self.0 {
            State::Defined { value, .. } => Some(value),
            State::Undefined(_) => None,
        }
    }

    /// How far the exact value may lie from [`Metric::value`], apart from rounding in `f64`; 0 where the value
    /// is exact, `None` where it is undefined.
    #[must_use]
    pub fn error_bound(&self) -> Option<f64> {
        match self.0 {
            State::Defined { bound, .. } => Some(bound),
            State::Undefined(_) => None,
        }
    }

    /// Why the metric is undefined, or `None` where it is defined.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match &self.0 {
            State::Defined { .. } => None,
            State::Undefined(reason) => Some(reason),
        }
    }

    /// Whether there is a value.
    #[must_use]
    pub fn is_defined(&self) -> bool {
        self.value().is_some()
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            State::Defined { value, .. } => value.fmt(f),
            State::Undefined(reason) => write!(f, "undefined ({reason})"),
        }
    }
}

impl Serialize for Metric {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Metric {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Option::<f64>::deserialize(deserializer)? {
            Some(value) => Self::of(value),
            None => Self::undefined("no value was recorded"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_defined_metric_is_never_nan_or_infinite() {
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let metric = Metric::of(value);
            assert_eq!(metric.value(), None);
            assert!(metric.reason().is_some_and(|reason| reason.contains("not finite")));
        }
        assert!(!Metric::within(0.5, f64::NAN).is_defined());
    }

    #[test]
    fn serialises_as_a_number_or_null() -> Result<(), serde_json::Error> {
        let metrics = vec![Metric::of(0.25), Metric::undefined("because")];
        assert_eq!(serde_json::to_string(&metrics)?, "[0.25,null]");
        let back: Vec<Metric> = serde_json::from_str("[0.25,null]")?;
        assert_eq!(back[0], metrics[0]);
        assert_eq!(back[1].reason(), Some("no value was recorded"));
        Ok(())
    }

    #[test]
    fn display_honours_the_precision_of_a_defined_value() {
        assert_eq!(format!("{:.2}", Metric::of(0.125)), "0.12");
    }
}
