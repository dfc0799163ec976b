//! Points: labelled ones with intervals, or hundreds coloured by group.

use super::Chart;
use super::axis::Axis;
use super::frame::Frame;
use super::labels::{Area, Placed, place};
use super::legend::legend;
use super::series::{Series, Spot, missing, spot, style_of};
use super::style::Style;
use super::svg::{Svg, WIDTH, painted, px};
use crate::number::{digits_for, short};
use crate::table::{Cell, Column, Table};
use crate::theme;
use maud::{Markup, html};

/// Points up to which each is drawn large and for itself, with a tooltip and its label.
const FEW: usize = 60;
/// Rows of the data table; more are thinned out.
const MOST_ROWS: usize = 120;

/// Points by group. With few points the labels stand beside them; with many they are small and without text, but
/// differ by marker as well as by colour.
#[derive(Debug, Clone, PartialEq)]
pub struct ScatterChart {
    title: String,
    x: Axis,
    y: Axis,
    groups: Vec<Series>,
}

impl ScatterChart {
    /// A chart without points.
    pub fn new(title: impl Into<String>, x: Axis, y: Axis) -> Self {
        ScatterChart { title: title.into(), x, y, groups: vec![] }
    }

    /// Adds a group of points.
    pub fn group(mut self, group: Series) -> Self {
        self.groups.push(group);
        self
    }
}

impl Chart for ScatterChart {
    fn svg(&self) -> Svg {
        let missing = missing(&self.groups, &self.x, &self.y);
        if let Some(reason) = missing.empty {
            return Svg::empty(&self.title, &reason);
        }
        let groups: Vec<(Style, Vec<Spot>)> = self
            .groups
            .iter()
            .enumerate()
            .map(|(i, g)| {
                (style_of(g, i), g.points.iter().filter_map(|p| spot(p, &self.x, &self.y)).collect())
            })
            .collect();
        let spots = || groups.iter().flat_map(|(_, spots)| spots);
        let xs: Vec<f64> = spots().map(|s| s.x).collect();
        let ys: Vec<f64> = spots()
            .flat_map(|s| [Some(s.y), s.point.interval.map(|i| i.0), s.point.interval.map(|i| i.1)])
            .flatten()
            .collect();
        let named: Vec<_> = self
            .groups
            .iter()
            .zip(&groups)
            .filter(|(g, _)| !g.name.is_empty())
            .map(|(g, (style, _))| (g.name.clone(), *style))
            .collect();
        let legend = legend(&named, WIDTH, false, true);
        let plot_height = if xs.len() <= FEW { 300.0 } else { 400.0 };
        let few = xs.len() <= FEW;
        let framed =
            |note: Option<&str>| Frame::new((&self.x, &xs), (&self.y, &ys), legend.height, plot_height, note);
        let Some(mut frame) = framed(missing.note.as_deref()) else {
            return Svg::empty(&self.title, "the axes have no range");
        };
        let mut notes: Vec<String> = missing.note.into_iter().collect();
        let mut texts = html! {};
        if few {
            let (placed, left_out) = labels(&frame, &groups);
            texts = html! { @for label in &placed { (label.markup()) } };
            if left_out > 0 {
                // a note changes the height only, so that the labels stay where they are
                notes.push(format!("{left_out} labels have no room; they are in the numbers."));
                frame = framed(Some(&notes.join(" "))).unwrap_or(frame);
            }
        }
        let body = html! {
            (legend.markup)
            (frame.backdrop())
            @for ((style, spots), group) in groups.iter().zip(&self.groups) {
                (painted(&style.paint(), if few { self.large(&frame, group, spots, *style) } else { small(&frame, spots, *style) }))
            }
            (painted(&theme::plain("ink"), texts))
        };
        let names: Vec<&str> = named.iter().map(|(name, _)| name.as_str()).collect();
        let description = format!(
            "Scatter chart of {} over {}: {} points. {}{}",
            self.y.label(),
            self.x.label(),
            xs.len(),
            if names.is_empty() { String::new() } else { format!("Groups: {}. ", names.join(", ")) },
            notes.join(" ")
        );
        Svg::new(&self.title, description.trim_end(), WIDTH, frame.height, &body)
    }

    fn data(&self) -> Table {
        let total: usize = self.groups.iter().map(|g| g.points.len()).sum();
        let every = total.div_ceil(MOST_ROWS).max(1);
        let caption = match every {
            1 => self.title.clone(),
            n => format!("{} (one in {n} points)", self.title),
        };
        let points = || self.groups.iter().flat_map(|g| g.points.iter().map(move |p| (g, p)));
        let largest = points().filter_map(|(_, p)| p.y).map(f64::abs).fold(0.0, f64::max);
        let labelled = points().any(|(_, p)| !p.label.is_empty());
        let mut columns = vec![Column::text("Group")];
        if labelled {
            columns.insert(0, Column::text("Point"));
        }
        columns.extend([Column::number(self.x.label()), Column::number(self.y.label())]);
        let mut table = Table::new(caption, columns);
        for (group, point) in points().step_by(every) {
            let y = Cell::number_or(point.y, digits_for(largest), "no value here");
            let mut row = vec![Cell::text(&group.name)];
            if labelled {
                row.insert(0, Cell::text(&point.label));
            }
            row.push(if self.x.names().is_some() {
                Cell::text(self.x.value_text(point.x))
            } else {
                Cell::shown(point.x, short(point.x))
            });
            row.push(point.interval.map_or(y.clone(), |(low, high)| y.interval(low, high)));
            table.push(row);
        }
        table
    }
}

