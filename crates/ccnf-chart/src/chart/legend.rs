//! Legends: keys and names in rows above the plot.

use super::style::Style;
use super::svg::{FONT, cut_text, painted, px};
use crate::text;
use crate::theme;
use maud::{Markup, html};

const ROW: f64 = 20.0;
const KEY: f64 = 28.0;
const GAP: f64 = 18.0;
/// Names are cut at this width.
const LONGEST: f64 = 280.0;

/// A drawn legend and the height it takes.
pub(crate) struct Legend {
    pub(crate) markup: Markup,
    pub(crate) height: f64,
}

/// Lays the entries out in rows of at most `width`. `line` and `marker` say what a key shows.
pub(crate) fn legend(entries: &[(String, Style)], width: f64, line: bool, marker: bool) -> Legend {
    let (mut x, mut y) = (0.0, 12.0);
    let mut placed = vec![];
    for (name, style) in entries {
        let used = KEY + text::width(name, FONT).min(LONGEST) + GAP;
        if x > 0.0 && x + used - GAP > width {
            (x, y) = (0.0, y + ROW);
        }
        placed.push((x, y, name, *style));
        x += used;
    }
    let markup = html! {
        @for (x, y, name, style) in &placed {
            (painted(&style.paint(), style.key(*x, y - 4.0, line, marker)))
            (painted(&theme::plain("ink"), html! {
                text x=(px(x + KEY)) y=(px(*y)) { (cut_text(name, FONT, LONGEST)) }
            }))
        }
    };
    Legend { markup, height: if entries.is_empty() { 0.0 } else { y + 12.0 } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_legend_wraps_and_stays_inside() {
        let entries: Vec<_> = (0..12).map(|i| (format!("method number {i}"), Style(i))).collect();
        let l = legend(&entries, 400.0, true, true);
        assert!(l.height > 3.0 * ROW, "{}", l.height);
        assert_eq!(l.markup.0.matches("<text").count(), 12);
        assert_eq!(legend(&[], 400.0, true, true).height, 0.0);
    }
}
