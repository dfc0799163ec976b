//! A tile of a circuit board.

use super::pcb_layout::{CAN, CHIP, CHIP_HALF, MOUNT, PART_HALF, PARTS, PIN, PINS, PITCH, TRACES, VIAS};
use crate::synthetic::flaw::Flaw;
use crate::synthetic::geometry::{
    Pose, Rgb, V2, brighten, inside, mix, round_box, segment, shade, smooth, v2,
};
use crate::synthetic::noise::{Rng, fractal, jittered, noise_seed, pick, uniform};
use crate::synthetic::product::Product;
use std::f32::consts::{FRAC_PI_2, TAU};

/// Where a part was put: `None` is missing.
type Placement = Option<(V2, f32)>;

pub(crate) struct Pcb {
    pose: Pose,
    mask: Rgb,
    seed: u32,
    placed: [Placement; PARTS.len()],
    can_turn: f32,
}

pub(crate) const DEFECTS: &[&str] = &["bridge", "burn", "misplaced", "missing", "residue", "scratch"];

const TIN: Rgb = [0.74, 0.74, 0.72];
const GOLD: Rgb = [0.78, 0.63, 0.30];

pub(crate) fn build(rng: &mut Rng) -> Box<dyn Product> {
    let k = uniform(rng, 0.92, 1.08);
    let hue = uniform(rng, -0.015, 0.015);
    let pose = jittered(rng, 0.035, 0.03, 0.02);
    // The machine places parts with a small error.
    let placed = std::array::from_fn(|_| {
        Some((v2(uniform(rng, -0.01, 0.01), uniform(rng, -0.01, 0.01)), uniform(rng, -0.04, 0.04)))
    });
    let can_turn = uniform(rng, -0.25, 0.25);
    Box::new(Pcb {
        pose,
        mask: shade([0.09 + hue, 0.36, 0.22 - hue], k),
        seed: noise_seed(rng),
        placed,
        can_turn,
    })
}

impl Pcb {
    fn board(&self, q: V2, px: f32) -> Rgb {
        let traces = TRACES.iter().map(|[a, b]| segment(q, *a, *b).0).fold(f32::INFINITY, f32::min) - 0.022;
        let copper = inside(traces, 1.5 * px);
        let edge = smooth(0.02, 0.0, traces.abs()) * 0.05;
        let weave = 1.0 + 0.05 * fractal(q * 26.0, 2, self.seed);
        let mut c = shade(mix(self.mask, [0.16, 0.50, 0.30], copper), weave - edge);
        for via in VIAS {
            let r = (q - via).len();
            if r < 0.06 {
                c = mix(c, GOLD, inside(r - 0.042, px));
                c = mix(c, [0.08, 0.10, 0.09], inside(r - 0.020, px));
            }
        }
        let r = (q - MOUNT).len();
        c = mix(c, GOLD, inside(r - 0.145, px));
        mix(c, [0.10, 0.11, 0.11], inside(r - 0.085, px))
    }

    fn chip(&self, q: V2, px: f32, mut c: Rgb) -> Rgb {
        let l = q - CHIP;
        let reach = CHIP_HALF + PIN + 0.06;
        if l.x.abs() > reach || l.y.abs() > reach {
            return c;
        }
        // Pins: the side that the point is on, then the nearest of its row.
        let (out, along) = if l.x.abs() > l.y.abs() { (l.x.abs(), l.y) } else { (l.y.abs(), l.x) };
        let first = -0.5 * PITCH * (PINS - 1) as f32;
        let index = ((along - first) / PITCH).round().clamp(0.0, (PINS - 1) as f32);
        let pin = v2(out - CHIP_HALF - 0.5 * PIN + 0.01, along - first - index * PITCH);
        let d = round_box(pin, v2(0.5 * PIN + 0.01, 0.028), 0.008);
        c = mix(c, brighten(TIN, 0.10 * smooth(0.03, 0.0, pin.y.abs())), inside(d, px));
        let body = round_box(l, v2(CHIP_HALF, CHIP_HALF), 0.02);
        let bevel = 0.07 * smooth(-0.035, 0.0, body) * (l.unit().dot(self.pose.light()) + 0.2);
        let mut top = brighten([0.14, 0.14, 0.15], bevel + 0.012 * fractal(l * 40.0, 1, self.seed ^ 1));
        top = mix(top, [0.28, 0.28, 0.29], inside((l - v2(-0.25, 0.25)).len() - 0.035, px));
        let print = round_box(l - v2(0.0, -0.10), v2(0.20, 0.020), 0.01)
            .min(round_box(l - v2(-0.03, -0.02), v2(0.17, 0.020), 0.01))
            .min(round_box(l - v2(-0.08, 0.06), v2(0.12, 0.020), 0.01));
        // Lettering: strokes with gaps.
        let gaps = smooth(-0.4, 0.1, (l.x * 95.0 + (l.y * 12.0).floor() * 2.0).sin());
        top = mix(top, [0.55, 0.55, 0.54], 0.7 * inside(print, px) * gaps);
        mix(c, top, inside(body, px))
    }

