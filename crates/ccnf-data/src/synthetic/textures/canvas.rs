//! Woven canvas.

use crate::synthetic::flaw::Flaw;
use crate::synthetic::geometry::{Rgb, V2, mix, shade, smooth, v2};
use crate::synthetic::noise::{Rng, hash_unit, noise_seed, uniform, value};
use crate::synthetic::product::Product;
use std::f32::consts::PI;

/// Plain weave of light warp and blue weft threads.
pub(crate) struct Canvas {
    angle: f32,
    shift: V2,
    /// Threads per unit.
    density: f32,
    warp: Rgb,
    weft: Rgb,
    seed: u32,
    /// The row without its thread, from and to which column.
    gap: Option<(i32, f32, f32)>,
}

pub(crate) const DEFECTS: &[&str] = &["cut", "hole", "missing_thread", "stain", "thread"];

pub(crate) fn build(rng: &mut Rng) -> Box<dyn Product> {
    let k = uniform(rng, 0.92, 1.08);
    let hue = uniform(rng, -0.03, 0.03);
    Box::new(Canvas {
        angle: uniform(rng, -0.06, 0.06),
        shift: v2(uniform(rng, 0.0, 1.0), uniform(rng, 0.0, 1.0)),
        density: uniform(rng, 10.5, 11.5),
        warp: shade([0.50 + hue, 0.60, 0.74 - hue], k),
        weft: shade([0.24 + hue, 0.36, 0.60 - hue], k),
        seed: noise_seed(rng),
        gap: None,
    })
}

impl Canvas {
    /// Where `p` lies in the weave: a thread is one unit wide.
    fn weave(&self, p: V2) -> V2 {
        let q = p.rotated(self.angle);
        let wander = v2(value(q * 2.3, self.seed), value(q * 2.3, self.seed ^ 1)) * 0.22;
        q * self.density + self.shift * 2.0 + wander
    }
}

impl Product for Canvas {
    fn color(&self, p: V2, _px: f32) -> Rgb {
        let w = self.weave(p);
        let (sx, sy) = ((w.x * PI).sin(), (w.y * PI).sin());
        let (column, row) = (w.x.floor() as i32, w.y.floor() as i32);
        // The sign of the product alternates from crossing to crossing: which thread lies on top.
        let on_top = smooth(-0.22, 0.22, sx * sy);
        let thread = |color: Rgb, across: f32, along: f32, id: f32, fuzz: f32| {
            let round = 0.52 + 0.48 * across.abs().sqrt();
            let arch = 0.78 + 0.22 * along.abs();
            shade(color, round * arch * (0.90 + 0.18 * id + 0.07 * fuzz))
        };
        let warp_fuzz = value(v2(w.x * 4.0, w.y * 1.5), self.seed ^ 2);
        let weft_fuzz = value(v2(w.x * 1.5, w.y * 4.0), self.seed ^ 3);
        let warp = thread(self.warp, sx, sy, hash_unit(column, 0, self.seed), warp_fuzz);
        let weft = thread(self.weft, sy, sx, hash_unit(0, row, self.seed ^ 4), weft_fuzz);
        let weft = match self.gap {
            // Nothing crosses here: one looks between the warp threads.
            Some((r, from, to)) if r == row && w.x > from && w.x < to => {
                shade(self.weft, 0.30 + 0.25 * (sx.abs() - 0.3).max(0.0))
            }
            _ => weft,
        };
        mix(weft, warp, on_top)
    }

    fn damage(&mut self, kind: &str, rng: &mut Rng, strength: f32) -> Option<Flaw> {
        let at = self.anchor(rng);
        Some(match kind {
            "cut" => {
                let angle = uniform(rng, 0.0, PI);
                Flaw::cut(rng, at, angle, strength)
            }
            "hole" => Flaw::holes(rng, at, 1, (0.05, 0.06 + 0.07 * strength), 0.8, [0.09, 0.09, 0.11]),
            "missing_thread" => {
                let w = self.weave(at);
                let half = self.density * uniform(rng, 0.15, 0.2 + 0.3 * strength);
                self.gap = Some((w.y.floor() as i32, w.x - half, w.x + half));
                return None;
            }
            "stain" => {
                let filter = if uniform(rng, 0.0, 1.0) < 0.5 { [0.62, 0.48, 0.32] } else { [0.5, 0.5, 0.5] };
                Flaw::stain(rng, at, strength, filter)
            }
            _ => {
                let color =
                    if uniform(rng, 0.0, 1.0) < 0.5 { [0.80, 0.79, 0.74] } else { [0.16, 0.17, 0.22] };
                Flaw::thread(rng, at, strength, color)
            }
        })
    }
}
