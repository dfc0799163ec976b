//! A hexagon bolt from above, with a socket and three grade marks.

use crate::synthetic::flaw::Flaw;
use crate::synthetic::geometry::{
    Pose, Rgb, V2, brighten, hexagon, inside, mix, round_box, shade, smooth, v2,
};
use crate::synthetic::noise::{Rng, fractal, jittered, noise_seed, pick, uniform, value};
use crate::synthetic::product::Product;
use std::f32::consts::TAU;

pub(crate) struct Bolt {
    pose: Pose,
    steel: Rgb,
    sweep: f32,
    seed: u32,
    marks: [bool; 3],
    socket_turn: f32,
    socket_worn: f32,
    socket_shift: V2,
    chip: Option<(V2, f32)>,
}

pub(crate) const DEFECTS: &[&str] = &["chip", "crack", "missing_mark", "rust", "scratch", "worn_socket"];

const HEAD: f32 = 0.62;
const FACE: f32 = 0.60;
const SOCKET: f32 = 0.25;

pub(crate) fn build(rng: &mut Rng) -> Box<dyn Product> {
    let mut pose = jittered(rng, 0.08, 0.5, 0.06);
    pose.angle += 0.3;
    let k = uniform(rng, 0.93, 1.07);
    Box::new(Bolt {
        pose,
        steel: shade([0.47, 0.48, 0.51], k),
        sweep: uniform(rng, 0.0, TAU),
        seed: noise_seed(rng),
        marks: [true; 3],
        socket_turn: uniform(rng, -0.1, 0.1),
        socket_worn: 0.0,
        socket_shift: v2(0.0, 0.0),
        chip: None,
    })
}

impl Bolt {
    /// Signed distance to the head in its own coordinates.
    fn head(&self, q: V2) -> f32 {
        let d = hexagon(q, HEAD);
        match self.chip {
            Some((at, r)) => d.max(0.72 * r * self.ragged(q) - (q - at).len()),
            None => d,
        }
    }

    /// The uneven edge of a break.
    fn ragged(&self, q: V2) -> f32 {
        1.0 + 0.4 * fractal(q.rotated(0.6) * 9.0, 2, self.seed)
    }

    fn socket(&self, q: V2) -> f32 {
        let q = (q - self.socket_shift).rotated(self.socket_turn);
        let sharp = hexagon(q, SOCKET);
        let round = q.len() - SOCKET * 1.10;
        sharp + (round - sharp) * self.socket_worn
    }

    fn mark(&self, q: V2, i: usize) -> f32 {
        let angle = i as f32 * TAU / 3.0 + 0.5;
        round_box(q.rotated(-angle) - v2(0.455, 0.0), v2(0.075, 0.022), 0.015)
    }

    fn top(&self, q: V2, px: f32) -> Rgb {
        let light = self.pose.light();
        let (r, angle) = (q.len(), q.angle());
        let turned = 0.05 * value(v2(r * 46.0, 3.0), self.seed)
            + 0.03 * value(v2(r * 30.0, angle * 5.0), self.seed ^ 1);
        let sweep = 0.11 * (2.0 * (angle + self.pose.angle - self.sweep)).cos() * smooth(0.05, 0.35, r);
        let face = shade(self.steel, 1.05 + sweep + turned);
        // Outside the face the corners slope down: bright towards the light, dark away from it.
        let slope = shade(self.steel, 0.80 + 0.34 * q.unit().dot(light));
        let rim = 0.12 * smooth(0.03, 0.0, (r - FACE).abs()) * (0.4 + q.unit().dot(light));
        let mut c = brighten(mix(face, slope, smooth(FACE - 0.01, FACE + 0.01, r)), rim);
        if let Some((at, r)) = self.chip {
            let grain = 0.34 + 0.10 * fractal(q.rotated(1.1) * 26.0, 2, self.seed ^ 4);
            c = mix(c, shade(self.steel, grain), inside((q - at).len() - r * self.ragged(q), px));
        }
        for i in (0..3).filter(|&i| self.marks[i]) {
            let d = self.mark(q, i);
            let lit =
                inside(self.mark(q + light * 0.016, i), px) - inside(self.mark(q - light * 0.016, i), px);
            c = brighten(shade(c, 1.0 + 0.10 * inside(d, px)), -0.16 * lit);
        }
        let d = self.socket(q);
        if d < 0.04 {
            let wall = smooth(0.0, -0.10, d);
            let lit = -(q - self.socket_shift).unit().dot(light);
            let inner = mix(shade(self.steel, 0.42 + 0.28 * lit), shade(self.steel, 0.20), wall);
            let edge = smooth(0.035, 0.0, d.abs()) * 0.10 * (0.5 - lit);
            c = brighten(mix(c, inner, inside(d, px)), edge);
        }
        c
    }
}

impl Product for Bolt {
    fn color(&self, p: V2, px: f32) -> Rgb {
        let q = self.pose.local(p);
        let px = px / self.pose.scale;
        let paper = 1.0 + 0.02 * fractal(p * 22.0, 2, self.seed ^ 2);
        let shadow = smooth(0.16, -0.06, hexagon(q + self.pose.light() * 0.075, HEAD));
        let floor = shade([0.72, 0.77, 0.83], paper * (1.0 - 0.45 * shadow));
        let on = inside(self.head(q), px);
        if on == 0.0 { floor } else { mix(floor, self.top(q, px), on) }
    }

    fn cover(&self, p: V2, px: f32) -> f32 {
        let q = self.pose.local(p);
        inside(self.head(q).max(-self.socket(q)), px / self.pose.scale)
    }

    fn damage(&mut self, kind: &str, rng: &mut Rng, strength: f32) -> Option<Flaw> {
        match kind {
            "chip" => {
                let corner = V2::polar(TAU / 12.0 * (2 * pick(rng, 6)) as f32) * (HEAD * 1.1547);
                self.chip = Some((
                    corner + v2(uniform(rng, -0.05, 0.05), uniform(rng, -0.05, 0.05)),
                    0.14 + 0.12 * strength,
                ));
                None
            }
            "missing_mark" => {
                self.marks[pick(rng, 3)] = false;
                None
            }
            "worn_socket" => {
                self.socket_worn = 0.65 + 0.5 * strength;
                self.socket_shift = V2::polar(uniform(rng, 0.0, TAU)) * (0.03 * strength);
                None
            }
            "crack" => {
                let angle = uniform(rng, 0.0, TAU);
                let start = self.pose.world(V2::polar(angle) * (SOCKET * 0.95));
                let length = uniform(rng, 0.25, 0.32 + 0.2 * strength);
                Some(Flaw::crack(rng, start, angle + self.pose.angle, strength, length))
            }
            "rust" => {
                let at = self.anchor(rng);
                Some(Flaw::stain(rng, at, strength, [1.12, 0.66, 0.36]))
            }
            _ => {
                let (at, angle) = (self.anchor(rng), uniform(rng, 0.0, TAU));
                Some(Flaw::scratch(rng, at, angle, strength, 0.32))
            }
        }
    }
}
