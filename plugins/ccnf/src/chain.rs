//! The class-private layers of a level, before the flow.

use ccnf::prelude::*;

/// The layers in order. Each is fitted on what the layers before it make of a class's images.
///
/// What a fitted layer makes of the images it was fitted on is not what it makes of others: a covariance fits its own tokens too well.
/// So whatever is learnt from a layer's output (the next layer, the flow, the statistics of the maps) is learnt from its held-out
/// output: the images are cut into `folds` parts, and each part goes through a layer that was fitted on the other parts.
pub(crate) struct Chain {
    layers: Vec<Box<dyn ClassLayer>>,
    folds: usize,
    level: LevelSpec,
}

/// Maps after the layers, with each token's part of the log-determinant.
pub(crate) struct Maps {
    /// Per image `[tokens][D]`.
    pub(crate) values: Vec<Vec<f32>>,
    /// Per image one value per token.
    pub(crate) log_det: Vec<Vec<f32>>,
}

impl Chain {
    /// Layers for maps of `level`.
    pub(crate) fn new(layers: Vec<Box<dyn ClassLayer>>, folds: usize, level: &LevelSpec) -> Self {
        Chain { layers, folds, level: level.clone() }
    }

    /// True without layers.
    pub(crate) fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    /// Adds a class to every layer that does not know it.
    pub(crate) fn add(&mut self, class: &str) -> Result<()> {
        for layer in &mut self.layers {
            if !layer.classes().iter().any(|c| c == class) {
                layer.add(class)?;
            }
        }
        Ok(())
    }

    /// Fits a class that was added on its standardised maps; returns the held-out output.
    pub(crate) fn fit(&mut self, class: &str, maps: Vec<Vec<f32>>) -> Result<Maps> {
        let mut out = self.unchanged(maps);
        for layer in &mut self.layers {
            layer.fit(class, &slices(&out.values))?;
            held_out(layer.as_ref(), class, self.folds, &mut out)?;
        }
        Ok(out)
    }

    /// Maps of a class through its layers, where they were not fitted in this stage.
    pub(crate) fn fitted(&self, class: &str, maps: Vec<Vec<f32>>) -> Result<Maps> {
        let mut out = self.unchanged(maps);
        let both = out.values.iter_mut().zip(&mut out.log_det);
        both.into_iter().try_for_each(|(v, l)| self.forward(class, v, l))?;
        Ok(out)
    }

    /// What [`fit`](Self::fit) returned for the same maps.
    pub(crate) fn held_out(&self, class: &str, maps: Vec<Vec<f32>>) -> Result<Maps> {
        let mut out = self.unchanged(maps);
        for layer in &self.layers {
            held_out(layer.as_ref(), class, self.folds, &mut out)?;
        }
        Ok(out)
    }

    fn unchanged(&self, values: Vec<Vec<f32>>) -> Maps {
        let log_det = vec![vec![0.0; self.level.tokens()]; values.len()];
        Maps { values, log_det }
    }

    /// Maps of a class, one after the other, in place; adds to `log_det`.
    pub(crate) fn forward(&self, class: &str, maps: &mut [f32], log_det: &mut [f32]) -> Result<()> {
        self.layers.iter().try_for_each(|l| l.forward(number(l.as_ref(), class)?, maps, log_det))
    }

    pub(crate) fn params(&self) -> impl Iterator<Item = &Param> {
        self.layers.iter().flat_map(|l| l.params())
    }

    pub(crate) fn params_mut(&mut self) -> impl Iterator<Item = &mut Param> {
        self.layers.iter_mut().flat_map(|l| l.params_mut())
    }
}

/// Sends every fold of `maps` through a layer fitted on the other folds. With fewer than two folds or images, through `layer` itself.
fn held_out(layer: &dyn ClassLayer, class: &str, folds: usize, maps: &mut Maps) -> Result<()> {
    let folds = folds.min(maps.values.len());
    if folds < 2 {
        let class = number(layer, class)?;
        let both = maps.values.iter_mut().zip(&mut maps.log_det);
        return both.into_iter().try_for_each(|(v, l)| layer.forward(class, v, l));
    }
    let before = maps.values.clone();
    for fold in 0..folds {
        let kept: Vec<&[f32]> =
            before.iter().enumerate().filter(|(i, _)| i % folds != fold).map(|(_, m)| &m[..]).collect();
        let mut other = layer.empty();
        other.add(class)?;
        other.fit(class, &kept)?;
        let both = maps.values.iter_mut().zip(&mut maps.log_det).skip(fold).step_by(folds);
        both.into_iter().try_for_each(|(v, l)| other.forward(0, v, l))?;
    }
    Ok(())
}

fn slices(maps: &[Vec<f32>]) -> Vec<&[f32]> {
    maps.iter().map(Vec::as_slice).collect()
}

fn number(layer: &dyn ClassLayer, class: &str) -> Result<usize> {
    layer
        .classes()
        .iter()
        .position(|c| c == class)
        .ok_or_else(|| Error::new(ErrorKind::Contract, format!("a layer does not know the class `{class}`")))
}
