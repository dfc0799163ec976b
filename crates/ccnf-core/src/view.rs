//! What training code sees.

use crate::dataset::Mask;
use crate::detector::TrainScope;
use crate::encoder::LevelSpec;
use crate::error::{Error, ErrorKind, Result};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// Values of features: borrowed where they are in memory or memory-mapped, else read from their file for this use.
pub type Values<'a> = Cow<'a, [f32]>;

/// The stored features of one image. Implemented by the feature cache.
///
/// Contract: a level that the image does not have is empty. An error means that a file could not be read and names it.
pub trait ImageFeatures: Send + Sync {
    /// The values of a level, `[height][width][channels]` row-major.
    fn level(&self, level: usize) -> Result<Values<'_>>;

    /// Some values of a level, such as those of one token, without reading the others; empty where the level has no such
    /// range.
    fn part(&self, level: usize, range: Range<usize>) -> Result<Values<'_>> {
        Ok(match self.level(level)? {
            Cow::Borrowed(all) => Cow::Borrowed(all.get(range).unwrap_or_default()),
            Cow::Owned(all) => Cow::Owned(all.get(range).unwrap_or_default().to_vec()),
        })
    }
}

impl ImageFeatures for Vec<Vec<f32>> {
    fn level(&self, level: usize) -> Result<Values<'_>> {
        Ok(Cow::Borrowed(self.get(level).map_or(&[], Vec::as_slice)))
    }
}

/// A training image on which a defect was painted.
#[derive(Clone)]
pub struct PaintedImage {
    /// The number of the image among those of its class.
    pub of: usize,
    /// The features of the painted image.
    pub features: Arc<dyn ImageFeatures>,
    /// Where the defect is, in pixels of the image; empty where it could not be seen.
    pub mask: Arc<Mask>,
}

/// The normal training images of one class.
#[derive(Clone)]
pub struct TrainClass {
    name: String,
    images: Vec<Arc<dyn ImageFeatures>>,
    painted: Vec<PaintedImage>,
    rehearsed: bool,
}

impl TrainClass {
    /// A class and the features of its normal training images.
    pub fn new(name: impl Into<String>, images: Vec<Arc<dyn ImageFeatures>>) -> Self {
        TrainClass { name: name.into(), images, painted: vec![], rehearsed: false }
    }
    /// A class of an earlier stage and what a strategy kept of its images.
    pub fn rehearsed(name: impl Into<String>, images: Vec<Arc<dyn ImageFeatures>>) -> Self {
        TrainClass { name: name.into(), images, painted: vec![], rehearsed: true }
    }
    /// The class with images on which defects were painted.
    pub fn with_painted(self, painted: Vec<PaintedImage>) -> Self {
        TrainClass { painted, ..self }
    }
    /// The images on which defects were painted: as many as the detector [asked for](crate::Detector::painted_defects), and none of a
    /// rehearsed class.
    pub fn painted(&self) -> &[PaintedImage] {
        &self.painted
    }
    /// Whether the class belongs to an earlier stage: steps draw from it, but it is not learnt anew, and what was computed from all its
    /// images stays.
    pub fn is_rehearsed(&self) -> bool {
        self.rehearsed
    }
    /// The class's name.
    pub fn name(&self) -> &str {
        &self.name
    }
    /// Number of images.
    pub fn len(&self) -> usize {
        self.images.len()
    }
    /// True without images.
    pub fn is_empty(&self) -> bool {
        self.images.is_empty()
    }
    /// The values of image `image` at `level`, `[tokens][channels]` row-major.
    pub fn image(&self, image: usize, level: usize) -> Result<Values<'_>> {
        self.images[image].level(level)
    }
    /// The values `range` of image `image` at `level`: `token * channels..(token + 1) * channels` for one token.
    pub fn part(&self, image: usize, level: usize, range: Range<usize>) -> Result<Values<'_>> {
        self.images[image].part(level, range)
    }
    /// The features of all images.
    pub fn images(&self) -> &[Arc<dyn ImageFeatures>] {
        &self.images
    }
}

/// All that training code sees of the data: features of the **normal** images of the classes of the current stage, as they are and, where
/// a detector asks for it, with defects painted on.
/// There is no way from here to test images, their labels or their masks.
#[derive(Clone)]
pub struct TrainView {
    stage: usize,
    levels: Vec<LevelSpec>,
    classes: Vec<TrainClass>,
}

impl TrainView {
    /// A view of `classes` at the stage number `stage` (from 0).
    pub fn new(stage: usize, levels: Vec<LevelSpec>, classes: Vec<TrainClass>) -> Self {
        TrainView { stage, levels, classes }
    }
    /// The number of the stage, from 0.
    pub fn stage(&self) -> usize {
        self.stage
    }
    /// The levels of the features.
    pub fn levels(&self) -> &[LevelSpec] {
        &self.levels
    }
    /// The classes to train on: those of this stage, then the rehearsed ones.
    pub fn classes(&self) -> &[TrainClass] {
        &self.classes
    }
    /// The classes of this stage alone.
    pub fn new_classes(&self) -> impl Iterator<Item = &TrainClass> {
        self.classes.iter().filter(|c| !c.is_rehearsed())
    }
    /// The place of each class of the view among the classes `known` to a detector.
    pub fn places_in(&self, known: &[String]) -> Result<Vec<usize>> {
        let place = |c: &TrainClass| {
            known.iter().position(|k| k == c.name()).ok_or_else(|| {
                Error::new(ErrorKind::Contract, format!("class `{}` was not announced", c.name()))
            })
        };
        self.classes.iter().map(place).collect()
    }
    /// Fails where a class of the stage is there twice, or where only new classes may change and it is among the classes `known`: for
    /// detectors that fit a class once and for all.
    pub fn check_fresh(&self, known: &[String], scope: TrainScope) -> Result<()> {
        let mut names = BTreeSet::new();
        for name in self.new_classes().map(TrainClass::name) {
            if !names.insert(name) {
                return Err(Error::new(
                    ErrorKind::Contract,
                    format!("the class `{name}` is twice in a stage"),
                ));
            }
            if scope == TrainScope::NewClasses && known.iter().any(|k| k == name) {
                return Err(Error::new(
                    ErrorKind::Usage,
                    format!("the class `{name}` was learnt before and only new classes may change"),
                )
                .help("use a strategy that trains everything, such as fine-tune, to fit a class again"));
            }
        }
        Ok(())
    }
    /// The view without rehearsed classes.
    pub fn without_rehearsal(&self) -> TrainView {
        TrainView { classes: self.new_classes().cloned().collect(), ..self.clone() }
    }
    /// The view with `classes` beside its own.
    pub fn with(mut self, classes: Vec<TrainClass>) -> TrainView {
        self.classes.extend(classes);
        self
    }
}

impl fmt::Debug for TrainView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let classes: Vec<_> = self.classes.iter().map(|c| (c.name(), c.len())).collect();
        f.debug_struct("TrainView").field("stage", &self.stage).field("classes", &classes).finish()
    }
}
