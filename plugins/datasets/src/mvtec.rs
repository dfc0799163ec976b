//! The dataset `mvtec`: the folder layout of MVTec AD, which many other datasets use too.

use crate::files::{self, EXTENSIONS, folders, images, name_of, path_of};
use ccnf::prelude::*;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Config of the `mvtec` dataset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MvtecConfig {
    /// The folder that holds one folder per class.
    pub path: PathBuf,
}

impl Default for MvtecConfig {
    fn default() -> Self {
        MvtecConfig { path: PathBuf::from("data/mvtec") }
    }
}

/// Images in the layout of MVTec AD:
///
/// ```text
/// CLASS/train/good/NAME.png
/// CLASS/test/good/NAME.png
/// CLASS/test/KIND/NAME.png
/// CLASS/ground_truth/KIND/NAME_mask.png     (or NAME.png)
/// ```
///
/// A class without the folder `ground_truth` has image labels only. A class with it must have a mask for every defective
/// image. Images are PNG, JPEG or BMP and come sorted by name; hidden files and files of other types are ignored. The files
/// are looked for when the dataset is listed, not when it is built.
pub struct Mvtec {
    root: PathBuf,
}

impl Mvtec {
    /// The dataset in `config.path`.
    pub fn new(config: MvtecConfig) -> Result<Self> {
        if config.path.as_os_str().is_empty() {
            return Err(Error::new(ErrorKind::Config, "the dataset `mvtec` has no path")
                .help("set `path` to the folder that holds one folder per class"));
        }
        Ok(Mvtec { root: config.path })
    }

    fn check_root(&self) -> Result<()> {
        if self.root.is_dir() {
            return Ok(());
        }
        let what = if self.root.exists() { "is not a folder" } else { "does not exist" };
        Err(Error::new(ErrorKind::Dataset, format!("the dataset's path `{}` {what}", self.root.display())).help(
            "set `dataset.path` to the folder that holds one folder per class; relative paths start at the working directory",
        ))
    }

    fn add_class(&self, folder: &Path, index: &mut DatasetIndex) -> Result<()> {
        let class = name_of(folder);
        let train = folder.join("train");
        if train.is_dir() {
            for part in folders(&train)? {
                if name_of(&part) != "good" {
                    return Err(Error::new(ErrorKind::Dataset, format!("unexpected folder `{}`", part.display()))
                        .help("training images are normal ones only: put them into train/good and defective ones into test/KIND")
                        .at(format!("class `{class}`")));
                }
                images(&part)?.into_iter().for_each(|i| index.add_train(&class, ImageSource::File(i)));
            }
        }
        let truth = folder.join("ground_truth");
        let labelled = truth.is_dir();
        if !labelled {
            ccnf::tracing::debug!(class, "no folder ground_truth: image labels only");
        }
        let test = folder.join("test");
        for part in if test.is_dir() { folders(&test)? } else { vec![] } {
            let kind = name_of(&part);
            for image in images(&part)? {
                let mask = match (labelled, kind.as_str()) {
                    (false, _) => MaskSource::Unknown,
                    (true, "good") => MaskSource::AllNormal,
                    (true, _) => MaskSource::At(ImageSource::File(
                        find_mask(&truth.join(&kind), &image).at(|| format!("class `{class}`"))?,
                    )),
                };
                index.add_test(&class, ImageSource::File(image), &kind, mask);
            }
        }
        Ok(())
    }
}

/// The mask of a defective image, which must exist.
fn find_mask(folder: &Path, image: &Path) -> Result<PathBuf> {
    let stem = image.file_stem().unwrap_or_default().to_string_lossy();
    let expected = folder.join(format!("{stem}_mask.png"));
    let plain = folder.join(format!("{stem}.png"));
    if expected.is_file() {
        return Ok(expected);
    }
    if plain.is_file() {
        return Ok(plain);
    }
    Err(Error::new(
        ErrorKind::Dataset,
        format!("the image `{}` has no mask: expected `{}`", image.display(), expected.display()),
    )
    .help("add the mask (or one without `_mask` in its name); without the whole folder ground_truth, the class has image labels only"))
}

/// The test image that a mask of this layout belongs to.
fn image_of(mask: &Path) -> Option<PathBuf> {
    let stem = mask.file_stem()?.to_string_lossy().into_owned();
    let kind = mask.parent()?;
    let images = kind.parent()?.with_file_name("test").join(kind.file_name()?);
    let stems = [stem.strip_suffix("_mask"), Some(stem.as_str())];
    let found = std::fs::read_dir(images).ok()?.flatten().map(|e| e.path()).filter(|p| {
        let extension = p.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
        extension.is_some_and(|e| EXTENSIONS.contains(&e.as_str()))
    });
    let mut found: Vec<PathBuf> = found
        .filter(|p| p.file_stem().is_some_and(|s| stems.contains(&Some(s.to_string_lossy().as_ref()))))
        .collect();
    found.sort();
    found.into_iter().next()
}

impl Dataset for Mvtec {
    fn index(&self) -> Result<DatasetIndex> {
        self.check_root()?;
        let mut index = DatasetIndex::default();
        for folder in folders(&self.root)? {
            if folder.join("train").is_dir() || folder.join("test").is_dir() {
                self.add_class(&folder, &mut index)?;
            } else {
                ccnf::tracing::debug!(folder = %folder.display(), "ignored: neither train nor test below it");
            }
        }
        if index.classes().is_empty() {
            let help = if self.root.join("train").is_dir() {
                "this is the folder of one class: name the folder above it"
            } else {
                "expected CLASS/train/good/NAME.png and CLASS/test/KIND/NAME.png below it"
            };
            return Err(
                Error::new(ErrorKind::Dataset, format!("no class in `{}`", self.root.display())).help(help)
            );
        }
        Ok(index)
    }

    fn open(&self, source: &ImageSource) -> Result<OpenedImage> {
        files::open(source)
    }

    fn open_mask(&self, source: &ImageSource) -> Result<Mask> {
        let path = path_of(source)?;
        files::open_mask(path, image_of(path).as_deref())
    }

    fn content_hash(&self, source: &ImageSource) -> Result<[u8; 32]> {
        files::content_hash(source)
    }
}

// registration:
ccnf::register_component!(
    Dataset,
    "mvtec",
    MvtecConfig,
    |config, _: &Build<'_, DatasetSpec>| Mvtec::new(config),
    "images in the folder layout of MVTec AD"
);
