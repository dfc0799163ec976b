//! Smooth noise and random draws.

use super::geometry::{Pose, V2, v2};
use rand::Rng as _;
use rand_chacha::ChaCha8Rng;

/// The generator behind every draw.
pub(super) type Rng = ChaCha8Rng;

/// Uniform between `low` and `high`.
pub(super) fn uniform(rng: &mut Rng, low: f32, high: f32) -> f32 {
    rng.gen_range(low..high)
}

/// A pose with the given jitters around the middle.
pub(super) fn jittered(rng: &mut Rng, shift: f32, turn: f32, scale: f32) -> Pose {
    Pose {
        center: v2(uniform(rng, -shift, shift), uniform(rng, -shift, shift)),
        angle: uniform(rng, -turn, turn),
        scale: 1.0 + uniform(rng, -scale, scale),
    }
}

/// The same index of `0..n` for the same state.
pub(super) fn pick(rng: &mut Rng, n: usize) -> usize {
    rng.gen_range(0..n)
}

/// A seed for the noise functions.
pub(super) fn noise_seed(rng: &mut Rng) -> u32 {
    rng.gen_range(0..u32::MAX)
}

/// A well mixed hash of a grid point.
pub(super) fn hash(x: i32, y: i32, seed: u32) -> u32 {
    let mut h = (x as u32).wrapping_mul(0x9E37_79B1) ^ (y as u32).wrapping_mul(0x85EB_CA77) ^ seed;
    h = (h ^ (h >> 15)).wrapping_mul(0x2C1B_3C6D);
    h = (h ^ (h >> 12)).wrapping_mul(0x297A_2D39);
    h ^ (h >> 15)
}

/// The hash as a number in 0 … 1.
pub(super) fn hash_unit(x: i32, y: i32, seed: u32) -> f32 {
    (hash(x, y, seed) >> 8) as f32 / (1 << 24) as f32
}

/// Value noise with one lattice point per unit, -1 … 1.
pub(super) fn value(p: V2, seed: u32) -> f32 {
    let (fx, fy) = (p.x.floor(), p.y.floor());
    let (ix, iy) = (fx as i32, fy as i32);
    let ease = |t: f32| t * t * (3.0 - 2.0 * t);
    let (u, v) = (ease(p.x - fx), ease(p.y - fy));
    let at = |dx, dy| hash_unit(ix.wrapping_add(dx), iy.wrapping_add(dy), seed);
    let top = at(0, 0) + (at(1, 0) - at(0, 0)) * u;
    let bottom = at(0, 1) + (at(1, 1) - at(0, 1)) * u;
    2.0 * (top + (bottom - top) * v) - 1.0
}

/// `octaves` of [`value`], each twice as fine and half as strong.
pub(super) fn fractal(p: V2, octaves: u32, seed: u32) -> f32 {
    let (mut sum, mut gain, mut at) = (0.0, 0.5, p);
    for o in 0..octaves {
        sum += gain * value(at, seed.wrapping_add(o * 7919));
        gain *= 0.5;
        at = at * 2.03;
    }
    sum
}
