//! One cell of a table.

use crate::number;

/// A text, a number or "undefined, because …"; with an optional link and emphasis.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    pub(crate) value: Value,
    pub(crate) link: Option<String>,
    pub(crate) best: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Text(String),
    Number {
        value: f64,
        digits: usize,
        spread: Spread,
    },
    /// A number with a text of its own: 90 shown as "1 min 30 s".
    Shown {
        value: f64,
        text: String,
    },
    Undefined(String),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Spread {
    None,
    PlusMinus(f64),
    Interval(f64, f64),
}

impl Cell {
    fn new(value: Value) -> Self {
        Cell { value, link: None, best: false }
    }

    /// A text.
    pub fn text(text: impl Into<String>) -> Self {
        Cell::new(Value::Text(text.into()))
    }

    /// A number with `digits` decimals; NaN and infinities are undefined.
    pub fn number(value: f64, digits: usize) -> Self {
        match number::not_finite(value) {
            Some(reason) => Cell::undefined(reason),
            None => Cell::new(Value::Number { value, digits, spread: Spread::None }),
        }
    }

    /// A number, or undefined for `reason`.
    pub fn number_or(value: Option<f64>, digits: usize, reason: impl Into<String>) -> Self {
        value.map_or_else(|| Cell::undefined(reason), |v| Cell::number(v, digits))
    }

    /// A number that is shown as `text` ("1 min 30 s"), but sorted and exported by its value.
    pub fn shown(value: f64, text: impl Into<String>) -> Self {
        match number::not_finite(value) {
            Some(reason) => Cell::undefined(reason),
            None => Cell::new(Value::Shown { value, text: text.into() }),
        }
    }

    /// No value, and why. It is shown as "–" and sorted last.
    pub fn undefined(reason: impl Into<String>) -> Self {
        Cell::new(Value::Undefined(reason.into()))
    }

    /// Adds "± spread" to a number (a standard deviation, say); a spread that is not finite is left out.
    pub fn plus_minus(self, spread: f64) -> Self {
        self.spread(Spread::PlusMinus(spread), spread.is_finite())
    }

    /// Adds "\[low, high\]" to a number (a confidence interval, say); limits that are not finite are left out.
    pub fn interval(self, low: f64, high: f64) -> Self {
        self.spread(Spread::Interval(low, high), low.is_finite() && high.is_finite())
    }

    /// Makes the cell a link. Only `http(s)` and relative addresses are written; others are dropped.
    pub fn link(mut self, address: impl Into<String>) -> Self {
        self.link = Some(address.into()).filter(|a| crate::page::is_safe_link(a));
        self
    }

    /// Marks the cell as the best of its column.
    pub fn best(mut self) -> Self {
        self.best = true;
        self
    }

    fn spread(mut self, new: Spread, finite: bool) -> Self {
        if let Value::Number { spread, .. } = &mut self.value
            && finite
        {
            *spread = new;
        }
        self
    }

    /// The number to sort by, if the cell has one.
    pub(crate) fn sort_value(&self) -> Option<f64> {
        match self.value {
            Value::Number { value, .. } | Value::Shown { value, .. } => Some(value),
            _ => None,
        }
    }

    /// The text in ASCII digits and signs ("0.931 ± 0.012", "–").
    pub(crate) fn pretty(&self) -> String {
        match &self.value {
            Value::Text(text) | Value::Shown { text, .. } => text.clone(),
            Value::Undefined(_) => "–".into(),
            Value::Number { value, digits, spread } => {
                let n = |v: f64| number::fixed_ascii(v, *digits);
                match *spread {
                    Spread::None => n(*value),
                    Spread::PlusMinus(s) => format!("{} ± {}", n(*value), n(s)),
                    Spread::Interval(low, high) => format!("{} [{}, {}]", n(*value), n(low), n(high)),
                }
            }
        }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Cell::text(text)
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Cell::text(text)
    }
}
