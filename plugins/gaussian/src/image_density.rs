//! The detector `image-density`: another detector, with an image score of its own beside its maps.

use crate::pooled::{Pooled, pooled, standardize, width};
use ccnf::core::Standardization;
use ccnf::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Config of the `image-density` detector.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ImageDensityConfig {
    /// The detector that gives the maps.
    pub detector: Component,
    /// Part of the density in the image score, in [0, 1]; the rest is the score of the map. 1: the density alone.
    pub weight: f32,
    /// Directions of a class's covariance that are kept.
    pub rank: usize,
    /// Parts of a class's images for held-out statistics; less than 2: all images under the Gaussian fitted on all.
    pub folds: usize,
}

impl Default for ImageDensityConfig {
    fn default() -> Self {
        ImageDensityConfig { detector: Component::of("mahalanobis"), weight: 0.5, rank: 32, folds: 4 }
    }
}

/// Separate modules for images and pixels (CCNF notes, section 8): the maps are those of `detector`, and the image score is
/// `(1 - weight) * score of the map + weight * z`.
///
/// `z` is a class-private Gaussian of mean and std over the map of every channel of every level, standardised with the first stage's images
/// (deviations within its classes) and z-normalised with held-out training images of the class. With level maps that are standardised (`scoring.levels`) both parts
/// are in units of a deviation: of a token's score, and of an image's.
///
/// All tensors but the standardisation belong to a class, which is fitted in closed form when it is learnt.
pub struct ImageDensity {
    detector: Box<dyn Detector>,
    weight: f32,
    rank: usize,
    folds: usize,
    levels: Vec<LevelSpec>,
    standard: Standardization,
    classes: Vec<(String, Pooled)>,
    /// Held-out scores of the training images of the stage that has just ended.
    held_out: BTreeMap<String, Vec<f32>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Meta {
    detector: serde_json::Value,
    classes: Vec<String>,
}

impl ImageDensity {
    /// The detector around another one; fails for keys out of range.
    pub fn new(config: ImageDensityConfig, build: &Build<DetectorSpec>) -> Result<Self> {
        if !(0.0..=1.0).contains(&config.weight) {
            return Err(build.error("weight", "must be between 0 and 1"));
        }
        if !(1..=4096).contains(&config.rank) {
            return Err(build.error("rank", "must be between 1 and 4096"));
        }
        let dim = width(&build.levels);
        Ok(ImageDensity {
            detector: build.part::<dyn Detector>("detector", &config.detector, build.spec)?,
            weight: config.weight,
            rank: config.rank.min(dim),
            folds: config.folds,
            levels: build.levels.clone(),
            standard: Standardization::new("image", dim)?,
            classes: vec![],
            held_out: BTreeMap::new(),
        })
    }

    fn statistics(&self, image: &dyn ImageFeatures) -> Result<Vec<f32>> {
        let raw = pooled(image, &self.levels)?;
        let mut row = Vec::with_capacity(raw.len());
        self.standard.push(&raw, &mut row);
        Ok(row)
    }

    /// The part of the image score under `class`.
    fn term(&self, image: &dyn ImageFeatures, class: &str) -> Result<ImageTerm> {
        let model = self.classes.iter().find(|c| c.0 == class).map(|c| &c.1);
        let model = model.ok_or_else(|| {
            Error::new(ErrorKind::Contract, format!("there is no density of images of the class `{class}`"))
        })?;
        self.checked(model.score(&self.statistics(image)?), class)
    }

    fn checked(&self, score: f32, class: &str) -> Result<ImageTerm> {
        check_finite("the density of an image", || format!("class `{class}`"), &[score])?;
        Ok(ImageTerm { score, weight: self.weight })
    }

    fn add(&mut self, class: &str) -> Result<&mut Pooled> {
        let place = match self.classes.iter().position(|c| c.0 == class) {
            Some(place) => place,
            None => {
                self.classes.push((class.to_owned(), Pooled::new(class, width(&self.levels), self.rank)?));
                self.classes.len() - 1
            }
        };
        Ok(&mut self.classes[place].1)
    }
}

impl Detector for ImageDensity {
    fn begin_stage(&mut self, view: &TrainView, scope: TrainScope) -> Result<()> {
        self.held_out.clear();
        self.detector.begin_stage(view, scope)
    }

    fn steps(&self, stage: usize) -> u64 {
        self.detector.steps(stage)
    }

    fn step(&mut self, view: &TrainView, step: u64, rule: &mut dyn UpdateRule) -> Result<StepReport> {
        self.detector.step(view, step, rule)
    }

