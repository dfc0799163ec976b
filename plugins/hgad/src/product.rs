//! Product maps with the training maxima of every class.

use crate::config::EntropyClasses;
use crate::level::Level;
use crate::maps::product_maps;
use ccnf::data::FloatMap;
use ccnf::prelude::*;

/// Images whose maps are made at once.
const BATCH: usize = 8;

/// The largest values of both kinds of maps over the training tokens of every class, from which [`product_maps`] are made.
pub(crate) struct ProductScoring {
    entropy_classes: EntropyClasses,
    levels: usize,
    /// Per class `[1, 2 * levels]`: at each level the largest log-likelihood per dimension, then at each the largest minus entropy.
    maxima: Vec<Param>,
}

/// What the maps are computed from.
#[derive(Clone, Copy)]
pub(crate) struct Model<'a> {
    pub(crate) levels: &'a [Level],
    pub(crate) classes: &'a [String],
    /// Per class how many classes were known when it was learnt.
    pub(crate) known_at: &'a [usize],
}

impl Model<'_> {
    fn number(&self, class: &str) -> Result<usize> {
        self.classes.iter().position(|c| c == class).ok_or_else(|| unknown_class(class, self.classes))
    }
}

impl ProductScoring {
    /// No class yet.
    pub(crate) fn new(entropy_classes: EntropyClasses, levels: usize) -> Self {
        ProductScoring { entropy_classes, levels, maxima: vec![] }
    }

    /// Whether maps of old classes stay as they are when classes are added.
    pub(crate) fn keeps_old_scores(&self) -> bool {
        self.entropy_classes == EntropyClasses::FixedSet
    }

    /// Makes the tensors for loading a checkpoint with these classes.
    pub(crate) fn prepare(&mut self, classes: &[String]) -> Result<()> {
        self.maxima.clear();
        classes.iter().try_for_each(|c| self.grow(c))
    }

    fn grow(&mut self, class: &str) -> Result<()> {
        let (owner, n) = (Owner::Class(class.to_owned()), 2 * self.levels);
        self.maxima.push(Param::buffer(format!("scoring.{class}.maxima"), owner, vec![0.0; n], 1, n)?);
        Ok(())
    }

    /// Both kinds of maps of images under a class: per image, per kind, per level.
    fn kinds(
        &self,
        model: Model<'_>,
        images: &[&dyn ImageFeatures],
        class: usize,
    ) -> Result<Vec<[Vec<FloatMap>; 2]>> {
        let known = model.known_at.len();
        let peers = match self.entropy_classes {
            EntropyClasses::Known => known,
            EntropyClasses::FixedSet => model.known_at.get(class).copied().unwrap_or(known),
        };
        let mut out: Vec<[Vec<FloatMap>; 2]> = images.iter().map(|_| [vec![], vec![]]).collect();
        for level in model.levels {
            let LevelSpec { height, width, channels, .. } = level.spec;
            for (latents, kinds) in level.latents(images)?.iter().zip(&mut out) {
                let mut likelihood = latents.log_likelihood(&level.mixture, class)?;
                likelihood.iter_mut().for_each(|v| *v /= channels as f32);
                kinds[0].push(FloatMap::new(height, width, likelihood)?);
                let entropy = latents.negative_entropy(&level.mixture, peers)?;
                kinds[1].push(FloatMap::new(height, width, entropy)?);
            }
        }
        Ok(out)
    }

    /// Stores the maxima of every class of a finished stage.
    pub(crate) fn end_stage(&mut self, view: &TrainView, model: Model<'_>) -> Result<()> {
        while self.maxima.len() < model.classes.len() {
            self.grow(&model.classes[self.maxima.len()])?;
        }
        for class in view.classes() {
            let number = model.number(class.name())?;
            let mut largest = vec![f32::NEG_INFINITY; 2 * self.levels];
            let images: Vec<&dyn ImageFeatures> = class.images().iter().map(|i| i.as_ref()).collect();
            for batch in images.chunks(BATCH) {
                for kinds in self.kinds(model, batch, number)? {
                    for (map, max) in kinds.iter().flatten().zip(&mut largest) {
                        *max = map.data.iter().fold(*max, |m, v| m.max(*v));
                    }
                }
            }
            self.maxima[number].set(largest)?;
        }
        Ok(())
    }

    fn maps(
        &self,
        model: Model<'_>,
        images: &[&dyn ImageFeatures],
        class: &str,
    ) -> Result<Vec<Vec<LevelMap>>> {
        let number = model.number(class)?;
        let maxima = self.maxima[number].to_vec();
        let (first, second) = maxima.split_at(self.levels);
        let kinds = self.kinds(model, images, number)?;
        kinds.iter().map(|k| product_maps([&k[0], &k[1]], [first, second])).collect()
    }

    /// Puts product maps in the place of the maps of finished scores; `given` is the class that was given.
    pub(crate) fn replace(
        &self,
        model: Model<'_>,
        images: &[&dyn ImageFeatures],
        scores: &mut [ImageScores],
        given: Option<&str>,
    ) -> Result<()> {
        for (images, scores) in images.chunks(BATCH).zip(scores.chunks_mut(BATCH)) {
            if let Some(class) = given {
                let maps = self.maps(model, images, class)?;
                scores.iter_mut().zip(maps).for_each(|(s, m)| s.given = m);
            }
            for (image, s) in images.iter().zip(scores) {
                if given == Some(s.routed_class.as_str()) {
                    s.routed = s.given.clone();
                } else if !s.routed_class.is_empty() {
                    s.routed = self.maps(model, &[*image], &s.routed_class)?.remove(0);
                }
            }
        }
        Ok(())
    }
}

impl Stateful for ProductScoring {
    fn params(&self) -> Vec<&Param> {
        self.maxima.iter().collect()
    }
    fn params_mut(&mut self) -> Vec<&mut Param> {
        self.maxima.iter_mut().collect()
    }
}
