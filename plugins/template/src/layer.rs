//! The layer `template-layer`: an invertible map that every class has for itself, fitted in closed form before the flow.

use ccnf::prelude::*;
use ccnf::serde::{Deserialize, Serialize};

/// Its keys in a config: a public field, its documentation and its default each.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "ccnf::serde", deny_unknown_fields, default)]
#[schemars(crate = "ccnf::schemars")]
pub struct TemplateConfig {
    /// Added to every standard deviation (as squares are), positive: a constant channel is divided by it.
    pub floor: f32,
}

impl Default for TemplateConfig {
    fn default() -> Self {
        TemplateConfig { floor: 0.01 }
    }
}

/// `y = (x - mean) / scale` per channel, with mean and `scale = sqrt(variance + floor^2)` of the class's own tokens.
/// `ln |det dy/dx| = -sum of ln scale` per token.
///
/// A map is `[height][width][channels]`, row-major: one token after the other.
pub struct TemplateLayer {
    config: TemplateConfig,
    scope: String,
    level: LevelSpec,
    classes: Vec<String>,
    /// Mean and scale of every class, `[1, channels]`.
    fits: Vec<[Param; 2]>,
}
ccnf::stateful!(TemplateLayer { fits });

impl TemplateLayer {
    /// A layer without classes; fails for a floor out of range.
    pub fn new(config: TemplateConfig, build: &Build<'_, LayerSpec>) -> Result<Self> {
        if !(config.floor > 0.0 && config.floor.is_finite()) {
            return Err(build.error("floor", "must be finite and positive"));
        }
        let (scope, level) = (build.scope.clone(), build.level.clone());
        Ok(TemplateLayer { config, scope, level, classes: vec![], fits: vec![] })
    }

    /// Mean and scale of a class, if there is such a class and `values` are whole maps.
    fn of(&self, class: usize, values: usize) -> Result<[Vec<f32>; 2]> {
        let Some(fit) = self.fits.get(class) else {
            let known = self.fits.len();
            return Err(Error::new(
                ErrorKind::Contract,
                format!("a layer was asked for class {class} of {known}"),
            ));
        };
        if self.level.is_empty() || !values.is_multiple_of(self.level.len()) {
            let message = format!("a layer got {values} values, not maps of {}", self.level.len());
            return Err(Error::new(ErrorKind::Contract, message));
        }
        Ok(fit.each_ref().map(Param::to_vec))
    }
}

impl ClassLayer for TemplateLayer {
    fn empty(&self) -> Box<dyn ClassLayer> {
        let (config, scope, level) = (self.config.clone(), self.scope.clone(), self.level.clone());
        Box::new(TemplateLayer { config, scope, level, classes: vec![], fits: vec![] })
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    /// Makes the tensors of a class, which belong to it: what follows is that they count as its memory, and that learning another class
    /// must not change them. Buffers are computed, not trained by gradients.
    fn add(&mut self, class: &str) -> Result<()> {
        if self.classes.iter().any(|c| c == class) {
            return Err(Error::new(
                ErrorKind::Contract,
                format!("a layer was given the class `{class}` twice"),
            ));
        }
        let buffer = |what: &str, value: f32| {
            let (name, owner) = (format!("{}.{what}.{class}", self.scope), Owner::Class(class.to_owned()));
            Param::buffer(name, owner, vec![value; self.level.channels], 1, self.level.channels)
        };
        self.fits.push([buffer("mean", 0.0)?, buffer("scale", 1.0)?]);
        self.classes.push(class.to_owned());
        Ok(())
    }

    fn fit(&mut self, class: &str, maps: &[&[f32]]) -> Result<()> {
        let place = self.classes.iter().position(|c| c == class);
        let (Some(place), false) = (place, maps.is_empty()) else {
            let message = format!("a layer cannot be fitted for class `{class}` on {} maps", maps.len());
            return Err(Error::new(ErrorKind::Contract, message));
        };
        for map in maps {
            if map.len() != self.level.len() {
                let message = format!("a map has {} values, not {}", map.len(), self.level.len());
                return Err(Error::new(ErrorKind::Contract, message));
            }
            check_finite("a feature", || format!("class `{class}`"), *map)?;
        }
        let channels = self.level.channels;
        let n = (maps.len() * self.level.tokens()) as f64;
        // In f64, in two passes: sums of many f32 lose digits.
        let mut mean = vec![0f64; channels];
        for token in maps.iter().flat_map(|m| m.chunks_exact(channels)) {
            mean.iter_mut().zip(token).for_each(|(m, x)| *m += f64::from(*x) / n);
        }
        let mut variance = vec![f64::from(self.config.floor).powi(2); channels];
        for token in maps.iter().flat_map(|m| m.chunks_exact(channels)) {
            let squares = token.iter().zip(&mean).map(|(x, m)| (f64::from(*x) - m).powi(2));
            variance.iter_mut().zip(squares).for_each(|(v, s)| *v += s / n);
        }
        let [own_mean, own_scale] = &mut self.fits[place];
        own_mean.set(mean.iter().map(|m| *m as f32).collect())?;
        Ok(own_scale.set(variance.iter().map(|v| v.sqrt() as f32).collect())?)
    }

    fn forward(&self, class: usize, maps: &mut [f32], log_det: &mut [f32]) -> Result<()> {
        let [mean, scale] = self.of(class, maps.len())?;
        if log_det.len() * self.level.channels != maps.len() {
            let message = format!("a layer got {} log-determinants for {} values", log_det.len(), maps.len());
            return Err(Error::new(ErrorKind::Contract, message));
        }
        for token in maps.chunks_exact_mut(self.level.channels) {
            token.iter_mut().zip(&mean).zip(&scale).for_each(|((x, m), s)| *x = (*x - m) / s);
        }
        let of_token: f64 = scale.iter().map(|s| -f64::from(*s).ln()).sum();
        // Added: the log-determinants of a chain of layers are summed up in place.
        log_det.iter_mut().for_each(|l| *l += of_token as f32);
        Ok(())
    }

    fn inverse(&self, class: usize, maps: &mut [f32]) -> Result<()> {
        let [mean, scale] = self.of(class, maps.len())?;
        for token in maps.chunks_exact_mut(self.level.channels) {
            token.iter_mut().zip(&mean).zip(&scale).for_each(|((y, m), s)| *y = *y * s + m);
        }
        Ok(())
    }
}

ccnf::register_component!(
    ClassLayer,
    "template-layer",
    TemplateConfig,
    TemplateLayer::new,
    "standardises every channel with a class's own mean and deviation"
);

#[cfg(test)]
ccnf_testkit::conformance!(ClassLayer, "template-layer", { "floor": 0.5 });
