//! Pictures for people: heat maps over images, contours of masks, contact sheets.

use crate::maps::FloatMap;
use ccnf_core::{Error, ErrorKind, Mask, Result, RgbImage};
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};

/// Anchors of matplotlib's `inferno` at equal distances: perceptually even from black to light yellow.
const INFERNO: [[f32; 3]; 10] = [
    [0.0, 0.0, 4.0],
    [27.0, 12.0, 65.0],
    [74.0, 12.0, 107.0],
    [120.0, 28.0, 109.0],
    [165.0, 44.0, 96.0],
    [207.0, 68.0, 70.0],
    [237.0, 105.0, 37.0],
    [251.0, 155.0, 6.0],
    [247.0, 209.0, 61.0],
    [252.0, 255.0, 164.0],
];

/// The colour of mask contours: cyan, which `inferno` does not contain.
const CONTOUR: [u8; 3] = [0, 229, 255];

/// The gap between pictures and its colour.
const GAP_COLOR: u8 = 255;

/// The colour of `value` in 0 … 1 on the heat map's scale. Values outside are clamped; NaN is grey.
pub fn heat_color(value: f32) -> [u8; 3] {
    if value.is_nan() {
        return [128; 3];
    }
    let at = value.clamp(0.0, 1.0) * (INFERNO.len() - 1) as f32;
    let low = (at as usize).min(INFERNO.len() - 2);
    let t = at - low as f32;
    std::array::from_fn(|c| (INFERNO[low][c] * (1.0 - t) + INFERNO[low + 1][c] * t).round() as u8)
}

/// The panel `image | image under its heat map`, with the contour of the true defect on the right picture.
///
/// `map` has any size and is interpolated to that of the image; `range` are the values shown as cold and hot (use one range
/// for all pictures that are compared). Cold places show the image, hot ones the colour. A mask must have the image's size.
pub fn overlay(image: &RgbImage, map: &FloatMap, range: (f32, f32), mask: Option<&Mask>) -> Result<RgbImage> {
    let mut hot = heat_overlay(image, map, range);
    if let Some(mask) = mask {
        crate::check_mask_size(mask, "mask", ("image", image.width, image.height))?;
        draw_contour(&mut hot, mask);
    }
    Ok(side_by_side(&[image, &hot], gap_of(image)))
}

/// The image with the heat map blended over it: see [`overlay`].
pub fn heat_overlay(image: &RgbImage, map: &FloatMap, range: (f32, f32)) -> RgbImage {
    let map = map.resize_bilinear(image.height, image.width, false);
    let span = if range.1 > range.0 { range.1 - range.0 } else { f32::INFINITY };
    let mut out = image.clone();
    for (pixel, value) in out.data.chunks_exact_mut(3).zip(&map.data) {
        let heat = (value - range.0) / span;
        let color = heat_color(heat);
        let grey = 0.299 * f32::from(pixel[0]) + 0.587 * f32::from(pixel[1]) + 0.114 * f32::from(pixel[2]);
        // The picture loses its own colours, so that colour means heat only, and shines through everywhere.
        let opacity = if heat.is_nan() { 0.5 } else { 0.15 + 0.6 * heat.clamp(0.0, 1.0) };
        for (p, c) in pixel.iter_mut().zip(color) {
            *p = (grey * (1.0 - opacity) + f32::from(c) * opacity).round() as u8;
        }
    }
    out
}

/// Draws the outline of the mask's regions: the pixels just outside, about 1/192 of the image wide, so that small regions stay
/// visible.
pub fn draw_contour(image: &mut RgbImage, mask: &Mask) {
    let reach = (image.width.min(image.height) / 192).max(1) as isize;
    let inside = |x: isize, y: isize| {
        x >= 0
            && y >= 0
            && (x as usize) < mask.width
            && (y as usize) < mask.height
            && mask.data[y as usize * mask.width + x as usize]
    };
    for y in 0..mask.height.min(image.height) as isize {
        for x in 0..mask.width.min(image.width) as isize {
            let edge = || (-reach..=reach).any(|d| inside(x + d, y) || inside(x, y + d));
            if !inside(x, y) && edge() {
                let at = (y as usize * image.width + x as usize) * 3;
                image.data[at..at + 3].copy_from_slice(&CONTOUR);
            }
        }
    }
}

/// The gap that suits pictures of this size.
fn gap_of(image: &RgbImage) -> usize {
    (image.width / 32).max(2)
}

/// The pictures in one row, on white, `gap` pixels apart.
pub fn side_by_side(images: &[&RgbImage], gap: usize) -> RgbImage {
    grid(images, images.len().max(1), gap)
}

