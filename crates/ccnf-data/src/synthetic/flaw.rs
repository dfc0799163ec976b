//! Surface defects that fit on any product: what they do to coordinates and to colour.

use super::geometry::{LIGHT, Rgb, V2, brighten, inside, mix, shade, smooth, times, v2};
use super::marks::{Blob, Line, Piece, nearest_blob};
use super::noise::{Rng, pick, uniform, value};
use std::f32::consts::TAU;

/// A surface defect.
#[derive(Debug, Clone)]
pub(super) enum Flaw {
    /// A thin mark, brighter (or darker, if negative) than the surface.
    Scratch(Line, f32),
    /// A dark branching line of this depth.
    Crack(Line, f32),
    /// A fibre, wire or drop of this colour lying on the surface.
    Thread(Line, Rgb),
    /// Blobs of a film: a filter, the film's own colour and its opacity; the rim is stronger.
    Stain(Vec<Blob>, Rgb, Rgb, f32),
    /// Openings to something of this colour.
    Hole(Vec<Blob>, Rgb),
    /// A soft patch that multiplies the colour.
    Patch(Blob, Rgb),
    /// A dint: centre, radius, depth.
    Dent(V2, f32, f32),
}

impl Flaw {
    /// A scratch near `at`; `angle` is its direction.
    pub(super) fn scratch(rng: &mut Rng, at: V2, angle: f32, strength: f32, light: f32) -> Self {
        let length = uniform(rng, 0.3, 0.55 + 0.5 * strength);
        let points = Line::curve(rng, at, angle, length, 0.25);
        let width = uniform(rng, 0.009, 0.011 + 0.007 * strength);
        Flaw::Scratch(Line::new(Line::through(&points, width, 0.7)), light * (0.45 + 0.55 * strength))
    }

    /// A crack that starts at `at` and runs towards `angle`, jagged and with branches.
    pub(super) fn crack(rng: &mut Rng, at: V2, angle: f32, strength: f32, length: f32) -> Self {
        let mut pieces = vec![];
        let mut walk = |rng: &mut Rng, mut p: V2, mut heading: f32, length: f32, width: f32| {
            let mut points = vec![p];
            for _ in 0..9 {
                heading += uniform(rng, -0.55, 0.55);
                p = p + V2::polar(heading) * (length / 9.0);
                heading += (angle - heading) * 0.3;
                points.push(p);
            }
            let n = points.len() as f32 - 1.0;
            for (i, w) in points.windows(2).enumerate() {
                let thin = |i: usize| width * (1.0 - 0.75 * i as f32 / n);
                pieces.push(Piece { a: w[0], b: w[1], wide: (thin(i), thin(i + 1)) });
            }
            points
        };
        let width = uniform(rng, 0.010, 0.012 + 0.008 * strength);
        let trunk = walk(rng, at, angle, length, width);
        for _ in 0..pick(rng, 3) {
            let from = trunk[2 + pick(rng, 5)];
            let aside = if pick(rng, 2) == 0 { 0.8 } else { -0.8 };
            let part = uniform(rng, 0.25, 0.45);
            walk(rng, from, angle + aside, length * part, width * 0.7);
        }
        Flaw::Crack(Line::new(pieces), 0.45 + 0.4 * strength)
    }

    /// A loose fibre through `at`.
    pub(super) fn thread(rng: &mut Rng, at: V2, strength: f32, color: Rgb) -> Self {
        let angle = uniform(rng, 0.0, TAU);
        let length = uniform(rng, 0.4, 0.5 + 0.5 * strength);
        let points = Line::curve(rng, at, angle, length, 1.4);
        let width = uniform(rng, 0.014, 0.017 + 0.010 * strength);
        Flaw::Thread(Line::new(Line::through(&points, width, 0.2)), color)
    }

    /// A straight opaque strip from `a` to `b`.
    pub(super) fn strip(a: V2, b: V2, half_width: f32, color: Rgb) -> Self {
        let middle = (a + b) * 0.5;
        Flaw::Thread(Line::new(Line::through(&[a, middle, b], half_width, 0.0)), color)
    }

    /// A long narrow opening through `at`.
    pub(super) fn cut(rng: &mut Rng, at: V2, angle: f32, strength: f32) -> Self {
        let length = uniform(rng, 0.25, 0.35 + 0.35 * strength);
        let points = Line::curve(rng, at, angle, length, 0.3);
        Flaw::Crack(Line::new(Line::through(&points, 0.016 + 0.016 * strength, 1.0)), 0.9)
    }

    /// One to three stains around `at` that filter the colour.
    pub(super) fn stain(rng: &mut Rng, at: V2, strength: f32, filter: Rgb) -> Self {
        Self::film(rng, at, strength, filter, [0.0; 3])
    }

    /// One to three films around `at` that filter the colour and add their own.
    pub(super) fn film(rng: &mut Rng, at: V2, strength: f32, filter: Rgb, own: Rgb) -> Self {
        let size = uniform(rng, 0.08, 0.10 + 0.13 * strength);
        let mut blobs = vec![Blob::new(rng, at, size, 0.9)];
        for _ in 0..pick(rng, 3) {
            let place = at + V2::polar(uniform(rng, 0.0, TAU)) * (size * uniform(rng, 0.8, 1.6));
            let r = size * uniform(rng, 0.2, 0.5);
            blobs.push(Blob::new(rng, place, r, 0.8));
        }
        Flaw::Stain(blobs, filter, own, 0.5 + 0.45 * strength)
    }

