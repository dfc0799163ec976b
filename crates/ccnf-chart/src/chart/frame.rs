//! The frame of a chart with two axes: grid, ticks, titles, and the scales inside it.

use super::axis::Axis;
use super::scale::{Scale, Tick};
use super::svg::{FONT, SMALL, WIDTH, cut_text, painted, px};
use crate::text;
use crate::theme;
use maud::{Markup, html};

/// Labels of categories are cut at this width.
const LONGEST_X: f64 = 150.0;
const LONGEST_Y: f64 = 190.0;
/// Slanted labels rise by 40 degrees.
const SLANT: (f64, f64) = (0.766, 0.643);

/// Grid, ticks and titles of two axes, drawn; and where the data go.
pub(crate) struct Frame {
    pub(crate) left: f64,
    pub(crate) right: f64,
    pub(crate) top: f64,
    pub(crate) bottom: f64,
    pub(crate) x: Scale,
    pub(crate) y: Scale,
    /// The height of everything, notes included.
    pub(crate) height: f64,
    backdrop: Markup,
}

impl Frame {
    /// A frame below a legend of height `above`, around the values that have a place on the axes; `None` if none has.
    pub(crate) fn new(
        (x, xs): (&Axis, &[f64]),
        (y, ys): (&Axis, &[f64]),
        above: f64,
        plot_height: f64,
        note: Option<&str>,
    ) -> Option<Frame> {
        let title_lines = text::wrap(&y.label(), FONT, WIDTH);
        let top = above + 18.0 * title_lines.len() as f64 + 8.0;
        let bottom = top + plot_height;
        let y_scale = y.scale(ys.iter().copied(), bottom, top)?;
        let y_ticks = y.tick_marks(&y_scale, (plot_height / 48.0) as usize);
        let y_room = text::widest(y_ticks.iter().map(|t| t.label.as_str()), SMALL).min(LONGEST_Y);
        let mut left = if y.has_ticks() { y_room + 10.0 } else { 4.0 };
        let mut right = WIDTH - 10.0;
        let x_scale = x.scale(xs.iter().copied(), left, right)?;
        let labels = XLabels::new(x, &x_scale);
        left += labels.overhang_left(&x_scale);
        right -= labels.overhang_right(&Scale { start: left, ..x_scale });
        let x_scale = Scale { start: left, end: right, ..x_scale };
        let labels = XLabels::new(x, &x_scale);

        let x_title = text::wrap(&x.label(), FONT, right - left);
        let title_at = bottom + labels.height + 18.0;
        let mut height = title_at + 18.0 * x_title.len() as f64 - 10.0;
        let note_lines = note.map(|n| text::wrap(n, SMALL, WIDTH)).unwrap_or_default();
        let note_at = height + 4.0;
        if !note_lines.is_empty() {
            height = note_at + 16.0 * note_lines.len() as f64 + 4.0;
        }

        let backdrop = html! {
            (painted(&theme::plain("grid"), html! {
                @for tick in &y_ticks {
                    @let at = px(y_scale.at(tick.value));
                    path d={ "M" (px(left)) " " (at) "H" (px(right)) } stroke="currentColor" {}
                }
                @if x.names().is_none() {
                    @for tick in &labels.ticks {
                        @let at = px(x_scale.at(tick.value));
                        path d={ "M" (at) " " (px(top)) "V" (px(bottom)) } stroke="currentColor" {}
                    }
                }
            }))
            (painted(&theme::plain("axis"), html! {
                path d={ "M" (px(left)) " " (px(top)) "V" (px(bottom)) "H" (px(right)) } fill="none" stroke="currentColor" {}
                @if x.names().is_some() {
                    @for tick in &labels.ticks {
                        path d={ "M" (px(x_scale.at(tick.value))) " " (px(bottom)) "v4" } stroke="currentColor" {}
                    }
                }
            }))
            (painted(&theme::plain("muted"), html! {
                @for tick in &y_ticks {
                    text x=(px(left - 7.0)) y=(px(y_scale.at(tick.value) + 4.0)) text-anchor="end" font-size=(px(SMALL)) {
                        (cut_text(&tick.label, SMALL, LONGEST_Y))
                    }
                }
                (labels.markup(&x_scale, bottom))
                @for (i, line) in note_lines.iter().enumerate() {
                    text x="0" y=(px(note_at + 12.0 + 16.0 * i as f64)) font-size=(px(SMALL)) { (line) }
                }
            }))
            (painted(&theme::plain("ink"), html! {
                @for (i, line) in title_lines.iter().enumerate() {
                    text x="0" y=(px(above + 12.0 + 18.0 * i as f64)) { (line) }
                }
                @for (i, line) in x_title.iter().enumerate() {
                    text x=(px((left + right) / 2.0)) y=(px(title_at + 18.0 * i as f64)) text-anchor="middle" { (line) }
                }
            }))
        };
        Some(Frame { left, right, top, bottom, x: x_scale, y: y_scale, height, backdrop })
    }

    /// Grid, axes and texts; the data go on top.
    pub(crate) fn backdrop(&self) -> &Markup {
        &self.backdrop
    }

    /// A limit of an interval, in pixels, held inside the plot.
    pub(crate) fn y_inside(&self, value: f64) -> f64 {
        let at = if self.y.log && value <= 0.0 { self.bottom } else { self.y.at(value) };
        at.clamp(self.top, self.bottom)
    }
}

