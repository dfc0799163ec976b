//! Defects painted on photos: stand-ins for defective images where only normal ones are known.

use super::geometry::{V2, segment, v2};
use super::noise::{Rng, noise_seed, pick, uniform, value};
use ccnf_core::{Error, ErrorKind, Mask, Result, RgbImage};
use rand::SeedableRng as _;
use std::f32::consts::TAU;

/// Draws of a defect until one can be seen.
const DRAWS: usize = 6;
/// Grey levels (of 255) by which a pixel of the defect differs from the photo.
const SEEN: f32 = 8.0;
/// The least part of the image that a defect covers.
const LEAST: f32 = 2.4e-4;

/// What covers the photo where the defect is.
#[derive(Clone, Copy)]
enum Cover {
    /// Brighter or darker by this.
    Shade(f32),
    /// The photo from somewhere else.
    Moved(V2),
    /// Another photo.
    Other,
    /// The photo bent: by so many pixels, over lumps of such a size.
    Bent(f32, f32),
    /// The photo smeared over so many pixels in a direction.
    Smeared(V2),
    /// Grains of this strength and size.
    Grains(f32, f32),
}

/// Where the defect is, in pixels.
enum Place {
    /// A polyline of such a half width.
    Stroke(Vec<V2>, f32),
    /// A frayed spot: centre, half axes, size of its lumps.
    Spot { centre: V2, axes: V2, lumps: f32, seed: u32 },
}

impl Place {
    fn draw(rng: &mut Rng, width: f32, height: f32, stroke: bool) -> Place {
        let unit = width.min(height) / 224.0;
        let centre = v2(uniform(rng, 0.13, 0.87) * width, uniform(rng, 0.13, 0.87) * height);
        let size = uniform(rng, 4.0, 28.0) * unit;
        if !stroke {
            let axes = v2(size / uniform(rng, 0.6, 1.6), size / uniform(rng, 0.6, 1.6));
            return Place::Spot {
                centre,
                axes,
                lumps: uniform(rng, 5.0, 28.0) * unit,
                seed: noise_seed(rng),
            };
        }
        let (mut points, mut angle) = (vec![centre], uniform(rng, 0.0, TAU));
        for _ in 0..2 + pick(rng, 4) {
            angle += uniform(rng, -0.9, 0.9);
            points.push(points[points.len() - 1] + V2::polar(angle) * size);
        }
        Place::Stroke(points, uniform(rng, 0.5, 1.6) * unit)
    }

    /// How much the pixel at `p` is covered, 0 to 1.
    fn cover(&self, p: V2) -> f32 {
        match self {
            Place::Stroke(points, half) => {
                let near = points.windows(2).map(|w| segment(p, w[0], w[1]).0).fold(f32::MAX, f32::min);
                (half + 0.5 - near).clamp(0.0, 1.0)
            }
            Place::Spot { centre, axes, lumps, seed } => {
                let from = p - *centre;
                let r = v2(from.x / axes.x, from.y / axes.y).len();
                if r >= 2.2 {
                    0.0
                } else {
                    (4.0 * (1.2 - r + 0.5 * value(p * (1.0 / lumps), *seed))).clamp(0.0, 1.0)
                }
            }
        }
    }

    /// Least and largest coordinates of what can be covered.
    fn bounds(&self) -> (V2, V2) {
        match self {
            Place::Stroke(points, half) => {
                let reach = v2(half + 1.0, half + 1.0);
                points.iter().fold((points[0] - reach, points[0] + reach), |(low, high), p| {
                    let (a, b) = (*p - reach, *p + reach);
                    (v2(low.x.min(a.x), low.y.min(a.y)), v2(high.x.max(b.x), high.y.max(b.y)))
                })
            }
            Place::Spot { centre, axes, .. } => (*centre - *axes * 2.2, *centre + *axes * 2.2),
        }
    }
}

