//! The layer `factor`.

use crate::map_products::Products;
use crate::whitening::{checked_fit, checked_maps, refuse_known};
use ccnf::prelude::*;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::sync::OnceLock;

/// Config of [`MapFactor`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MapFactorConfig {
    /// Directions `r` per class and level; a class with `n` training images uses at most `n - 2`.
    pub rank: usize,
    /// Positions per side of the squares whose sums the directions see; 1: every position by itself.
    pub block: usize,
    /// Parts of the training images, of which each gives held-out codes for the directions of the others.
    pub folds: usize,
}

impl Default for MapFactorConfig {
    fn default() -> Self {
        MapFactorConfig { rank: 25, block: 2, folds: 4 }
    }
}

/// A linear layer over a class's whole map: what varies over all of an image (pose, light, variant) is scaled down to the size that
/// whitened tokens have, while what is local stays.
///
/// ```text
/// s   = B x            sums over squares of block x block positions, per channel, divided by the root of the square's size
/// u_i = eigenvectors of the covariance of s over the class's maps, i <= r, the largest first
/// l_i = max(1, mean of (u_i s)^2 over maps that were left out of u_i)
/// y   = x - B' sum_i (1 - l_i^-1/2) (u_i s) u_i,    ln|det| = -1/2 sum_i ln l_i
/// ```
///
/// `B'u_i` are orthonormal, so `y` has a standard normal density where `x` has covariance `I + sum_i (l_i - 1) B'u_i (B'u_i)'`: a
/// factor model. The variances `l_i` come from `folds` parts of the images, each projected on the directions of the other parts; those
/// of the maps that made the directions would be far too large. Below 4 images there are no directions.
///
/// Tensors of a class, `m = squares * channels`: `<scope>.<class>.directions` `[r, m]` and `<scope>.<class>.variances` `[1, r]`; those
/// not in use are 0 and 1.
pub struct MapFactor {
    scope: String,
    config: MapFactorConfig,
    level: LevelSpec,
    /// The positions of every square.
    squares: Vec<Vec<usize>>,
    classes: Vec<String>,
    factors: Vec<ClassFactor>,
}

struct ClassFactor {
    directions: Param,
    variances: Param,
    /// The same by value; made when needed, dropped when the tensors are opened for a change.
    ready: OnceLock<(Vec<f32>, Vec<f32>)>,
}

impl MapFactor {
    /// The layer; fails for keys out of range.
    pub fn new(config: MapFactorConfig, build: &Build<LayerSpec>) -> Result<Self> {
        for (key, value, least) in
            [("rank", config.rank, 1), ("block", config.block, 1), ("folds", config.folds, 2)]
        {
            if value < least || value > 4096 {
                return Err(build.error(key, format!("must be between {least} and 4096")));
            }
        }
        Ok(MapFactor::with(config, &build.scope, &build.level))
    }

    fn with(config: MapFactorConfig, scope: &str, level: &LevelSpec) -> Self {
        let columns = level.width.div_ceil(config.block);
        let mut squares = vec![Vec::new(); level.height.div_ceil(config.block) * columns];
        for r in 0..level.height {
            for c in 0..level.width {
                squares[r / config.block * columns + c / config.block].push(r * level.width + c);
            }
        }
        let (scope, level) = (scope.to_owned(), level.clone());
        MapFactor { scope, config, level, squares, classes: vec![], factors: vec![] }
    }

    /// Length of `s`.
    fn width(&self) -> usize {
        self.squares.len() * self.level.channels
    }

    /// Adds `B' sum_i factor(l_i) (u_i s) u_i` to every map.
    fn apply(&self, class: usize, maps: &mut [f32], factor: impl Fn(f64) -> f64 + Sync) {
        let (directions, variances) = self.factors[class].values();
        let (m, d, squares) = (self.width(), self.level.channels, &self.squares);
        maps.par_chunks_exact_mut(self.level.len()).for_each(|map| {
            let s = sums(map, squares, d);
            let mut change = vec![0.0; m];
            for (u, l) in directions.chunks_exact(m).zip(variances).filter(|(_, l)| **l > 1.0) {
                let code: f64 = u.iter().zip(&s).map(|(u, s)| f64::from(*u) * s).sum();
                let size = factor(f64::from(*l)) * code;
                change.iter_mut().zip(u).for_each(|(c, u)| *c += size * f64::from(*u));
            }
            for (positions, change) in squares.iter().zip(change.chunks_exact(d)) {
                let root = (positions.len() as f64).sqrt();
                for p in positions {
                    let token = &mut map[p * d..(p + 1) * d];
                    token.iter_mut().zip(change).for_each(|(x, c)| *x = (f64::from(*x) + c / root) as f32);
                }
            }
        });
    }
}

