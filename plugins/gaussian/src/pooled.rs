//! A Gaussian of whole images: mean and deviation over the map of every channel.

use ccnf::core::{Standardization, check_size};
use ccnf::prelude::*;
use ccnf::tensor::leading_eigenvectors;
use std::sync::Arc;

/// Mean and population std over the map of every channel of every level, `[2 sum of channels]`: level after level, means before stds.
pub(crate) fn pooled(image: &dyn ImageFeatures, levels: &[LevelSpec]) -> Result<Vec<f32>> {
    let mut out = Vec::with_capacity(width(levels));
    for (l, level) in levels.iter().enumerate() {
        let values = image.level(l)?;
        check_size(&values, level)?;
        let (d, n) = (level.channels, level.tokens().max(1) as f64);
        let (mut mean, mut var) = (vec![0.0f64; d], vec![0.0f64; d]);
        for token in values.chunks_exact(d) {
            mean.iter_mut().zip(token).for_each(|(m, v)| *m += f64::from(*v) / n);
        }
        for token in values.chunks_exact(d) {
            var.iter_mut()
                .zip(&mean)
                .zip(token)
                .for_each(|((s, m), v)| *s += (f64::from(*v) - m).powi(2) / n);
        }
        out.extend(mean.iter().map(|m| *m as f32));
        out.extend(var.iter().map(|v| v.sqrt() as f32));
    }
    Ok(out)
}

/// Length of [`pooled`].
pub(crate) fn width(levels: &[LevelSpec]) -> usize {
    levels.iter().map(|l| 2 * l.channels).sum()
}

/// Mean, directions and variances of a class, with its own statistics of energies.
///
/// `S = sum of d d^T / n` over the images' centred statistics is shrunk to `(1 - g) S + g v I`, `v = tr S / D`, with the `g` of Ledoit &
/// Wolf 2004. Of it the `r` leading directions are kept with their variances, and one variance, the mean, for all others. The
/// energy of an image is
///
/// ```text
/// e(x) = (sum over directions of c_i^2 / v_i + (|d|^2 - sum of c_i^2) / v_rest) / D,   d = x - mean, c_i = u_i . d
/// ```
///
/// which is `-2 ln p / D` but for a constant of the class, and the score `(e - m) / s`; `m`, `s` are mean and std of the energies of the
/// training images, each under the Gaussian of the other folds.
pub(crate) struct Pooled {
    mean: Param,
    directions: Param,
    /// Variances of the directions, then that of the rest.
    variances: Param,
    /// `m` and `s`.
    statistics: Param,
}

/// A fitted Gaussian in f64.
struct Fit {
    mean: Vec<f64>,
    directions: Vec<Vec<f64>>,
    variances: Vec<f64>,
}

impl Pooled {
    /// Tensors of a class that say nothing yet, `D` values per image and `rank` directions.
    pub(crate) fn new(class: &str, dim: usize, rank: usize) -> Result<Self> {
        let buffer = |what: &str, rows: usize, cols: usize| {
            let (name, owner) = (format!("image.{class}.{what}"), Owner::Class(class.to_owned()));
            Param::buffer(name, owner, vec![0.0; rows * cols], rows, cols)
        };
        Ok(Pooled {
            mean: buffer("mean", 1, dim)?,
            directions: buffer("directions", rank, dim)?,
            variances: buffer("variances", 1, rank + 1)?,
            statistics: buffer("statistics", 1, 2)?,
        })
    }

    /// Fits the class on the standardised statistics of its images, at least one; returns the held-out score of each.
    pub(crate) fn fit(&mut self, rows: &[Vec<f32>], folds: usize) -> Result<Vec<f32>> {
        let rank = self.directions.shape().0;
        let folds = folds.min(rows.len());
        let mut energies = vec![0.0; rows.len()];
        for fold in 0..folds.max(1) {
            let kept = rows.iter().enumerate().filter(|(i, _)| folds < 2 || i % folds != fold);
            let fit = Fit::new(&kept.map(|(_, r)| r.as_slice()).collect::<Vec<_>>(), rank)?;
            let out = energies.iter_mut().zip(rows).skip(fold).step_by(folds.max(1));
            out.for_each(|(e, row)| *e = fit.energy(row));
        }
        let n = rows.len().max(1) as f64;
        let m = energies.iter().sum::<f64>() / n;
        let s = (energies.iter().map(|e| (e - m).powi(2)).sum::<f64>() / n).sqrt().max(1e-6);
        let fit = Fit::new(&rows.iter().map(Vec::as_slice).collect::<Vec<_>>(), rank)?;
        let f32s = |v: Vec<f64>| v.into_iter().map(|v| v as f32).collect::<Vec<_>>();
        let mut directions = f32s(fit.directions.concat());
        directions.resize(self.directions.len(), 0.0);
        // Where the images allow fewer directions, the others are zero and their variance counts for nothing.
        let mut variances = f32s(fit.variances);
        let rest = variances.pop().unwrap_or(1.0);
        variances.resize(rank, rest);
        variances.push(rest);
        self.mean.set(f32s(fit.mean))?;
        self.directions.set(directions)?;
        self.variances.set(variances)?;
        self.statistics.set(vec![m as f32, s as f32])?;
        Ok(energies.iter().map(|e| ((e - m) / s) as f32).collect())
    }