/// Reads an image at any point, outside at its nearest pixel.
fn at(image: &RgbImage, p: V2) -> [f32; 3] {
    let (x, y) = (p.x.clamp(0.0, image.width as f32 - 1.0), p.y.clamp(0.0, image.height as f32 - 1.0));
    let (x0, y0) = (x.floor() as usize, y.floor() as usize);
    let (x1, y1) = ((x0 + 1).min(image.width - 1), (y0 + 1).min(image.height - 1));
    let (u, v) = (x - x0 as f32, y - y0 as f32);
    let pixel = |x: usize, y: usize, c: usize| f32::from(image.data[3 * (y * image.width + x) + c]);
    std::array::from_fn(|c| {
        let top = pixel(x0, y0, c) * (1.0 - u) + pixel(x1, y0, c) * u;
        let bottom = pixel(x0, y1, c) * (1.0 - u) + pixel(x1, y1, c) * u;
        top * (1.0 - v) + bottom * v
    })
}

/// Paints one defect on a photo and returns it with the defect's mask: the pixels that changed by more than 8 grey levels. What is drawn
/// follows from `seed` alone.
///
/// A stroke brighter or darker than the surface, or a frayed spot that is brighter or darker, shows another place of the photo (CutPaste,
/// Li et al. 2021) or of the photo `other` (in the manner of DRAEM, Zavrtanik et al. 2021), is bent, smeared or grainy; half to fully
/// opaque, 4 to 28 pixels of 224 in radius. The mask of a defect that cannot be seen after several draws is empty.
///
/// # Errors
/// For an image without pixels or whose data does not have the size that it states.
pub fn paint(image: &RgbImage, other: &RgbImage, seed: [u8; 32]) -> Result<(RgbImage, Mask)> {
    for i in [image, other] {
        if i.width == 0 || i.height == 0 || i.data.len() != 3 * i.width * i.height {
            let message = format!("an image of {} x {} pixels has {} bytes", i.width, i.height, i.data.len());
            return Err(Error::new(ErrorKind::Image, message));
        }
    }
    let mut rng = Rng::from_seed(seed);
    let least = (LEAST * (image.width * image.height) as f32).max(1.0) as usize;
    let mut painted = once(image, other, &mut rng);
    for _ in 1..DRAWS {
        if painted.1.data.iter().filter(|m| **m).count() >= least {
            break;
        }
        painted = once(image, other, &mut rng);
    }
    Ok(painted)
}

