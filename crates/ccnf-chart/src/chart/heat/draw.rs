//! The drawing of a heat map: colour bar, labels, cells.

use super::super::scale::linear_ticks;
use super::super::svg::{FONT, SMALL, cut_text, painted, px};
use super::HeatMap;
use crate::number::fixed;
use crate::text;
use crate::theme::{self, Ramp, STEPS};
use maud::{Markup, html};
use std::collections::BTreeMap;

/// Row and column labels are cut at these widths.
const LONGEST_ROW: f64 = 220.0;
const LONGEST_COLUMN: f64 = 150.0;
/// Cells carry their value as text up to this many.
const MOST_TEXTS: usize = 900;
const BAR: f64 = 160.0;

/// Where a value lies between the ends of the scale, halved so that no difference overflows.
fn position(value: f64, low: f64, high: f64) -> f64 {
    let span = high / 2.0 - low / 2.0;
    if span > 0.0 { (value / 2.0 - low / 2.0) / span } else { 0.5 }
}

/// Sizes and places of the parts.
struct Layout {
    left: f64,
    top: f64,
    cell: (f64, f64),
    texts: bool,
    slanted: bool,
    width: f64,
    bottom: f64,
}

impl HeatMap {
    /// The width, the height and the drawing.
    pub(super) fn draw(&self) -> (f64, f64, Markup) {
        let layout = self.layout();
        let label_height = match layout.slanted {
            true => {
                text::widest(self.columns.iter().map(String::as_str), SMALL).min(LONGEST_COLUMN) * 0.707
                    + 14.0
            }
            false => 20.0,
        };
        let title_at = layout.bottom + label_height + 18.0;
        let height =
            if self.column_title.is_empty() { layout.bottom + label_height + 4.0 } else { title_at + 8.0 };
        let body = html! {
            (self.key())
            (self.labels(&layout))
            (painted(&theme::plain("ink"), html! {
                text x="0" y=(px(layout.top - 10.0)) { (cut_text(&self.row_title, FONT, layout.width)) }
                @if !self.column_title.is_empty() {
                    @let middle = layout.left + layout.cell.0 * self.columns.len() as f64 / 2.0;
                    @let room = 2.0 * middle.min(layout.width - middle);
                    text x=(px(middle)) y=(px(title_at)) text-anchor="middle" { (cut_text(&self.column_title, FONT, room)) }
                }
            }))
            (self.body(&layout))
        };
        (layout.width, height, body)
    }

    fn layout(&self) -> Layout {
        let (n, m) = (self.rows.len(), self.columns.len());
        let digits = self.value_digits();
        let widest = self.values().map(|v| text::width(&fixed(v, digits), SMALL)).fold(0.0, f64::max);
        let texts = n * m <= MOST_TEXTS && (widest + 8.0) * m as f64 <= 1000.0;
        let columns = text::widest(self.columns.iter().map(String::as_str), SMALL);
        let (cell_width, cell_height) = match texts {
            true => ((widest + 10.0).max((columns + 4.0).min(64.0)).max(34.0), 27.0),
            false => {
                let side = (640.0 / m as f64).clamp(6.0, 22.0);
                (side, side.min((640.0 / n as f64).clamp(6.0, 22.0)))
            }
        };
        let slanted = columns + 3.0 > cell_width;
        let rows = text::widest(self.rows.iter().map(String::as_str), SMALL).min(LONGEST_ROW);
        let mut left = rows + 10.0;
        if slanted {
            // the slanted label of each column ends below the column and begins to the left of it
            for (j, label) in self.columns.iter().enumerate() {
                let reach = text::width(label, SMALL).min(LONGEST_COLUMN) * 0.707;
                left = left.max(reach - cell_width * (j as f64 + 0.5) + 4.0);
            }
        }
        let top = if self.row_title.is_empty() { 56.0 } else { 80.0 };
        let width = (left + cell_width * m as f64 + 2.0).max(340.0);
        let bottom = top + cell_height * n as f64;
        Layout { left, top, cell: (cell_width, cell_height), texts, slanted, width, bottom }
    }

    /// The colour bar with what it means, at the top.
    fn key(&self) -> Markup {
        let (low, high, ramp) = self.range();
        let digits = self.value_digits();
        let beyond = |sign: &str, is: bool, text: String| if is { format!("{sign} {text}") } else { text };
        let ends = [
            beyond("≤", self.values().any(|v| v < low), fixed(low, digits)),
            beyond("≥", self.values().any(|v| v > high), fixed(high, digits)),
        ];
        let undefined = self.values().count() < self.rows.len() * self.columns.len();
        let step = BAR / STEPS as f64;
        let room = |i: usize| text::width(&ends[i], SMALL) / 2.0;
        let x = room(0).max(0.0);
        let end = x + BAR;
        let middle = linear_ticks(low, high, 2).into_iter().find(|t| {
            let at = x + position(t.value, low, high) * BAR;
            let half = text::width(&fixed(t.value, digits), SMALL) / 2.0 + 8.0;
            at - half > x + room(0) && at + half < end - room(1)
        });
        let swatch = end + room(1).max(8.0) + 14.0;
        html! {
            (painted(&theme::plain("ink"), html! {
                text x="0" y="12" { (cut_text(&self.value_title, FONT, 340.0)) }
                @if undefined { text x=(px(swatch + 22.0)) y="30" font-size=(px(SMALL)) { "undefined" } }
            }))
            @for s in 0..STEPS {
                @let paint = ramp.paint(s).0;
                // a little wider than the step, so that no seam shows
                @let width = if s + 1 < STEPS { step + 0.6 } else { step };
                rect x=(px(x + step * s as f64)) y="20" width=(px(width)) height="12" fill=(paint.light) style=(paint.css("fill")) {}
            }
            @if undefined { (hatched(swatch, 20.0, 16.0, 12.0, None)) }
            (painted(&theme::plain("muted"), html! {
                @for (text, at) in ends.iter().zip([x, end]) {
                    text x=(px(at)) y="45" text-anchor="middle" font-size=(px(SMALL)) { (text) }
                }
                @if let Some(tick) = middle {
                    text x=(px(x + position(tick.value, low, high) * BAR)) y="45" text-anchor="middle" font-size=(px(SMALL)) {
                        (fixed(tick.value, digits))
                    }
                }
            }))
        }
    }

