//! Resizing and cropping as Pillow and torchvision do it.

use ccnf_core::{Error, ErrorKind, Mask, Result, RgbImage};
use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};

/// The filter of [`resize`]. Both widen with the scale when they shrink (antialiasing), as in Pillow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Filter {
    /// Triangle filter, Pillow's `BILINEAR`.
    Bilinear,
    /// Lanczos filter with three lobes, Pillow's `LANCZOS`.
    Lanczos,
}

/// Resizes to `width` x `height`, within one grey level of Pillow's `Image.resize`.
pub fn resize(image: &RgbImage, width: usize, height: usize, filter: Filter) -> Result<RgbImage> {
    check(image.width, image.height, image.data.len() / 3)?;
    check_target(width, height)?;
    if (image.width, image.height) == (width, height) {
        return Ok(image.clone());
    }
    // Columns first, then rows, with 8 bit between: the order and rounding of Pillow. The library's own order differs by
    // several levels where Lanczos overshoots.
    let filter = match filter {
        Filter::Bilinear => FilterType::Bilinear,
        Filter::Lanczos => FilterType::Lanczos3,
    };
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter));
    let wide = one_pass(&image.data, (image.width, image.height), (width, image.height), &options)?;
    let data = one_pass(&wide, (width, image.height), (width, height), &options)?;
    Ok(RgbImage { width, height, data })
}

fn one_pass(
    data: &[u8],
    from: (usize, usize),
    to: (usize, usize),
    options: &ResizeOptions,
) -> Result<Vec<u8>> {
    if from == to {
        return Ok(data.to_vec());
    }
    let failed = |e: &dyn std::fmt::Display| {
        Error::new(
            ErrorKind::Image,
            format!("cannot resize {} x {} pixels to {} x {}: {e}", from.0, from.1, to.0, to.1),
        )
    };
    let source =
        TypedImageRef::<U8x3>::from_buffer(from.0 as u32, from.1 as u32, data).map_err(|e| failed(&e))?;
    let mut target = TypedImage::<U8x3>::new(to.0 as u32, to.1 as u32);
    Resizer::new().resize_typed(&source, &mut target, Some(options)).map_err(|e| failed(&e))?;
    Ok(target.pixels().iter().flat_map(|p| p.0).collect())
}

/// Resizes a mask to `width` x `height` by the nearest pixel, exactly as Pillow's `NEAREST`.
pub fn resize_mask(mask: &Mask, width: usize, height: usize) -> Result<Mask> {
    check(mask.width, mask.height, mask.data.len())?;
    check_target(width, height)?;
    let columns = nearest(mask.width, width);
    let rows = nearest(mask.height, height);
    let data = rows.iter().flat_map(|r| columns.iter().map(move |c| mask.data[r * mask.width + c])).collect();
    Ok(Mask { width, height, data })
}

/// The size (width, height) of an image after its shorter side is brought to `side` and the aspect ratio kept; the longer
/// side is cut to a whole number, as torchvision's `Resize(side)` does it.
pub fn shorter_side_size(width: usize, height: usize, side: usize) -> (usize, usize) {
    if width <= height { (side, side * height / width.max(1)) } else { (side * width / height.max(1), side) }
}

/// Resizes so that the shorter side is `side`, keeping the aspect ratio: see [`shorter_side_size`].
pub fn resize_shorter_side(image: &RgbImage, side: usize, filter: Filter) -> Result<RgbImage> {
    let (width, height) = shorter_side_size(image.width, image.height, side);
    resize(image, width, height, filter)
}

/// [`resize_shorter_side`] for masks, by the nearest pixel.
pub fn resize_mask_shorter_side(mask: &Mask, side: usize) -> Result<Mask> {
    let (width, height) = shorter_side_size(mask.width, mask.height, side);
    resize_mask(mask, width, height)
}

/// Cuts `width` x `height` pixels from the middle; fails if the image is smaller. An odd margin is split as in
/// torchvision's `CenterCrop` (half margins are rounded to the even number).
pub fn centre_crop(image: &RgbImage, width: usize, height: usize) -> Result<RgbImage> {
    check(image.width, image.height, image.data.len() / 3)?;
    let (left, top) = crop_corner(image.width, image.height, width, height)?;
    let data = crop(&image.data, image.width * 3, left * 3, top, width * 3, height);
    Ok(RgbImage { width, height, data })
}