    /// Small specks strewn around `at`.
    pub(super) fn specks(rng: &mut Rng, at: V2, strength: f32, filter: Rgb) -> Self {
        let n = 2 + pick(rng, 4);
        let spread = uniform(rng, 0.03, 0.12);
        let blobs = (0..n)
            .map(|_| {
                let place = at + v2(uniform(rng, -spread, spread), uniform(rng, -spread, spread));
                let r = uniform(rng, 0.020, 0.026 + 0.026 * strength);
                Blob::new(rng, place, r, 0.6)
            })
            .collect();
        Flaw::Stain(blobs, filter, [0.0; 3], 0.6 + 0.35 * strength)
    }

    /// `n` openings around `at`.
    pub(super) fn holes(
        rng: &mut Rng,
        at: V2,
        n: usize,
        radius: (f32, f32),
        uneven: f32,
        floor: Rgb,
    ) -> Self {
        let mut blobs = vec![];
        for i in 0..n {
            let r = uniform(rng, radius.0, radius.1);
            let aside =
                V2::polar(uniform(rng, 0.0, TAU)) * (if i == 0 { 0.0 } else { uniform(rng, 2.5, 6.0) * r });
            blobs.push(Blob::new(rng, at + aside, r, uneven));
        }
        Flaw::Hole(blobs, floor)
    }

    /// A soft patch of another colour around `at`.
    pub(super) fn patch(rng: &mut Rng, at: V2, strength: f32, gain: Rgb) -> Self {
        let k = 0.55 + 0.45 * strength;
        let radius = uniform(rng, 0.14, 0.18 + 0.18 * strength);
        Flaw::Patch(Blob::new(rng, at, radius, 0.5), gain.map(|g| 1.0 + (g - 1.0) * k))
    }

    /// A dint at `at`.
    pub(super) fn dent(rng: &mut Rng, at: V2, strength: f32) -> Self {
        Flaw::Dent(at, uniform(rng, 0.12, 0.15 + 0.13 * strength), 0.45 + 0.55 * strength)
    }

    /// Where the surface that shows at `p` really is.
    pub(super) fn warp(&self, p: V2) -> V2 {
        match *self {
            Flaw::Dent(c, r, depth) => {
                let k = ((p - c).len() / r).min(1.0);
                p + (p - c) * (0.35 * depth * (1.0 - k * k).powi(2))
            }
            _ => p,
        }
    }

    /// The colour at `p` with the defect on the surface colour `c`.
    pub(super) fn tint(&self, p: V2, px: f32, c: Rgb) -> Rgb {
        match self {
            Flaw::Scratch(line, light) => {
                let lit = line.cover(p, px);
                let dark = line.cover(p + LIGHT * (1.3 * px), px) * (1.0 - lit);
                brighten(shade(c, 1.0 - 0.45 * light.abs() * dark), light * lit)
            }
            Flaw::Crack(line, depth) => {
                let a = line.cover(p, px);
                let rim = line.cover(p + LIGHT * (1.3 * px), px) * (1.0 - a);
                brighten(mix(c, shade(c, 0.12), a * depth), 0.08 * rim)
            }
            Flaw::Thread(line, color) => {
                let shadow = line.nearest(p + LIGHT * 0.035).map_or(0.0, |(d, w)| smooth(w * 1.8, 0.0, d));
                let c = shade(c, 1.0 - 0.4 * shadow);
                line.nearest(p).map_or(c, |(d, w)| {
                    let round = 0.65 + 0.45 * (1.0 - (d / w).powi(2)).max(0.0);
                    mix(c, shade(*color, round), inside(d - w, px))
                })
            }
            Flaw::Stain(blobs, filter, own, opacity) => {
                let (d, r) = nearest_blob(blobs, p);
                let soft = (0.12 * r).max(px);
                let body = smooth(soft, -soft, d);
                let rim = smooth(2.5 * soft, 0.0, d.abs()) * 0.25;
                let film = std::array::from_fn(|i| c[i] * filter[i] + own[i]);
                mix(c, film, (opacity * body * (0.85 + rim)).min(1.0))
            }
            Flaw::Hole(blobs, floor) => {
                let (d, r) = nearest_blob(blobs, p);
                let (lit, _) = nearest_blob(blobs, p - LIGHT * (0.35 * r));
                let bottom = shade(*floor, 0.6 + 0.9 * smooth(0.0, 0.4 * r, lit));
                let edge = smooth(2.5 * px, 0.0, (d - px).abs()) * (1.0 - inside(d, px));
                brighten(mix(c, bottom, inside(d, px)), 0.05 * edge)
            }
            Flaw::Patch(blob, gain) => {
                let a = smooth(0.45 * blob.radius, -0.45 * blob.radius, blob.distance(p));
                mix(c, times(c, *gain), a)
            }
            Flaw::Dent(at, r, depth) => {
                let q = (p - *at) * (1.0 / r);
                let k = (1.0 - q.dot(q)).max(0.0);
                // A hollow is dark on the side of the light and bright opposite to it.
                let lit = -q.dot(LIGHT) * k * 1.3 + 0.15 * k * k * value(q * 3.0, 11);
                brighten(shade(c, 1.0 + depth * 0.55 * lit), depth * 0.18 * lit)
            }
        }
    }
}
