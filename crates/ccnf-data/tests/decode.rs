//! What decoding promises about odd and broken files.

use ccnf_core::{Error, ErrorKind, Mask, RgbImage};
use ccnf_data::{
    MAX_SIDE, check_mask_size, decode_image, decode_mask, encode_png, read_image, read_image_size,
};
use image::codecs::bmp::BmpEncoder;
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};

fn photo(width: usize, height: usize) -> RgbImage {
    let data = (0..width * height * 3).map(|i| ((i * i / 7) % 256) as u8).collect();
    RgbImage { width, height, data }
}

fn png(data: &[u8], width: u32, height: u32, color: ExtendedColorType) -> Vec<u8> {
    let mut bytes = Vec::new();
    PngEncoder::new(&mut bytes).write_image(data, width, height, color).unwrap();
    bytes
}

fn jpeg(image: &RgbImage) -> Vec<u8> {
    let mut bytes = Vec::new();
    let (w, h) = (image.width as u32, image.height as u32);
    JpegEncoder::new_with_quality(&mut bytes, 95).encode(&image.data, w, h, ExtendedColorType::Rgb8).unwrap();
    bytes
}

fn bmp(image: &RgbImage) -> Vec<u8> {
    let mut bytes = Vec::new();
    let (w, h) = (image.width as u32, image.height as u32);
    BmpEncoder::new(&mut bytes).encode(&image.data, w, h, ExtendedColorType::Rgb8).unwrap();
    bytes
}

/// 16-bit values in the byte order that the encoder takes.
fn wide(values: &[u16]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_ne_bytes()).collect()
}

/// A PNG that has a header with this size and nothing else of use.
fn png_header(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = png(&[0, 0, 0], 1, 1, ExtendedColorType::Rgb8);
    bytes[16..20].copy_from_slice(&width.to_be_bytes());
    bytes[20..24].copy_from_slice(&height.to_be_bytes());
    let crc = crc32(&bytes[12..29]);
    bytes[29..33].copy_from_slice(&crc.to_be_bytes());
    bytes
}

fn crc32(data: &[u8]) -> u32 {
    let step = |c: u32, _| if c & 1 == 1 { 0xEDB8_8320 ^ (c >> 1) } else { c >> 1 };
    !data.iter().fold(u32::MAX, |crc, &b| (0..8).fold(crc ^ u32::from(b), step))
}

#[track_caller]
fn refused(bytes: &[u8], name: &str, expected: &str) {
    for e in [decode_image(bytes, name).unwrap_err(), decode_mask(bytes, name).unwrap_err()] {
        let e: Error = e;
        assert_eq!(e.kind(), ErrorKind::Image);
        assert!(e.message().contains(name), "names the file: {e}");
        assert!(e.message().contains(expected), "says `{expected}`: {e}");
        assert!(e.advice().is_some(), "gives advice: {e}");
    }
}

#[test]
fn png_and_bmp_are_read_without_loss() {
    let image = photo(7, 5);
    assert_eq!(decode_image(&encode_png(&image).unwrap(), "a.png").unwrap(), image);
    assert_eq!(decode_image(&bmp(&image), "a.bmp").unwrap(), image);
}

#[test]
fn jpeg_is_read_at_its_size() {
    let decoded = decode_image(&jpeg(&photo(33, 18)), "a.jpg").unwrap();
    assert_eq!((decoded.width, decoded.height), (33, 18));
}

#[test]
fn the_content_decides_on_the_format_and_not_the_name() {
    assert!(decode_image(&jpeg(&photo(8, 8)), "really_a_jpeg.png").is_ok());
}

#[test]
fn sixteen_bit_is_rounded_and_not_cut() {
    let grey =
        decode_image(&png(&wide(&[128, 129, 65535, 32767]), 4, 1, ExtendedColorType::L16), "w.png").unwrap();
    assert_eq!(grey.data, [0, 0, 0, 1, 1, 1, 255, 255, 255, 127, 127, 127]);
    let color =
        decode_image(&png(&wide(&[257, 514, 65535 - 128]), 1, 1, ExtendedColorType::Rgb16), "w.png").unwrap();
    assert_eq!(color.data, [1, 2, 255]);
}