/// The pictures in rows of `columns`, on white, `gap` pixels apart; all cells have the size of the largest picture.
pub fn grid(images: &[&RgbImage], columns: usize, gap: usize) -> RgbImage {
    let columns = columns.clamp(1, images.len().max(1));
    let rows = images.len().div_ceil(columns).max(1);
    let cell_w = images.iter().map(|i| i.width).max().unwrap_or(1);
    let cell_h = images.iter().map(|i| i.height).max().unwrap_or(1);
    let width = columns * cell_w + (columns - 1) * gap;
    let height = rows * cell_h + (rows - 1) * gap;
    let mut out = RgbImage { width, height, data: vec![GAP_COLOR; width * height * 3] };
    for (n, image) in images.iter().enumerate() {
        let left = n % columns * (cell_w + gap);
        let top = n / columns * (cell_h + gap);
        for (y, row) in image.data.chunks_exact(image.width * 3).enumerate() {
            let at = ((top + y) * width + left) * 3;
            out.data[at..at + row.len()].copy_from_slice(row);
        }
    }
    out
}

/// The image as a PNG file.
pub fn encode_png(image: &RgbImage) -> Result<Vec<u8>> {
    encode(&image.data, image.width, image.height, ExtendedColorType::Rgb8)
}

/// The mask as an 8-bit grey PNG file with the values 0 and 255.
pub fn encode_mask_png(mask: &Mask) -> Result<Vec<u8>> {
    let grey: Vec<u8> = mask.data.iter().map(|&m| if m { 255 } else { 0 }).collect();
    encode(&grey, mask.width, mask.height, ExtendedColorType::L8)
}

fn encode(data: &[u8], width: usize, height: usize, color: ExtendedColorType) -> Result<Vec<u8>> {
    let expected = width * height * usize::from(color.channel_count());
    if data.len() != expected || data.is_empty() {
        return Err(Error::new(
            ErrorKind::Contract,
            format!("{} bytes cannot be an image of {width} x {height} pixels", data.len()),
        ));
    }
    let mut bytes = Vec::new();
    PngEncoder::new(&mut bytes)
        .write_image(data, width as u32, height as u32, color)
        .map_err(|e| Error::new(ErrorKind::Image, format!("cannot encode a PNG: {e}")).with_source(e))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grey(width: usize, height: usize) -> RgbImage {
        RgbImage { width, height, data: vec![100; width * height * 3] }
    }

    #[test]
    fn the_color_scale_grows_in_brightness() {
        let luma = |c: [u8; 3]| 0.299 * f32::from(c[0]) + 0.587 * f32::from(c[1]) + 0.114 * f32::from(c[2]);
        let steps: Vec<f32> = (0..=20).map(|i| luma(heat_color(i as f32 / 20.0))).collect();
        assert!(steps.windows(2).all(|w| w[1] > w[0]), "{steps:?}");
    }

    #[test]
    fn a_panel_shows_the_image_unchanged_on_the_left() {
        let image = grey(40, 20);
        let map = FloatMap::new(2, 2, vec![0.0, 1.0, f32::NAN, 0.5]).unwrap();
        let panel = overlay(&image, &map, (0.0, 1.0), None).unwrap();
        assert_eq!((panel.height, panel.width), (20, 40 + 2 + 40));
        assert!(panel.data[..40 * 3].iter().all(|&v| v == 100));
    }

    #[test]
    fn a_flat_range_is_drawn_cold() {
        let map = FloatMap::new(1, 1, vec![3.0]).unwrap();
        let picture = heat_overlay(&grey(4, 4), &map, (3.0, 3.0));
        assert!(picture.data.iter().all(|&v| v < 100));
    }

    #[test]
    fn the_contour_runs_around_a_region_and_leaves_it_free() {
        let mut image = grey(16, 16);
        let data = (0..256).map(|i| (4..12).contains(&(i % 16)) && (4..12).contains(&(i / 16))).collect();
        draw_contour(&mut image, &Mask { width: 16, height: 16, data });
        let at = |x: usize, y: usize| &image.data[(y * 16 + x) * 3..][..3];
        assert_eq!(at(3, 6), CONTOUR);
        assert_eq!(at(4, 6), [100; 3]);
        assert_eq!(at(2, 6), [100; 3]);
    }

    #[test]
    fn a_mask_of_another_size_is_refused() {
        let map = FloatMap::new(1, 1, vec![0.0]).unwrap();
        let mask = Mask { width: 2, height: 2, data: vec![true; 4] };
        assert!(overlay(&grey(4, 4), &map, (0.0, 1.0), Some(&mask)).is_err());
    }

    #[test]
    fn png_comes_back_as_written() {
        let image = RgbImage { width: 3, height: 2, data: (0..18).map(|v| v * 14).collect() };
        assert_eq!(crate::decode_image(&encode_png(&image).unwrap(), "x").unwrap(), image);
        let mask = Mask { width: 2, height: 1, data: vec![true, false] };
        assert_eq!(crate::decode_mask(&encode_mask_png(&mask).unwrap(), "x").unwrap(), mask);
    }
}
