//! Decoding of image and mask files to 8 bit.

use ccnf_core::{Error, ErrorKind, Mask, OpenedImage, Result, RgbImage, read_file};
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};
use std::io::Cursor;
use std::path::Path;

/// The longest side that [`decode_image`] accepts, in pixels.
pub const MAX_SIDE: u32 = 16_384;

/// The largest area that [`decode_image`] accepts, in pixels.
pub const MAX_PIXELS: u64 = 100_000_000;

/// What the decoders may allocate: the largest accepted image with four 16-bit channels, and some room.
const MAX_ALLOCATION: u64 = MAX_PIXELS * 8 + (64 << 20);

/// Reads and decodes the image file at `path`; see [`decode_image`].
pub fn read_image(path: &Path) -> Result<RgbImage> {
    decode_image(&read_file(path)?, &path.display().to_string())
}

/// Reads and decodes the image file at `path` and hashes its bytes: what a dataset of files answers to `open`.
pub fn open_image(path: &Path) -> Result<OpenedImage> {
    let bytes = read_file(path)?;
    let image = decode_image(&bytes, &path.display().to_string())?;
    Ok(OpenedImage { image, content_hash: content_hash(&bytes) })
}

/// BLAKE3 of the bytes of an image file, or of the pixels of a generated image: [`OpenedImage::content_hash`].
pub fn content_hash(bytes: &[u8]) -> [u8; 32] {
    blake3::hash(bytes).into()
}

/// The size (width, height) of an image file, from its header: nothing is decoded. The limits are those of [`decode_image`].
pub fn read_image_size(path: &Path) -> Result<(usize, usize)> {
    let name = path.display().to_string();
    let bytes = read_file(path)?;
    let (width, height) = open_header(&bytes, &name)?.1.dimensions();
    Ok((width as usize, height as usize))
}

/// Reads and decodes the mask file at `path`; see [`decode_mask`].
pub fn read_mask(path: &Path) -> Result<Mask> {
    decode_mask(&read_file(path)?, &path.display().to_string())
}

/// Decodes a PNG, JPEG or BMP file to 8-bit RGB; `name` is what errors call it. The content decides on the format, not
/// the name. The rules are those of Pillow's `convert("RGB")`:
///
/// * 16-bit channels become 8-bit ones, `v / 257` rounded to the nearest;
/// * an alpha channel is dropped and the colour below it kept, whatever the alpha;
/// * grey is copied to the three channels;
/// * the orientation in EXIF and colour profiles are ignored.
///
/// Sides from 1 to [`MAX_SIDE`] and areas up to [`MAX_PIXELS`] are accepted; both are read from the header before
/// anything is decoded. Truncated files are errors, also JPEG files that other readers fill up with grey.
pub fn decode_image(bytes: &[u8], name: &str) -> Result<RgbImage> {
    let decoded = decode(bytes, name)?;
    if wide(&decoded) {
        tracing::debug!(image = name, "16-bit channels scaled to 8 bit");
    }
    if decoded.color().has_alpha() {
        tracing::debug!(image = name, "alpha channel dropped");
    }
    if !decoded.color().has_color() {
        tracing::debug!(image = name, "grey copied to three channels");
    }
    let (width, height) = (decoded.width() as usize, decoded.height() as usize);
    let data = match decoded {
        DynamicImage::ImageRgb8(i) => i.into_raw(),
        DynamicImage::ImageRgba8(i) => take_rgb::<u8, 4>(i.as_raw(), |v| v),
        DynamicImage::ImageLuma8(i) => spread_grey::<u8, 1>(i.as_raw(), |v| v),
        DynamicImage::ImageLumaA8(i) => spread_grey::<u8, 2>(i.as_raw(), |v| v),
        DynamicImage::ImageRgb16(i) => take_rgb::<u16, 3>(i.as_raw(), to_8_bit),
        DynamicImage::ImageRgba16(i) => take_rgb::<u16, 4>(i.as_raw(), to_8_bit),
        DynamicImage::ImageLuma16(i) => spread_grey::<u16, 1>(i.as_raw(), to_8_bit),
        DynamicImage::ImageLumaA16(i) => spread_grey::<u16, 2>(i.as_raw(), to_8_bit),
        other => return Err(unsupported_pixels(name, &other)),
    };
    Ok(RgbImage { width, height, data })
}