    fn part(&self, i: usize, q: V2, px: f32, mut c: Rgb) -> Rgb {
        let part = &PARTS[i];
        let flat = |v: V2| if part.upright { v2(v.y, -v.x) } else { v };
        let l = flat(q - part.at);
        if l.len() > 0.36 {
            return c;
        }
        let outline = round_box(l, v2(0.20, 0.10), 0.015).abs() - 0.008;
        c = mix(c, [0.80, 0.82, 0.78], 0.85 * inside(outline, px));
        for side in [-1.0, 1.0] {
            let pad = round_box(l - v2(side * 0.115, 0.0), v2(0.050, 0.070), 0.01);
            c = mix(c, GOLD, inside(pad, px));
        }
        let Some((shift, turn)) = self.placed[i] else { return c };
        let l = flat(q - part.at - shift).rotated(-turn);
        let d = round_box(l, PART_HALF, 0.012);
        let shadow = round_box(l + flat(self.pose.light()) * 0.025, PART_HALF, 0.02);
        c = shade(c, 1.0 - 0.45 * smooth(0.03, -0.01, shadow));
        let body = if part.capacitor { [0.62, 0.50, 0.34] } else { [0.17, 0.17, 0.18] };
        let ends = smooth(0.072 - px, 0.072 + px, l.x.abs());
        let round = 1.0 - 1.8 * (l.y / PART_HALF.y).powi(4) * 0.14;
        mix(c, shade(mix(body, TIN, ends), round), inside(d, px))
    }

    fn can(&self, q: V2, px: f32, mut c: Rgb) -> Rgb {
        let l = q - CAN.0;
        let r = l.len();
        if r > CAN.1 * 1.6 {
            return c;
        }
        c = shade(c, 1.0 - 0.5 * smooth(0.08, -0.04, (l + self.pose.light() * 0.06).len() - CAN.1));
        let sheen = 0.10 * (2.0 * (l.angle() + self.pose.angle + 0.9)).cos();
        let mut top =
            brighten([0.60, 0.61, 0.63], sheen + 0.14 * smooth(0.03, 0.0, (r - CAN.1 + 0.03).abs()) - 0.03);
        let stripe = l.rotated(self.can_turn).x + 0.11;
        top = mix(top, [0.16, 0.16, 0.18], inside(stripe, px) * smooth(0.0, -px, r - CAN.1 + 0.03));
        let cross = l.rotated(self.can_turn);
        let score = cross.y.abs().min((cross.x - 0.05).abs()) - 0.006;
        top = shade(top, 1.0 - 0.22 * inside(score, px) * f32::from(r < 0.14));
        mix(c, top, inside(r - CAN.1, px))
    }
}

impl Product for Pcb {
    fn color(&self, p: V2, px: f32) -> Rgb {
        let (q, px) = (self.pose.local(p), px / self.pose.scale);
        let mut c = self.board(q, px);
        for i in 0..PARTS.len() {
            c = self.part(i, q, px, c);
        }
        let c = self.chip(q, px, c);
        self.can(q, px, c)
    }

    fn damage(&mut self, kind: &str, rng: &mut Rng, strength: f32) -> Option<Flaw> {
        let at = self.anchor(rng);
        match kind {
            "missing" => {
                self.placed[pick(rng, PARTS.len())] = None;
                None
            }
            "misplaced" => {
                let side = if pick(rng, 2) == 0 { 1.0 } else { -1.0 };
                let shift = V2::polar(uniform(rng, 0.0, TAU)) * (0.02 + 0.06 * strength);
                let turn = side * uniform(rng, 0.15, 0.35 + 0.6 * strength);
                self.placed[pick(rng, PARTS.len())] = Some((shift, turn));
                None
            }
            "bridge" => {
                let first = -0.5 * PITCH * (PINS - 1) as f32;
                let n = pick(rng, PINS as usize - 1);
                let out = CHIP_HALF + uniform(rng, 0.02, PIN);
                let side = pick(rng, 4) as f32 * FRAC_PI_2;
                let pins = 1 + pick(rng, 2).min(PINS as usize - 2 - n);
                let pin = |i: usize| self.pose.world(CHIP + v2(out, first + i as f32 * PITCH).rotated(side));
                Some(Flaw::strip(pin(n), pin(n + pins), 0.020 + 0.016 * strength, TIN))
            }
            "burn" => Some(Flaw::patch(rng, at, strength, [0.55, 0.38, 0.36])),
            "residue" => Some(Flaw::film(rng, at, strength, [0.62; 3], [0.27, 0.28, 0.24])),
            _ => {
                let angle = uniform(rng, 0.0, TAU);
                Some(Flaw::scratch(rng, at, angle, strength, 0.30))
            }
        }
    }
}