/// `s = B x` of a map of `dim` channels.
fn sums(map: &[f32], squares: &[Vec<usize>], dim: usize) -> Vec<f64> {
    let mut s = vec![0.0; squares.len() * dim];
    for (positions, s) in squares.iter().zip(s.chunks_exact_mut(dim)) {
        for p in positions {
            s.iter_mut().zip(&map[p * dim..(p + 1) * dim]).for_each(|(s, v)| *s += f64::from(*v));
        }
        let root = (positions.len() as f64).sqrt();
        s.iter_mut().for_each(|s| *s /= root);
    }
    s
}

impl ClassFactor {
    fn values(&self) -> &(Vec<f32>, Vec<f32>) {
        self.ready.get_or_init(|| (self.directions.to_vec(), self.variances.to_vec()))
    }
}

impl ClassLayer for MapFactor {
    fn empty(&self) -> Box<dyn ClassLayer> {
        Box::new(MapFactor::with(self.config, &self.scope, &self.level))
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn add(&mut self, class: &str) -> Result<()> {
        refuse_known(class, &self.classes)?;
        let (rank, m) = (self.config.rank, self.width());
        let buffer = |what: &str, value: f32, rows: usize, cols: usize| {
            let (name, owner) = (format!("{}.{class}.{what}", self.scope), Owner::Class(class.to_owned()));
            Param::buffer(name, owner, vec![value; rows * cols], rows, cols)
        };
        self.factors.push(ClassFactor {
            directions: buffer("directions", 0.0, rank, m)?,
            variances: buffer("variances", 1.0, 1, rank)?,
            ready: OnceLock::new(),
        });
        self.classes.push(class.to_owned());
        Ok(())
    }

    fn fit(&mut self, class: &str, maps: &[&[f32]]) -> Result<()> {
        let c = checked_fit(class, &self.classes, maps, &self.level)?;
        let (n, m, rank) = (maps.len(), self.width(), self.config.rank);
        let (squares, d) = (&self.squares, self.level.channels);
        let sums: Vec<Vec<f64>> = maps.par_iter().map(|map| sums(map, squares, d)).collect();
        let sums = sums.concat();
        let products = Products::new(&sums, n, m);
        let (mut directions, mut variances) = (vec![0.0f32; rank * m], vec![1.0f32; rank]);
        if n >= 4 {
            let held_out = products.variances(rank, self.config.folds)?;
            let found = products.directions(&(0..n).collect::<Vec<_>>(), rank)?;
            for (i, weights) in found.iter().enumerate() {
                let mut u = vec![0.0f64; m];
                for (w, s) in weights.iter().zip(sums.chunks_exact(m)) {
                    u.iter_mut().zip(s).for_each(|(u, s)| *u += w * s);
                }
                directions[i * m..(i + 1) * m].iter_mut().zip(u).for_each(|(d, u)| *d = u as f32);
                variances[i] = held_out[i] as f32;
            }
        }
        let factor = &mut self.factors[c];
        for (param, values) in [(&factor.directions, &directions), (&factor.variances, &variances)] {
            check_finite("a fitted value", || format!("the tensor `{}`", param.name()), values)?;
        }
        factor.ready.take();
        factor.directions.set(directions)?;
        Ok(factor.variances.set(variances)?)
    }

    fn forward(&self, class: usize, maps: &mut [f32], log_det: &mut [f32]) -> Result<()> {
        checked_maps(class, self.classes.len(), maps, Some(log_det), &self.level)?;
        self.apply(class, maps, |l| 1.0 / l.sqrt() - 1.0);
        let whole: f64 = self.factors[class].values().1.iter().map(|l| -0.5 * f64::from(*l).ln()).sum();
        let part = (whole / self.level.tokens() as f64) as f32;
        log_det.iter_mut().for_each(|l| *l += part);
        Ok(())
    }

    fn inverse(&self, class: usize, maps: &mut [f32]) -> Result<()> {
        checked_maps(class, self.classes.len(), maps, None, &self.level)?;
        self.apply(class, maps, |l| l.sqrt() - 1.0);
        Ok(())
    }
}

impl Stateful for MapFactor {
    fn params(&self) -> Vec<&Param> {
        self.factors.iter().flat_map(|f| [&f.directions, &f.variances]).collect()
    }
    fn params_mut(&mut self) -> Vec<&mut Param> {
        self.factors.iter_mut().for_each(|f| drop(f.ready.take()));
        self.factors.iter_mut().flat_map(|f| [&mut f.directions, &mut f.variances]).collect()
    }
}

ccnf::register_component!(
    ClassLayer,
    "factor",
    MapFactorConfig,
    MapFactor::new,
    "correlations across a class's whole map: a low-rank factor model with held-out variances"
);

#[cfg(test)]
mod tests {
    use super::*;

