//! From values to pixels, and where the ticks go.

use crate::number::typeset;

/// Maps `low..=high` to `start..=end` (pixels), straight or by logarithm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Scale {
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) log: bool,
    pub(crate) start: f64,
    pub(crate) end: f64,
}

impl Scale {
    /// The pixel of `value`.
    pub(crate) fn at(&self, value: f64) -> f64 {
        let t = if self.log {
            (value.ln() - self.low.ln()) / (self.high.ln() - self.low.ln())
        } else {
            (value - self.low) / (self.high - self.low)
        };
        self.start + t * (self.end - self.start)
    }
}

/// A place on an axis and its text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tick {
    pub(crate) value: f64,
    pub(crate) label: String,
}

/// Ticks at multiples of 1, 2 or 5 times a power of ten, about `target` of them.
pub(crate) fn linear_ticks(low: f64, high: f64, target: usize) -> Vec<Tick> {
    let raw = (high - low) / target.max(1) as f64;
    if !raw.is_finite() || raw <= 0.0 {
        return vec![];
    }
    let mut exponent = raw.log10().floor() as i32;
    let mut factor = match raw / 10f64.powi(exponent) {
        m if m <= 1.0 => 1.0,
        m if m <= 2.0 => 2.0,
        m if m <= 5.0 => 5.0,
        _ => 10.0,
    };
    if factor == 10.0 {
        (factor, exponent) = (1.0, exponent + 1);
    }
    // dividing by 10ⁿ gives the decimal's nearest number, multiplying by 10⁻ⁿ does not
    let multiple = |k: f64| {
        if exponent < 0 { k * factor / 10f64.powi(-exponent) } else { k * factor * 10f64.powi(exponent) }
    };
    let step = multiple(1.0);
    let first = (low / step - 1e-9).ceil();
    let last = (high / step + 1e-9).floor();
    let values: Vec<f64> = (0..=(last - first).clamp(0.0, 100.0) as usize)
        .map(|i| multiple(first + i as f64) + 0.0)
        .filter(|v| v.is_finite() && *v <= high + step * 1e-6)
        .collect();
    let largest = low.abs().max(high.abs());
    let scientific = !(1e-3..1e6).contains(&largest);
    let decimals = (-exponent).clamp(0, 17) as usize;
    values
        .into_iter()
        .map(|value| {
            let label = match scientific {
                true if value == 0.0 => "0".into(),
                true => {
                    let digits =
                        (value.abs().log10().floor() - f64::from(exponent)).clamp(0.0, 12.0) as usize;
                    typeset(&format!("{value:.digits$e}"))
                }
                false => typeset(&format!("{value:.decimals$}")),
            };
            Tick { value, label }
        })
        .collect()
}

/// Ticks of a logarithmic axis: powers of ten, with 2 and 5 between them where there is room; ordinary ticks if
/// the range lies within one power.
pub(crate) fn log_ticks(low: f64, high: f64, target: usize) -> Vec<Tick> {
    let (from, to) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    let decades = high.log10() - low.log10();
    let target = target.max(2) as f64;
    let (factors, every): (&[f64], usize) = match decades {
        d if d * 3.0 <= target => (&[1.0, 2.0, 5.0], 1),
        d if d <= target => (&[1.0], 1),
        d => (&[1.0], (d / target).ceil() as usize),
    };
    let ticks: Vec<Tick> = (from..=to)
        .step_by(every)
        .flat_map(|e| factors.iter().map(move |f| (*f, e)))
        .filter_map(|(factor, e)| {
            let value = if e < 0 { factor / 10f64.powi(-e) } else { factor * 10f64.powi(e) };
            let label = match e {
                -4..=5 => typeset(&value.to_string()),
                _ => typeset(&format!("{factor}e{e}")),
            };
            (low <= value * (1.0 + 1e-9) && value <= high * (1.0 + 1e-9)).then_some(Tick { value, label })
        })
        .collect();
    if ticks.len() >= 2 { ticks } else { linear_ticks(low, high, target as usize) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(ticks: Vec<Tick>) -> Vec<String> {
        ticks.into_iter().map(|t| t.label).collect()
    }

    #[test]
    fn ticks_step_by_1_2_or_5() {
        assert_eq!(labels(linear_ticks(0.0, 1.0, 5)), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(labels(linear_ticks(0.83, 0.99, 4)), ["0.85", "0.90", "0.95"]);
        assert_eq!(labels(linear_ticks(-30.0, 30.0, 6)), ["−30", "−20", "−10", "0", "10", "20", "30"]);
        assert_eq!(linear_ticks(0.0, 1.0, 10)[3].value, 0.3);
        assert_eq!(labels(linear_ticks(0.0, 4e6, 4)), ["0", "10⁶", "2×10⁶", "3×10⁶", "4×10⁶"]);
        assert_eq!(labels(linear_ticks(0.0, 3e-5, 3)), ["0", "10⁻⁵", "2×10⁻⁵", "3×10⁻⁵"]);
    }

    #[test]
    fn ticks_stay_inside_and_are_few() {
        for (low, high) in [(0.1, 0.9), (-1e90, 1e90), (1e-90, 3e-90), (99.9, 100.1), (-5.0, 1e6), (7.0, 7.0)]
        {
            for target in [1, 3, 8] {
                let ticks = linear_ticks(low, high, target);
                assert!(ticks.len() <= 2 * target + 2, "{low} {high} {target}: {ticks:?}");
                let room = (high - low) * 1e-6;
                assert!(ticks.iter().all(|t| t.value >= low - room && t.value <= high + room), "{ticks:?}");
            }
        }
    }

    #[test]
    fn log_ticks_are_powers_of_ten_or_finer_where_there_is_room() {
        assert_eq!(labels(log_ticks(0.9, 1100.0, 6)), ["1", "10", "100", "1000"]);
        assert_eq!(labels(log_ticks(1.0, 100.0, 8)), ["1", "2", "5", "10", "20", "50", "100"]);
        assert_eq!(labels(log_ticks(1e-9, 1e9, 6))[..2], ["10⁻⁹", "10⁻⁶"]);
        assert!(log_ticks(12.0, 18.0, 4).len() >= 2);
    }

    #[test]
    fn scales_map_ends_to_ends() {
        let s = Scale { low: 1.0, high: 100.0, log: true, start: 0.0, end: 200.0 };
        assert_eq!([1.0, 10.0, 100.0].map(|v| s.at(v).round()), [0.0, 100.0, 200.0]);
        let s = Scale { low: -1.0, high: 1.0, log: false, start: 10.0, end: 0.0 };
        assert_eq!(s.at(0.0), 5.0);
    }
}