    /// The score of an image's standardised statistics.
    pub(crate) fn score(&self, row: &[f32]) -> f32 {
        let f64s = |p: &Param| p.to_vec().into_iter().map(f64::from).collect::<Vec<_>>();
        let fit = Fit {
            mean: f64s(&self.mean),
            directions: f64s(&self.directions).chunks_exact(row.len().max(1)).map(<[f64]>::to_vec).collect(),
            variances: f64s(&self.variances),
        };
        let statistics = f64s(&self.statistics);
        ((fit.energy(row) - statistics[0]) / statistics[1]) as f32
    }

    pub(crate) fn params(&self) -> [&Param; 4] {
        [&self.mean, &self.directions, &self.variances, &self.statistics]
    }

    pub(crate) fn params_mut(&mut self) -> [&mut Param; 4] {
        [&mut self.mean, &mut self.directions, &mut self.variances, &mut self.statistics]
    }
}

impl Fit {
    fn new(rows: &[&[f32]], rank: usize) -> Result<Fit> {
        let (n, dim) = (rows.len().max(1), rows.first().map_or(0, |r| r.len()));
        let mut mean = vec![0.0; dim];
        for row in rows {
            mean.iter_mut().zip(*row).for_each(|(m, v)| *m += f64::from(*v) / n as f64);
        }
        let centred: Vec<Vec<f64>> =
            rows.iter().map(|r| r.iter().zip(&mean).map(|(v, m)| f64::from(*v) - m).collect()).collect();
        // The smaller one of X X^T and X^T X: both have the same eigenvalues other than 0 and the same norm.
        let by_image = n <= dim;
        let columns: Vec<Vec<f64>>;
        let vectors = if by_image {
            &centred
        } else {
            columns = (0..dim).map(|j| centred.iter().map(|r| r[j]).collect()).collect();
            &columns
        };
        let size = vectors.len();
        let mut products = vec![0.0; size * size];
        for i in 0..size {
            for j in 0..=i {
                let p: f64 = vectors[i].iter().zip(&vectors[j]).map(|(a, b)| a * b).sum();
                (products[i * size + j], products[j * size + i]) = (p, p);
            }
        }
        let lengths: Vec<f64> = centred.iter().map(|r| r.iter().map(|v| v * v).sum()).collect();
        let n = n as f64;
        let total = lengths.iter().sum::<f64>() / n;
        let square = products.iter().map(|p| p * p).sum::<f64>() / (n * n);
        let shrink = ledoit_wolf(&lengths, square, total, dim);
        // A single image, or images that are all alike: the variance of the first stage's images.
        let sphere = if total > 1e-9 { total / dim as f64 } else { 1.0 };
        let (mut directions, mut own) = (Vec::new(), Vec::new());
        for (value, vector) in leading_eigenvectors(&products, size, rank.min(size))? {
            if value <= 1e-9 * n * total.max(1e-9) {
                break;
            }
            directions.push(if by_image {
                let mut u = vec![0.0; dim];
                for (row, weight) in centred.iter().zip(&vector) {
                    u.iter_mut().zip(row).for_each(|(u, v)| *u += weight * v / value.sqrt());
                }
                u
            } else {
                vector
            });
            own.push(value / n);
        }
        let others = dim.saturating_sub(own.len()).max(1) as f64;
        let rest = (total - own.iter().sum::<f64>()).max(0.0) / others;
        let shrunk = |v: f64| (1.0 - shrink) * v + shrink * sphere;
        let mut variances: Vec<f64> = own.into_iter().map(shrunk).collect();
        variances.push(shrunk(rest).max(1e-6 * sphere));
        Ok(Fit { mean, directions, variances })
    }

