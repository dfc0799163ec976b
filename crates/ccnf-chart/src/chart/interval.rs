//! Values with their intervals, one row each (a forest plot).

use super::Chart;
use super::axis::Axis;
use super::frame::XLabels;
use super::scale::Scale;
use super::style::Style;
use super::svg::{FONT, SMALL, Svg, cut_text, haloed, painted, px};
use crate::number::{digits_for, fixed, not_finite};
use crate::table::{Cell, Column, Table};
use crate::text;
use crate::theme;
use maud::{Markup, html};

/// Wider than other charts: labels and figures stand beside the plot.
const WIDTH: f64 = 680.0;
const ROW: f64 = 26.0;
/// Row labels are cut at this width.
const LONGEST: f64 = 200.0;

/// One row of an [`IntervalChart`].
#[derive(Debug, Clone, PartialEq)]
pub struct IntervalRow {
    label: String,
    value: Result<f64, String>,
    interval: Option<(f64, f64)>,
    points: Vec<f64>,
    style: usize,
}

impl IntervalRow {
    /// A row with a value; NaN and infinities are undefined.
    pub fn new(label: impl Into<String>, value: f64) -> Self {
        let value = not_finite(value).map_or(Ok(value), |reason| Err(reason.to_string()));
        IntervalRow { label: label.into(), value, interval: None, points: vec![], style: 0 }
    }

    /// A row whose value is undefined, and why.
    pub fn undefined(label: impl Into<String>, reason: impl Into<String>) -> Self {
        IntervalRow { value: Err(reason.into()), ..IntervalRow::new(label, 0.0) }
    }

    /// The interval around the value; limits that are not finite are left out.
    pub fn interval(mut self, low: f64, high: f64) -> Self {
        self.interval = Some((low.min(high), low.max(high))).filter(|_| low.is_finite() && high.is_finite());
        self
    }

    /// The single values behind the row (one per seed, say), drawn as small rings.
    pub fn points(mut self, points: impl IntoIterator<Item = f64>) -> Self {
        self.points = points.into_iter().collect();
        self
    }

    /// The look of the row, as of [`Series::style`](super::Series::style); all rows look alike otherwise.
    pub fn style(mut self, index: usize) -> Self {
        self.style = index;
        self
    }
}

/// A dot with its interval for every row, and optionally a reference line.
#[derive(Debug, Clone, PartialEq)]
pub struct IntervalChart {
    title: String,
    axis: Axis,
    rows: Vec<IntervalRow>,
    reference: Option<(f64, String)>,
    digits: Option<usize>,
}

impl IntervalChart {
    /// A chart without rows.
    pub fn new(title: impl Into<String>, axis: Axis) -> Self {
        IntervalChart { title: title.into(), axis, rows: vec![], reference: None, digits: None }
    }

    /// Adds a row below the others.
    pub fn row(mut self, row: IntervalRow) -> Self {
        self.rows.push(row);
        self
    }

    /// Draws a vertical line at `value` (no difference, chance level, …).
    pub fn reference(mut self, value: f64, label: impl Into<String>) -> Self {
        self.reference = Some((value, label.into()));
        self
    }

    /// Decimals of the values; about four significant digits otherwise.
    pub fn digits(mut self, digits: usize) -> Self {
        self.digits = Some(digits);
        self
    }

    fn value_digits(&self) -> usize {
        let values = self.rows.iter().filter_map(|r| r.value.as_ref().ok());
        self.digits.unwrap_or_else(|| digits_for(values.map(|v| v.abs()).fold(0.0, f64::max)))
    }

    /// Why the row has no dot, if it has none.
    fn reason<'a>(&self, row: &'a IntervalRow) -> Option<&'a str> {
        match &row.value {
            Ok(v) if self.axis.shows(*v) => None,
            Ok(_) => Some(self.axis.refusal()),
            Err(reason) => Some(reason),
        }
    }
}

