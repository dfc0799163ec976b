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
    /// Images that each are a variant of one of these (its number), and go the way of that one.
    pub(crate) variants: Vec<(usize, Vec<f32>)>,
}

impl Maps {
    /// Images before the layers.
    fn new(values: Vec<Vec<f32>>, variants: Vec<(usize, Vec<f32>)>, tokens: usize) -> Self {
        Maps { log_det: vec![vec![0.0; tokens]; values.len()], values, variants }
    }

    /// Sends images for whose number `which` is true through `layer`, and their variants with them.
    fn through(&mut self, layer: &dyn ClassLayer, class: usize, which: impl Fn(usize) -> bool) -> Result<()> {
        let mut unused = vec![0.0; self.log_det.first().map_or(0, Vec::len)];
        let both = self.values.iter_mut().zip(&mut self.log_det).enumerate();
        both.filter(|(i, _)| which(*i)).try_for_each(|(_, (v, l))| layer.forward(class, v, l))?;
        let mut own = self.variants.iter_mut().filter(|(of, _)| which(*of));
        own.try_for_each(|(_, v)| layer.forward(class, v, &mut unused))
    }
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

    /// Fits a class that was added on its standardised maps, not on their variants; returns the held-out output of both.
    pub(crate) fn fit(
        &mut self,
        class: &str,
        maps: Vec<Vec<f32>>,
        variants: Vec<(usize, Vec<f32>)>,
    ) -> Result<Maps> {
        let mut out = Maps::new(maps, variants, self.level.tokens());
        for layer in &mut self.layers {
            layer.fit(class, &slices(&out.values))?;
            held_out(layer.as_ref(), class, self.folds, &mut out)?;
        }
        Ok(out)
    }

    /// Maps of a class through its layers, where they were not fitted in this stage.
    pub(crate) fn fitted(&self, class: &str, maps: Vec<Vec<f32>>) -> Result<Maps> {
        let mut out = Maps::new(maps, vec![], self.level.tokens());
        for layer in &self.layers {
            out.through(layer.as_ref(), number(layer.as_ref(), class)?, |_| true)?;
        }
        Ok(out)
    }

    /// What [`fit`](Self::fit) returned for the same maps.
    pub(crate) fn held_out(
        &self,
        class: &str,
        maps: Vec<Vec<f32>>,
        variants: Vec<(usize, Vec<f32>)>,
    ) -> Result<Maps> {
        let mut out = Maps::new(maps, variants, self.level.tokens());
        for layer in &self.layers {
            held_out(layer.as_ref(), class, self.folds, &mut out)?;
        }
        Ok(out)
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
        return maps.through(layer, number(layer, class)?, |_| true);
    }
    let before = maps.values.clone();
    for fold in 0..folds {
        let kept: Vec<&[f32]> =
            before.iter().enumerate().filter(|(i, _)| i % folds != fold).map(|(_, m)| &m[..]).collect();
        let mut other = layer.empty();
        other.add(class)?;
        other.fit(class, &kept)?;
        maps.through(other.as_ref(), 0, |i| i % folds == fold)?;
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