    fn level() -> LevelSpec {
        LevelSpec { name: "l".into(), height: 4, width: 5, channels: 2 }
    }

    fn layer(config: MapFactorConfig) -> MapFactor {
        let mut layer = MapFactor::with(config, "level0.layer0", &level());
        layer.add("a").unwrap();
        layer
    }

    /// Unit noise, and a pattern over the whole map of deviation `size`.
    fn maps(n: usize, size: f32) -> Vec<Vec<f32>> {
        let s = Streams::new(3);
        let pattern = s.normal("pattern", level().len());
        let norm = pattern.iter().map(|v| v * v).sum::<f32>().sqrt();
        let codes = s.normal("codes", n);
        (0..n)
            .map(|i| {
                let noise = s.normal(&format!("noise {i}"), level().len());
                noise.iter().zip(&pattern).map(|(e, p)| e + size * codes[i] * p / norm).collect()
            })
            .collect()
    }

    fn fitted(config: MapFactorConfig, n: usize, size: f32) -> MapFactor {
        let (mut layer, maps) = (layer(config), maps(n, size));
        layer.fit("a", &maps.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap();
        layer
    }

    #[test]
    fn a_pattern_over_the_whole_map_is_found_with_its_variance() {
        let config = MapFactorConfig { rank: 3, block: 1, folds: 4 };
        let layer = fitted(config, 200, 6.0);
        let (u, l) = layer.factors[0].values();
        let pattern = Streams::new(3).normal("pattern", level().len());
        let norm = pattern.iter().map(|v| v * v).sum::<f32>().sqrt();
        let cosine: f32 = u[..level().len()].iter().zip(&pattern).map(|(u, p)| u * p / norm).sum();
        assert!(cosine.abs() > 0.98, "the first direction is off the pattern: cosine {cosine}");
        assert!((l[0] - 37.0).abs() < 8.0, "its variance is {}, not 37", l[0]);
        assert!(l[1] < 1.6 && l[2] < 1.6, "noise has held-out variance 1: {l:?}");
    }

    #[test]
    fn held_out_variances_of_pure_noise_are_about_one_where_fitted_ones_are_not() {
        let layer = fitted(MapFactorConfig { rank: 5, block: 1, folds: 4 }, 20, 0.0);
        let (u, l) = layer.factors[0].values();
        assert!(l.iter().all(|l| *l < 2.5), "{l:?}");
        let fitted: f64 = maps(20, 0.0)
            .iter()
            .map(|m| m.iter().zip(u).map(|(x, u)| f64::from(x * u)).sum::<f64>().powi(2))
            .sum();
        assert!(fitted / 20.0 > 3.0, "the direction's own maps have variance {}", fitted / 20.0);
    }

    #[test]
    fn squares_at_the_border_are_smaller() {
        let layer = layer(MapFactorConfig { rank: 1, block: 2, folds: 2 });
        assert_eq!(layer.squares.len(), 6);
        assert_eq!(layer.squares[0], [0, 1, 5, 6]);
        assert_eq!(layer.squares[2], [4, 9]);
        let s = sums(&vec![1.0; level().len()], &layer.squares, 2);
        assert_eq!(s[0], 2.0);
        assert!((s[4] - 2f64.sqrt()).abs() < 1e-12);
    }

    #[test]
    fn below_four_images_the_layer_is_the_identity() {
        let layer = fitted(MapFactorConfig::default(), 3, 9.0);
        let map = maps(1, 2.0).remove(0);
        let (mut out, mut log_det) = (map.clone(), vec![0.0; level().tokens()]);
        layer.forward(0, &mut out, &mut log_det).unwrap();
        assert_eq!((out, log_det), (map, vec![0.0; level().tokens()]));
    }
}
