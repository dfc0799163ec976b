//! Polished granite.

use crate::synthetic::flaw::Flaw;
use crate::synthetic::geometry::{Rgb, V2, mix, shade, smooth, v2};
use crate::synthetic::noise::{Rng, fractal, hash, hash_unit, noise_seed, uniform, value};
use crate::synthetic::product::Product;
use std::f32::consts::TAU;

/// Grains of feldspar, quartz and mica: cells around random points, each in the colour of its mineral.
pub(crate) struct Granite {
    scale: f32,
    angle: f32,
    tone: f32,
    pink: f32,
    seed: u32,
}

pub(crate) const DEFECTS: &[&str] = &["crack", "discoloration", "pit", "scratch", "stain"];

pub(crate) fn build(rng: &mut Rng) -> Box<dyn Product> {
    Box::new(Granite {
        scale: uniform(rng, 15.0, 17.0),
        angle: uniform(rng, 0.0, TAU),
        tone: uniform(rng, 0.93, 1.07),
        pink: uniform(rng, 0.9, 1.1),
        seed: noise_seed(rng),
    })
}

impl Granite {
    fn mineral(&self, id: u32) -> Rgb {
        let u = (id & 0xFFFF) as f32 / 65536.0;
        let k = 0.94 + 0.12 * ((id >> 16) & 0xFF) as f32 / 255.0;
        shade(
            match u {
                u if u < 0.42 => [0.66 * self.pink, 0.50, 0.45],
                u if u < 0.72 => [0.68, 0.65, 0.62],
                u if u < 0.87 => [0.53, 0.50, 0.49],
                _ => [0.40, 0.39, 0.40],
            },
            k * self.tone,
        )
    }
}

impl Product for Granite {
    fn color(&self, p: V2, px: f32) -> Rgb {
        let bend = v2(value(p * 9.0, self.seed ^ 5), value(p * 9.0, self.seed ^ 6)) * 0.045;
        let w = (p + bend).rotated(self.angle) * self.scale;
        let (ix, iy) = (w.x.floor() as i32, w.y.floor() as i32);
        let (mut first, mut second) = ((f32::INFINITY, 0), (f32::INFINITY, 0));
        for dy in -1..=1 {
            for dx in -1..=1 {
                let (cx, cy) = (ix + dx, iy + dy);
                let at = v2(
                    cx as f32 + hash_unit(cx, cy, self.seed),
                    cy as f32 + hash_unit(cx, cy, self.seed ^ 9),
                );
                let d = (w - at).len();
                if d < first.0 {
                    second = first;
                    first = (d, hash(cx, cy, self.seed ^ 77));
                } else if d < second.0 {
                    second = (d, hash(cx, cy, self.seed ^ 77));
                }
            }
        }
        // At the border of two grains their colours mix over about a pixel.
        let border = 0.5 * smooth(1.6 * px * self.scale, 0.0, second.0 - first.0);
        let grain = mix(self.mineral(first.1), self.mineral(second.1), border);
        let fleck = smooth(0.52, 0.66, value(w * 2.7, self.seed ^ 3));
        let cloud = 1.0 + 0.10 * fractal(w * 1.3, 2, self.seed ^ 4);
        shade(mix(grain, [0.40, 0.39, 0.40], 0.30 * fleck), cloud)
    }

    fn damage(&mut self, kind: &str, rng: &mut Rng, strength: f32) -> Option<Flaw> {
        let at = self.anchor(rng);
        let angle = uniform(rng, 0.0, TAU);
        Some(match kind {
            "crack" => {
                let length = uniform(rng, 0.7, 0.9 + 0.5 * strength);
                Flaw::crack(rng, at, angle, 0.5 + strength, length)
            }
            "discoloration" => {
                let gain = if uniform(rng, 0.0, 1.0) < 0.5 { [1.18, 0.96, 0.62] } else { [0.72, 1.0, 0.80] };
                Flaw::patch(rng, at, strength, gain)
            }
            "pit" => {
                let n = 1 + (strength * 2.5) as usize;
                Flaw::holes(rng, at, n, (0.045, 0.05 + 0.05 * strength), 0.9, [0.15, 0.14, 0.14])
            }
            "scratch" => Flaw::scratch(rng, at, angle, 0.4 + 0.6 * strength, 0.32),
            _ => Flaw::stain(rng, at, strength, [0.42, 0.36, 0.28]),
        })
    }
}
