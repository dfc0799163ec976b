//! Matrices as coloured cells.

mod draw;

use super::Chart;
use super::svg::Svg;
use crate::number::{digits_for, fixed, not_finite};
use crate::table::{Cell, Column, Table};
use crate::theme::Ramp;

/// A cell of a [`HeatMap`].
#[derive(Debug, Clone, PartialEq)]
pub enum HeatCell {
    /// A number; NaN and infinities count as undefined.
    Value(f64),
    /// No value, and why: drawn hatched, with the reason as tooltip.
    Undefined(String),
}

impl From<f64> for HeatCell {
    fn from(value: f64) -> Self {
        not_finite(value).map_or(HeatCell::Value(value), |reason| HeatCell::Undefined(reason.into()))
    }
}

impl From<Option<f64>> for HeatCell {
    fn from(value: Option<f64>) -> Self {
        value.map_or_else(|| HeatCell::Undefined("no value".into()), HeatCell::from)
    }
}

/// How values become colours.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ColorScale {
    /// From pale to strong, from the lowest to the highest value or between fixed limits.
    Sequential {
        /// The value of the palest colour.
        low: Option<f64>,
        /// The value of the strongest colour.
        high: Option<f64>,
    },
    /// Blue below the centre, orange above it, both equally far.
    Diverging {
        /// The neutral value.
        center: f64,
        /// The distance from the centre of the strongest colours; the largest one in the data if `None`.
        reach: Option<f64>,
    },
}

/// A matrix with row and column labels, values in the cells where they fit, and a colour bar.
#[derive(Debug, Clone, PartialEq)]
pub struct HeatMap {
    title: String,
    value_title: String,
    row_title: String,
    column_title: String,
    rows: Vec<String>,
    columns: Vec<String>,
    cells: Vec<Vec<HeatCell>>,
    scale: ColorScale,
    digits: Option<usize>,
}

impl HeatMap {
    /// A map without rows; `value_title` names what the colours mean (with its unit).
    pub fn new<S: AsRef<str>>(
        title: impl Into<String>,
        value_title: impl Into<String>,
        columns: impl IntoIterator<Item = S>,
    ) -> Self {
        HeatMap {
            title: title.into(),
            value_title: value_title.into(),
            row_title: String::new(),
            column_title: String::new(),
            rows: vec![],
            columns: columns.into_iter().map(|c| c.as_ref().to_string()).collect(),
            cells: vec![],
            scale: ColorScale::Sequential { low: None, high: None },
            digits: None,
        }
    }

    /// Adds a row; cells that are missing at its end are undefined, cells beyond the columns get an unnamed one.
    pub fn row<C: Into<HeatCell>>(
        mut self,
        label: impl Into<String>,
        cells: impl IntoIterator<Item = C>,
    ) -> Self {
        self.rows.push(label.into());
        let cells: Vec<HeatCell> = cells.into_iter().map(Into::into).collect();
        if cells.len() > self.columns.len() {
            self.columns.resize(cells.len(), String::new());
        }
        self.cells.push(cells);
        self
    }

    /// Names what the rows and the columns are.
    pub fn axes(mut self, rows: impl Into<String>, columns: impl Into<String>) -> Self {
        (self.row_title, self.column_title) = (rows.into(), columns.into());
        self
    }

    /// How values become colours; from the lowest to the highest value otherwise.
    pub fn scale(mut self, scale: ColorScale) -> Self {
        self.scale = scale;
        self
    }

    /// Decimals of the values; three significant digits otherwise.
    pub fn digits(mut self, digits: usize) -> Self {
        self.digits = Some(digits);
        self
    }

    fn value(&self, row: usize, column: usize) -> Result<f64, &str> {
        match self.cells[row].get(column) {
            Some(HeatCell::Value(v)) => not_finite(*v).map_or(Ok(*v), Err),
            Some(HeatCell::Undefined(reason)) => Err(reason),
            None => Err("no value"),
        }
    }

    fn values(&self) -> impl Iterator<Item = f64> {
        let places = (0..self.rows.len()).flat_map(|i| (0..self.columns.len()).map(move |j| (i, j)));
        places.filter_map(|(i, j)| self.value(i, j).ok())
    }

    fn value_digits(&self) -> usize {
        self.digits
            .unwrap_or_else(|| digits_for(self.values().map(f64::abs).fold(0.0, f64::max)).saturating_sub(1))
    }

