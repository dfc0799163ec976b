//! Texts beside points, placed so that they cover neither each other nor the points.

use super::svg::{SMALL, cut_text, haloed, px};
use crate::text;
use maud::{Markup, html};

/// Labels are cut at this width.
const LONGEST: f64 = 180.0;
const HEIGHT: f64 = 14.0;

/// A rectangle: left, top, right, bottom.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Area(pub(crate) f64, pub(crate) f64, pub(crate) f64, pub(crate) f64);

impl Area {
    fn overlaps(&self, other: &Area) -> bool {
        self.0 < other.2 && other.0 < self.2 && self.1 < other.3 && other.1 < self.3
    }

    fn inside(&self, outer: &Area) -> bool {
        self.0 >= outer.0 && self.1 >= outer.1 && self.2 <= outer.2 && self.3 <= outer.3
    }
}

/// A label that found its place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Placed {
    area: Area,
    point: (f64, f64),
    text: String,
    far: bool,
}

/// Places a label for each point that has one, within `bounds` and off all `marks`: beside the point if there is room,
/// else in a column to its right or left, with a line to the point. Returns the number of labels without a free place
/// as well.
pub(crate) fn place(points: &[((f64, f64), &str)], marks: &[Area], bounds: &Area) -> (Vec<Placed>, usize) {
    let mut placed: Vec<Placed> = vec![];
    let mut left_out = 0;
    for ((x, y), label) in points.iter().filter(|(_, label)| !label.is_empty()) {
        let label = text::one_line(label);
        let width = text::width(&label, SMALL).min(LONGEST);
        let free = |area: &Area| {
            area.inside(bounds)
                && !marks.iter().any(|m| m.overlaps(area))
                && !placed.iter().any(|p| p.area.overlaps(area))
        };
        let found = offsets(width)
            .map(|(dx, dy, far)| (Area(x + dx, y + dy, x + dx + width, y + dy + HEIGHT), far))
            .find(|(area, _)| free(area));
        match found {
            Some((area, far)) => placed.push(Placed { area, point: (*x, *y), text: label, far }),
            None => left_out += 1,
        }
    }
    (placed, left_out)
}

/// The left upper corners to try, relative to the point, and whether they need a line to it.
fn offsets(width: f64) -> impl Iterator<Item = (f64, f64, bool)> {
    let level = -HEIGHT / 2.0;
    let beside = [7.0, 14.0].into_iter().flat_map(move |d| {
        let (up, down) = (-d - HEIGHT, d);
        let (right, left, centre) = (d, -d - width, -width / 2.0);
        [
            (right, level),
            (left, level),
            (centre, up),
            (centre, down),
            (right, up),
            (right, down),
            (left, up),
            (left, down),
        ]
        .map(|(dx, dy)| (dx, dy, false))
    });
    let columns = (0..=12).flat_map(move |k| {
        let step = f64::from(k) * (HEIGHT + 1.0);
        [26.0, -26.0 - width]
            .into_iter()
            .flat_map(move |dx| [(dx, level - step, true), (dx, level + step, true)])
    });
    beside.chain(columns)
}

impl Placed {
    /// The text, with a thin line to its point if that is far.
    pub(crate) fn markup(&self) -> Markup {
        let Area(left, top, right, bottom) = self.area;
        let (x, y) = self.point;
        let near = if left > x { left - 2.0 } else { right + 2.0 };
        html! {
            @if self.far {
                path d={ "M" (px(x)) " " (px(y)) "L" (px(near)) " " (px((top + bottom) / 2.0)) }
                    stroke="currentColor" stroke-width="0.8" stroke-opacity="0.6" {}
            }
            (haloed(html! {
                text x=(px(left)) y=(px(bottom - 3.0)) font-size=(px(SMALL)) { (cut_text(&self.text, SMALL, LONGEST)) }
            }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_overlap_neither_each_other_nor_points_nor_the_border() {
        let bounds = Area(0.0, 0.0, 400.0, 300.0);
        let points: Vec<_> =
            (0..12).map(|i| ((190.0 + 5.0 * i as f64, 150.0 + 3.0 * i as f64), "a label")).collect();
        let marks: Vec<Area> =
            points.iter().map(|((x, y), _)| Area(x - 4.0, y - 4.0, x + 4.0, y + 4.0)).collect();
        let (placed, left_out) = place(&points, &marks, &bounds);
        assert_eq!((placed.len(), left_out), (12, 0));
        for (i, a) in placed.iter().enumerate() {
            assert!(a.area.inside(&bounds));
            assert!(!marks.iter().any(|m| m.overlaps(&a.area)));
            assert!(placed[..i].iter().all(|b| !a.area.overlaps(&b.area)));
        }
    }

    #[test]
    fn a_label_without_room_is_left_out_and_counted() {
        let bounds = Area(0.0, 0.0, 20.0, 20.0);
        assert_eq!(place(&[((10.0, 10.0), "far too long for this")], &[], &bounds), (vec![], 1));
    }
}
