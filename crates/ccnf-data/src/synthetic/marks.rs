//! The shapes of surface defects: thin lines and uneven blobs.

use super::geometry::{V2, inside, segment, v2};
use super::noise::{Rng, uniform};
use std::f32::consts::{PI, TAU};

/// One piece of a line with its half-width at both ends.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    pub(super) a: V2,
    pub(super) b: V2,
    pub(super) wide: (f32, f32),
}

/// A thin defect: pieces and the box around them.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pieces: Vec<Piece>,
    low: V2,
    high: V2,
}

impl Line {
    pub(super) fn new(pieces: Vec<Piece>) -> Self {
        let ends = || pieces.iter().flat_map(|s| [s.a, s.b]);
        // Room for the widest line and its shadow.
        let low = ends().fold(v2(9.0, 9.0), |m, p| v2(m.x.min(p.x), m.y.min(p.y))) - v2(0.2, 0.2);
        let high = ends().fold(v2(-9.0, -9.0), |m, p| v2(m.x.max(p.x), m.y.max(p.y))) + v2(0.2, 0.2);
        Line { pieces, low, high }
    }

    /// A line through `points` that thins towards its ends by `taper` (0 … 1).
    pub(super) fn through(points: &[V2], half_width: f32, taper: f32) -> Vec<Piece> {
        let n = points.len().max(2) as f32 - 1.0;
        let wide = |i: usize| half_width * (1.0 - taper * (2.0 * i as f32 / n - 1.0).abs().powi(2));
        let ends = points.windows(2).enumerate();
        ends.map(|(i, p)| Piece { a: p[0], b: p[1], wide: (wide(i), wide(i + 1)) }).collect()
    }

    /// A gently bent line of `length` through `middle`.
    pub(super) fn curve(rng: &mut Rng, middle: V2, angle: f32, length: f32, bend: f32) -> Vec<V2> {
        let mut points = vec![];
        let turn = uniform(rng, -bend, bend);
        let wave = uniform(rng, -bend, bend);
        for i in 0..=14 {
            let t = i as f32 / 14.0 - 0.5;
            let along = V2::polar(angle) * (t * length);
            let across =
                V2::polar(angle + PI / 2.0) * (length * (turn * t * t + wave * (t * TAU).sin() * 0.25));
            points.push(middle + along + across);
        }
        points
    }

    /// Distance to the nearest piece, and the half-width there.
    pub(super) fn nearest(&self, p: V2) -> Option<(f32, f32)> {
        if p.x < self.low.x || p.y < self.low.y || p.x > self.high.x || p.y > self.high.y {
            return None;
        }
        let mut best = (f32::INFINITY, 0.0);
        for s in &self.pieces {
            let (d, t) = segment(p, s.a, s.b);
            let w = s.wide.0 + (s.wide.1 - s.wide.0) * t;
            if d - w < best.0 - best.1 {
                best = (d, w);
            }
        }
        Some(best)
    }

    /// How much of the pixel at `p` the line covers; lines thinner than a pixel are fainter.
    pub(super) fn cover(&self, p: V2, px: f32) -> f32 {
        self.nearest(p).map_or(0.0, |(d, w)| inside(d - w, px) * (2.0 * w / px).min(1.0))
    }
}

/// A roundish defect with an uneven edge.
#[derive(Debug, Clone)]
pub(super) struct Blob {
    center: V2,
    pub(super) radius: f32,
    stretch: f32,
    angle: f32,
    /// Strength and phase of the waves of the outline: two to six around.
    waves: [(f32, f32); 5],
}

impl Blob {
    /// A blob of about `radius` at `center`; `uneven` is 0 for an ellipse.
    pub(super) fn new(rng: &mut Rng, center: V2, radius: f32, uneven: f32) -> Self {
        let (angle, stretch) = (uniform(rng, 0.0, PI), uniform(rng, 0.75, 1.3));
        let waves = std::array::from_fn(|i| {
            let most = uneven * 0.34 / (i as f32 + 1.0).sqrt();
            (uniform(rng, 0.2, 1.0) * most, uniform(rng, 0.0, TAU))
        });
        Blob { center, radius, stretch, angle, waves }
    }

    /// About the signed distance to the edge.
    pub(super) fn distance(&self, p: V2) -> f32 {
        let q = p - self.center;
        let far = q.len() - 2.2 * self.radius;
        if far > 0.0 {
            return far + 0.5 * self.radius;
        }
        let r = q.rotated(-self.angle);
        let r = v2(r.x / self.stretch, r.y * self.stretch);
        let turn = r.angle();
        let waves = self.waves.iter().enumerate();
        let wave: f32 =
            waves.map(|(i, (strength, phase))| strength * ((i + 2) as f32 * turn + phase).sin()).sum();
        r.len() - self.radius * (1.0 + wave).max(0.35)
    }
}

/// The smallest distance to one of the blobs, and the radius of that blob.
pub(super) fn nearest_blob(blobs: &[Blob], p: V2) -> (f32, f32) {
    let all = blobs.iter().map(|b| (b.distance(p), b.radius));
    all.min_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or((f32::INFINITY, 1.0))
}