impl Chart for IntervalChart {
    fn svg(&self) -> Svg {
        let digits = self.value_digits();
        let drawn = || self.rows.iter().filter(|r| self.reason(r).is_none());
        let Some(first) = self.rows.first() else { return Svg::empty(&self.title, "there is no row") };
        let values = drawn().flat_map(|r| {
            let limits = r.interval.into_iter().flat_map(|(low, high)| [low, high]);
            r.value.iter().copied().chain(limits).chain(r.points.iter().copied()).collect::<Vec<_>>()
        });
        let reference = self.reference.as_ref().filter(|(v, _)| self.axis.shows(*v));
        let values: Vec<f64> = values.chain(reference.filter(|_| drawn().count() > 0).map(|r| r.0)).collect();

        let figures: Vec<String> = self.rows.iter().map(|r| figure(r, digits)).collect();
        let label_room = text::widest(self.rows.iter().map(|r| r.label.as_str()), FONT).min(LONGEST);
        let figure_room = text::widest(figures.iter().map(String::as_str), SMALL).min(200.0);
        let (left, right) = (label_room + 14.0, WIDTH - figure_room - 14.0);
        let Some(scale) = self.axis.scale(values, left, right) else {
            let reason = format!(
                "every row is undefined ({}: {})",
                first.label,
                self.reason(first).unwrap_or("no value")
            );
            return Svg::empty(&self.title, &reason);
        };
        let top = if reference.is_some() { 22.0 } else { 6.0 };
        let bottom = top + ROW * self.rows.len() as f64;
        let labels = XLabels::new(&self.axis, &scale);
        let middle_x = (left + right) / 2.0;
        let axis_title = text::wrap(&self.axis.label(), FONT, 2.0 * middle_x.min(WIDTH - middle_x));
        let title_at = bottom + labels.height + 18.0;
        let height = title_at + 18.0 * axis_title.len() as f64 - 10.0;

        let body = html! {
                    (painted(&theme::plain("grid"), html! {
                        @for tick in labels.ticks() {
                            path d={ "M" (px(scale.at(tick.value))) " " (px(top)) "V" (px(bottom)) } stroke="currentColor" {}
                        }
                        @for i in 1..self.rows.len() {
                            path d={ "M0 " (px(top + ROW * i as f64)) "H" (px(WIDTH)) } stroke="currentColor" {}
                        }
                    }))
                    (painted(&theme::plain("axis"), html! {
                        path d={ "M" (px(left)) " " (px(bottom)) "H" (px(right)) } stroke="currentColor" {}
                        @if let Some((value, _)) = reference {
                            path d={ "M" (px(scale.at(*value))) " " (px(top - 4.0)) "V" (px(bottom)) } stroke="currentColor"
                                stroke-width="1.5" stroke-dasharray="5 3" {}
                        }
                    }))
                    (painted(&theme::plain("muted"), html! {
                        (labels.markup(&scale, bottom))
                        @if let Some((value, label)) = reference { (reference_label(scale.at(*value), label)) }
                        @for (i, row) in self.rows.iter().enumerate() {
                            @if let Some(reason) = self.reason(row) {
                                (haloed(html! {
        text x=(px(left + 6.0)) y=(px(middle(top, i) + 4.0)) font-size=(px(SMALL)) font-style="italic" {
                                    (cut_text(&format!("undefined: {reason}"), SMALL, right - left - 8.0))
                                }
        }))
                            }
                        }
                    }))
                    (painted(&theme::plain("ink"), html! {
                        @for (i, row) in self.rows.iter().enumerate() {
                            @let y = px(middle(top, i) + 4.5);
                            text x=(px(label_room)) y=(y) text-anchor="end" { (cut_text(&row.label, FONT, LONGEST)) }
                            text x=(px(WIDTH)) y=(y) text-anchor="end" font-size=(px(SMALL)) { (cut_text(&figures[i], SMALL, 200.0)) }
                        }
                        @for (i, line) in axis_title.iter().enumerate() {
                            text x=(px(middle_x)) y=(px(title_at + 18.0 * i as f64)) text-anchor="middle" { (line) }
                        }
                    }))
                    @for (i, row) in self.rows.iter().enumerate() {
                        @if let (None, Ok(value)) = (self.reason(row), &row.value) {
                            (painted(&Style(row.style).paint(), self.mark(row, *value, &scale, middle(top, i), &figures[i])))
                        }
                    }
                };
        let description = format!(
            "Interval chart of {} with {} rows, {} of them undefined. {}",
            self.axis.label(),
            self.rows.len(),
            self.rows.len() - drawn().count(),
            reference
                .map(|(v, label)| format!("Reference line at {}: {label}.", fixed(*v, digits)))
                .unwrap_or_default()
        );
        Svg::new(&self.title, description.trim_end(), WIDTH, height, &body)
    }

    fn data(&self) -> Table {
        let digits = self.value_digits();
        let mut table =
            Table::new(self.title.clone(), [Column::text("Row"), Column::number(self.axis.label())]);
        let with_points = self.rows.iter().any(|r| !r.points.is_empty());
        if with_points {
            table.columns.push(Column::text("Single values"));
        }
        for row in &self.rows {
            let value = match &row.value {
                Err(reason) => Cell::undefined(reason),
                Ok(v) => {
                    let cell = Cell::number(*v, digits);
                    row.interval.map_or(cell.clone(), |(low, high)| cell.interval(low, high))
                }
            };
            let mut cells = vec![Cell::text(&row.label), value];
            if with_points {
                let points: Vec<String> = row.points.iter().map(|p| shown(*p, digits)).collect();
                cells.push(Cell::text(points.join(", ")));
            }
            table.push(cells);
        }
        table
    }
}

