//! A dataset for choosing settings, made of training images alone.

use crate::assembly::Assembly;
use crate::painted::Painted;
use ccnf_core::{Error, ErrorKind, ImageSource, Result, ResultExt, write_atomic};
use ccnf_data::{encode_mask_png, encode_png, refuse_content};
use rayon::prelude::*;
use std::path::Path;

/// How training images become a [validation dataset](write_validation).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ValidationSplit {
    /// The images of every class are cut into so many parts, of which one is held out.
    pub parts: usize,
    /// The part that is held out, below `parts`: images number `part`, `part + parts`, … of the class.
    pub part: usize,
    /// Defective images that are painted per image held out.
    pub painted: usize,
}

impl Default for ValidationSplit {
    fn default() -> Self {
        ValidationSplit { parts: 4, part: 0, painted: 2 }
    }
}

impl ValidationSplit {
    fn check(&self) -> Result<()> {
        let refuse = |message: &str| Err(Error::new(ErrorKind::Usage, message));
        match *self {
            ValidationSplit { parts: 0 | 1, .. } => refuse("`parts` must be 2 or more"),
            ValidationSplit { part, parts, .. } if part >= parts => refuse("`part` must be below `parts`"),
            ValidationSplit { painted, .. } if !(1..=64).contains(&painted) => {
                refuse("`painted` must be between 1 and 64")
            }
            _ => Ok(()),
        }
    }
}

/// What one image of the new dataset is.
enum Item<'a> {
    Normal(&'a ImageSource, &'static str),
    Painted(ImageSource),
}

/// Writes a dataset in MVTec AD layout below `folder`, which is made if need be and must be empty: of the training images of every class of
/// the protocol one part becomes normal test images, and each of these gives defective ones, with masks, by painting. The other parts are
/// the training images. The test images of the source are not touched, so settings may be chosen on the result. A defect that cannot be seen
/// is left out. `progress` is told how many of how many images are done, and the class. Returns the number of images.
///
/// # Errors
/// For a split that makes no sense, a class with fewer than two images or none held out, a folder with content, and images that cannot be
/// read or written.
pub fn write_validation(
    a: &Assembly,
    split: &ValidationSplit,
    folder: &Path,
    mut progress: impl FnMut(usize, usize, &str),
) -> Result<usize> {
    split.check()?;
    let classes: Vec<&String> = a.tasks.iter().flatten().collect();
    let held = |i: usize| i % split.parts == split.part;
    for class in &classes {
        let n = a.train_index.images(class).len();
        if n < 2 || n <= split.part {
            let message = format!(
                "the class `{class}` has {n} training images, too few to hold out part {}",
                split.part
            );
            return Err(Error::new(ErrorKind::Usage, message)
                .help("give it more images, hold out part 0, or leave the class out of the protocol"));
        }
    }
    refuse_content(folder)?;
    let images = |class: &str| a.train_index.images(class).iter().map(|i| &i.source).enumerate();
    let sources: Vec<&ImageSource> =
        classes.iter().flat_map(|c| images(c)).filter(|(i, _)| held(*i)).map(|(_, s)| s).collect();
    let painted = Painted { dataset: a.dataset.as_ref(), sources: &sources };
    let total = classes.iter().map(|c| images(c).count()).sum::<usize>() + split.painted * sources.len();
    let (mut first, mut done) = (0, 0);
    for class in classes {
        let mut items: Vec<_> = images(class)
            .map(|(i, s)| (i, Item::Normal(s, if held(i) { "test/good" } else { "train/good" })))
            .collect();
        let own = images(class).filter(|(i, _)| held(*i)).count();
        let versions = (0..split.painted).flat_map(|v| (first..first + own).map(move |i| format!("{v}/{i}")));
        items.extend(versions.map(|id| Item::Painted(ImageSource::Generated(id))).enumerate());
        first += own;
        for batch in items.chunks(64) {
            batch
                .par_iter()
                .try_for_each(|(number, item)| write(&painted, &folder.join(class), *number, item))?;
            done += batch.len();
            progress(done, total, class);
        }
    }
    Ok(done)
}

fn write(painted: &Painted<'_>, class: &Path, number: usize, item: &Item<'_>) -> Result<()> {
    match item {
        Item::Normal(source, split) => {
            let image = painted.dataset.open(source).at(|| format!("image `{}`", source.label()))?.image;
            write_atomic(&class.join(format!("{split}/{number:04}.png")), &encode_png(&image)?)
        }
        Item::Painted(id) => {
            let (_, image, mask) = painted.painted(id)?;
            if !mask.data.contains(&true) {
                return Ok(());
            }
            write_atomic(&class.join(format!("test/painted/{number:04}.png")), &encode_png(&image)?)?;
            let name = format!("ground_truth/painted/{number:04}_mask.png");
            write_atomic(&class.join(name), &encode_mask_png(&mask)?)
        }
    }
}
