//! Datasets whose folders say what an image is: `CLASS/train/NORMAL`, `CLASS/test/KIND`, `CLASS/ground_truth/KIND`.

use crate::files::{self, EXTENSIONS, folders, images, name_of, path_of};
use ccnf::prelude::*;
use std::path::{Path, PathBuf};

/// What the folders and masks of a dataset are called.
pub(crate) struct Names {
    /// The dataset, for messages.
    pub(crate) dataset: &'static str,
    /// The folder of normal images.
    pub(crate) normal: &'static str,
    /// What a mask's name may have behind the name of its image, the preferred one first.
    pub(crate) mask_suffixes: &'static [&'static str],
    /// The extensions that a mask may have, the preferred one first.
    pub(crate) mask_extensions: &'static [&'static str],
}

/// A dataset in such folders. A class without the folder `ground_truth` has image labels only; a class with it must have a mask for every
/// defective image. Images are PNG, JPEG or BMP and come sorted by name; hidden files and files of other types are ignored.
pub(crate) struct Tree {
    root: PathBuf,
    names: &'static Names,
}

impl Tree {
    /// The dataset below `root`; nothing is looked for yet.
    pub(crate) fn new(root: PathBuf, names: &'static Names) -> Result<Self> {
        if root.as_os_str().is_empty() {
            let message = format!("the dataset `{}` has no path", names.dataset);
            return Err(Error::new(ErrorKind::Config, message)
                .help("set `path` to the folder that holds one folder per class"));
        }
        Ok(Tree { root, names })
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
        let (class, normal) = (name_of(folder), self.names.normal);
        let train = folder.join("train");
        if train.is_dir() {
            for part in folders(&train)? {
                if name_of(&part) != normal {
                    return Err(Error::new(ErrorKind::Dataset, format!("unexpected folder `{}`", part.display()))
                        .help(format!(
                            "training images are normal ones only: put them into train/{normal} and defective ones into test/KIND"
                        ))
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
            let is_normal = kind == normal;
            for image in images(&part)? {
                let mask = match (labelled, is_normal) {
                    (false, _) => MaskSource::Unknown,
                    (true, true) => MaskSource::AllNormal,
                    (true, false) => MaskSource::At(ImageSource::File(
                        self.find_mask(&truth.join(&kind), &image).at(|| format!("class `{class}`"))?,
                    )),
                };
                index.add_test(
                    &class,
                    ImageSource::File(image),
                    if is_normal { "good" } else { &kind },
                    mask,
                );
            }
        }
        Ok(())
    }

    /// The mask of a defective image, which must exist.
    fn find_mask(&self, folder: &Path, image: &Path) -> Result<PathBuf> {
        let stem = image.file_stem().unwrap_or_default().to_string_lossy();
        let Names { mask_suffixes, mask_extensions, .. } = self.names;
        let all = mask_suffixes.iter().flat_map(|s| mask_extensions.iter().map(move |e| (s, e)));
        let all: Vec<PathBuf> = all.map(|(s, e)| folder.join(format!("{stem}{s}.{e}"))).collect();
        if let Some(found) = all.iter().find(|p| p.is_file()) {
            return Ok(found.clone());
        }
        let (first, others) = all.split_first().map_or((folder, &[][..]), |(f, o)| (f.as_path(), o));
        let others: Vec<String> = others.iter().map(|p| format!("`{}`", name_of(p))).collect();
        Err(Error::new(
            ErrorKind::Dataset,
            format!("the image `{}` has no mask: expected `{}`", image.display(), first.display()),
        )
        .help(format!(
            "add the mask (it may also be called {}); without the whole folder ground_truth, the class has image labels only",
            others.join(", ")
        )))
    }

    /// The test image that a mask of this layout belongs to.
    fn image_of(&self, mask: &Path) -> Option<PathBuf> {
        let stem = mask.file_stem()?.to_string_lossy().into_owned();
        let kind = mask.parent()?;
        let images = kind.parent()?.with_file_name("test").join(kind.file_name()?);
        let stems: Vec<&str> = self.names.mask_suffixes.iter().filter_map(|s| stem.strip_suffix(s)).collect();
        let found = std::fs::read_dir(images).ok()?.flatten().map(|e| e.path()).filter(|p| {
            let extension = p.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
            extension.is_some_and(|e| EXTENSIONS.contains(&e.as_str()))
        });
        let mut found: Vec<PathBuf> = found
            .filter(|p| p.file_stem().is_some_and(|s| stems.contains(&s.to_string_lossy().as_ref())))
            .collect();
        found.sort();
        found.into_iter().next()
    }
}

impl Dataset for Tree {
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
            let normal = self.names.normal;
            let help = match self.root.join("train").is_dir() {
                true => "this is the folder of one class: name the folder above it".to_owned(),
                false => {
                    format!("expected CLASS/train/{normal}/NAME.png and CLASS/test/KIND/NAME.png below it")
                }
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
        files::open_mask(path, self.image_of(path).as_deref())
    }

    fn content_hash(&self, source: &ImageSource) -> Result<[u8; 32]> {
        files::content_hash(source)
    }
}
