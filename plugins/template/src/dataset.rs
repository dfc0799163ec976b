//! The dataset `template-dataset`: which images there are, and how to open them.

use ccnf::core::read_file;
use ccnf::data::{check_mask_size, content_hash, open_image, read_image_size, read_mask};
use ccnf::prelude::*;
use ccnf::serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Its keys in a config: a public field, its documentation and its default each.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "ccnf::serde", deny_unknown_fields, default)]
#[schemars(crate = "ccnf::schemars")]
pub struct TemplateConfig {
    /// The folder that holds one folder per class.
    pub path: PathBuf,
    /// Whether masks are used; without them there are no pixel labels.
    pub masks: bool,
}

impl Default for TemplateConfig {
    fn default() -> Self {
        TemplateConfig { path: "data/ok-ng".into(), masks: true }
    }
}

/// Images as factories often keep them, PNG, JPEG or BMP:
///
/// ```text
/// CLASS/train/NAME     normal images to learn from
/// CLASS/ok/NAME        normal test images
/// CLASS/ng/NAME        defective test images
/// CLASS/mask/NAME      where the defect of CLASS/ng/NAME is: what is not black. Either of all or (no such folder) of none.
/// ```
pub struct TemplateDataset {
    config: TemplateConfig,
}

impl TemplateDataset {
    /// The dataset; the folder is looked at when it is listed.
    pub fn new(config: TemplateConfig, build: &Build<'_, DatasetSpec>) -> Result<Self> {
        if config.path.as_os_str().is_empty() {
            return Err(build.error("path", "must be the folder that holds one folder per class"));
        }
        Ok(TemplateDataset { config })
    }

    /// Where the pixel labels of a class's images are.
    fn mask(&self, class: &Path, defective: Option<&Path>) -> Result<MaskSource> {
        let folder = class.join("mask");
        match defective {
            _ if !self.config.masks || !folder.is_dir() => Ok(MaskSource::Unknown),
            None => Ok(MaskSource::AllNormal),
            Some(image) => {
                let mask = folder.join(image.file_name().unwrap_or_default());
                if mask.is_file() {
                    return Ok(MaskSource::At(ImageSource::File(mask)));
                }
                let message = format!("the image `{}` has no mask `{}`", image.display(), mask.display());
                Err(Error::new(ErrorKind::Dataset, message).help("add it, or set `masks = false`"))
            }
        }
    }
}

/// What a folder holds, sorted: the order decides the order of classes and images, and must not depend on the file system.
fn listed(folder: &Path) -> Result<Vec<PathBuf>> {
    let fail = |e| Error::io("open the folder", folder, e);
    let entries = std::fs::read_dir(folder).map_err(fail)?;
    let mut paths = entries.map(|e| Ok(e.map_err(fail)?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

/// The images in a folder; none where there is no such folder.
fn images(folder: &Path) -> Result<Vec<PathBuf>> {
    let is_image = |p: &PathBuf| {
        let extension = p.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
        extension.is_some_and(|e| ["png", "jpg", "jpeg", "bmp"].contains(&e.as_str()))
    };
    let all = if folder.is_dir() { listed(folder)? } else { vec![] };
    Ok(all.into_iter().filter(is_image).collect())
}

/// The file of an image of this dataset.
fn file(source: &ImageSource) -> Result<&Path> {
    match source {
        ImageSource::File(path) => Ok(path),
        ImageSource::Generated(id) => {
            Err(Error::new(ErrorKind::Contract, format!("a dataset of files was asked for the image `{id}`")))
        }
    }
}

impl Dataset for TemplateDataset {
    /// Labels go in here and come out joined to finished scores only: no training code can see them.
    fn index(&self) -> Result<DatasetIndex> {
        let mut index = DatasetIndex::default();
        for class in listed(&self.config.path)?.iter().filter(|p| p.join("train").is_dir()) {
            let name = class.file_name().unwrap_or_default().to_string_lossy();
            for image in images(&class.join("train"))? {
                index.add_train(&name, ImageSource::File(image));
            }
            for image in images(&class.join("ok"))? {
                index.add_test(&name, ImageSource::File(image), "good", self.mask(class, None)?);
            }
            for image in images(&class.join("ng"))? {
                let mask = self.mask(class, Some(&image))?;
                index.add_test(&name, ImageSource::File(image), "ng", mask);
            }
        }
        Ok(index)
    }

    fn open(&self, source: &ImageSource) -> Result<OpenedImage> {
        open_image(file(source)?)
    }

    fn open_mask(&self, source: &ImageSource) -> Result<Mask> {
        let path = file(source)?;
        let mask = read_mask(path)?;
        // `CLASS/mask/NAME` belongs to `CLASS/ng/NAME`.
        if let (Some(class), Some(name)) = (path.parent().and_then(Path::parent), path.file_name()) {
            let image = class.join("ng").join(name);
            let (width, height) = read_image_size(&image)?;
            check_mask_size(
                &mask,
                &path.display().to_string(),
                (&image.display().to_string(), width, height),
            )?;
        }
        Ok(mask)
    }

    /// Without decoding: a cached image is not opened again.
    fn content_hash(&self, source: &ImageSource) -> Result<[u8; 32]> {
        Ok(content_hash(&read_file(file(source)?)?))
    }
}

ccnf::register_component!(
    Dataset,
    "template-dataset",
    TemplateConfig,
    TemplateDataset::new,
    "folders CLASS/train, CLASS/ok, CLASS/ng, and CLASS/mask if there are masks"
);

#[cfg(test)]
ccnf_testkit::conformance!(Dataset, "template-dataset", with tests::written, { "masks": false });

#[cfg(test)]
mod tests {
    use super::*;
    use ccnf::core::write_atomic;
    use ccnf::data::synthetic::{render_defect, render_normal};
    use ccnf::data::{encode_mask_png, encode_png};
    use ccnf::serde_json::{Value, json};

    /// Two classes in `folder`, with masks; returns the keys that lead there.
    pub(super) fn written(folder: &Path) -> Value {
        let write = |path: String, bytes: Vec<u8>| write_atomic(&folder.join(path), &bytes).unwrap();
        for (class, defect) in [("bolt", "rust"), ("pine", "scratch")] {
            for i in 0..3 {
                for split in ["train", "ok"] {
                    let image = render_normal(class, split, i, 5, 32).unwrap();
                    write(format!("{class}/{split}/{i}.png"), encode_png(&image).unwrap());
                }
                let (image, mask) = render_defect(class, defect, i, 5, 32).unwrap();
                write(format!("{class}/ng/{i}.png"), encode_png(&image).unwrap());
                write(format!("{class}/mask/{i}.png"), encode_mask_png(&mask).unwrap());
            }
        }
        write("notes/read.me".into(), b"no class".to_vec());
        json!({ "path": folder })
    }
}