/// Decodes a PNG, JPEG or BMP file to a mask: a pixel is anomalous if any of its colour channels is not zero, before any
/// scaling of 16-bit values. An alpha channel is ignored. The limits and errors are those of [`decode_image`].
pub fn decode_mask(bytes: &[u8], name: &str) -> Result<Mask> {
    let decoded = decode(bytes, name)?;
    if decoded.color().has_alpha() {
        tracing::debug!(mask = name, "alpha channel of the mask ignored");
    }
    if matches!(image::guess_format(bytes), Ok(ImageFormat::Jpeg)) {
        tracing::warn!(
            mask = name,
            "a JPEG mask: its compression noise counts as anomalous pixels; prefer PNG"
        );
    }
    let (width, height) = (decoded.width() as usize, decoded.height() as usize);
    let data = match decoded {
        DynamicImage::ImageRgb8(i) => any_non_zero::<u8, 3>(i.as_raw(), 3),
        DynamicImage::ImageRgba8(i) => any_non_zero::<u8, 4>(i.as_raw(), 3),
        DynamicImage::ImageLuma8(i) => any_non_zero::<u8, 1>(i.as_raw(), 1),
        DynamicImage::ImageLumaA8(i) => any_non_zero::<u8, 2>(i.as_raw(), 1),
        DynamicImage::ImageRgb16(i) => any_non_zero::<u16, 3>(i.as_raw(), 3),
        DynamicImage::ImageRgba16(i) => any_non_zero::<u16, 4>(i.as_raw(), 3),
        DynamicImage::ImageLuma16(i) => any_non_zero::<u16, 1>(i.as_raw(), 1),
        DynamicImage::ImageLumaA16(i) => any_non_zero::<u16, 2>(i.as_raw(), 1),
        other => return Err(unsupported_pixels(name, &other)),
    };
    Ok(Mask { width, height, data })
}

/// Fails unless the mask has the size of its image, given as (name, width, height).
pub fn check_mask_size(mask: &Mask, mask_name: &str, image: (&str, usize, usize)) -> Result<()> {
    let (image_name, width, height) = image;
    if (mask.width, mask.height) == (width, height) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Image,
        format!(
            "the mask `{mask_name}` is {} x {} pixels but its image `{image_name}` is {width} x {height} (width x height)",
            mask.width, mask.height
        ),
    )
    .help("store the mask at the size of its image: masks are never stretched to fit"))
}

/// The checks that all files go through, from the header alone, and the decoder that follows.
fn open_header<'a>(bytes: &'a [u8], name: &str) -> Result<(ImageFormat, impl ImageDecoder + 'a)> {
    let format = format_of(bytes, name)?;
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.no_limits();
    let decoder = reader.into_decoder().map_err(|e| damaged(name, e))?;
    let (width, height) = decoder.dimensions();
    check_size(width, height, name)?;
    Ok((format, decoder))
}

fn damaged(name: &str, e: image::ImageError) -> Error {
    Error::new(ErrorKind::Image, format!("cannot decode the image `{name}`: {e}"))
        .help("the file is damaged or cut off: copy or export it again")
        .with_source(e)
}

fn decode(bytes: &[u8], name: &str) -> Result<DynamicImage> {
    let (format, mut decoder) = open_header(bytes, name)?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_ALLOCATION);
    decoder.set_limits(limits).map_err(|e| damaged(name, e))?;
    if format == ImageFormat::Jpeg && !jpeg_is_complete(bytes) {
        return Err(Error::new(
            ErrorKind::Image,
            format!("the image `{name}` is cut off: the JPEG data has no end marker"),
        )
        .help("the file is damaged or was not copied completely: copy or export it again"));
    }
    DynamicImage::from_decoder(decoder).map_err(|e| damaged(name, e))
}

