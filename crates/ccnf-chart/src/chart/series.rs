//! Series of points: what line and scatter charts draw.

use super::axis::Axis;
use super::style::Style;
use crate::number::{digits_for, short};
use crate::table::{Cell, Column, Table};

/// Rows that a data table holds before it is thinned out.
const MOST_ROWS: usize = 120;

/// A point; without a value (`None`, NaN or an infinity) it is a gap.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    pub(crate) x: f64,
    pub(crate) y: Option<f64>,
    pub(crate) interval: Option<(f64, f64)>,
    pub(crate) label: String,
}

impl Point {
    /// A point at `x`, or a gap.
    pub fn new(x: f64, y: impl Into<Option<f64>>) -> Self {
        Point { x, y: y.into().filter(|v| v.is_finite()), interval: None, label: String::new() }
    }

    /// The interval of the value, from `low` to `high`; limits that are not finite are left out.
    pub fn interval(mut self, low: f64, high: f64) -> Self {
        self.interval = Some((low.min(high), low.max(high))).filter(|_| low.is_finite() && high.is_finite());
        self
    }

    /// A text beside the point (scatter charts) and in its tooltip.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }
}

/// A named sequence of points with one colour, dash and marker.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    pub(crate) name: String,
    pub(crate) points: Vec<Point>,
    pub(crate) style: Option<usize>,
}

impl Series {
    /// A series of points.
    pub fn new(name: impl Into<String>, points: impl IntoIterator<Item = Point>) -> Self {
        Series { name: name.into(), points: points.into_iter().collect(), style: None }
    }

    /// A series of values at 0, 1, 2, … (the categories of an [`Axis`], say).
    pub fn over_index<V: Into<Option<f64>>>(
        name: impl Into<String>,
        values: impl IntoIterator<Item = V>,
    ) -> Self {
        Series::new(name, values.into_iter().enumerate().map(|(i, v)| Point::new(i as f64, v)))
    }

    /// Fixes the look, so that the same thing looks the same in several charts; otherwise it goes by position.
    pub fn style(mut self, index: usize) -> Self {
        self.style = Some(index);
        self
    }
}

/// A point that has a place in the chart.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spot<'a> {
    pub(crate) x: f64,
    pub(crate) y: f64,
    pub(crate) point: &'a Point,
}

/// The look of the series at `index`.
pub(crate) fn style_of(series: &Series, index: usize) -> Style {
    Style(series.style.unwrap_or(index))
}

/// The place of `point`, if it has one.
pub(crate) fn spot<'a>(point: &'a Point, x: &Axis, y: &Axis) -> Option<Spot<'a>> {
    let value = point.y.filter(|v| y.shows(*v) && x.shows(point.x))?;
    Some(Spot { x: point.x, y: value, point })
}

/// What the chart does not show, in a sentence for below it; and why it is empty if it is.
pub(crate) struct Missing {
    pub(crate) note: Option<String>,
    pub(crate) empty: Option<String>,
}

/// Counts what has no place.
pub(crate) fn missing(series: &[Series], x: &Axis, y: &Axis) -> Missing {
    let points = || series.iter().flat_map(|s| &s.points);
    let total = points().count();
    let undefined = points().filter(|p| p.y.is_none() || !p.x.is_finite()).count();
    let off = |axis: &Axis, value: fn(&Point) -> Option<f64>| {
        points().filter(|p| value(p).is_some_and(|v| v.is_finite() && !axis.shows(v))).count()
    };
    let (off_x, off_y) = (off(x, |p| Some(p.x)), off(y, |p| p.y));
    let mut parts = vec![];
    for (n, what) in [
        (undefined, "undefined".to_string()),
        (off_x, format!("with an x {}", x.refusal())),
        (off_y, format!("with a y {}", y.refusal())),
    ] {
        if n > 0 {
            parts.push(format!("{n} {what}"));
        }
    }
    let drawn = points().filter(|p| spot(p, x, y).is_some()).count();
    let empty = (drawn == 0).then(|| match (series.is_empty(), total) {
        (true, _) => "there is no series".to_string(),
        (_, 0) => "the series have no points".to_string(),
        _ => format!("no point can be drawn ({})", parts.join(", ")),
    });
    let note = (drawn > 0 && off_x + off_y > 0).then(|| format!("Not shown: {}.", parts.join(", ")));
    Missing { note, empty }
}

