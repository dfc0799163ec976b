//! Datasets: which images there are, by class and split, and how to open one.

use crate::error::{Error, ErrorKind, Result};
use ccnf_tensor::rand::{Rng, seq};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// An 8-bit RGB image, row-major, `height * width * 3` bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RgbImage {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// The pixels, `[height][width][3]`.
    pub data: Vec<u8>,
}

/// A binary defect mask, row-major, `true` = anomalous pixel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// The pixels, `[height][width]`.
    pub data: Vec<bool>,
}

/// Where an image of a dataset comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ImageSource {
    /// A file on disk.
    File(PathBuf),
    /// An image that the dataset makes itself; the string is its stable id within the dataset.
    Generated(String),
}

impl ImageSource {
    /// What to call the image in messages and result tables.
    pub fn label(&self) -> String {
        match self {
            ImageSource::File(p) => p.display().to_string(),
            ImageSource::Generated(id) => id.clone(),
        }
    }
}

/// One normal training image.
#[derive(Debug, Clone)]
pub struct TrainImage {
    /// Where the image is.
    pub source: ImageSource,
}

/// One test image **without** its label: what a detector may see while it scores.
#[derive(Debug, Clone)]
pub struct TestImage {
    /// Where the image is.
    pub source: ImageSource,
    /// The class the image belongs to (known at test time under `given` scoring).
    pub class: String,
}

/// What only the evaluator may know about a test image.
#[derive(Debug, Clone)]
pub struct TestLabel {
    /// True for a defective image.
    pub anomalous: bool,
    /// The kind of defect as the dataset names it (`good` for normal images).
    pub kind: String,
    /// Where the mask is; `None` when the dataset has no pixel labels for this image.
    pub mask: MaskSource,
}

/// Where the pixel label of a test image is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MaskSource {
    /// The class has no pixel labels: pixel metrics are undefined for it.
    Unknown,
    /// A normal image of a class with pixel labels: the mask is all zero.
    AllNormal,
    /// The mask is read or made from here.
    At(ImageSource),
}

/// The images of one class.
#[derive(Debug, Clone, Default)]
pub struct ClassImages {
    train: Vec<TrainImage>,
    test: Vec<(TestImage, TestLabel)>,
}

/// A dataset's table of contents. A reader fills it; the engine splits it into what training may see and
/// what only the evaluator may open. Labels can be put in here but not read back.
///
/// ```
/// use ccnf_core::{DatasetIndex, ImageSource, MaskSource};
/// let mut index = DatasetIndex::default();
/// index.add_train("bolt", ImageSource::Generated("bolt/train/0".into()));
/// index.add_test("bolt", ImageSource::Generated("bolt/test/0".into()), "good", MaskSource::AllNormal);
/// assert_eq!(index.classes(), ["bolt"]);
/// ```
#[derive(Debug, Clone, Default)]
pub struct DatasetIndex {
    classes: BTreeMap<String, ClassImages>,
}

impl DatasetIndex {
    /// Adds a normal training image of `class`.
    pub fn add_train(&mut self, class: &str, source: ImageSource) {
        self.classes.entry(class.to_owned()).or_default().train.push(TrainImage { source });
    }

    /// Adds a test image of `class`; `kind` is `good` for a normal image, otherwise the kind of defect.
    pub fn add_test(&mut self, class: &str, source: ImageSource, kind: &str, mask: MaskSource) {
        let label = TestLabel { anomalous: kind != "good", kind: kind.to_owned(), mask };
        self.classes
            .entry(class.to_owned())
            .or_default()
            .test
            .push((TestImage { source, class: class.to_owned() }, label));
    }

    /// The names of the classes, sorted.
    pub fn classes(&self) -> Vec<&str> {
        self.classes.keys().map(String::as_str).collect()
    }

    /// Images per class: (class, training, test).
    pub fn counts(&self) -> Vec<(&str, usize, usize)> {
        self.classes.iter().map(|(k, v)| (k.as_str(), v.train.len(), v.test.len())).collect()
    }

    /// Splits into the training part and the sealed test part. Fails for a class without a training image.
    pub fn split(self) -> Result<(TrainIndex, TestIndex)> {
        if self.classes.is_empty() {
            return Err(Error::new(ErrorKind::Dataset, "the dataset has no class")
                .help("expected CLASS/train/good/*.png below the dataset's path"));
        }
        let mut train = BTreeMap::new();
        let mut test = BTreeMap::new();
        for (name, class) in self.classes {
            if class.train.is_empty() {
                return Err(Error::new(ErrorKind::Dataset, format!("class `{name}` has no training image"))
                    .help("a class is learnt from its normal images: put at least one under train/good, or leave the class out of the protocol"));
            }
            train.insert(name.clone(), class.train);
            test.insert(name, class.test);
        }
        Ok((TrainIndex { classes: train }, TestIndex { classes: test }))
    }

    /// Keeps only the classes for which `keep` is true.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.classes.retain(|k, _| keep(k));
    }
}

/// The training part of a dataset: normal images only.
#[derive(Debug, Clone)]
pub struct TrainIndex {
    classes: BTreeMap<String, Vec<TrainImage>>,
}

impl TrainIndex {
    /// The training images of `class` (empty when the class is unknown).
    pub fn images(&self, class: &str) -> &[TrainImage] {
        self.classes.get(class).map_or(&[], Vec::as_slice)
    }

