//! A planed pine board.

use crate::synthetic::flaw::Flaw;
use crate::synthetic::geometry::{Rgb, V2, mix, shade, smooth, v2};
use crate::synthetic::noise::{Rng, fractal, noise_seed, uniform, value};
use crate::synthetic::product::Product;

/// Growth rings cut lengthwise: distances from a far, flattened centre, distorted by noise.
pub(crate) struct Pine {
    angle: f32,
    heart: V2,
    rings: f32,
    early: Rgb,
    late: Rgb,
    seed: u32,
}

pub(crate) const DEFECTS: &[&str] = &["burn", "hole", "scratch", "split", "stain"];

pub(crate) fn build(rng: &mut Rng) -> Box<dyn Product> {
    let k = uniform(rng, 0.94, 1.05);
    let red = uniform(rng, -0.02, 0.02);
    Box::new(Pine {
        angle: uniform(rng, -0.08, 0.08),
        heart: v2(uniform(rng, -2.0, 2.0), uniform(rng, -1.6, 1.6)),
        rings: uniform(rng, 4.5, 6.5),
        early: shade([0.84 + red, 0.66, 0.43], k),
        late: shade([0.62 + red, 0.40, 0.21], k),
        seed: noise_seed(rng),
    })
}

impl Product for Pine {
    fn color(&self, p: V2, _px: f32) -> Rgb {
        let q = p.rotated(self.angle);
        let from = q - self.heart;
        let flat = v2(from.x * 0.22, from.y).len();
        let ring = flat * self.rings
            + 0.55 * value(v2(q.x * 0.9, q.y * 2.2), self.seed)
            + 0.12 * value(v2(q.x * 3.0, q.y * 9.0), self.seed ^ 1);
        let t = ring - ring.floor();
        // Early wood darkens slowly to late wood, which ends abruptly at the next ring.
        let dark = smooth(0.25, 0.86, t) * smooth(1.0, 0.90, t);
        let strong = 0.55 + 0.35 * value(v2(ring.floor() * 1.7, 0.5), self.seed ^ 2);
        let fibre = 0.6 * value(v2(q.x * 2.4, q.y * 52.0), self.seed ^ 3)
            + 0.4 * value(v2(q.x * 6.0, q.y * 85.0), self.seed ^ 4);
        let board = mix(self.early, self.late, dark * strong);
        shade(board, 1.0 + 0.055 * fibre + 0.05 * fractal(q * 1.5, 2, self.seed ^ 5))
    }

    fn damage(&mut self, kind: &str, rng: &mut Rng, strength: f32) -> Option<Flaw> {
        let at = self.anchor(rng);
        Some(match kind {
            "burn" => Flaw::patch(rng, at, strength, [0.50, 0.42, 0.40]),
            "hole" => {
                let n = 1 + (strength * 3.5) as usize;
                Flaw::holes(rng, at, n, (0.03, 0.035 + 0.03 * strength), 0.25, [0.20, 0.13, 0.08])
            }
            "scratch" => {
                let angle = uniform(rng, 0.5, 2.6);
                let light = if uniform(rng, 0.0, 1.0) < 0.5 { 0.22 } else { -0.28 };
                Flaw::scratch(rng, at, angle, strength, light)
            }
            "split" => {
                let angle = -self.angle + uniform(rng, -0.1, 0.1);
                let length = uniform(rng, 0.6, 0.8 + 0.5 * strength);
                Flaw::crack(rng, at - v2(0.4 * length, 0.0), angle, strength, length)
            }
            _ => {
                let filter =
                    if uniform(rng, 0.0, 1.0) < 0.5 { [0.52, 0.62, 0.95] } else { [0.60, 0.55, 0.52] };
                Flaw::stain(rng, at, strength, filter)
            }
        })
    }
}