impl ScatterChart {
    /// Every point for itself, with its interval and a tooltip.
    fn large(&self, frame: &Frame, group: &Series, spots: &[Spot], style: Style) -> Markup {
        html! {
            @for s in spots {
                @let x = frame.x.at(s.x);
                @if let Some((low, high)) = s.point.interval {
                    @let (low, high) = (px(frame.y_inside(low)), px(frame.y_inside(high)));
                    path stroke="currentColor" stroke-width="1.5" fill="none"
                        d={ "M" (px(x)) " " (low) "V" (high) "M" (px(x - 3.0)) " " (low) "h6M" (px(x - 3.0)) " " (high) "h6" } {}
                }
                path d=(style.marker(x, frame.y.at(s.y), 5.0)) {
                    @let name = if s.point.label.is_empty() { &group.name } else { &s.point.label };
                    title { (name) ": " (self.x.value_text(s.x)) ", " (self.y.value_text(s.y)) }
                }
            }
        }
    }
}

/// All points of a group in one path.
fn small(frame: &Frame, spots: &[Spot], style: Style) -> Markup {
    let marks: String = spots.iter().map(|s| style.marker(frame.x.at(s.x), frame.y.at(s.y), 3.4)).collect();
    let ground = theme::plain("surface");
    // a rim in the colour of the ground keeps points apart that touch
    html! { path d=(marks) fill-opacity="0.85" stroke=(ground.light) style=(ground.css("stroke")) stroke-width="0.6" {} }
}

/// The labels that have room, and how many have none.
fn labels(frame: &Frame, groups: &[(Style, Vec<Spot>)]) -> (Vec<Placed>, usize) {
    let at = |s: &Spot| (frame.x.at(s.x), frame.y.at(s.y));
    let spots = || groups.iter().flat_map(|(_, spots)| spots);
    let marks: Vec<Area> = spots()
        .flat_map(|s| {
            let (x, y) = at(s);
            let whisker = s
                .point
                .interval
                .map(|(low, high)| Area(x - 3.0, frame.y_inside(high), x + 3.0, frame.y_inside(low)));
            [Some(Area(x - 5.0, y - 5.0, x + 5.0, y + 5.0)), whisker]
        })
        .flatten()
        .collect();
    let points: Vec<_> = spots().map(|s| (at(s), s.point.label.as_str())).collect();
    let bounds = Area(frame.left + 2.0, frame.top, frame.right + 8.0, frame.bottom - 1.0);
    place(&points, &marks, &bounds)
}

#[cfg(test)]
mod tests {
    use super::super::series::Point;
    use super::*;

    fn chart(groups: impl IntoIterator<Item = Series>) -> ScatterChart {
        let axes = (Axis::new("Cost").unit("s").log(), Axis::new("AUROC"));
        groups.into_iter().fold(ScatterChart::new("t", axes.0, axes.1), ScatterChart::group)
    }

    #[test]
    fn few_points_have_labels_tooltips_and_intervals() {
        let svg = chart([Series::new("", [Point::new(10.0, 0.9).interval(0.8, 0.95).label("joint")])])
            .svg()
            .inline();
        assert!(svg.contains("joint: 10.00, 0.9000") && svg.contains(">joint</text>"), "{svg}");
        assert!(svg.contains("Cost (s)") && svg.contains("h6M"));
    }

    #[test]
    fn many_points_are_one_path_for_each_group() {
        let group =
            |k: usize| Series::new(format!("g{k}"), (1..=150).map(|i| Point::new(i as f64, (i * k) as f64)));
        let svg = chart([group(1), group(2)]).svg().inline();
        assert_eq!(svg.matches("fill-opacity=\"0.85\"").count(), 2);
        assert!(svg.contains(">g1<") && svg.contains(">g2<"), "the legend names the groups");
    }

    #[test]
    fn what_a_log_axis_cannot_show_is_said() {
        let svg = chart([Series::new("", [Point::new(0.0, 0.9), Point::new(1.0, 0.9)])]).svg().inline();
        assert!(svg.contains("Not shown: 1 with an x not positive on a logarithmic axis."), "{svg}");
        let none = chart([Series::new("", [Point::new(-1.0, 0.9)])]).svg().inline();
        assert!(none.contains("No data") && none.contains("no point can be drawn"), "{none}");
    }

    #[test]
    fn the_data_table_is_bounded_and_keeps_undefined_points() {
        let many = chart([Series::new("g", (0..5000).map(|i| Point::new(i as f64, 1.0)))]).data();
        assert!(
            many.rows.len() <= MOST_ROWS && many.caption.contains("one in 42 points"),
            "{}",
            many.caption
        );
        let t = chart([Series::new("g", [Point::new(1.0, None)])]).data();
        assert_eq!(t.rows[0][2], Cell::undefined("no value here"));
    }
}