    /// Keeps `most` training images of `class`, drawn by `rng`, in their order; all where there are no more.
    pub fn draw(&mut self, class: &str, most: usize, rng: &mut impl Rng) {
        if let Some(images) = self.classes.get_mut(class).filter(|i| i.len() > most) {
            let mut chosen = seq::index::sample(rng, images.len(), most).into_vec();
            chosen.sort_unstable();
            *images = chosen.into_iter().map(|i| images[i].clone()).collect();
        }
    }
}

/// The test part of a dataset. Its labels come out only joined to finished scores: see [`TestIndex::score_class`].
#[derive(Debug, Clone)]
pub struct TestIndex {
    classes: BTreeMap<String, Vec<(TestImage, TestLabel)>>,
}

/// A test image, its label and what the model said about it.
#[derive(Debug, Clone)]
pub struct Scored<S> {
    /// The image.
    pub image: TestImage,
    /// The truth.
    pub label: TestLabel,
    /// The model's answer, given before the label was opened.
    pub score: S,
}

impl TestIndex {
    /// The test images of `class`, without labels.
    pub fn images(&self, class: &str) -> Vec<&TestImage> {
        self.classes.get(class).map_or(vec![], |v| v.iter().map(|(i, _)| i).collect())
    }

    /// Feeds everything that decides a class's evaluation into a hash, labels included, without giving any label out: `content` hashes an
    /// image or a mask.
    pub fn fingerprint(
        &self,
        class: &str,
        hasher: &mut dyn FnMut(&[u8]),
        mut content: impl FnMut(&ImageSource) -> Result<[u8; 32]>,
    ) -> Result<()> {
        for (image, label) in self.classes.get(class).map_or(&[][..], Vec::as_slice) {
            hasher(&content(&image.source)?);
            hasher(label.kind.as_bytes());
            match &label.mask {
                MaskSource::Unknown => hasher(b"unknown"),
                MaskSource::AllNormal => hasher(b"normal"),
                MaskSource::At(ImageSource::Generated(id)) => hasher(id.as_bytes()),
                MaskSource::At(file) => hasher(&content(file)?),
            }
        }
        Ok(())
    }

    /// Scores the test images of `class` and only then joins the labels: `score` sees all the images at once, without
    /// labels, and must return one answer per image.
    pub fn score_class<S>(
        &self,
        class: &str,
        score: impl FnOnce(&[&TestImage]) -> Result<Vec<S>>,
    ) -> Result<Vec<Scored<S>>> {
        let images = self.images(class);
        let scores = score(&images)?;
        if scores.len() != images.len() {
            return Err(Error::new(
                ErrorKind::Contract,
                format!("{} scores came back for {} images of class `{class}`", scores.len(), images.len()),
            ));
        }
        let pairs = self.classes.get(class).map_or(&[][..], Vec::as_slice);
        Ok(pairs
            .iter()
            .zip(scores)
            .map(|((image, label), score)| Scored { image: image.clone(), label: label.clone(), score })
            .collect())
    }
}

/// An opened image and the hash of its content.
#[derive(Debug, Clone)]
pub struct OpenedImage {
    /// The pixels.
    pub image: RgbImage,
    /// BLAKE3 of the file's bytes (or of the pixels of a generated image): the key of the feature cache.
    pub content_hash: [u8; 32],
}

/// A source of images, registered as kind `dataset`.
///
/// Contract: [`index`](Dataset::index) is deterministic (same files or seed, same order); training images are normal;
/// [`open`](Dataset::open) works for every source that the index names, from several threads at once, and fails with an
/// error that names the image.
pub trait Dataset: Send + Sync {
    /// Lists all images with class, split, label and mask.
    fn index(&self) -> Result<DatasetIndex>;
    /// Opens one image as 8-bit RGB.
    fn open(&self, source: &ImageSource) -> Result<OpenedImage>;
    /// Opens one mask; it has the size of its image.
    fn open_mask(&self, source: &ImageSource) -> Result<Mask>;
    /// The content hash alone, without decoding where that is possible.
    fn content_hash(&self, source: &ImageSource) -> Result<[u8; 32]> {
        Ok(self.open(source)?.content_hash)
    }
}

/// What a dataset's constructor gets.
#[derive(Debug, Clone, Default)]
pub struct DatasetSpec {
    /// The run's seed, for datasets that generate images and have no seed of their own.
    pub seed: u64,
}

crate::component_kind!(Dataset, "dataset", DatasetSpec);

#[cfg(test)]
mod tests {
    use super::*;
    use ccnf_tensor::Streams;

    #[test]
    fn drawn_training_images_are_as_many_as_asked_for_in_their_order() {
        let mut index = DatasetIndex::default();
        (0..20).for_each(|i| index.add_train("a", ImageSource::Generated(format!("{i:02}"))));
        index.add_train("b", ImageSource::Generated("00".into()));
        let drawn = |seed: u64, most: usize| -> Vec<String> {
            let (mut train, _) = index.clone().split().unwrap();
            train.draw("a", most, &mut Streams::new(seed).stream("draw", 0));
            assert_eq!(train.images("b").len(), 1, "another class");
            train.images("a").iter().map(|i| i.source.label()).collect()
        };
        let (one, two) = (drawn(1, 5), drawn(2, 5));
        assert_eq!(one.len(), 5);
        assert!(one.is_sorted() && two.is_sorted());
        assert_ne!(one, two, "two seeds draw the same images");
        assert_eq!(one, drawn(1, 5));
        assert_eq!(drawn(1, 30).len(), 20);
    }
}