fn once(image: &RgbImage, other: &RgbImage, rng: &mut Rng) -> (RgbImage, Mask) {
    let (width, height) = (image.width as f32, image.height as f32);
    let unit = width.min(height) / 224.0;
    let sign = |rng: &mut Rng| if pick(rng, 2) == 0 { 1.0 } else { -1.0 };
    let kind = pick(rng, 7);
    let cover = match kind {
        0 | 1 => Cover::Shade(sign(rng) * uniform(rng, 10.0, 100.0)),
        2 => Cover::Moved(v2(uniform(rng, -0.4, 0.4) * width, uniform(rng, -0.4, 0.4) * height)),
        3 => Cover::Other,
        4 => Cover::Bent(uniform(rng, 3.0, 12.0) * unit, 22.0 * unit),
        5 => Cover::Smeared(V2::polar(uniform(rng, 0.0, TAU)) * (uniform(rng, 6.0, 20.0) * unit)),
        _ => Cover::Grains(uniform(rng, 13.0, 64.0), uniform(rng, 2.0, 5.5) * unit),
    };
    let place = Place::draw(rng, width, height, kind == 0);
    let opacity = if kind == 0 { 1.0 } else { uniform(rng, 0.4, 1.0) };
    let seed = noise_seed(rng);
    let scale = v2(other.width as f32 / width, other.height as f32 / height);
    let source = |p: V2| match cover {
        Cover::Shade(by) => at(image, p).map(|v| v + by),
        Cover::Moved(by) => at(image, p + by),
        Cover::Other => at(other, v2(p.x * scale.x, p.y * scale.y)),
        Cover::Bent(by, lumps) => {
            let q = p * (1.0 / lumps);
            at(image, p + v2(value(q, seed), value(q, !seed)) * by)
        }
        Cover::Smeared(along) => {
            let samples = [-0.5, -0.25, 0.0, 0.25, 0.5].map(|t| at(image, p + along * t));
            std::array::from_fn(|c| samples.iter().map(|s| s[c]).sum::<f32>() / samples.len() as f32)
        }
        Cover::Grains(by, size) => {
            let grain = by * value(p * (1.0 / size), seed);
            at(image, p).map(|v| v + grain)
        }
    };
    let mut out = image.clone();
    let mut mask =
        Mask { width: image.width, height: image.height, data: vec![false; image.width * image.height] };
    let (low, high) = place.bounds();
    let range =
        |a: f32, b: f32, n: usize| (a.max(0.0) as usize).min(n)..(b.max(0.0).ceil() as usize + 1).min(n);
    for y in range(low.y, high.y, image.height) {
        for x in range(low.x, high.x, image.width) {
            let p = v2(x as f32, y as f32);
            let share = opacity * place.cover(p);
            if share == 0.0 {
                continue;
            }
            let (i, new) = (y * image.width + x, source(p));
            for (pixel, new) in out.data[3 * i..3 * i + 3].iter_mut().zip(new) {
                let old = f32::from(*pixel);
                *pixel = (old + share * (new - old)).round().clamp(0.0, 255.0) as u8;
                mask.data[i] |= (f32::from(*pixel) - old).abs() > SEEN;
            }
        }
    }
    (out, mask)
}

#[cfg(test)]
mod tests {
    use super::super::render_normal;
    use super::*;

    #[test]
    fn the_mask_is_where_pixels_changed_and_the_same_seed_paints_the_same() {
        let image = render_normal("canvas", "train", 0, 7, 96).unwrap();
        let other = render_normal("pcb", "train", 0, 7, 64).unwrap();
        let (mut areas, mut seen) = (vec![], 0);
        for seed in 0..60u8 {
            let (painted, mask) = paint(&image, &other, [seed; 32]).unwrap();
            assert_eq!((painted.clone(), mask.clone()), paint(&image, &other, [seed; 32]).unwrap());
            for (i, m) in mask.data.iter().enumerate() {
                let pair = painted.data[3 * i..3 * i + 3].iter().zip(&image.data[3 * i..3 * i + 3]);
                let change = pair.map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0);
                assert_eq!(*m, f32::from(change) > SEEN, "seed {seed}, pixel {i}");
            }
            let area = mask.data.iter().filter(|m| **m).count();
            seen += usize::from(area > 0);
            areas.push(area);
        }
        assert!(seen >= 55, "only {seen} of 60 defects can be seen");
        assert!(areas.iter().all(|a| *a < 96 * 96 / 4), "{areas:?}");
        areas.sort_unstable();
        areas.dedup();
        assert!(areas.len() > 30, "the defects are all alike: {areas:?}");
    }

    #[test]
    fn images_of_any_size_can_be_painted_and_broken_ones_are_refused() {
        let tiny = RgbImage { width: 1, height: 1, data: vec![7; 3] };
        let long = RgbImage { width: 300, height: 2, data: vec![90; 1800] };
        for seed in 0..40u8 {
            paint(&tiny, &long, [seed; 32]).unwrap();
            paint(&long, &tiny, [seed; 32]).unwrap();
        }
        let broken = RgbImage { width: 2, height: 2, data: vec![0; 3] };
        assert!(paint(&broken, &tiny, [0; 32]).is_err());
        assert!(paint(&tiny, &RgbImage { width: 0, height: 0, data: vec![] }, [0; 32]).is_err());
    }
}
