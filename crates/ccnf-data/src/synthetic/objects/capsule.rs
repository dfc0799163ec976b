//! A two-part gelatine capsule with an imprint.

use crate::synthetic::flaw::Flaw;
use crate::synthetic::geometry::{Pose, Rgb, V2, brighten, inside, mix, segment, shade, smooth, v2};
use crate::synthetic::noise::{Rng, fractal, jittered, noise_seed, pick, uniform};
use crate::synthetic::product::Product;
use std::f32::consts::TAU;

pub(crate) struct Capsule {
    pose: Pose,
    cap: Rgb,
    body: Rgb,
    seed: u32,
    /// Shift and turn of the cap against the body.
    cap_shift: V2,
    cap_turn: f32,
    /// Which strokes of the imprint are there.
    strokes: [bool; IMPRINT.len()],
    /// Place and depth where the wall is pressed in.
    squeezed: Option<(V2, f32, f32)>,
}

pub(crate) const DEFECTS: &[&str] =
    &["contamination", "crack", "faulty_imprint", "misaligned_cap", "scratch", "squeezed"];

const BODY_RADIUS: f32 = 0.255;
const CAP_RADIUS: f32 = 0.275;
const HALF: f32 = 0.44;
/// Where the cap ends.
const EDGE: f32 = 0.02;

/// The imprint `K45` as strokes on the body.
const IMPRINT: [[V2; 2]; 10] = [
    [v2(0.12, -0.08), v2(0.12, 0.08)],
    [v2(0.13, 0.0), v2(0.20, -0.08)],
    [v2(0.13, 0.0), v2(0.20, 0.08)],
    [v2(0.25, -0.08), v2(0.25, 0.01)],
    [v2(0.25, 0.02), v2(0.34, 0.02)],
    [v2(0.31, -0.04), v2(0.31, 0.08)],
    [v2(0.39, -0.08), v2(0.47, -0.08)],
    [v2(0.39, -0.08), v2(0.39, -0.01)],
    [v2(0.39, -0.01), v2(0.46, 0.02)],
    [v2(0.46, 0.03), v2(0.39, 0.08)],
];

pub(crate) fn build(rng: &mut Rng) -> Box<dyn Product> {
    let k = uniform(rng, 0.95, 1.05);
    let hue = uniform(rng, -0.02, 0.02);
    let mut pose = jittered(rng, 0.06, 0.45, 0.04);
    pose.scale *= 1.18;
    Box::new(Capsule {
        pose,
        cap: shade([0.74, 0.20 + hue, 0.15], k),
        body: shade([0.86, 0.80 + hue, 0.64], k),
        seed: noise_seed(rng),
        cap_shift: v2(uniform(rng, -0.008, 0.008), 0.0),
        cap_turn: 0.0,
        strokes: [true; IMPRINT.len()],
        squeezed: None,
    })
}

impl Capsule {
    /// Where the wall that shows at `q` would be without a squeeze.
    fn relaxed(&self, q: V2) -> V2 {
        match self.squeezed {
            Some((at, r, depth)) => {
                let k = ((q - at).len() / r).min(1.0);
                v2(q.x, q.y + at.y.signum() * depth * (1.0 - k * k).powi(2))
            }
            None => q,
        }
    }

    fn body_distance(&self, q: V2) -> f32 {
        segment(q, v2(-HALF + 0.1, 0.0), v2(HALF, 0.0)).0 - BODY_RADIUS
    }

    fn cap_local(&self, q: V2) -> V2 {
        (q - self.cap_shift).rotated(self.cap_turn)
    }

    fn cap_distance(&self, c: V2) -> f32 {
        (segment(c, v2(-HALF, 0.0), v2(0.3, 0.0)).0 - CAP_RADIUS).max(c.x - EDGE)
    }

    fn outline(&self, q: V2) -> f32 {
        self.body_distance(q).min(self.cap_distance(self.cap_local(q)))
    }

    /// A glossy round wall: `q` around the segment from `a` to `b`.
    fn gloss(&self, q: V2, a: V2, b: V2, radius: f32, color: Rgb) -> Rgb {
        let (_, t) = segment(q, a, b);
        let n = (q - (a + (b - a) * t)) * (1.0 / radius);
        let up = (1.0 - n.dot(n)).max(0.0).sqrt();
        let lit = (n.dot(self.pose.light()) * 0.62 + up * 0.78).max(0.0);
        let shine = (n.dot(self.pose.light()) * 0.40 + up * 0.916).max(0.0).powi(60) * 0.38;
        brighten(shade(color, 0.34 + 0.72 * lit), shine)
    }

