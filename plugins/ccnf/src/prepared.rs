//! A stage's training images as the flow sees them.

use crate::chain::Maps;
use crate::sampler::Standard;
use ccnf::prelude::*;
use std::sync::Arc;

/// Held-out maps of the images of a stage at one level, in memory: as many values as the level's features have.
pub(crate) struct Prepared {
    view: TrainView,
    /// Per class and image each token's part of the layers' log-determinant.
    log_det: Vec<Vec<Vec<f32>>>,
    identity: Standard,
}

/// A [`Prepared`] to which classes are added.
pub(crate) struct Builder {
    classes: Vec<TrainClass>,
    log_det: Vec<Vec<Vec<f32>>>,
}

impl Prepared {
    /// Without classes.
    pub(crate) fn builder() -> Builder {
        Builder { classes: vec![], log_det: vec![] }
    }

    /// The images; their only level is what the flow sees.
    pub(crate) fn view(&self) -> &TrainView {
        &self.view
    }

    /// The standardisation that changes nothing.
    pub(crate) fn identity(&self) -> &Standard {
        &self.identity
    }

    /// Values and log-determinants of image number `image` of a class.
    pub(crate) fn map(&self, class: &str, image: usize) -> Result<(Values<'_>, &[f32])> {
        let found = self.view.classes().iter().position(|c| c.name() == class);
        match found.map(|c| (&self.view.classes()[c], self.log_det[c].get(image))) {
            Some((class, Some(log_det))) => Ok((class.image(image, 0)?, log_det)),
            _ => Err(Error::new(
                ErrorKind::Contract,
                format!("training image {image} of class `{class}` is not one of the stage"),
            )),
        }
    }
}

impl Builder {
    /// Adds a class.
    pub(crate) fn push(&mut self, class: &TrainClass, maps: Maps) {
        let image = |map: Vec<f32>| -> Arc<dyn ImageFeatures> { Arc::new(vec![map]) };
        let images = maps.values.into_iter().map(image).collect();
        self.classes.push(match class.is_rehearsed() {
            true => TrainClass::rehearsed(class.name(), images),
            false => TrainClass::new(class.name(), images),
        });
        self.log_det.push(maps.log_det);
    }

    /// The images of stage `stage` at `level`.
    pub(crate) fn finish(self, stage: usize, level: &LevelSpec) -> Result<Prepared> {
        Ok(Prepared {
            view: TrainView::new(stage, vec![level.clone()], self.classes),
            log_det: self.log_det,
            identity: Standard::new("prepared", level.channels)?,
        })
    }
}
