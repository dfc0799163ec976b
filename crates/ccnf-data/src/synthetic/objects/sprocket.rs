//! A brass sprocket.

use crate::synthetic::flaw::Flaw;
use crate::synthetic::geometry::{
    Pose, Rgb, V2, brighten, inside, mix, normal, round_box, shade, smooth, v2,
};
use crate::synthetic::noise::{Rng, fractal, jittered, noise_seed, pick, uniform, value};
use crate::synthetic::product::Product;
use std::f32::consts::{PI, TAU};

pub(crate) struct Sprocket {
    pose: Pose,
    brass: Rgb,
    sweep: f32,
    seed: u32,
    /// Height (1 = whole) and lean of the damaged tooth.
    tooth: Option<(i32, f32, f32)>,
    /// The hole that was not drilled.
    blocked: Option<i32>,
}

pub(crate) const DEFECTS: &[&str] =
    &["bent_tooth", "blocked_hole", "broken_tooth", "crack", "scratch", "tarnish"];

const TEETH: i32 = 16;
const ROOT: f32 = 0.66;
const TIP: f32 = 0.82;
const BORE: f32 = 0.19;
const HOLES: i32 = 6;
const HOLE_RING: f32 = 0.445;
const HOLE: f32 = 0.095;

pub(crate) fn build(rng: &mut Rng) -> Box<dyn Product> {
    let k = uniform(rng, 0.93, 1.06);
    Box::new(Sprocket {
        pose: jittered(rng, 0.05, PI, 0.04),
        brass: shade([0.76, 0.60, uniform(rng, 0.29, 0.35)], k),
        sweep: uniform(rng, 0.0, TAU),
        seed: noise_seed(rng),
        tooth: None,
        blocked: None,
    })
}

/// The sector of `n` that the point is in, and the point turned into sector 0.
fn sector(q: V2, n: i32) -> (i32, V2) {
    let i = (q.angle() * n as f32 / TAU).round() as i32;
    (i.rem_euclid(n), q.rotated(-(i as f32) * TAU / n as f32))
}

impl Sprocket {
    fn teeth(&self, q: V2) -> f32 {
        let (i, mut t) = sector(q, TEETH);
        let mut tip = TIP;
        if let Some((which, height, lean)) = self.tooth
            && which == i
        {
            tip = ROOT + (TIP - ROOT) * height;
            let out = (t.x - ROOT).max(0.0);
            t.y -= lean * out;
            if height < 1.0 {
                tip += 0.03 * value(v2(t.y * 30.0, 0.0), self.seed);
            }
        }
        let width = 0.088 - 0.045 * ((t.x - ROOT) / (TIP - ROOT));
        (t.x - tip).max((t.y.abs() - width) * 0.96)
    }

    fn openings(&self, q: V2) -> f32 {
        let bore = (q.len() - BORE).min(round_box(q - v2(BORE, 0.0), v2(0.07, 0.05), 0.005));
        let (i, h) = sector(q, HOLES);
        let hole =
            if self.blocked == Some(i) { f32::INFINITY } else { (h - v2(HOLE_RING, 0.0)).len() - HOLE };
        bore.min(hole)
    }

    fn shape(&self, q: V2) -> f32 {
        (q.len() - ROOT).min(self.teeth(q)).max(-self.openings(q))
    }

    fn metal(&self, q: V2, d: f32) -> Rgb {
        let light = self.pose.light();
        let (r, angle) = (q.len(), q.angle());
        let sweep = 2.0 * (angle + self.pose.angle - self.sweep);
        let turned = 0.05 * value(v2(r * 52.0, 1.0), self.seed)
            + 0.025 * value(v2(r * 34.0, angle * 7.0), self.seed ^ 1);
        let mut c = shade(self.brass, 0.94 + 0.13 * sweep.cos() + 0.05 * (sweep * 1.5).sin() + turned);
        // The raised hub and the groove before the teeth.
        let hub = smooth(0.025, 0.0, (r - 0.285).abs()) + 0.7 * smooth(0.02, 0.0, (r - 0.60).abs());
        c = brighten(c, 0.16 * hub * q.unit().dot(light));
        c = shade(c, 1.0 - 0.10 * smooth(0.275, 0.295, r) * smooth(0.61, 0.59, r));
        if d > -0.035 {
            let n = normal(q, |p| self.shape(p));
            c = brighten(c, 0.17 * smooth(-0.035, -0.005, d) * n.dot(light));
        }
        c
    }
}

impl Product for Sprocket {
    fn color(&self, p: V2, px: f32) -> Rgb {
        let (q, px) = (self.pose.local(p), px / self.pose.scale);
        let d = self.shape(q);
        if d <= -px {
            return self.metal(q, d);
        }
        let mat = 1.0 + 0.12 * fractal(p * 34.0, 2, self.seed ^ 2);
        let shadow = smooth(0.05, -0.05, self.shape(q + self.pose.light() * 0.06));
        let floor = shade([0.26, 0.25, 0.27], mat * (1.0 - 0.5 * shadow));
        if d >= px { floor } else { mix(floor, self.metal(q, d), inside(d, px)) }
    }

    fn cover(&self, p: V2, px: f32) -> f32 {
        inside(self.shape(self.pose.local(p)), px / self.pose.scale)
    }

    fn damage(&mut self, kind: &str, rng: &mut Rng, strength: f32) -> Option<Flaw> {
        match kind {
            "broken_tooth" => {
                self.tooth =
                    Some((pick(rng, TEETH as usize) as i32, uniform(rng, 0.0, 0.65 - 0.4 * strength), 0.0));
                None
            }
            "bent_tooth" => {
                let side = if pick(rng, 2) == 0 { 1.0 } else { -1.0 };
                let lean = side * uniform(rng, 0.25, 0.35 + 0.25 * strength);
                self.tooth = Some((pick(rng, TEETH as usize) as i32, 1.0, lean));
                None
            }
            "blocked_hole" => {
                self.blocked = Some(pick(rng, HOLES as usize) as i32);
                None
            }
            "crack" => {
                // Between two holes, where the web is weak.
                let angle =
                    (pick(rng, HOLES as usize) as f32 + 0.5) * TAU / HOLES as f32 + uniform(rng, -0.15, 0.15);
                let start = self.pose.world(V2::polar(angle) * uniform(rng, 0.2, 0.3));
                let length = uniform(rng, 0.25, 0.35 + 0.15 * strength);
                Some(Flaw::crack(rng, start, angle + self.pose.angle, strength, length))
            }
            "tarnish" => {
                let at = self.anchor(rng);
                Some(Flaw::stain(rng, at, strength, [0.50, 0.60, 0.75]))
            }
            _ => {
                let (at, angle) = (self.anchor(rng), uniform(rng, 0.0, TAU));
                let light = if pick(rng, 2) == 0 { 0.24 } else { -0.34 };
                Some(Flaw::scratch(rng, at, angle, strength, light))
            }
        }
    }
}