#[test]
fn alpha_is_dropped_and_the_color_kept() {
    let rgba = png(&[10, 20, 30, 0, 40, 50, 60, 255], 2, 1, ExtendedColorType::Rgba8);
    assert_eq!(decode_image(&rgba, "a.png").unwrap().data, [10, 20, 30, 40, 50, 60]);
    let rgba16 = png(&wide(&[257, 0, 65535, 7]), 1, 1, ExtendedColorType::Rgba16);
    assert_eq!(decode_image(&rgba16, "a.png").unwrap().data, [1, 0, 255]);
}

#[test]
fn grey_is_copied_to_three_channels() {
    let grey = png(&[3, 200], 2, 1, ExtendedColorType::L8);
    assert_eq!(decode_image(&grey, "g.png").unwrap().data, [3, 3, 3, 200, 200, 200]);
    let with_alpha = png(&[3, 0, 200, 9], 2, 1, ExtendedColorType::La8);
    assert_eq!(decode_image(&with_alpha, "g.png").unwrap().data, [3, 3, 3, 200, 200, 200]);
}

#[test]
fn one_pixel_is_an_image() {
    let image = photo(1, 1);
    assert_eq!(decode_image(&encode_png(&image).unwrap(), "1.png").unwrap(), image);
}

#[test]
fn a_cut_off_file_is_refused_wherever_it_ends() {
    let image = photo(64, 48);
    for (name, bytes) in
        [("t.png", encode_png(&image).unwrap()), ("t.jpg", jpeg(&image)), ("t.bmp", bmp(&image))]
    {
        for part in [0.3, 0.6, 0.95] {
            refused(&bytes[..(bytes.len() as f64 * part) as usize], name, "");
        }
    }
}

#[test]
fn a_damaged_file_is_refused() {
    let mut bytes = encode_png(&photo(16, 16)).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xFF;
    refused(&bytes, "damaged.png", "cannot decode");
}

#[test]
fn a_text_file_is_no_image() {
    refused(b"path,label\nfoo.png,1\n", "notes.png", "not an image");
}

#[test]
fn an_empty_file_is_called_empty() {
    refused(b"", "nothing.png", "empty");
}

#[test]
fn a_known_but_unsupported_format_is_named() {
    refused(b"GIF89a\x01\x00\x01\x00\x00\x00\x00", "anim.gif", "Gif");
}

#[test]
fn too_wide_is_refused_from_the_header() {
    refused(&png_header(20_000, 10), "wide.png", "20000 x 10");
    refused(&png_header(MAX_SIDE + 1, 1), "wide.png", "too large");
}

#[test]
fn too_many_pixels_are_refused_from_the_header() {
    refused(&png_header(12_000, 12_000), "big.png", "too large");
}

#[test]
fn zero_size_is_refused() {
    refused(&png_header(0, 4), "zero.png", "");
}

#[test]
fn the_size_is_read_from_the_header_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("half.png");
    let bytes = encode_png(&photo(64, 48)).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    assert_eq!(read_image_size(&path).unwrap(), (64, 48));
    assert!(read_image(&path).is_err());
}

#[test]
fn a_missing_file_is_named() {
    let e = read_image(std::path::Path::new("no/such/image.png")).unwrap_err();
    assert!(e.to_string().contains("no/such/image.png"), "{e}");
}

#[test]
fn a_mask_is_anomalous_where_any_color_is_not_zero() {
    let masks = [
        png(&[0, 1, 255, 0], 4, 1, ExtendedColorType::L8),
        png(&[0, 0, 0, 0, 0, 1, 255, 255, 255, 0, 0, 0], 4, 1, ExtendedColorType::Rgb8),
        png(&[0, 0, 0, 255, 9, 0, 0, 0, 0, 0, 9, 255, 0, 0, 0, 0], 4, 1, ExtendedColorType::Rgba8),
        png(&[0, 255, 1, 0, 7, 255, 0, 255], 4, 1, ExtendedColorType::La8),
        png(&wide(&[0, 1, 65535, 0]), 4, 1, ExtendedColorType::L16),
    ];
    for bytes in masks {
        assert_eq!(decode_mask(&bytes, "m.png").unwrap().data, [false, true, true, false]);
    }
}

#[test]
fn a_mask_of_another_size_is_refused_with_both_sizes_and_names() {
    let mask = Mask { width: 4, height: 3, data: vec![false; 12] };
    assert!(check_mask_size(&mask, "m.png", ("i.png", 4, 3)).is_ok());
    let message = check_mask_size(&mask, "m.png", ("i.png", 3, 4)).unwrap_err().to_string();
    for part in ["m.png", "i.png", "4 x 3", "3 x 4"] {
        assert!(message.contains(part), "{part}: {message}");
    }
}
