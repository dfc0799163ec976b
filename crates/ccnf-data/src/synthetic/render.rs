//! From a specimen to a picture, and to the mask of what a defect changed.

use super::flaw::Flaw;
use super::geometry::{Rgb, V2, inside, mix, v2};
use super::noise::{Rng, uniform};
use super::product::{Class, Product};
use ccnf_core::{Mask, RgbImage};
use rand::{RngCore as _, SeedableRng as _};

/// A pixel belongs to the mask if a channel changes by more than this, before noise: about six grey levels.
const VISIBLE: f32 = 0.025;

/// A defect changes at least this part of the picture, or it is drawn again, stronger.
const SMALLEST: f32 = 0.001;

/// Tries before a plain dark spot is put on the product.
const TRIES: u32 = 24;

/// The noise of the camera: standard deviation of a channel, and of all channels together.
const NOISE: (f32, f32) = (0.006, 0.009);

/// Colours stay in this range, so that noise never clips and two renderings differ exactly on the mask.
const RANGE: (f32, f32) = (0.06, 0.94);

/// Which picture is made: the same key gives the same picture.
#[derive(Clone, Copy)]
pub(super) struct Key<'a> {
    pub(super) seed: u64,
    pub(super) class: &'a str,
    pub(super) split: &'a str,
    pub(super) index: usize,
}

impl Key<'_> {
    /// The random stream of this picture for one purpose.
    fn stream(&self, purpose: &str) -> Rng {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.seed.to_le_bytes());
        for part in [self.class, self.split, purpose] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        hasher.update(&(self.index as u64).to_le_bytes());
        Rng::from_seed(*hasher.finalize().as_bytes())
    }
}

/// The light of one photo: brightness, how it falls off, and its colour.
struct Lighting {
    gain: f32,
    slope: V2,
    tint: Rgb,
}

impl Lighting {
    fn new(rng: &mut Rng) -> Self {
        Lighting {
            gain: uniform(rng, 0.94, 1.06),
            slope: v2(uniform(rng, -0.05, 0.05), uniform(rng, -0.05, 0.05)),
            tint: std::array::from_fn(|_| uniform(rng, 0.985, 1.015)),
        }
    }
}

/// The picture of a specimen without a defect.
pub(super) fn normal(class: &Class, key: Key<'_>, size: usize) -> RgbImage {
    let specimen = (class.build)(&mut key.stream("shape"));
    expose(&paint(&*specimen, None, key, size), key, size)
}

/// The picture of a specimen with a defect, and the pixels in which it differs from [`normal`] of the same key.
pub(super) fn defective(class: &Class, kind: &str, key: Key<'_>, size: usize) -> (RgbImage, Mask) {
    let build = || (class.build)(&mut key.stream("shape"));
    let clean = paint(&*build(), None, key, size);
    let smallest = ((size * size) as f32 * SMALLEST).max(1.0) as usize;
    for attempt in 0..TRIES {
        let mut rng = key.stream(&format!("defect {attempt}"));
        let strength = uniform(&mut rng, 0.0, 1.0).max(attempt as f32 / TRIES as f32);
        let mut specimen = build();
        let flaw = specimen.damage(kind, &mut rng, strength);
        let (image, mask) = merge(&clean, &paint(&*specimen, flaw.as_ref(), key, size), size);
        if mask.data.iter().filter(|&&m| m).count() >= smallest {
            return (expose(&image, key, size), mask);
        }
    }
    // Nothing visible came out of it, as may happen in pictures of a few pixels: darken the brightest place.
    let brightest = clean.iter().enumerate().max_by(|a, b| a.1[1].total_cmp(&b.1[1])).map_or(0, |(i, _)| i);
    let mut spotted = clean.clone();
    spotted[brightest] = [RANGE.0; 3];
    let (image, mask) = merge(&clean, &spotted, size);
    (expose(&image, key, size), mask)
}

/// The colours before noise, in [`RANGE`].
fn paint(specimen: &dyn Product, flaw: Option<&Flaw>, key: Key<'_>, size: usize) -> Vec<Rgb> {
    let light = Lighting::new(&mut key.stream("light"));
    let px = 2.0 / size as f32;
    let mut colors = Vec::with_capacity(size * size);
    for y in 0..size {
        for x in 0..size {
            let p = v2((x as f32 + 0.5) * px - 1.0, (y as f32 + 0.5) * px - 1.0);
            let mut c = match flaw {
                None => specimen.color(p, px),
                Some(flaw) => {
                    let q = flaw.warp(p);
                    let surface = specimen.color(q, px);
                    let marked = flaw.tint(p, px, surface);
                    if marked == surface { surface } else { mix(surface, marked, specimen.cover(q, px)) }
                }
            };
            let falloff = 1.0 - 0.06 * inside(0.9 - p.dot(p), 1.8);
            let k = light.gain * (1.0 + p.dot(light.slope)) * falloff;
            for (v, tint) in c.iter_mut().zip(light.tint) {
                *v = (*v * k * tint).clamp(RANGE.0, RANGE.1);
            }
            colors.push(c);
        }
    }
    colors
}

/// The mask of visible changes, and the clean picture with only these changed.
fn merge(clean: &[Rgb], damaged: &[Rgb], size: usize) -> (Vec<Rgb>, Mask) {
    let changed = |(a, b): (&Rgb, &Rgb)| a.iter().zip(b).any(|(a, b)| (a - b).abs() > VISIBLE);
    let data: Vec<bool> = clean.iter().zip(damaged).map(changed).collect();
    let image =
        data.iter().zip(clean.iter().zip(damaged)).map(|(&m, (a, b))| if m { *b } else { *a }).collect();
    (image, Mask { width: size, height: size, data })
}

/// Adds the camera's noise and rounds to 8 bit.
fn expose(colors: &[Rgb], key: Key<'_>, size: usize) -> RgbImage {
    let mut rng = key.stream("noise");
    let mut data = Vec::with_capacity(colors.len() * 3);
    for c in colors {
        let common = bell(rng.next_u32()) * NOISE.1;
        for v in c {
            let v = v + common + bell(rng.next_u32()) * NOISE.0;
            data.push((v * 255.0).round() as u8);
        }
    }
    RgbImage { width: size, height: size, data }
}

/// About a standard normal number, within ±3.5: the sum of the four bytes.
fn bell(bits: u32) -> f32 {
    let sum: u32 = bits.to_le_bytes().iter().map(|&b| u32::from(b)).sum();
    (sum as f32 - 510.0) * (1.0 / 147.8)
}
