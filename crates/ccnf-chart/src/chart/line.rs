//! Lines over a number or over categories.

use super::Chart;
use super::axis::Axis;
use super::frame::Frame;
use super::legend::legend;
use super::series::{Series, Spot, missing, spot, style_of, wide_table};
use super::style::Style;
use super::svg::{Svg, WIDTH, painted, px};
use crate::table::Table;
use maud::{Markup, html};

/// Points of a series up to which every one gets a marker.
const MARKED: usize = 40;
/// Columns of pixels into which long series are condensed.
const COLUMNS: usize = 600;

/// Several series as lines, with optional intervals and with gaps where a value is undefined.
#[derive(Debug, Clone, PartialEq)]
pub struct LineChart {
    title: String,
    x: Axis,
    y: Axis,
    series: Vec<Series>,
}

impl LineChart {
    /// A chart without series.
    pub fn new(title: impl Into<String>, x: Axis, y: Axis) -> Self {
        LineChart { title: title.into(), x, y, series: vec![] }
    }

    /// Adds a series.
    pub fn series(mut self, series: Series) -> Self {
        self.series.push(series);
        self
    }
}

impl Chart for LineChart {
    fn svg(&self) -> Svg {
        let missing = missing(&self.series, &self.x, &self.y);
        if let Some(reason) = missing.empty {
            return Svg::empty(&self.title, &reason);
        }
        let runs: Vec<Vec<Vec<Spot>>> = self.series.iter().map(|s| self.runs(s)).collect();
        let spots = || runs.iter().flatten().flatten();
        let xs: Vec<f64> = spots().map(|s| s.x).collect();
        let ys: Vec<f64> = spots()
            .flat_map(|s| [Some(s.y), s.point.interval.map(|i| i.0), s.point.interval.map(|i| i.1)])
            .flatten()
            .collect();

        let entries: Vec<_> =
            self.series.iter().enumerate().map(|(i, s)| (s.name.clone(), style_of(s, i))).collect();
        let marked = self.series.iter().any(|s| s.points.len() <= MARKED);
        let legend = legend(&entries, WIDTH, true, marked);
        let note = missing.note.as_deref();
        let Some(frame) = Frame::new((&self.x, &xs), (&self.y, &ys), legend.height, 250.0, note) else {
            return Svg::empty(&self.title, "the axes have no range");
        };
        let body = html! {
            (legend.markup)
            (frame.backdrop())
            @for (i, runs) in runs.iter().enumerate() {
                (painted(&entries[i].1.paint(), self.draw(&frame, &self.series[i], runs, entries[i].1)))
            }
        };
        let names: Vec<&str> = self.series.iter().map(|s| s.name.as_str()).collect();
        let description = format!(
            "Line chart of {} over {}. Series: {}. {}",
            self.y.label(),
            self.x.label(),
            names.join(", "),
            missing.note.unwrap_or_default()
        );
        Svg::new(&self.title, description.trim_end(), WIDTH, frame.height, &body)
    }

    fn data(&self) -> Table {
        wide_table(&self.title, &self.series, &self.x, &self.y)
    }
}

impl LineChart {
    /// The stretches without a gap.
    fn runs<'a>(&self, series: &'a Series) -> Vec<Vec<Spot<'a>>> {
        let spots: Vec<Option<Spot>> = series.points.iter().map(|p| spot(p, &self.x, &self.y)).collect();
        spots
            .split(Option::is_none)
            .filter(|run| !run.is_empty())
            .map(|run| run.iter().flatten().copied().collect())
            .collect()
    }

    fn draw(&self, frame: &Frame, series: &Series, runs: &[Vec<Spot>], style: Style) -> Markup {
        let marked = series.points.len() <= MARKED;
        let radius = if marked { 4.0 } else { 2.2 };
        html! {
            @for run in runs {
                @if let Some(band) = band(frame, run) { path d=(band) fill-opacity="0.16" {} }
                @if run.len() > 1 {
                    path d=(line(frame, run)) fill="none" stroke="currentColor" stroke-width="2" stroke-linejoin="round"
                        stroke-dasharray=[style.dash()] {}
                }
                // a point between two gaps has no line: without a marker it would be lost
                @if marked || run.len() == 1 {
                    @for s in run {
                        @if let (1, Some((low, high))) = (run.len(), s.point.interval) {
                            path d={ "M" (px(frame.x.at(s.x))) " " (px(frame.y_inside(low))) "V" (px(frame.y_inside(high))) }
                                stroke="currentColor" stroke-width="1.5" {}
                        }
                        path d=(style.marker(frame.x.at(s.x), frame.y.at(s.y), radius)) {
                            title { (series.name) ", " (self.x.value_text(s.x)) ": " (self.y.value_text(s.y)) }
                        }
                    }
                }
            }
        }
    }
}

