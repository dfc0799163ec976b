//! Axes: what they say and which range they span.

use super::scale::{Scale, Tick, linear_ticks, log_ticks};

/// Numbers beyond this are not drawn: their differences would overflow.
const LARGEST: f64 = 1e100;

/// One axis of a chart: its title, unit, kind and range.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    title: String,
    unit: String,
    kind: Kind,
    include: Vec<f64>,
    limits: (f64, f64),
    ticks: bool,
}

#[derive(Debug, Clone, PartialEq)]
enum Kind {
    Linear,
    Log,
    Categories(Vec<String>),
}

impl Axis {
    fn of(title: impl Into<String>, kind: Kind) -> Self {
        let limits = (f64::NEG_INFINITY, f64::INFINITY);
        Axis { title: title.into(), unit: String::new(), kind, include: vec![], limits, ticks: true }
    }

    /// An axis of numbers.
    pub fn new(title: impl Into<String>) -> Self {
        Axis::of(title, Kind::Linear)
    }

    /// An axis of names (tasks, say), evenly spaced: 0 is the first one, 1 the second.
    pub fn categories<S: AsRef<str>>(title: impl Into<String>, names: impl IntoIterator<Item = S>) -> Self {
        Axis::of(title, Kind::Categories(names.into_iter().map(|n| n.as_ref().to_string()).collect()))
    }

    /// The unit, written in brackets after the title.
    pub fn unit(mut self, unit: impl Into<String>) -> Self {
        self.unit = unit.into();
        self
    }

    /// Spaces the numbers by their logarithm. Values that are not positive are then not drawn, and the chart says so.
    pub fn log(mut self) -> Self {
        self.kind = Kind::Log;
        self
    }

    /// Makes the axis reach to `value` whatever the data.
    pub fn include(mut self, value: f64) -> Self {
        self.include.push(value);
        self
    }

    /// The natural limits of the values (0 and 1 of an AUROC): the margin around the data does not pass them.
    pub fn limits(mut self, low: f64, high: f64) -> Self {
        self.limits = (low, high);
        self
    }

    /// Leaves out tick labels and grid: for coordinates without meaning, as those of t-SNE.
    pub fn without_ticks(mut self) -> Self {
        self.ticks = false;
        self
    }

    /// The title with its unit.
    pub(crate) fn label(&self) -> String {
        if self.unit.is_empty() { self.title.clone() } else { format!("{} ({})", self.title, self.unit) }
    }

    pub(crate) fn has_ticks(&self) -> bool {
        self.ticks
    }

    pub(crate) fn names(&self) -> Option<&[String]> {
        match &self.kind {
            Kind::Categories(names) => Some(names),
            _ => None,
        }
    }

    /// The name of the category at `x`, or the number.
    pub(crate) fn value_text(&self, x: f64) -> String {
        match self.names() {
            Some(names) if self.shows(x) => names.get(x.round() as usize).cloned().unwrap_or_default(),
            _ => crate::number::short(x),
        }
    }

    /// Whether `value` has a place on the axis.
    pub(crate) fn shows(&self, value: f64) -> bool {
        value.is_finite()
            && value.abs() <= LARGEST
            && match &self.kind {
                Kind::Linear => true,
                Kind::Log => value >= 1.0 / LARGEST,
                Kind::Categories(names) => value >= 0.0 && value.round() < names.len() as f64,
            }
    }