impl IntervalChart {
    fn mark(&self, row: &IntervalRow, value: f64, scale: &Scale, y: f64, figure: &str) -> Markup {
        let inside = |v: f64| {
            let at = if self.axis.shows(v) { scale.at(v) } else { scale.start };
            px(at.clamp(scale.start, scale.end))
        };
        html! {
            @if let Some((low, high)) = row.interval {
                path d={ "M" (inside(low)) " " (px(y)) "H" (inside(high)) } stroke="currentColor" stroke-width="2" {}
                path d={ "M" (inside(low)) " " (px(y - 4.0)) "v8M" (inside(high)) " " (px(y - 4.0)) "v8" }
                    stroke="currentColor" stroke-width="1.5" {}
            }
            @for p in row.points.iter().filter(|p| self.axis.shows(**p)) {
                circle cx=(px(scale.at(*p))) cy=(px(y)) r="3" fill="none" stroke="currentColor" stroke-opacity="0.75" {}
            }
            path d=(Style(row.style).marker(scale.at(value), y, 4.5)) { title { (row.label) ": " (figure) } }
        }
    }
}

/// A single value as text.
fn shown(value: f64, digits: usize) -> String {
    if value.is_finite() { fixed(value, digits) } else { "–".into() }
}

fn middle(top: f64, row: usize) -> f64 {
    top + ROW * (row as f64 + 0.5)
}

/// The label of the reference line, on the side where it has room.
fn reference_label(x: f64, label: &str) -> Markup {
    let (anchor, at, room) = match text::width(label, SMALL) / 2.0 {
        half if half <= x.min(WIDTH - x) => ("middle", x, 2.0 * half),
        _ if x > WIDTH / 2.0 => ("end", WIDTH, WIDTH),
        _ => ("start", 0.0, WIDTH),
    };
    html! { text x=(px(at)) y="12" text-anchor=(anchor) font-size=(px(SMALL)) { (cut_text(label, SMALL, room)) } }
}

/// "0.931 [0.912, 0.944]"
fn figure(row: &IntervalRow, digits: usize) -> String {
    match (&row.value, row.interval) {
        (Err(_), _) => "–".into(),
        (Ok(v), None) => fixed(*v, digits),
        (Ok(v), Some((low, high))) => {
            format!("{} [{}, {}]", fixed(*v, digits), fixed(low, digits), fixed(high, digits))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(rows: impl IntoIterator<Item = IntervalRow>) -> IntervalChart {
        rows.into_iter().fold(IntervalChart::new("t", Axis::new("AUROC")), IntervalChart::row)
    }

    #[test]
    fn a_row_shows_its_value_interval_and_single_values() {
        let c =
            chart([IntervalRow::new("a", 0.9).interval(0.85, 0.95).points([0.88, 0.92, f64::NAN])]).digits(2);
        let svg = c.svg().inline();
        assert!(svg.contains("0.90 [0.85, 0.95]") && svg.matches("<circle").count() == 2, "{svg}");
        assert_eq!(
            c.data().rows[0][1..],
            [Cell::number(0.9, 2).interval(0.85, 0.95), Cell::text("0.88, 0.92, –")]
        );
    }

    #[test]
    fn an_undefined_row_says_why_and_is_not_at_zero() {
        let c = chart([
            IntervalRow::new("a", 0.9),
            IntervalRow::undefined("b", "one seed only"),
            IntervalRow::new("c", f64::NAN),
        ]);
        let svg = c.svg().inline();
        assert!(svg.contains("undefined: one seed only") && svg.contains("undefined: not a number"), "{svg}");
        assert_eq!(c.data().rows[1][1], Cell::undefined("one seed only"));
    }

    #[test]
    fn the_reference_is_drawn_and_within_the_range() {
        let svg = chart([IntervalRow::new("a", 0.9)]).reference(0.0, "no difference").svg().inline();
        assert!(svg.contains("no difference") && svg.contains("stroke-dasharray=\"5 3\""));
        assert!(svg.contains(">0.0<"), "the axis reaches the reference: {svg}");
    }

    #[test]
    fn no_row_or_only_undefined_rows_give_no_data() {
        assert!(chart([]).svg().inline().contains("there is no row"));
        let svg = chart([IntervalRow::undefined("a", "diverged")]).reference(0.0, "r").svg().inline();
        assert!(svg.contains("No data") && svg.contains("(a: diverged)"), "{svg}");
    }
}