/// The path through a run. Of more points than pixels only the first, lowest, highest and last of each column are
/// drawn, which looks the same (Jugel et al., "M4: A Visualization-Oriented Time Series Data Aggregation", 2014).
fn line(frame: &Frame, run: &[Spot]) -> String {
    let mut points: Vec<(f64, f64)> = run.iter().map(|s| (frame.x.at(s.x), frame.y.at(s.y))).collect();
    if points.len() > 4 * COLUMNS {
        let column =
            |p: &(f64, f64)| ((p.0 - frame.left) / (frame.right - frame.left) * COLUMNS as f64) as usize;
        points = points
            .chunk_by(|a, b| column(a) == column(b))
            .flat_map(|chunk| {
                let extreme = |sign: f64| {
                    (0..chunk.len())
                        .min_by(|&a, &b| (chunk[a].1 * sign).total_cmp(&(chunk[b].1 * sign)))
                        .unwrap_or(0)
                };
                let mut kept = [0, extreme(1.0), extreme(-1.0), chunk.len() - 1];
                kept.sort_unstable();
                let mut kept = kept.to_vec();
                kept.dedup();
                kept.into_iter().map(|i| chunk[i])
            })
            .collect();
    }
    let points: Vec<String> = points.iter().map(|(x, y)| format!("{} {}", px(*x), px(*y))).collect();
    format!("M{}", points.join("L"))
}

/// The outline of the intervals of a run, if at least two points have one.
fn band(frame: &Frame, run: &[Spot]) -> Option<String> {
    let limits: Vec<(f64, f64, f64)> =
        run.iter().filter_map(|s| s.point.interval.map(|(low, high)| (s.x, low, high))).collect();
    if limits.len() < 2 {
        return None;
    }
    let every = limits.len().div_ceil(COLUMNS).max(1);
    let mut kept: Vec<_> = limits.iter().step_by(every).collect();
    kept.extend(limits.last().filter(|_| !(limits.len() - 1).is_multiple_of(every)));
    let upper = kept.iter().map(|(x, _, high)| (*x, *high));
    let lower = kept.iter().rev().map(|(x, low, _)| (*x, *low));
    let points: Vec<String> =
        upper.chain(lower).map(|(x, y)| format!("{} {}", px(frame.x.at(x)), px(frame.y_inside(y)))).collect();
    Some(format!("M{}Z", points.join("L")))
}

#[cfg(test)]
mod tests {
    use super::super::series::Point;
    use super::*;

    fn chart(series: impl IntoIterator<Item = Series>) -> LineChart {
        series.into_iter().fold(LineChart::new("t", Axis::new("x"), Axis::new("y")), LineChart::series)
    }

    #[test]
    fn an_undefined_value_is_a_gap_in_the_line() {
        let whole = chart([Series::over_index("a", [1.0, 2.0, 3.0, 4.0, 5.0])]).svg().inline();
        let gap = chart([Series::over_index("a", [1.0, 2.0, f64::NAN, 4.0, 5.0])]).svg().inline();
        let lines = |svg: &str| svg.matches("stroke-linejoin").count();
        assert_eq!((lines(&whole), lines(&gap)), (1, 2));
        assert!(!gap.contains("NaN"));
    }

    #[test]
    fn a_lone_point_is_drawn_with_its_interval() {
        let svg = chart([Series::new("a", [Point::new(1.0, 2.0).interval(1.5, 2.5)])]).svg().inline();
        assert!(svg.contains("a, 1.000: 2.000") && svg.contains("stroke-width=\"1.5\""), "{svg}");
    }

    #[test]
    fn no_data_says_why() {
        for (series, why) in [
            (vec![], "there is no series"),
            (vec![Series::new("a", [])], "the series have no points"),
            (vec![Series::over_index("a", [f64::NAN, f64::INFINITY])], "no point can be drawn (2 undefined)"),
        ] {
            let svg = chart(series).svg().inline();
            assert!(svg.contains("No data") && svg.contains(why), "{svg}");
        }
    }

    #[test]
    fn a_long_series_is_condensed_but_keeps_its_extremes() {
        let value = |i: usize| if i == 31_415 { 50.0 } else { (i % 7) as f64 };
        let svg = chart([Series::over_index("a", (0..100_000).map(value))]).svg();
        assert!(svg.inline().len() < 60_000, "{}", svg.inline().len());
        let frame_top = chart([Series::over_index("a", [0.0, 50.0])]).svg().inline();
        let highest = frame_top.split("stroke-linejoin").next().unwrap().rsplit("L").next().unwrap();
        let y = highest.split([' ', '"']).nth(1).unwrap();
        assert!(svg.inline().contains(&format!(" {y}L")), "the peak at {y} is lost");
    }

    #[test]
    fn the_same_input_gives_the_same_bytes() {
        let make = || {
            chart((0..9).map(|k| {
                Series::over_index(format!("s{k}"), (0..30).map(|i| (i * k) as f64).collect::<Vec<_>>())
            }))
        };
        assert_eq!(make().svg().standalone(), make().svg().standalone());
    }
}