/// The tick labels of an x axis, level or slanted.
pub(crate) struct XLabels {
    ticks: Vec<Tick>,
    slanted: bool,
    /// The height below the axis.
    pub(crate) height: f64,
}

impl XLabels {
    /// Chooses ticks so that labels do not touch: fewer ticks for numbers; slanted, then left out, for names.
    pub(crate) fn new(axis: &Axis, scale: &Scale) -> Self {
        let length = (scale.end - scale.start).abs();
        if !axis.has_ticks() {
            return XLabels { ticks: vec![], slanted: false, height: 4.0 };
        }
        if axis.names().is_none() {
            let mut target = 9;
            loop {
                let ticks = axis.tick_marks(scale, target);
                let closest = ticks
                    .windows(2)
                    .map(|w| scale.at(w[1].value) - scale.at(w[0].value))
                    .fold(length, f64::min);
                if target <= 2 || text::widest(ticks.iter().map(|t| t.label.as_str()), SMALL) + 8.0 <= closest
                {
                    return XLabels { ticks, slanted: false, height: 20.0 };
                }
                target -= 1;
            }
        }
        let ticks = axis.tick_marks(scale, 0);
        let slot = length / (scale.high - scale.low);
        let widest = text::widest(ticks.iter().map(|t| t.label.as_str()), SMALL).min(LONGEST_X);
        if widest + 8.0 <= slot {
            return XLabels { ticks, slanted: false, height: 20.0 };
        }
        let every = (22.0 / slot).ceil().max(1.0) as usize;
        let ticks = ticks.into_iter().step_by(every).collect();
        XLabels { ticks, slanted: true, height: widest * SLANT.1 + 18.0 }
    }

    fn label_width(&self, tick: &Tick) -> f64 {
        text::width(&tick.label, SMALL).min(LONGEST_X)
    }

    /// How far the labels reach left of the picture, if they do.
    fn overhang_left(&self, scale: &Scale) -> f64 {
        let reach = |t: &Tick| {
            let width = self.label_width(t);
            (if self.slanted { width * SLANT.0 + 4.0 } else { width / 2.0 }) - scale.at(t.value)
        };
        self.ticks.iter().map(reach).fold(0.0, f64::max)
    }

    /// How far the labels reach right of the picture, if they do.
    fn overhang_right(&self, scale: &Scale) -> f64 {
        if self.slanted {
            return 0.0;
        }
        let reach = |t: &Tick| scale.at(t.value) + self.label_width(t) / 2.0 - WIDTH;
        self.ticks.iter().map(reach).fold(0.0, f64::max)
    }

    /// The labels below `bottom`.
    pub(crate) fn markup(&self, scale: &Scale, bottom: f64) -> Markup {
        html! {
            @for tick in &self.ticks {
                @let x = px(scale.at(tick.value) + if self.slanted { 4.0 } else { 0.0 });
                @if self.slanted {
                    @let y = px(bottom + 14.0);
                    text x=(x) y=(y) text-anchor="end" font-size=(px(SMALL)) transform={ "rotate(-40 " (x) " " (y) ")" } {
                        (cut_text(&tick.label, SMALL, LONGEST_X))
                    }
                } @else {
                    text x=(x) y=(px(bottom + 17.0)) text-anchor="middle" font-size=(px(SMALL)) {
                        (cut_text(&tick.label, SMALL, LONGEST_X))
                    }
                }
            }
        }
    }

    /// The ticks that are left.
    pub(crate) fn ticks(&self) -> &[Tick] {
        &self.ticks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(x: Axis, n: usize) -> Frame {
        let xs: Vec<f64> = (0..n).map(|i| i as f64).collect();
        Frame::new((&x, &xs), (&Axis::new("y"), &[0.0, 1.0]), 0.0, 250.0, None).unwrap()
    }

    #[test]
    fn long_category_names_are_slanted_and_widen_the_margin() {
        let short = frame(Axis::categories("x", ["a", "b", "c"]), 3);
        let names: Vec<String> = (0..15).map(|i| format!("a rather long class name {i}")).collect();
        let long = frame(Axis::categories("x", names), 15);
        assert!(!short.backdrop.0.contains("rotate") && long.backdrop.0.contains("rotate(-40"));
        assert!(long.left > short.left && long.height > short.height + 50.0);
    }

    #[test]
    fn very_many_categories_leave_labels_out() {
        let f = frame(Axis::categories("x", (0..300).map(|i| format!("task {i}"))), 300);
        let n = f.backdrop.0.matches("rotate(").count();
        assert!((10..60).contains(&n), "{n}");
    }

    #[test]
    fn numeric_labels_do_not_touch() {
        let x = Axis::new("x").unit("s");
        let scale = x.scale([0.0, 1_000_000.0], 0.0, 200.0).unwrap();
        let labels = XLabels::new(&x, &scale);
        let w = text::widest(labels.ticks().iter().map(|t| t.label.as_str()), SMALL);
        assert!(labels.ticks().windows(2).all(|p| scale.at(p[1].value) - scale.at(p[0].value) > w));
        assert!(labels.ticks().len() >= 2);
    }
}