    fn imprint(&self, q: V2, px: f32) -> f32 {
        if q.x < 0.08 || q.x > 0.52 || q.y.abs() > 0.12 {
            return 0.0;
        }
        let strokes = IMPRINT.iter().zip(self.strokes).filter(|(_, there)| *there);
        strokes.map(|([a, b], _)| inside(segment(q, *a, *b).0 - 0.013, px)).fold(0.0, f32::max)
    }
}

impl Product for Capsule {
    fn color(&self, p: V2, px: f32) -> Rgb {
        let felt = 1.0 + 0.06 * fractal(p * 30.0, 2, self.seed);
        let (flat, px) = (self.pose.local(p), px / self.pose.scale);
        let q = self.relaxed(flat);
        // Of a whole capsule, so that the mask of a defect is the defect and not its shadow.
        let from = flat + self.pose.light() * 0.10;
        let shadow = smooth(0.20, -0.10, self.body_distance(from).min(self.cap_distance(from)));
        let mut c = shade([0.20, 0.31, 0.34], felt * (1.0 - 0.5 * shadow));
        let d = self.body_distance(q);
        if d < px {
            let wall = self.gloss(q, v2(-HALF + 0.1, 0.0), v2(HALF, 0.0), BODY_RADIUS, self.body);
            let printed = mix(wall, [0.24, 0.22, 0.24], 0.8 * self.imprint(q, px));
            c = mix(c, printed, inside(d, px));
        }
        let l = self.cap_local(q);
        let d = self.cap_distance(l);
        // The cap's edge throws a small shadow on the body.
        let lip = smooth(0.05, 0.0, l.x - EDGE) * inside(self.body_distance(q), px) * f32::from(l.x > EDGE);
        c = shade(c, 1.0 - 0.35 * lip);
        if d < px {
            let wall = self.gloss(l, v2(-HALF, 0.0), v2(0.3, 0.0), CAP_RADIUS, self.cap);
            let ring = 0.10 * smooth(0.02, 0.0, (l.x - EDGE + 0.02).abs())
                - 0.06 * smooth(0.025, 0.0, (l.x + 0.12).abs());
            c = mix(c, shade(wall, 1.0 + ring), inside(d, px));
        }
        c
    }

    fn cover(&self, p: V2, px: f32) -> f32 {
        inside(self.outline(self.relaxed(self.pose.local(p))), px / self.pose.scale)
    }

    fn damage(&mut self, kind: &str, rng: &mut Rng, strength: f32) -> Option<Flaw> {
        match kind {
            "faulty_imprint" => {
                let first = pick(rng, IMPRINT.len());
                let n = 2 + (strength * 4.0) as usize;
                (0..n).for_each(|i| self.strokes[(first + i) % IMPRINT.len()] = false);
                None
            }
            "misaligned_cap" => {
                let away = uniform(rng, 0.03, 0.05 + 0.08 * strength);
                let side = if pick(rng, 2) == 0 { 1.0 } else { -1.0 };
                self.cap_shift = v2(-away, side * uniform(rng, 0.01, 0.02 + 0.03 * strength));
                self.cap_turn = side * uniform(rng, 0.02, 0.04 + 0.10 * strength);
                None
            }
            "squeezed" => {
                let side = if pick(rng, 2) == 0 { 1.0 } else { -1.0 };
                let at = v2(uniform(rng, -0.5, 0.5), side * BODY_RADIUS * 1.1);
                self.squeezed =
                    Some((at, uniform(rng, 0.22, 0.26 + 0.12 * strength), 0.05 + 0.07 * strength));
                None
            }
            "contamination" => {
                let at = self.anchor(rng);
                Some(Flaw::specks(rng, at, strength, [0.26, 0.22, 0.20]))
            }
            "crack" => {
                let at = self.pose.world(v2(uniform(rng, -0.5, 0.5), uniform(rng, -0.15, 0.05)));
                let length = uniform(rng, 0.25, 0.35 + 0.3 * strength);
                let angle = uniform(rng, 0.0, TAU);
                Some(Flaw::crack(rng, at, angle, strength, length))
            }
            _ => {
                let (at, angle) = (self.anchor(rng), uniform(rng, 0.0, TAU));
                let light = if pick(rng, 2) == 0 { 0.22 } else { -0.26 };
                Some(Flaw::scratch(rng, at, angle, strength, light))
            }
        }
    }
}
