//! All Gaussians of the detector, without scoring.

use crate::cells::Layout;
use crate::config::WhiteningConfig;
use crate::gaussian::ClassGaussian;
use crate::input::Scaling;
use ccnf::core::Standardization;
use ccnf::prelude::*;
use std::collections::BTreeMap;

/// Standardisation and Gaussians per class and level.
pub(crate) struct Model {
    levels: Vec<LevelSpec>,
    layouts: Vec<Layout>,
    settings: WhiteningConfig,
    inputs: Vec<Standardization>,
    /// Whether the standardisation was fitted.
    pub(crate) standardized: bool,
    /// The classes, in the order in which they were first seen.
    pub(crate) classes: Vec<String>,
    /// `[class][level]`.
    gaussians: Vec<Vec<ClassGaussian>>,
}

impl Model {
    /// A model without classes.
    pub(crate) fn new(settings: WhiteningConfig, levels: &[LevelSpec]) -> Result<Self> {
        if let Some(l) = levels.iter().find(|l| l.is_empty()) {
            return Err(Error::new(ErrorKind::Contract, format!("the level `{}` has no values", l.name)));
        }
        Ok(Model {
            levels: levels.to_vec(),
            layouts: levels.iter().map(|l| Layout::new(&settings, l)).collect(),
            settings,
            inputs: levels
                .iter()
                .enumerate()
                .map(|(i, l)| Standardization::new(&format!("level{i}"), l.channels))
                .collect::<Result<_>>()?,
            standardized: false,
            classes: vec![],
            gaussians: vec![],
        })
    }

    /// Checks the features of a stage: levels, images per class, sizes, finite values.
    pub(crate) fn check(&self, view: &TrainView) -> Result<()> {
        if view.levels() != self.levels {
            return Err(Error::new(
                ErrorKind::Contract,
                "the features have other levels than the model was built for",
            ));
        }
        for class in view.classes() {
            if class.is_empty() {
                return Err(Error::new(
                    ErrorKind::Dataset,
                    format!("the class `{}` has no training images", class.name()),
                )
                .help("add normal images of the class, or leave the class out of the protocol"));
            }
            for (i, image) in class.images().iter().enumerate() {
                for (l, level) in self.levels.iter().enumerate() {
                    let place = || {
                        format!("level `{}` of training image {i} of class `{}`", level.name, class.name())
                    };
                    let values = values(level, l, image.as_ref()).at(place)?;
                    check_finite("a feature", place, values.iter())?;
                }
            }
        }
        Ok(())
    }

    /// Adds a class with tensors of zeros, if it is new.
    pub(crate) fn add(&mut self, class: &str) -> Result<()> {
        if !self.classes.iter().any(|c| c == class) {
            let gaussian = |(i, l): (usize, &Layout)| ClassGaussian::new(&format!("level{i}"), class, l);
            self.gaussians.push(self.layouts.iter().enumerate().map(gaussian).collect::<Result<_>>()?);
            self.classes.push(class.to_owned());
        }
        Ok(())
    }

    /// Forgets all classes.
    pub(crate) fn clear(&mut self) {
        self.classes.clear();
        self.gaussians.clear();
    }

    /// Fits the standardisation on all tokens of the stage, unless an earlier stage did.
    pub(crate) fn standardize(&mut self, view: &TrainView) -> Result<()> {
        if !self.standardized {
            for (l, input) in self.inputs.iter_mut().enumerate() {
                input.fit(view, l)?;
            }
            self.standardized = true;
        }
        Ok(())
    }

    /// Fits the Gaussians of the classes of the stage.
    pub(crate) fn fit(&mut self, view: &TrainView) -> Result<()> {
        for class in view.classes() {
            let c = self.classes.iter().position(|c| c == class.name()).ok_or_else(|| {
                Error::new(
                    ErrorKind::Contract,
                    format!("the stage of class `{}` was never begun", class.name()),
                )
            })?;
            for (l, gaussian) in self.gaussians[c].iter_mut().enumerate() {
                let images = class.images().iter().map(|i| i.level(l)).collect::<Result<Vec<_>>>()?;
                let images: Vec<&[f32]> = images.iter().map(|i| i.as_ref()).collect();
                gaussian
                    .fit(&images, &self.layouts[l], &Scaling::of(&self.inputs[l]), &self.settings)
                    .at(|| format!("level `{}` of class `{}`", self.levels[l].name, class.name()))?;
            }
        }
        Ok(())
    }

    /// `log p(x | class)` of every token of each candidate at a level, without the constant of the input standardisation. The
    /// images of a class are evaluated together.
    pub(crate) fn log_likelihood(&self, level: usize, candidates: &[Candidate<'_>]) -> Result<Vec<Vec<f32>>> {
        let spec = &self.levels[level];
        let input = Scaling::of(&self.inputs[level]);
        let mut by_class: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        candidates.iter().enumerate().for_each(|(i, c)| by_class.entry(c.class).or_default().push(i));
        let mut out = vec![Vec::new(); candidates.len()];
        for (class, places) in by_class {
            let images: Vec<Values<'_>> =
                places.iter().map(|i| values(spec, level, candidates[*i].image)).collect::<Result<_>>()?;
            let images: Vec<&[f32]> = images.iter().map(|i| i.as_ref()).collect();
            let all = self.gaussians[class][level].log_likelihood(&images, &self.layouts[level], &input);
            places.iter().zip(all.chunks_exact(spec.tokens())).for_each(|(i, l)| out[*i] = l.to_vec());
        }
        Ok(out)
    }

    pub(crate) fn params(&self) -> impl Iterator<Item = &Param> {
        let gaussians = self.gaussians.iter().flatten();
        self.inputs.iter().flat_map(|i| i.params()).chain(gaussians.flat_map(|g| g.params()))
    }

    pub(crate) fn params_mut(&mut self) -> impl Iterator<Item = &mut Param> {
        let gaussians = self.gaussians.iter_mut().flatten();
        self.inputs.iter_mut().flat_map(|i| i.params_mut()).chain(gaussians.flat_map(|g| g.params_mut()))
    }
}

/// The values of an image at a level, if there are as many as the level has.
fn values<'a>(spec: &LevelSpec, level: usize, image: &'a dyn ImageFeatures) -> Result<Values<'a>> {
    let values = image.level(level)?;
    if values.len() == spec.len() {
        return Ok(values);
    }
    Err(Error::new(
        ErrorKind::Encoder,
        format!(
            "an image has {} values at level `{}`, expected {} x {} x {}",
            values.len(),
            spec.name,
            spec.height,
            spec.width,
            spec.channels
        ),
    ))
}
