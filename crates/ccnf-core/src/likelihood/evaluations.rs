//! Log-likelihoods of a batch of images: which class was evaluated for which image, and the values.

use crate::encoder::LevelSpec;
use crate::error::{Error, ErrorKind, Result};
use crate::view::ImageFeatures;

/// One image to be evaluated under one class.
#[derive(Clone, Copy)]
pub struct Candidate<'a> {
    /// Index of a known class.
    pub class: usize,
    /// The features of the image.
    pub image: &'a dyn ImageFeatures,
    /// Where the image is a training image of `class` in the stage that ends, its number in the [`TrainView`](crate::TrainView). A
    /// detector whose fit leaves images out in turn evaluates it under the statistics that did not see it, so that what is stored
    /// about training maps holds for test maps.
    pub training: Option<usize>,
}

/// `log p(x | class)` of all tokens of each candidate at a level, without the constant of the input standardisation: one vector
/// per candidate, in their order. Arguments: level, candidates; those of one image follow each other.
///
/// Contract: a candidate's values have the same bits whatever the other candidates are. The number of known classes decides who
/// the others are, and maps must not depend on it.
pub type LogLikelihood<'a> = dyn Fn(usize, &[Candidate<'_>]) -> Result<Vec<Vec<f32>>> + 'a;

/// `[image][level][class]` -> one value per token; empty where a class was not evaluated.
pub(super) struct Evaluations {
    values: Vec<Vec<Vec<Vec<f32>>>>,
    /// The class whose training images these are, and the number of the first one.
    training: Option<(usize, usize)>,
}

impl Evaluations {
    /// Nothing evaluated yet.
    pub(super) fn new(images: usize, levels: usize, classes: usize) -> Self {
        Evaluations { values: vec![vec![vec![Vec::new(); classes]; levels]; images], training: None }
    }

    /// Says that the images are training images of `class`, from number `first` on.
    pub(super) fn of_training(self, class: usize, first: usize) -> Self {
        Evaluations { training: Some((class, first)), ..self }
    }

    /// Evaluates what `wanted` names (classes per image, in any order, repetitions allowed) and is not there yet.
    pub(super) fn add(
        &mut self,
        images: &[&dyn ImageFeatures],
        wanted: &[Vec<usize>],
        levels: &[LevelSpec],
        names: &[String],
        ll: &LogLikelihood<'_>,
    ) -> Result<()> {
        for (l, level) in levels.iter().enumerate() {
            let (mut places, mut candidates) = (Vec::new(), Vec::new());
            for (i, (image, classes)) in images.iter().zip(wanted).enumerate() {
                let mut missing: Vec<usize> =
                    classes.iter().copied().filter(|c| self.values[i][l][*c].is_empty()).collect();
                missing.sort_unstable();
                missing.dedup();
                for class in missing {
                    places.push((i, class));
                    let training = self.training.filter(|t| t.0 == class).map(|t| t.1 + i);
                    candidates.push(Candidate { class, image: *image, training });
                }
            }
            if candidates.is_empty() {
                continue;
            }
            let values = ll(l, &candidates)?;
            if values.len() != places.len() || values.iter().any(|v| v.len() != level.tokens()) {
                return Err(Error::new(
                    ErrorKind::Contract,
                    format!(
                        "a detector must give {} vectors of {} log-likelihoods at level `{}`",
                        places.len(),
                        level.tokens(),
                        level.name
                    ),
                ));
            }
            for ((i, class), values) in places.into_iter().zip(values) {
                ccnf_tensor::check_finite(
                    "the log-likelihood",
                    || format!("level `{}` under class `{}`", level.name, names[class]),
                    &values,
                )?;
                self.values[i][l][class] = values;
            }
        }
        Ok(())
    }

    /// The values of an image at a level, by class.
    pub(super) fn of(&self, image: usize, level: usize) -> &[Vec<f32>] {
        &self.values[image][level]
    }

    /// The mean over levels of the mean over tokens.
    pub(super) fn mean(&self, image: usize, class: usize) -> f32 {
        let levels = &self.values[image];
        let means = levels.iter().map(|by_class| {
            let own = &by_class[class];
            own.iter().map(|v| f64::from(*v)).sum::<f64>() / own.len() as f64
        });
        (means.sum::<f64>() / levels.len() as f64) as f32
    }
}