    /// Why a finite value that [`shows`](Self::shows) refuses has no place.
    pub(crate) fn refusal(&self) -> &'static str {
        match self.kind {
            Kind::Linear => "too large",
            Kind::Log => "not positive on a logarithmic axis",
            Kind::Categories(_) => "without a category on the axis",
        }
    }

    /// The scale that holds `values` with a margin, or `None` if none of them has a place.
    pub(crate) fn scale(&self, values: impl IntoIterator<Item = f64>, start: f64, end: f64) -> Option<Scale> {
        let mut values = values.into_iter().filter(|v| self.shows(*v)).peekable();
        values.peek()?;
        let included = self.include.iter().copied().filter(|v| self.shows(*v));
        let (low, high) = values.chain(included).fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(v), h.max(v)));
        let (low, high) = match &self.kind {
            Kind::Categories(names) => {
                let margin = if names.len() <= 3 { 0.5 } else { 0.35 };
                (-margin, names.len() as f64 - 1.0 + margin)
            }
            Kind::Linear => self.within_limits((low, high), margin(low, high)),
            Kind::Log => {
                let (l, h) = margin(low.log10(), high.log10());
                self.within_limits((low, high), (10f64.powf(l), 10f64.powf(h)))
            }
        };
        Some(Scale { low, high, log: self.kind == Kind::Log, start, end })
    }

    fn within_limits(&self, data: (f64, f64), padded: (f64, f64)) -> (f64, f64) {
        let low = padded.0.max(self.limits.0.min(data.0));
        let high = padded.1.min(self.limits.1.max(data.1));
        if low < high && self.shows(low) && self.shows(high) { (low, high) } else { padded }
    }

    /// About `target` ticks of `scale`.
    pub(crate) fn tick_marks(&self, scale: &Scale, target: usize) -> Vec<Tick> {
        match &self.kind {
            _ if !self.ticks => vec![],
            Kind::Linear => linear_ticks(scale.low, scale.high, target),
            Kind::Log => log_ticks(scale.low, scale.high, target),
            Kind::Categories(names) => {
                names.iter().enumerate().map(|(i, n)| Tick { value: i as f64, label: n.clone() }).collect()
            }
        }
    }
}

/// The range with a margin of 4 % on both sides; a range without extent gets one.
fn margin(low: f64, high: f64) -> (f64, f64) {
    let largest = low.abs().max(high.abs());
    let span = high - low;
    let pad = match span <= largest * 1e-9 || span < 1e-90 {
        true if largest < 1e-80 => 1.0,
        true => largest * 0.1,
        false => span * 0.04,
    };
    (low - pad, high + pad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_a_margin_that_stops_at_the_limits() {
        let axis = Axis::new("AUROC").limits(0.0, 1.0);
        let s = axis.scale([0.5, 1.0], 0.0, 100.0).unwrap();
        assert!(s.low < 0.5 && s.high == 1.0, "{s:?}");
        let s = axis.scale([0.5, 1.2], 0.0, 100.0).unwrap();
        assert_eq!(s.high, 1.2, "data beyond the limits are still shown");
        assert_eq!(axis.clone().include(0.0).scale([0.5], 0.0, 1.0).unwrap().low, 0.0);
    }

    #[test]
    fn any_numbers_give_a_usable_scale_or_none() {
        let extremes = [0.0, 1.0, -1.0, 1e99, -1e99, 1e-99, 1e-300, f64::MAX, f64::NAN, f64::INFINITY];
        for axis in [Axis::new("a"), Axis::new("a").log(), Axis::categories("a", ["x"])] {
            for a in extremes {
                for b in extremes {
                    let Some(s) = axis.scale([a, b], 0.0, 100.0) else {
                        assert!(!axis.shows(a) && !axis.shows(b), "{a} {b}");
                        continue;
                    };
                    assert!(s.low < s.high, "{a} {b}: {s:?}");
                    for v in [a, b].into_iter().filter(|v| axis.shows(*v)) {
                        let p = s.at(v);
                        assert!((-0.01..=100.01).contains(&p), "{a} {b}: {v} at {p} of {s:?}");
                    }
                    assert!(axis.tick_marks(&s, 5).len() <= 20);
                }
            }
        }
    }

    #[test]
    fn the_unit_follows_the_title() {
        assert_eq!(Axis::new("Time").unit("s").label(), "Time (s)");
        assert_eq!(Axis::new("Time").label(), "Time");
    }
}