/// [`centre_crop`] for masks.
pub fn centre_crop_mask(mask: &Mask, width: usize, height: usize) -> Result<Mask> {
    check(mask.width, mask.height, mask.data.len())?;
    let (left, top) = crop_corner(mask.width, mask.height, width, height)?;
    Ok(Mask { width, height, data: crop(&mask.data, mask.width, left, top, width, height) })
}

/// `(value / 255 - mean) / std` per channel, as planes: `[3][height][width]`.
pub fn normalize_chw(image: &RgbImage, mean: [f32; 3], std: [f32; 3]) -> Vec<f32> {
    let (pixels, _) = image.data.as_chunks::<3>();
    (0..3).flat_map(|c| pixels.iter().map(move |p| (f32::from(p[c]) / 255.0 - mean[c]) / std[c])).collect()
}

/// The source index for each target index. Pillow adds up the step instead of multiplying, so this does too.
fn nearest(from: usize, to: usize) -> Vec<usize> {
    let step = from as f64 / to as f64;
    let mut at = step * 0.5;
    (0..to)
        .map(|_| {
            let index = at as usize;
            at += step;
            index.min(from - 1)
        })
        .collect()
}

fn crop<T: Copy>(data: &[T], stride: usize, left: usize, top: usize, width: usize, height: usize) -> Vec<T> {
    data.chunks_exact(stride)
        .skip(top)
        .take(height)
        .flat_map(|row| &row[left..left + width])
        .copied()
        .collect()
}

fn crop_corner(from_w: usize, from_h: usize, width: usize, height: usize) -> Result<(usize, usize)> {
    check_target(width, height)?;
    if width > from_w || height > from_h {
        return Err(Error::new(
            ErrorKind::Image,
            format!(
                "cannot cut {width} x {height} pixels from an image of {from_w} x {from_h} (width x height)"
            ),
        )
        .help("resize the image first, or choose a smaller crop"));
    }
    let half = |margin: usize| (margin as f64 / 2.0).round_ties_even() as usize;
    Ok((half(from_w - width), half(from_h - height)))
}

fn check(width: usize, height: usize, pixels: usize) -> Result<()> {
    if width == 0 || height == 0 || width * height != pixels {
        return Err(Error::new(
            ErrorKind::Contract,
            format!("an image of {width} x {height} cannot have {pixels} pixels"),
        ));
    }
    Ok(())
}

fn check_target(width: usize, height: usize) -> Result<()> {
    if width == 0 || height == 0 {
        return Err(Error::new(
            ErrorKind::Image,
            format!("cannot make an image of {width} x {height} pixels (width x height)"),
        )
        .help("both sides must be at least 1"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(width: usize, height: usize) -> RgbImage {
        RgbImage { width, height, data: (0..width * height * 3).map(|i| (i % 251) as u8).collect() }
    }

    #[test]
    fn an_odd_margin_is_split_like_torchvision() {
        for (from, to, expected) in [(5, 4, 0), (7, 4, 2), (9, 4, 2), (6, 4, 1)] {
            assert_eq!(crop_corner(from, to, to, to).unwrap().0, expected, "{from} -> {to}");
        }
    }

    #[test]
    fn a_crop_larger_than_the_image_names_both_sizes() {
        let message = centre_crop(&ramp(5, 3), 4, 4).unwrap_err().to_string();
        assert!(message.contains("4 x 4") && message.contains("5 x 3"), "{message}");
    }

    #[test]
    fn the_same_size_changes_nothing() {
        let image = ramp(9, 4);
        assert_eq!(resize(&image, 9, 4, Filter::Lanczos).unwrap(), image);
    }

    #[test]
    fn sizes_of_zero_are_errors() {
        assert!(resize(&ramp(3, 3), 0, 2, Filter::Bilinear).is_err());
        assert!(resize_mask(&Mask { width: 1, height: 1, data: vec![true] }, 2, 0).is_err());
    }

    #[test]
    fn one_pixel_grows_to_a_flat_image() {
        let one = RgbImage { width: 1, height: 1, data: vec![9, 80, 200] };
        let big = resize(&one, 4, 3, Filter::Lanczos).unwrap();
        assert!(big.data.chunks(3).all(|p| p == [9, 80, 200]));
    }
}
