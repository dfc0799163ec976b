//! How the series of a chart differ: by colour, and by dash and marker for those who see no colour.

use super::svg::px;
use crate::theme::{self, Paint, SERIES};
use maud::{Markup, html};

const DASHES: [Option<&str>; 4] = [None, Some("7 3"), Some("2 3"), Some("9 3 2 3")];
const MARKERS: usize = 7;

/// The look of the series at an index; the first 56 differ in colour or marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Style(pub(crate) usize);

impl Style {
    pub(crate) fn paint(self) -> Paint {
        theme::series(self.0)
    }

    /// The second round of colours has other dashes.
    pub(crate) fn dash(self) -> Option<&'static str> {
        DASHES[(self.0 + self.0 / SERIES) % DASHES.len()]
    }

    /// The outline of the marker around a point, as path data.
    pub(crate) fn marker(self, x: f64, y: f64, r: f64) -> String {
        let polygon = |corners: &[(f64, f64)]| {
            let points: Vec<String> =
                corners.iter().map(|(dx, dy)| format!("{} {}", px(x + dx * r), px(y + dy * r))).collect();
            format!("M{}Z", points.join("L"))
        };
        match self.0 % MARKERS {
            0 => {
                let (left, d, r) = (px(x - r), px(2.0 * r), px(r));
                format!("M{left} {}a{r} {r} 0 1 0 {d} 0a{r} {r} 0 1 0 -{d} 0Z", px(y))
            }
            1 => polygon(&[(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)]),
            2 => polygon(&[(0.0, -1.2), (1.15, 0.85), (-1.15, 0.85)]),
            3 => polygon(&[(0.0, -1.3), (1.3, 0.0), (0.0, 1.3), (-1.3, 0.0)]),
            4 => polygon(&[(0.0, 1.2), (1.15, -0.85), (-1.15, -0.85)]),
            5 => polygon(&PLUS),
            _ => polygon(&PLUS.map(|(a, b)| ((a - b) * 0.72, (a + b) * 0.72))),
        }
    }

    /// The key of a legend, 22 wide and centred on `y`.
    pub(crate) fn key(self, x: f64, y: f64, line: bool, marker: bool) -> Markup {
        html! {
            @if line {
                path d={ "M" (px(x)) " " (px(y)) "h22" } stroke="currentColor" stroke-width="2" fill="none"
                    stroke-dasharray=[self.dash()] {}
            }
            @if marker { path d=(self.marker(x + 11.0, y, 4.0)) {} }
        }
    }
}

const PLUS: [(f64, f64); 12] = [
    (-0.4, -1.2),
    (0.4, -1.2),
    (0.4, -0.4),
    (1.2, -0.4),
    (1.2, 0.4),
    (0.4, 0.4),
    (0.4, 1.2),
    (-0.4, 1.2),
    (-0.4, 0.4),
    (-1.2, 0.4),
    (-1.2, -0.4),
    (-0.4, -0.4),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_differ_by_more_than_colour() {
        let look = |i: usize| (Style(i).paint(), Style(i).dash(), Style(i).marker(0.0, 0.0, 4.0));
        for i in 0..56 {
            for j in 0..i {
                let (a, b) = (look(i), look(j));
                assert!((&a.0, &a.2) != (&b.0, &b.2), "{i} {j}");
                if i < MARKERS {
                    assert_ne!(a.2, b.2, "{i} {j}");
                }
                if a.0 == b.0 && i < 2 * SERIES {
                    assert_ne!(a.1, b.1, "{i} {j}");
                }
            }
        }
    }
}
