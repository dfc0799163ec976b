//! What the datasets of image files share: listing folders, opening and hashing files.

use ccnf::core::read_file;
use ccnf::data::{check_mask_size, decode_mask, open_image, read_image_size};
use ccnf::prelude::*;
use std::path::{Path, PathBuf};

/// The extensions of images, in lower case.
pub(crate) const EXTENSIONS: [&str; 4] = ["png", "jpg", "jpeg", "bmp"];

/// The name of a folder or file for messages and as a class or kind.
pub(crate) fn name_of(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The visible entries of a folder, sorted by name.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let fail = |e| Error::io("open the folder", folder, e);
    let mut found = vec![];
    for entry in std::fs::read_dir(folder).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        if !name_of(&path).starts_with('.') {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The visible folders in a folder, sorted by name. Files beside them are ignored.
pub(crate) fn folders(folder: &Path) -> Result<Vec<PathBuf>> {
    let (folders, files): (Vec<_>, Vec<_>) = entries(folder)?.into_iter().partition(|p| p.is_dir());
    for file in files {
        ccnf::tracing::debug!(file = %file.display(), "ignored: not a folder");
    }
    Ok(folders)
}

/// The visible images in a folder, sorted by name. Other files are ignored.
pub(crate) fn images(folder: &Path) -> Result<Vec<PathBuf>> {
    let is_image = |p: &Path| {
        let extension = p.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
        p.is_file() && extension.is_some_and(|e| EXTENSIONS.contains(&e.as_str()))
    };
    let (images, others): (Vec<_>, Vec<_>) = entries(folder)?.into_iter().partition(|p| is_image(p));
    for other in others {
        ccnf::tracing::debug!(path = %other.display(), "ignored: not an image");
    }
    Ok(images)
}

/// The path of a file source.
pub(crate) fn path_of(source: &ImageSource) -> Result<&Path> {
    match source {
        ImageSource::File(path) => Ok(path),
        ImageSource::Generated(id) => Err(Error::new(
            ErrorKind::Contract,
            format!("a dataset of files was asked for the generated image `{id}`"),
        )),
    }
}

/// Opens an image file and hashes its bytes.
pub(crate) fn open(source: &ImageSource) -> Result<OpenedImage> {
    open_image(path_of(source)?)
}

/// Hashes an image file without decoding it.
pub(crate) fn content_hash(source: &ImageSource) -> Result<[u8; 32]> {
    Ok(ccnf::data::content_hash(&read_file(path_of(source)?)?))
}

/// Opens a mask file; fails unless it has the size of `image`.
pub(crate) fn open_mask(path: &Path, image: Option<&Path>) -> Result<Mask> {
    let name = path.display().to_string();
    let mask = decode_mask(&read_file(path)?, &name)?;
    if let Some(image) = image {
        let (width, height) = read_image_size(image)?;
        check_mask_size(&mask, &name, (&image.display().to_string(), width, height))?;
    }
    Ok(mask)
}
