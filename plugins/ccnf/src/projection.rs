//! Fixed directions of a level's channels.

use crate::config::{Basis, CcnfConfig};
use crate::sampler::Standard;
use ccnf::prelude::*;
use ccnf::tensor::leading_eigenvectors;

/// `x -> P x`: standardised tokens of `D` channels on `k` fixed orthonormal directions, shared by all classes: the rows of `P`
/// (`levelN.directions`, `[k, D]`). What the model says from there on is about `P x`; the other directions are not looked at.
///
/// * [`Basis::Pca`]: the leading eigenvectors of the second moments of the first stage's tokens, fixed from then on;
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
    pub(crate) fn fit(&mut self, view: &TrainView, level: usize, standard: &Standard) -> Result<()> {
        if self.basis == Basis::Random {
            return Ok(());
        }
        let (k, dim) = self.matrix.shape();
        let (mut moments, mut tokens) = (vec![0.0f64; dim * dim], Vec::new());
        for class in view.classes() {
            for i in 0..class.len() {
                tokens.clear();
                standard.push(&class.image(i, level)?, &mut tokens);
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