    /// Rehearsed classes were fitted on all their images and stay as they are.
    fn end_stage(&mut self, view: &TrainView) -> Result<()> {
        self.detector.end_stage(view)?;
        if self.classes.is_empty() {
            let rows = |c: &TrainClass| c.images().iter().map(|i| pooled(i.as_ref(), &self.levels)).collect();
            let first = view.new_classes().map(rows).collect::<Result<Vec<_>>>()?;
            standardize(&first, &mut self.standard, width(&self.levels))?;
        }
        for class in view.new_classes() {
            let rows =
                class.images().iter().map(|i| self.statistics(i.as_ref())).collect::<Result<Vec<_>>>()?;
            let (name, folds) = (class.name(), self.folds);
            let held_out = self.add(name)?.fit(&rows, folds).at(|| format!("images of class `{name}`"))?;
            self.held_out.insert(name.to_owned(), held_out);
        }
        Ok(())
    }

    fn freeze_shared(&mut self) -> Result<()> {
        self.detector.freeze_shared()
    }

    fn classes(&self) -> Vec<String> {
        self.detector.classes()
    }

    fn score(&self, images: &[&dyn ImageFeatures], request: ScoreRequest<'_>) -> Result<Vec<ImageScores>> {
        let mut all = self.detector.score(images, request)?;
        for (scores, image) in all.iter_mut().zip(images) {
            scores.given_image = request.given.map(|c| self.term(*image, c)).transpose()?;
            if request.routed {
                scores.routed_image = Some(self.term(*image, &scores.routed_class)?);
            }
        }
        Ok(all)
    }

    fn score_training(
        &self,
        class: &str,
        images: &[(usize, &dyn ImageFeatures)],
    ) -> Result<Vec<ImageScores>> {
        let mut all = self.detector.score_training(class, images)?;
        let held_out = self.held_out.get(class);
        for (scores, (number, image)) in all.iter_mut().zip(images) {
            let term = match held_out.and_then(|h| h.get(*number)) {
                Some(score) => self.checked(*score, class),
                None => self.term(*image, class),
            };
            scores.given_image = Some(term?);
        }
        Ok(all)
    }

    fn routes_without_shortlist(&self, images: &[&dyn ImageFeatures]) -> Result<Option<Vec<String>>> {
        self.detector.routes_without_shortlist(images)
    }

    fn keeps_old_scores(&self) -> bool {
        self.detector.keeps_old_scores()
    }

    fn meta(&self) -> serde_json::Value {
        let classes = self.classes.iter().map(|c| c.0.clone()).collect();
        serde_json::to_value(Meta { detector: self.detector.meta(), classes }).unwrap_or_default()
    }

    fn prepare(&mut self, meta: &serde_json::Value) -> Result<()> {
        let meta = Meta::deserialize(meta).map_err(|e| {
            Error::new(ErrorKind::Checkpoint, format!("the checkpoint is not one of `image-density`: {e}"))
        })?;
        self.classes.clear();
        self.held_out.clear();
        meta.classes.iter().try_for_each(|c| self.add(c).map(drop))?;
        self.detector.prepare(&meta.detector)
    }

    fn loaded(&mut self) -> Result<()> {
        self.standard.refresh();
        self.detector.loaded()
    }

    fn optimizer_state(&mut self) -> Result<BTreeMap<String, StoredTensor>> {
        self.detector.optimizer_state()
    }

    fn restore_optimizer(&mut self, state: &BTreeMap<String, StoredTensor>) -> Result<()> {
        self.detector.restore_optimizer(state)
    }

    fn resume_stage(&mut self, view: &TrainView, scope: TrainScope) -> Result<()> {
        self.detector.resume_stage(view, scope)
    }

    fn fits(&self, stages: &[Stage]) -> Result<()> {
        self.detector.fits(stages)
    }

    fn distils(&self) -> bool {
        self.detector.distils()
    }

    fn distil(&mut self, teacher: Option<Distillation>) -> Result<()> {
        self.detector.distil(teacher)
    }

    fn trainable(&self) -> usize {
        self.detector.trainable()
    }
}

impl Stateful for ImageDensity {
    fn params(&self) -> Vec<&Param> {
        let mut all = self.detector.params();
        all.extend(self.standard.params());
        all.extend(self.classes.iter().flat_map(|c| c.1.params()));
        all
    }
    fn params_mut(&mut self) -> Vec<&mut Param> {
        let mut all = self.detector.params_mut();
        all.extend(self.standard.params_mut());
        all.extend(self.classes.iter_mut().flat_map(|c| c.1.params_mut()));
        all
    }
}

ccnf::register_component!(
    Detector,
    "image-density",
    ImageDensityConfig,
    ImageDensity::new,
    "any detector for the maps, and a Gaussian of pooled statistics in the image score"
);
