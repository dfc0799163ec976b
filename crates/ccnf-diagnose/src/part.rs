//! A part of a diagnosis that may not exist, and numbers that may not.

use ccnf_core::Result;
use ccnf_engine::Number;
use ccnf_metrics::Metric;
use serde::{Deserialize, Serialize};

/// A part of a diagnosis, or why there is none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part<T> {
    /// It was computed.
    Found(T),
    /// It is not defined for this run, or was not asked for; the reason.
    Undefined(String),
}

impl<T> Part<T> {
    /// The part, if there is one.
    pub fn found(&self) -> Option<&T> {
        match self {
            Part::Found(part) => Some(part),
            Part::Undefined(_) => None,
        }
    }

    /// Why there is none.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Part::Found(_) => None,
            Part::Undefined(reason) => Some(reason),
        }
    }
}

/// What `compute` gives, unless there is a `reason` not to ask it.
pub(crate) fn unless<T>(reason: Option<String>, compute: impl FnOnce() -> Result<T>) -> Result<Part<T>> {
    match reason {
        Some(reason) => Ok(Part::Undefined(reason)),
        None => compute().map(Part::Found),
    }
}

/// A number that is defined where it is finite.
pub(crate) fn number(value: f64) -> Number {
    Metric::of(value).into()
}

/// The mean of the defined numbers; undefined, with the first reason, where none is.
pub(crate) fn mean<'a>(numbers: impl IntoIterator<Item = &'a Number>) -> Number {
    let (mut sum, mut n, mut reason) = (0.0, 0u32, None);
    for number in numbers {
        match number.value {
            Some(value) => (sum, n) = (sum + value, n + 1),
            None => reason = reason.or(number.reason.clone()),
        }
    }
    match n {
        0 => Number::undefined(&reason.unwrap_or_else(|| "there is no value".into())),
        n => self::number(sum / f64::from(n)),
    }
}

/// `a - b`, undefined where one of them is.
pub(crate) fn difference(a: &Number, b: &Number) -> Number {
    match (a.value, b.value) {
        (Some(x), Some(y)) => number(x - y),
        _ => {
            let reason = a.reason.as_ref().or(b.reason.as_ref());
            Number::undefined(reason.map_or("there is no value", String::as_str))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_undefined_stays_so_with_its_reason() {
        let none = Number::undefined("no masks");
        assert_eq!(mean([&number(1.0), &none, &number(2.0)]).value, Some(1.5));
        assert_eq!(mean([&none]), none);
        assert_eq!(mean([]).value, None);
        assert_eq!(difference(&number(1.0), &none), none);
        assert_eq!(difference(&number(1.0), &number(0.25)).value, Some(0.75));
        assert_eq!(number(f64::NAN).value, None);
    }
}
