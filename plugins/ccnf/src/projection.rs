//! Fixed directions of a level's channels.

use crate::config::{Basis, CcnfConfig};
use ccnf::core::Standardization;
use ccnf::prelude::*;
use ccnf::tensor::leading_eigenvectors;

/// `x -> P x`: standardised tokens of `D` channels on `k` fixed orthonormal directions, shared by all classes: the rows of `P`
/// (`levelN.directions`, `[k, D]`). What the model says from there on is about `P x`; the other directions are not looked at.
///
/// * [`Basis::Pca`]: the leading eigenvectors of the second moments of the first stage's tokens, fixed from then on;
/// * [`Basis::WithinClass`]: the same of what is left of the tokens when their class's mean at their position is taken off;
/// * [`Basis::Random`]: the first rows of a random rotation.
pub(crate) struct Projection {
    basis: Basis,
    matrix: Param,
    cached: Vec<f32>,
}

impl Projection {
    /// The projection of level `number`, where the config has one.
    pub(crate) fn of(
        config: &CcnfConfig,
        build: &Build<'_, DetectorSpec>,
        number: usize,
        level: &LevelSpec,
    ) -> Result<Option<Self>> {
        let given = &config.directions;
        let k = match given.len() {
            0 => return Ok(None),
            1 => given[0],
            n if n == build.levels.len() => given[number],
            n => {
                let message = format!("has {n} numbers for {} levels", build.levels.len());
                let error = build.error("directions", message);
                return Err(error.help("give one number for all levels, or one for each"));
            }
        };
        if k < 2 || k > level.channels {
            let (name, d) = (&level.name, level.channels);
            return Err(
                build.error("directions", format!("level `{name}` can have 2 to {d} directions, not {k}"))
            );
        }
        Projection::new(&format!("level{number}"), config.basis, k, level.channels, &build.streams).map(Some)
    }

    /// `k` directions of `dim` channels.
    fn new(scope: &str, basis: Basis, k: usize, dim: usize, streams: &Streams) -> Result<Self> {
        let name = format!("{scope}.directions");
        let mut rotation = streams.rotation(&name, dim);
        rotation.truncate(k * dim);
        let matrix = Param::buffer(name, Owner::Shared, rotation, k, dim)?;
        let cached = matrix.to_vec();
        Ok(Projection { basis, matrix, cached })
    }

    /// Chooses the directions by the tokens of the first stage.
    pub(crate) fn fit(&mut self, view: &TrainView, level: usize, standard: &Standardization) -> Result<()> {
        if self.basis == Basis::Random {
            return Ok(());
        }
        let (k, dim) = self.matrix.shape();
        let (mut moments, mut tokens) = (vec![0.0f64; dim * dim], Vec::new());
        for class in view.classes() {
            let mean = match self.basis {
                Basis::WithinClass => position_means(class, level, standard)?,
                _ => vec![],
            };
            for i in 0..class.len() {
                tokens.clear();
                standard.push(&class.image(i, level)?, &mut tokens);
                tokens.iter_mut().zip(&mean).for_each(|(t, m)| *t -= *m as f32);
                for token in tokens.chunks_exact(dim) {
                    for (i, a) in token.iter().enumerate() {
                        let row = &mut moments[i * dim..i * dim + i + 1];
                        row.iter_mut().zip(token).for_each(|(m, b)| *m += f64::from(*a) * f64::from(*b));
                    }
                }
            }
        }
        (0..dim).for_each(|i| (0..i).for_each(|j| moments[j * dim + i] = moments[i * dim + j]));
        let found = leading_eigenvectors(&moments, dim, k)?;
        self.matrix.set(found.into_iter().flat_map(|(_, v)| v).map(|v| v as f32).collect())?;
        self.refresh();
        Ok(())
    }

    /// Reads the tensor again after loading.
    pub(crate) fn refresh(&mut self) {
        self.cached = self.matrix.to_vec();
    }

    /// `P x` of every token of a map.
    pub(crate) fn apply(&self, map: &[f32]) -> Vec<f32> {
        let dim = self.matrix.shape().1;
        let row = |token: &[f32], p: &[f32]| -> f32 { p.iter().zip(token).map(|(p, x)| p * x).sum() };
        map.chunks_exact(dim).flat_map(|t| self.cached.chunks_exact(dim).map(move |p| row(t, p))).collect()
    }

    pub(crate) fn param(&self) -> &Param {
        &self.matrix
    }

    pub(crate) fn param_mut(&mut self) -> &mut Param {
        &mut self.matrix
    }
}

/// The mean over a class's images of every value of their standardised maps.
fn position_means(class: &TrainClass, level: usize, standard: &Standardization) -> Result<Vec<f64>> {
    let (mut mean, mut tokens) = (Vec::new(), Vec::new());
    for i in 0..class.len() {
        tokens.clear();
        standard.push(&class.image(i, level)?, &mut tokens);
        mean.resize(tokens.len(), 0.0f64);
        mean.iter_mut().zip(&tokens).for_each(|(m, t)| *m += f64::from(*t) / class.len() as f64);
    }
    Ok(mean)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    /// Two classes far apart along the first channel; within a class and place only the second channel varies.
    fn leading(basis: Basis) -> Vec<f32> {
        let level = LevelSpec { name: "l".into(), height: 1, width: 2, channels: 3 };
        let image = |class: f32, v: f32| -> Arc<dyn ImageFeatures> {
            Arc::new(vec![vec![class, v, 0.0, class + 4.0, -v, 0.0]])
        };
        let class = |name: &str, at: f32| TrainClass::new(name, vec![image(at, 1.0), image(at, -1.0)]);
        let view = TrainView::new(0, vec![level], vec![class("a", -10.0), class("b", 10.0)]);
        let standard = Standardization::new("l", 3).unwrap();
        let mut p = Projection::new("l", basis, 2, 3, &Streams::new(1)).unwrap();
        p.fit(&view, 0, &standard).unwrap();
        p.cached[..3].iter().map(|v| v.abs()).collect()
    }

    #[test]
    fn differences_between_classes_lead_the_directions_of_all_tokens_and_not_those_within_a_class() {
        let close = |a: Vec<f32>, b: [f32; 3]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6);
        assert!(close(leading(Basis::Pca), [1.0, 0.0, 0.0]));
        assert!(close(leading(Basis::WithinClass), [0.0, 1.0, 0.0]));
    }
}
