//! Writing a synthetic dataset to disk.

use super::SyntheticSpec;
use crate::folder::refuse_content;
use crate::overlay::{encode_mask_png, encode_png};
use ccnf_core::{Error, Result, write_atomic};
use rayon::prelude::*;
use std::path::Path;

/// Pictures that are rendered and written together, between two calls of the progress function.
const BATCH: usize = 64;

/// Writes the pictures and masks of `spec` below `folder` in MVTec layout, which is made if need be and must be empty.
/// `progress` is told how many of how many pictures are done. Returns the number of pictures.
pub fn write_mvtec(
    spec: &SyntheticSpec,
    folder: &Path,
    mut progress: impl FnMut(usize, usize),
) -> Result<usize> {
    let images = spec.images()?;
    refuse_content(folder)?;
    progress(0, images.len());
    let mut done = 0;
    for batch in images.chunks(BATCH) {
        batch.par_iter().try_for_each(|image| {
            let (picture, mask) = image.render(spec.seed, spec.size)?;
            write_atomic(&folder.join(image.id() + ".png"), &encode_png(&picture)?)?;
            if let (Some(mask), Some(kind)) = (mask, image.defect) {
                let name = format!("{}/ground_truth/{kind}/{:03}_mask.png", image.class, image.index);
                write_atomic(&folder.join(name), &encode_mask_png(&mask)?)?;
            }
            Ok::<(), Error>(())
        })?;
        done += batch.len();
        progress(done, images.len());
    }
    Ok(images.len())
}
