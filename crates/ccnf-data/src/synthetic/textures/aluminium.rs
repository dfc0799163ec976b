//! Brushed aluminium.

use crate::synthetic::flaw::Flaw;
use crate::synthetic::geometry::{Rgb, V2, v2};
use crate::synthetic::noise::{Rng, noise_seed, uniform, value};
use crate::synthetic::product::Product;

/// A sheet with lines from brushing along x and a bright band of reflection across them.
pub(crate) struct Aluminium {
    angle: f32,
    tone: f32,
    warmth: f32,
    band: f32,
    band_width: f32,
    seed: u32,
}

pub(crate) const DEFECTS: &[&str] = &["dent", "discoloration", "pit", "scratch", "stain"];

pub(crate) fn build(rng: &mut Rng) -> Box<dyn Product> {
    Box::new(Aluminium {
        angle: uniform(rng, -0.07, 0.07),
        tone: uniform(rng, 0.54, 0.62),
        warmth: uniform(rng, -0.015, 0.015),
        band: uniform(rng, -0.7, 0.7),
        band_width: uniform(rng, 0.5, 0.9),
        seed: noise_seed(rng),
    })
}

impl Product for Aluminium {
    fn color(&self, p: V2, _px: f32) -> Rgb {
        let q = p.rotated(self.angle);
        let lines = 0.55 * value(v2(q.x * 1.1, q.y * 42.0), self.seed)
            + 0.45 * value(v2(q.x * 2.6, q.y * 90.0), self.seed ^ 1)
            + 0.25 * value(v2(q.x * 8.0, q.y * 64.0), self.seed ^ 2);
        let sheen = 0.17 * (-((q.x - self.band) / self.band_width).powi(2)).exp();
        let v = self.tone + sheen + (0.05 + 0.15 * sheen) * lines;
        [v * (0.985 + self.warmth), v, v * (1.02 - self.warmth)]
    }

    fn damage(&mut self, kind: &str, rng: &mut Rng, strength: f32) -> Option<Flaw> {
        let at = self.anchor(rng);
        Some(match kind {
            "dent" => Flaw::dent(rng, at, strength),
            "discoloration" => {
                let gain = if uniform(rng, 0.0, 1.0) < 0.5 { [1.08, 0.94, 0.68] } else { [0.78, 0.86, 1.06] };
                Flaw::patch(rng, at, strength, gain)
            }
            "pit" => {
                let radius = (0.022, 0.028 + 0.022 * strength);
                Flaw::holes(rng, at, 1 + (strength * 4.0) as usize, radius, 0.5, [0.24, 0.24, 0.25])
            }
            "scratch" => {
                let angle = uniform(rng, 0.35, 2.8);
                let light = if uniform(rng, 0.0, 1.0) < 0.6 { 0.26 } else { -0.26 };
                Flaw::scratch(rng, at, angle, strength, light)
            }
            _ => Flaw::stain(rng, at, strength, [0.62, 0.58, 0.52]),
        })
    }
}