    fn energy(&self, row: &[f32]) -> f64 {
        let d: Vec<f64> = row.iter().zip(&self.mean).map(|(v, m)| f64::from(*v) - m).collect();
        let mut rest: f64 = d.iter().map(|v| v * v).sum();
        let mut energy = 0.0;
        for (u, variance) in self.directions.iter().zip(&self.variances) {
            let c: f64 = u.iter().zip(&d).map(|(u, d)| u * d).sum();
            rest -= c * c;
            energy += c * c / variance;
        }
        let of_rest = self.variances.last().copied().unwrap_or(1.0);
        (energy + rest.max(0.0) / of_rest) / d.len().max(1) as f64
    }
}

/// The weight `g` of the sphere (Ledoit & Wolf 2004, lemma 3.2 and following), from the squared lengths of the centred images, `|S|^2` and
/// `tr S`: `g = min(1, b / a)` with `a = |S - v I|^2` and `b = sum |d d^T - S|^2 / n^2`.
fn ledoit_wolf(lengths: &[f64], square: f64, trace: f64, dim: usize) -> f64 {
    let n = lengths.len().max(1) as f64;
    let a = square - trace * trace / dim.max(1) as f64;
    let b = (lengths.iter().map(|l| l * l).sum::<f64>() / n - square) / n;
    if a <= 1e-12 { 1.0 } else { (b / a).clamp(0.0, 1.0) }
}