fn format_of(bytes: &[u8], name: &str) -> Result<ImageFormat> {
    let fail = |what: String| {
        Err(Error::new(ErrorKind::Image, what)
            .help("supported are PNG, JPEG and BMP; convert the file to PNG"))
    };
    if bytes.is_empty() {
        return fail(format!("the image file `{name}` is empty"));
    }
    match image::guess_format(bytes) {
        Ok(f @ (ImageFormat::Png | ImageFormat::Jpeg | ImageFormat::Bmp)) => Ok(f),
        Ok(f) => fail(format!("the image `{name}` has the unsupported format {f:?}")),
        Err(_) => {
            fail(format!("the file `{name}` is not an image: its first bytes belong to no known format"))
        }
    }
}

fn check_size(width: u32, height: u32, name: &str) -> Result<()> {
    let fail = |what: &str, help: String| {
        Err(Error::new(ErrorKind::Image, format!("the image `{name}` is {width} x {height} pixels: {what}"))
            .help(help))
    };
    if width == 0 || height == 0 {
        return fail("it has no pixel", "export the image again".into());
    }
    if width > MAX_SIDE || height > MAX_SIDE || u64::from(width) * u64::from(height) > MAX_PIXELS {
        return fail(
            "too large",
            format!(
                "at most {MAX_SIDE} pixels on a side and {} megapixels: shrink it or cut it into tiles",
                MAX_PIXELS / 1_000_000
            ),
        );
    }
    Ok(())
}

/// True if the end marker follows the first scan. The decoder fills what is missing with grey and reports nothing.
/// Inside the compressed data `FF D9` cannot occur (`FF` is followed by `00` there); inside the header segments (an EXIF
/// thumbnail) it can, so these are stepped over.
fn jpeg_is_complete(bytes: &[u8]) -> bool {
    let mut at = 2;
    while let (Some(0xFF), Some(&marker)) = (bytes.get(at), bytes.get(at + 1)) {
        match marker {
            0xDA => return bytes[at..].windows(2).any(|w| w == [0xFF, 0xD9]),
            0xFF => at += 1,
            0x01 | 0xD0..=0xD8 => at += 2,
            _ => match (bytes.get(at + 2), bytes.get(at + 3)) {
                (Some(&high), Some(&low)) => at += 2 + usize::from(u16::from_be_bytes([high, low])),
                _ => return false,
            },
        }
    }
    false
}

fn wide(image: &DynamicImage) -> bool {
    let color = image.color();
    color.bits_per_pixel() / u16::from(color.channel_count()) > 8
}

fn to_8_bit(v: u16) -> u8 {
    ((u32::from(v) + 128) / 257) as u8
}

/// The first three of `N` channels.
fn take_rgb<T: Copy, const N: usize>(data: &[T], convert: impl Fn(T) -> u8) -> Vec<u8> {
    data.as_chunks::<N>().0.iter().flat_map(|p| [convert(p[0]), convert(p[1]), convert(p[2])]).collect()
}

/// The first of `N` channels, three times.
fn spread_grey<T: Copy, const N: usize>(data: &[T], convert: impl Fn(T) -> u8) -> Vec<u8> {
    data.as_chunks::<N>().0.iter().flat_map(|p| [convert(p[0]); 3]).collect()
}

/// True where one of the first `used` of `N` channels is not zero.
fn any_non_zero<T: Copy + PartialEq + Default, const N: usize>(data: &[T], used: usize) -> Vec<bool> {
    data.as_chunks::<N>().0.iter().map(|p| p[..used].iter().any(|&v| v != T::default())).collect()
}

fn unsupported_pixels(name: &str, image: &DynamicImage) -> Error {
    Error::new(
        ErrorKind::Image,
        format!("the image `{name}` has the unsupported pixel type {:?}", image.color()),
    )
    .help("convert it to an 8-bit PNG")
}
