//! A generated dataset: photos of products with exact defect masks, for trying things out without any download.
//!
//! Eight classes, textures and objects in turn, vary in position, rotation, light, colour and noise. A defective picture
//! is rendered twice from the same draws, with and without the defect: its mask is where the two differ by more than six
//! grey levels before camera noise, and outside the mask the two pictures are equal to the bit. Every picture depends on
//! (seed, class, split, index) and on the size alone.
//!
//! [`paint`] puts defects on any photo.

mod flaw;
mod geometry;
mod marks;
mod noise;
mod objects;
mod paint;
mod product;
mod render;
mod spec;
mod textures;
mod write;

pub use paint::paint;
pub use spec::{SyntheticImage, SyntheticSpec};
pub use write::write_mvtec;

use ccnf_core::{Error, ErrorKind, Mask, Result, RgbImage, did_you_mean};
use product::{CLASSES, Class};
use render::Key;

/// The side of a picture unless another is asked for.
pub const DEFAULT_SIZE: usize = 128;

/// The sides that can be rendered.
pub const SIZES: std::ops::RangeInclusive<usize> = 8..=4096;

/// The names of all classes, sorted; textures and objects alternate.
pub fn all_classes() -> Vec<&'static str> {
    CLASSES.iter().map(|c| c.name).collect()
}

/// The kinds of defects of `class`, sorted.
pub fn defects_of(class: &str) -> Result<&'static [&'static str]> {
    Ok(find(class)?.defects)
}

/// A normal picture. `split` names the stream it is drawn from (`train`, `test`, …).
///
/// ```
/// use ccnf_data::synthetic::render_normal;
/// let image = render_normal("bolt", "train", 0, 7, 64)?;
/// assert_eq!((image.width, image.height), (64, 64));
/// assert_eq!(image, render_normal("bolt", "train", 0, 7, 64)?);
/// # Ok::<(), ccnf_core::Error>(())
/// ```
pub fn render_normal(class: &str, split: &str, index: usize, seed: u64, size: usize) -> Result<RgbImage> {
    let class = find(class)?;
    check_size(size)?;
    Ok(render::normal(class, Key { seed, class: class.name, split, index }, size))
}

/// A picture with a defect of `kind`, and its mask, which is never empty. [`render_normal`] with [`defect_split`] as the
/// split is the same specimen before it was damaged: it differs exactly on the mask.
pub fn render_defect(
    class: &str,
    kind: &str,
    index: usize,
    seed: u64,
    size: usize,
) -> Result<(RgbImage, Mask)> {
    let class = find(class)?;
    check_size(size)?;
    if !class.defects.contains(&kind) {
        return Err(unknown("kind of defect", kind, class.defects).at(format!("class `{}`", class.name)));
    }
    let split = defect_split(kind);
    Ok(render::defective(class, kind, Key { seed, class: class.name, split: &split, index }, size))
}

/// The split that the pictures with defects of `kind` are drawn from.
pub fn defect_split(kind: &str) -> String {
    format!("test/{kind}")
}

fn find(name: &str) -> Result<&'static Class> {
    CLASSES.iter().find(|c| c.name == name).ok_or_else(|| unknown("class", name, &all_classes()))
}

fn unknown(what: &str, name: &str, known: &[&str]) -> Error {
    let hint = did_you_mean(name, known.iter().copied())
        .map(|g| format!(" (did you mean `{g}`?)"))
        .unwrap_or_default();
    Error::new(ErrorKind::Dataset, format!("the synthetic dataset has no {what} `{name}`{hint}"))
        .help(format!("it has: {}", known.join(", ")))
}

fn check_size(size: usize) -> Result<()> {
    if SIZES.contains(&size) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Config, format!("synthetic pictures cannot have {size} pixels on a side"))
        .help(format!("choose a size from {} to {}", SIZES.start(), SIZES.end())))
}