/// The points as a table: one row for every x, one column for every series; long ones are thinned evenly.
pub(crate) fn wide_table(title: &str, series: &[Series], x: &Axis, y: &Axis) -> Table {
    let mut xs: Vec<f64> =
        series.iter().flat_map(|s| &s.points).map(|p| p.x).filter(|x| x.is_finite()).collect();
    xs.sort_by(f64::total_cmp);
    xs.dedup();
    let every = xs.len().div_ceil(MOST_ROWS).max(1);
    let mut caption = format!("{title}: {}", y.label());
    if every > 1 {
        caption += &format!(" (one in {every} rows)");
    }
    let first = if x.names().is_some() { Column::text(x.label()) } else { Column::number(x.label()) };
    let mut table = Table::new(caption, [first]);
    table.columns.extend(series.iter().map(|s| Column::number(&s.name)));
    let largest = series.iter().flat_map(|s| &s.points).filter_map(|p| p.y).map(f64::abs).fold(0.0, f64::max);
    let digits = digits_for(largest);
    // positions by x, so that long series are not searched for every row
    let sorted: Vec<Vec<&Point>> = series
        .iter()
        .map(|s| {
            let mut points: Vec<&Point> = s.points.iter().collect();
            points.sort_by(|a, b| a.x.total_cmp(&b.x));
            points
        })
        .collect();
    for &at in xs.iter().step_by(every) {
        let mut row = vec![match x.names() {
            Some(_) => Cell::text(x.value_text(at)),
            None => Cell::shown(at, short(at)),
        }];
        row.extend(sorted.iter().map(|points| {
            let i = points.partition_point(|p| p.x.total_cmp(&at).is_lt());
            match points.get(i).filter(|p| p.x == at) {
                None => Cell::undefined("no point"),
                Some(p) => {
                    let cell = Cell::number_or(p.y, digits, "no value here");
                    p.interval.map_or(cell.clone(), |(low, high)| cell.interval(low, high))
                }
            }
        }));
        table.push(row);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_and_refused_points_are_counted() {
        let axis = || Axis::new("x");
        let s = [Series::new("a", [Point::new(1.0, 2.0), Point::new(2.0, None), Point::new(3.0, -1.0)])];
        let m = missing(&s, &axis(), &axis().log());
        assert_eq!(m.note.unwrap(), "Not shown: 1 undefined, 1 with a y not positive on a logarithmic axis.");
        assert_eq!(missing(&s, &axis(), &axis()).note, None, "a plain gap speaks for itself");
        let nan = [Series::over_index("a", [f64::NAN])];
        assert_eq!(missing(&nan, &axis(), &axis()).empty.unwrap(), "no point can be drawn (1 undefined)");
        assert_eq!(missing(&[], &axis(), &axis()).empty.unwrap(), "there is no series");
    }

    #[test]
    fn the_data_table_joins_series_by_x_and_is_bounded() {
        let s = [
            Series::new("a", [Point::new(0.0, 1.0).interval(0.5, 1.5), Point::new(2.0, f64::NAN)]),
            Series::new("b", (0..10_000).map(|i| Point::new(i as f64, 1.0))),
        ];
        let t = wide_table("t", &s[..1], &Axis::new("x"), &Axis::new("y"));
        assert_eq!(t.rows.len(), 2);
        assert_eq!(t.rows[0][1], Cell::number(1.0, 3).interval(0.5, 1.5));
        assert_eq!(t.rows[1][1], Cell::undefined("no value here"));
        let t = wide_table("t", &s, &Axis::new("x"), &Axis::new("y"));
        assert!(t.rows.len() <= MOST_ROWS && t.caption.ends_with("(one in 84 rows)"), "{}", t.caption);
        assert_eq!(t.rows[1][1], Cell::undefined("no point"));
    }
}