    /// The ends of the colour scale and its kind.
    fn range(&self) -> (f64, f64, Ramp) {
        let (low, high) = self.values().fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(v), h.max(v)));
        let finite = |v: &f64| v.is_finite();
        match self.scale {
            ColorScale::Sequential { low: l, high: h } => {
                (l.filter(finite).unwrap_or(low), h.filter(finite).unwrap_or(high), Ramp::Sequential)
            }
            ColorScale::Diverging { center, reach } => {
                let center = if center.is_finite() { center } else { 0.0 };
                let reach = reach.filter(finite).map_or((high - center).max(center - low), f64::abs);
                ((center - reach).max(f64::MIN), (center + reach).min(f64::MAX), Ramp::Diverging)
            }
        }
    }
}

impl Chart for HeatMap {
    fn svg(&self) -> Svg {
        let Some(first) =
            (0..self.rows.len()).flat_map(|i| (0..self.columns.len()).map(move |j| (i, j))).next()
        else {
            return Svg::empty(&self.title, "the matrix has no cells");
        };
        if self.values().next().is_none() {
            let reason = self.value(first.0, first.1).err().unwrap_or_default();
            return Svg::empty(&self.title, &format!("every cell is undefined ({reason})"));
        }
        let (width, height, body) = self.draw();
        let (low, high) = self.values().fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(v), h.max(v)));
        let (count, digits) = (self.values().count(), self.value_digits());
        let description = format!(
            "Heat map of {}: {} rows, {} columns, values from {} to {}, {} cells undefined.",
            self.value_title,
            self.rows.len(),
            self.columns.len(),
            fixed(low, digits),
            fixed(high, digits),
            self.rows.len() * self.columns.len() - count
        );
        Svg::new(&self.title, &description, width, height, &body)
    }

    fn data(&self) -> Table {
        let first = if self.row_title.is_empty() { "Row" } else { &self.row_title };
        let mut table = Table::new(format!("{}: {}", self.title, self.value_title), [Column::text(first)]);
        table.columns.extend(self.columns.iter().map(Column::number));
        for (i, label) in self.rows.iter().enumerate() {
            let mut row = vec![Cell::text(label)];
            row.extend((0..self.columns.len()).map(|j| match self.value(i, j) {
                Ok(v) => Cell::number(v, self.value_digits()),
                Err(reason) => Cell::undefined(reason),
            }));
            table.push(row);
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map() -> HeatMap {
        HeatMap::new("R", "AUROC", ["a", "b"])
            .row("task 1", [HeatCell::from(0.9), HeatCell::Undefined("not learnt yet".into())])
            .row("task 2", [0.5, f64::NAN])
            .digits(2)
    }

    #[test]
    fn cells_show_values_and_undefined_cells_their_reason() {
        let svg = map().svg().inline();
        assert!(svg.contains("task 1, a: 0.90") && svg.contains(">0.50<"), "{svg}");
        assert!(svg.contains("task 1, b: undefined (not learnt yet)"));
        assert!(svg.contains("task 2, b: undefined (not a number)") && !svg.contains("NaN"));
        assert_eq!(map().data().rows[0][2], Cell::undefined("not learnt yet"));
    }

    #[test]
    fn values_beyond_fixed_limits_are_marked_at_the_bar() {
        let svg = map().scale(ColorScale::Sequential { low: Some(0.6), high: Some(1.0) }).svg().inline();
        assert!(svg.contains("≤ 0.60") && !svg.contains("≥"), "{svg}");
    }

    #[test]
    fn a_diverging_scale_is_symmetric_about_its_centre() {
        let m = HeatMap::new("d", "Δ", ["a"]).row("x", [0.3]).row("y", [-0.1]);
        let m = m.scale(ColorScale::Diverging { center: 0.0, reach: None });
        assert_eq!(m.range(), (-0.3, 0.3, Ramp::Diverging));
    }

    #[test]
    fn extreme_and_constant_values_have_a_colour() {
        for cells in [[1.0, 1.0], [f64::MAX, -f64::MAX], [0.0, 1e-300]] {
            let svg = HeatMap::new("m", "v", ["a", "b"]).row("r", cells).svg().inline();
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }

    #[test]
    fn a_matrix_without_values_says_why() {
        let none = HeatMap::new("m", "v", Vec::<String>::new());
        assert!(none.svg().inline().contains("the matrix has no cells"));
        let undefined = HeatMap::new("m", "v", ["a"]).row("r", [HeatCell::Undefined("no masks".into())]);
        assert!(undefined.svg().inline().contains("every cell is undefined (no masks)"));
    }
}