    /// Row and column labels; of very many every few.
    fn labels(&self, layout: &Layout) -> Markup {
        let (width, height) = layout.cell;
        let every_row = (13.0 / height).ceil() as usize;
        let every_column = if layout.slanted { (18.0 / width).ceil() as usize } else { 1 };
        painted(
            &theme::plain("muted"),
            html! {
                @for (i, label) in self.rows.iter().enumerate().step_by(every_row) {
                    @let y = layout.top + height * (i as f64 + 0.5) + 4.0;
                    text x=(px(layout.left - 7.0)) y=(px(y)) text-anchor="end" font-size=(px(SMALL)) {
                        (cut_text(label, SMALL, LONGEST_ROW))
                    }
                }
                @for (j, label) in self.columns.iter().enumerate().step_by(every_column) {
                    @let x = layout.left + width * (j as f64 + 0.5);
                    @if layout.slanted {
                        @let (x, y) = (px(x + 4.0), px(layout.bottom + 12.0));
                        text x=(x) y=(y) text-anchor="end" font-size=(px(SMALL)) transform={ "rotate(-45 " (x) " " (y) ")" } {
                            (cut_text(label, SMALL, LONGEST_COLUMN))
                        }
                    } @else {
                        text x=(px(x)) y=(px(layout.bottom + 16.0)) text-anchor="middle" font-size=(px(SMALL)) { (label) }
                    }
                }
            },
        )
    }

    /// The cells, grouped by colour, which keeps the text short.
    fn body(&self, layout: &Layout) -> Markup {
        let (low, high, ramp) = self.range();
        let (width, height) = layout.cell;
        let gap = if width > 12.0 { 1.0 } else { 0.0 };
        let digits = self.value_digits();
        let mut by_step: BTreeMap<usize, Vec<(usize, usize, f64)>> = BTreeMap::new();
        let mut undefined = vec![];
        for i in 0..self.rows.len() {
            for j in 0..self.columns.len() {
                match self.value(i, j) {
                    Ok(v) => by_step.entry(Ramp::step(position(v, low, high))).or_default().push((i, j, v)),
                    Err(reason) => undefined.push((i, j, reason)),
                }
            }
        }
        let place = |i: usize, j: usize| (layout.left + width * j as f64, layout.top + height * i as f64);
        let name = |i: usize, j: usize| format!("{}, {}", self.rows[i], self.columns[j]);
        html! {
            @for (step, cells) in &by_step {
                @let (ground, ink) = ramp.paint(*step);
                (painted(&ground, html! {
                    @for (i, j, v) in cells {
                        @let (x, y) = place(*i, *j);
                        rect x=(px(x)) y=(px(y)) width=(px(width - gap)) height=(px(height - gap)) {
                            title { (name(*i, *j)) ": " (fixed(*v, digits)) }
                        }
                    }
                }))
                @if layout.texts {
                    (painted(&ink, html! {
                        @for (i, j, v) in cells {
                            @let (x, y) = place(*i, *j);
                            text x=(px(x + (width - gap) / 2.0)) y=(px(y + height / 2.0 + 3.5)) text-anchor="middle"
                                font-size=(px(SMALL)) pointer-events="none" { (fixed(*v, digits)) }
                        }
                    }))
                }
            }
            @for (i, j, reason) in undefined {
                @let (x, y) = place(i, j);
                (hatched(x, y, width - gap, height - gap, Some(format!("{}: undefined ({reason})", name(i, j)))))
            }
        }
    }
}

/// A grey cell with a diagonal: undefined. A pattern would need an id, which two charts in a page would share.
fn hatched(x: f64, y: f64, width: f64, height: f64, tooltip: Option<String>) -> Markup {
    let (void, line) = (theme::plain("void"), theme::plain("axis"));
    let n = (width / 11.0).round().max(1.0);
    html! {
        rect x=(px(x)) y=(px(y)) width=(px(width)) height=(px(height)) fill=(void.light) style=(void.css("fill")) {
            @if let Some(text) = tooltip { title { (text) } }
        }
        path stroke=(line.light) style=(line.css("stroke")) stroke-width="0.8" stroke-opacity="0.4" pointer-events="none"
            d={ @for k in 0..n as usize {
                @let step = width / n;
                "M" (px(x + step * k as f64)) " " (px(y + height)) "l" (px(step)) " -" (px(height))
            } } {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_labels_widen_the_margin() {
        let long = HeatMap::new("m", "v", ["a"]).row("a very long label of a row, longer than most", [1.0]);
        let short = HeatMap::new("m", "v", ["a"]).row("r", [1.0]);
        assert!(long.layout().left > short.layout().left + 100.0);
    }

    #[test]
    fn the_centre_of_a_range_is_the_middle_step() {
        assert_eq!(Ramp::step(position(0.0, -0.3, 0.3)), STEPS / 2);
        assert_eq!(Ramp::step(position(0.0, f64::MIN, f64::MAX)), STEPS / 2);
        assert_eq!(Ramp::step(position(1.0, 1.0, 1.0)), STEPS / 2);
    }
}