/// Takes mean and std of every statistic from the images of the first stage, class after class. The std is that within the classes: one over
/// all images would be that of the differences between classes, beside which what varies within a class is nothing.
pub(crate) fn standardize(
    classes: &[Vec<Vec<f32>>],
    standard: &mut Standardization,
    dim: usize,
) -> Result<()> {
    let mean = |rows: &mut dyn Iterator<Item = &Vec<f32>>| -> Vec<f64> {
        let (mut n, mut sum) = (0.0, vec![0.0; dim]);
        for row in rows {
            n += 1.0;
            sum.iter_mut().zip(row).for_each(|(s, v)| *s += f64::from(*v));
        }
        sum.into_iter().map(|s| s / f64::max(n, 1.0)).collect()
    };
    let all = mean(&mut classes.iter().flatten());
    let mut images: Vec<Arc<dyn ImageFeatures>> = Vec::new();
    for rows in classes {
        let own = mean(&mut rows.iter());
        for row in rows {
            let shifted =
                row.iter().zip(all.iter().zip(&own)).map(|(v, (a, o))| (f64::from(*v) - o + a) as f32);
            images.push(Arc::new(vec![shifted.collect::<Vec<f32>>()]));
        }
    }
    let level = LevelSpec { name: "image".into(), height: 1, width: 1, channels: dim };
    standard.fit(&TrainView::new(0, vec![level], vec![TrainClass::new("first", images)]), 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(n: usize, dim: usize) -> Vec<Vec<f32>> {
        // Two strong directions in noise.
        let s = Streams::new(3);
        let (a, b) = (s.normal("a", dim), s.normal("b", dim));
        let row = |i: usize| {
            let (code, noise) = (s.normal(&format!("code{i}"), 2), s.normal(&format!("noise{i}"), dim));
            (0..dim).map(|j| 1.0 + 2.0 * code[0] * a[j] + code[1] * b[j] + 0.3 * noise[j]).collect()
        };
        (0..n).map(row).collect()
    }

    /// `d^T ((1 - g) S + g v I)^-1 d / D` with everything written out.
    fn full(rows: &[Vec<f32>], x: &[f32]) -> (f64, f64) {
        let (n, dim) = (rows.len() as f64, x.len());
        let mean: Vec<f64> =
            (0..dim).map(|j| rows.iter().map(|r| f64::from(r[j])).sum::<f64>() / n).collect();
        let centre = |r: &[f32]| r.iter().zip(&mean).map(|(v, m)| f64::from(*v) - m).collect::<Vec<f64>>();
        let centred: Vec<Vec<f64>> = rows.iter().map(|r| centre(r)).collect();
        let at = |i: usize, j: usize| centred.iter().map(|r| r[i] * r[j]).sum::<f64>() / n;
        let mut s: Vec<Vec<f64>> = (0..dim).map(|i| (0..dim).map(|j| at(i, j)).collect()).collect();
        let v = (0..dim).map(|i| s[i][i]).sum::<f64>() / dim as f64;
        let norm = |f: &dyn Fn(usize, usize) -> f64| {
            (0..dim * dim).map(|k| f(k / dim, k % dim).powi(2)).sum::<f64>()
        };
        let a = norm(&|i, j| s[i][j] - if i == j { v } else { 0.0 });
        let b = centred.iter().map(|r| norm(&|i, j| r[i] * r[j] - s[i][j])).sum::<f64>() / (n * n);
        let g = (b / a).min(1.0);
        for (i, row) in s.iter_mut().enumerate() {
            row.iter_mut().for_each(|x| *x *= 1.0 - g);
            row[i] += g * v;
        }
        // Solve S y = d.
        let d = centre(x);
        let mut y = d.clone();
        for k in 0..dim {
            for i in k + 1..dim {
                let f = s[i][k] / s[k][k];
                let pivot = s[k].clone();
                s[i].iter_mut().zip(&pivot).for_each(|(v, p)| *v -= f * p);
                y[i] -= f * y[k];
            }
        }
        for k in (0..dim).rev() {
            y[k] = (y[k] - (k + 1..dim).map(|j| s[k][j] * y[j]).sum::<f64>()) / s[k][k];
        }
        (d.iter().zip(&y).map(|(a, b)| a * b).sum::<f64>() / dim as f64, g)
    }

    #[test]
    fn with_all_directions_the_energy_is_that_of_the_ledoit_wolf_covariance() {
        for (n, dim) in [(5, 8), (30, 8)] {
            let (rows, x) = (rows(n, dim), Streams::new(8).normal("x", dim));
            let fit = Fit::new(&rows.iter().map(Vec::as_slice).collect::<Vec<_>>(), dim).unwrap();
            let (expected, shrink) = full(&rows, &x);
            assert!(shrink > 0.001 && shrink < 0.999, "{n} images: {shrink}");
            let energy = fit.energy(&x);
            assert!((energy - expected).abs() < 1e-6 * expected, "{n} images: {energy}, {expected}");
        }
    }

    #[test]
    fn two_directions_explain_images_that_vary_in_two() {
        let rows = rows(60, 12);
        let slices: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
        let fit = Fit::new(&slices, 2).unwrap();
        assert!(fit.variances[1] > 10.0 * fit.variances[2], "{:?}", fit.variances);
        // Along the strong direction a large step is normal, elsewhere it is not.
        let step =
            |u: &[f64]| -> Vec<f32> { fit.mean.iter().zip(u).map(|(m, u)| (m + 2.0 * u) as f32).collect() };
        let mut across = vec![0.0; 12];
        across[0] = 1.0;
        for u in &fit.directions {
            let c = u[0];
            across.iter_mut().zip(u).for_each(|(a, u)| *a -= c * u);
        }
        assert!(fit.energy(&step(&across)) > 5.0 * fit.energy(&step(&fit.directions[0])));
    }

    #[test]
    fn one_image_alone_gives_finite_scores() {
        let mut model = Pooled::new("a", 6, 3).unwrap();
        let one = rows(1, 6);
        assert_eq!(model.fit(&one, 4).unwrap(), [0.0]);
        assert!(model.score(&[3.0; 6]).is_finite() && model.score(&one[0]).is_finite());
    }

    #[test]
    fn the_scale_of_a_statistic_is_its_deviation_within_the_classes() {
        // Two classes far apart, of deviation 1 each, and a second statistic that never changes.
        let classes = [-50.0f32, 50.0].map(|m| [-1.0, 1.0].map(|v| vec![m + v, 7.0]).to_vec());
        let mut standard = Standardization::new("image", 2).unwrap();
        standardize(&classes, &mut standard, 2).unwrap();
        let mut out = vec![];
        standard.push(&[2.0, 8.0], &mut out);
        assert!((out[0] - 2.0).abs() < 1e-5 && (out[1] - 1.0).abs() < 1e-5, "{out:?}");
    }

    #[test]
    fn statistics_are_mean_and_deviation_of_each_channel() {
        let levels = [LevelSpec { name: "l".into(), height: 1, width: 2, channels: 2 }];
        let image = vec![vec![1.0, 5.0, 3.0, 5.0]];
        assert_eq!(pooled(&image, &levels).unwrap(), [2.0, 5.0, 1.0, 0.0]);
        assert!(pooled(&vec![vec![1.0; 3]], &levels).is_err());
    }
}
