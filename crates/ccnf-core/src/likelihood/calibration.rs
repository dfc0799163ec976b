//! What a class's training maps say about its test maps: mean and std of a level, and of every position.

use crate::encoder::LevelSpec;
use crate::error::Result;
use crate::scoring::LevelNorm;
use ccnf_tensor::{Owner, Param};

/// Statistics of the training maps of one class, owned by it.
///
/// * `scoring.<class>.statistics` `[1, 2 levels]`: per level mean and std, for [`LevelNorm::ZNorm`] and [`LevelNorm::Position`];
/// * `scoring.<class>.positionN` `[2, tokens]`: per position of level `N` the offset `m` and the divisor `d`, for `Position` only.
pub(super) struct Calibration {
    statistics: Param,
    positions: Vec<Param>,
}

/// Images that count for the level's own mean and variance against those of a position.
const PRIOR_IMAGES: f64 = 30.0;
/// Part of the level's std that is added to a position's.
const STD_FLOOR: f64 = 0.1;

/// Sums over the training maps of a level.
#[derive(Clone)]
pub(super) struct Moments {
    n: usize,
    sum: f64,
    squares: f64,
    /// Per position the sum and the sum of squares; without entries unless positions are calibrated.
    positions: Vec<(f64, f64)>,
    images: f64,
}

impl Moments {
    pub(super) fn new(norm: LevelNorm, level: &LevelSpec) -> Self {
        let tokens = if norm == LevelNorm::Position { level.tokens() } else { 0 };
        Moments { n: 0, sum: 0.0, squares: 0.0, positions: vec![(0.0, 0.0); tokens], images: 0.0 }
    }

    /// Adds the scores of one image.
    pub(super) fn add(&mut self, scores: &[f32]) {
        for s in scores {
            self.n += 1;
            self.sum += f64::from(*s);
            self.squares += f64::from(*s) * f64::from(*s);
        }
        self.images += 1.0;
        for ((sum, squares), s) in self.positions.iter_mut().zip(scores) {
            *sum += f64::from(*s);
            *squares += f64::from(*s) * f64::from(*s);
        }
    }

    fn mean_and_std(&self) -> (f64, f64) {
        let mean = self.sum / self.n.max(1) as f64;
        (mean, (self.squares / self.n.max(1) as f64 - mean * mean).max(0.0).sqrt())
    }

    /// Offset and divisor per position, and mean and std of the scores after them.
    fn by_position(&self, level: &LevelSpec) -> (Vec<f64>, Vec<f64>, (f64, f64)) {
        let (mean, std) = self.mean_and_std();
        let n = self.images.max(1.0);
        let means: Vec<f64> = self.positions.iter().map(|(s, _)| s / n).collect();
        let variances: Vec<f64> =
            self.positions.iter().zip(&means).map(|((_, q), m)| (q / n - m * m).max(0.0)).collect();
        let weight = self.images / (self.images + PRIOR_IMAGES);
        let shrunk = |values: &[f64], own: f64| -> Vec<f64> {
            smoothed(values, level).into_iter().map(|v| weight * v + (1.0 - weight) * own).collect()
        };
        let offsets = shrunk(&means, mean);
        let floor = (STD_FLOOR * std).max(1e-12);
        let divisors: Vec<f64> =
            shrunk(&variances, std * std).into_iter().map(|v| v.sqrt() + floor).collect();
        let (mut sum, mut squares) = (0.0, 0.0);
        for ((s, q), (m, d)) in self.positions.iter().zip(offsets.iter().zip(&divisors)) {
            sum += (s - n * m) / d;
            squares += (q - 2.0 * m * s + n * m * m) / (d * d);
        }
        let count = (n * self.positions.len() as f64).max(1.0);
        let mean = sum / count;
        (offsets, divisors, (mean, (squares / count - mean * mean).max(0.0).sqrt()))
    }
}

/// The mean over the 3x3 window; at the border over the positions that exist.
fn smoothed(values: &[f64], level: &LevelSpec) -> Vec<f64> {
    let (h, w) = (level.height, level.width);
    let window = |p: usize| {
        let (r, c) = (p / w, p % w);
        let rows = r.saturating_sub(1)..(r + 2).min(h);
        let all = rows.flat_map(|i| (c.saturating_sub(1)..(c + 2).min(w)).map(move |j| i * w + j));
        let (n, sum) = all.fold((0.0, 0.0), |(n, sum), i| (n + 1.0, sum + values[i]));
        sum / n
    };
    (0..values.len()).map(window).collect()
}

impl Calibration {
    /// Tensors of a class that say nothing yet.
    pub(super) fn new(class: &str, norm: LevelNorm, levels: &[LevelSpec]) -> Result<Self> {
        let buffer = |what: &str, rows: usize, cols: usize| {
            let (name, owner) = (format!("scoring.{class}.{what}"), Owner::Class(class.to_owned()));
            Param::buffer(name, owner, vec![0.0; rows * cols], rows, cols)
        };
        let calibrated = if norm == LevelNorm::Position { levels } else { &[] };
        let positions = calibrated
            .iter()
            .enumerate()
            .map(|(l, level)| buffer(&format!("position{l}"), 2, level.tokens()));
        Ok(Calibration {
            statistics: buffer("statistics", 1, 2 * levels.len())?,
            positions: positions.collect::<std::result::Result<_, _>>()?,
        })
    }

    /// Takes over what the training maps of every level say.
    pub(super) fn set(&mut self, moments: &[Moments], levels: &[LevelSpec]) -> Result<()> {
        let mut row = Vec::with_capacity(2 * moments.len());
        for (l, (moments, level)) in moments.iter().zip(levels).enumerate() {
            let (mean, std) = match self.positions.get_mut(l) {
                None => moments.mean_and_std(),
                Some(param) => {
                    let (offsets, divisors, after) = moments.by_position(level);
                    param.set(offsets.into_iter().chain(divisors).map(|v| v as f32).collect())?;
                    after
                }
            };
            row.extend([mean as f32, std.max(1e-12) as f32]);
        }
        Ok(self.statistics.set(row)?)
    }

    /// Standardises the scores of an image at a level, in place.
    pub(super) fn apply(&self, norm: LevelNorm, level: usize, scores: &mut [f32]) {
        if let Some(position) = self.positions.get(level) {
            let values = position.to_vec();
            let (offsets, divisors) = values.split_at(values.len() / 2);
            scores.iter_mut().zip(offsets.iter().zip(divisors)).for_each(|(s, (m, d))| *s = (*s - m) / d);
        }
        if norm != LevelNorm::Mean {
            let statistics = self.statistics.to_vec();
            let (mean, std) = (statistics[2 * level], statistics[2 * level + 1]);
            scores.iter_mut().for_each(|v| *v = (*v - mean) / std);
        }
    }

    pub(super) fn params(&self) -> impl Iterator<Item = &Param> {
        std::iter::once(&self.statistics).chain(&self.positions)
    }

    pub(super) fn params_mut(&mut self) -> impl Iterator<Item = &mut Param> {
        std::iter::once(&mut self.statistics).chain(&mut self.positions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ccnf_tensor::Streams;

    fn level(height: usize, width: usize) -> LevelSpec {
        LevelSpec { name: "l".into(), height, width, channels: 1 }
    }

    fn fitted(norm: LevelNorm, level: &LevelSpec, images: &[Vec<f32>]) -> Calibration {
        let mut moments = Moments::new(norm, level);
        images.iter().for_each(|i| moments.add(i));
        let levels = std::slice::from_ref(level);
        let mut c = Calibration::new("a", norm, levels).unwrap();
        c.set(&[moments], levels).unwrap();
        c
    }

    #[test]
    fn calibrated_training_maps_have_mean_zero_and_variance_one() {
        let level = level(5, 4);
        let images: Vec<Vec<f32>> = (0..9)
            .map(|i| {
                let noise = Streams::new(1).normal(&format!("{i}"), 20);
                noise.iter().enumerate().map(|(p, e)| 3.0 + p as f32 * (1.0 + 0.1 * e)).collect()
            })
            .collect();
        for norm in [LevelNorm::ZNorm, LevelNorm::Position] {
            let c = fitted(norm, &level, &images);
            let mut all = images.clone();
            all.iter_mut().for_each(|i| c.apply(norm, 0, i));
            let n = 180.0;
            let mean = all.concat().iter().map(|v| f64::from(*v)).sum::<f64>() / n;
            let square = all.concat().iter().map(|v| f64::from(v * v)).sum::<f64>() / n;
            assert!(
                mean.abs() < 1e-5 && (square - 1.0).abs() < 1e-4,
                "{norm:?}: mean {mean}, square {square}"
            );
        }
    }

    #[test]
    fn a_position_is_shrunk_to_its_level_by_the_number_of_images() {
        // Two positions with means 0 and 4, each with variance 1.
        let level = level(1, 2);
        let images = vec![vec![-1.0, 3.0], vec![1.0, 5.0]];
        let c = fitted(LevelNorm::Position, &level, &images);
        let values = c.positions[0].to_vec();
        // Mean 2, variance 5 over all; smoothed position means 2, variances 1; weight 2 / 32.
        assert_eq!(values[..2], [2.0, 2.0]);
        let expected = (1.0f64 / 16.0 + 5.0 * 15.0 / 16.0).sqrt() + 0.1 * 5f64.sqrt();
        values[2..].iter().for_each(|d| assert!((f64::from(*d) - expected).abs() < 1e-6, "{d} {expected}"));
    }

    #[test]
    fn the_plain_mean_changes_nothing() {
        let c = fitted(LevelNorm::Mean, &level(1, 2), &[vec![1.0, 2.0]]);
        let mut scores = vec![7.0, 8.0];
        c.apply(LevelNorm::Mean, 0, &mut scores);
        assert_eq!(scores, [7.0, 8.0]);
    }

    #[test]
    fn constant_maps_stay_finite() {
        for norm in [LevelNorm::ZNorm, LevelNorm::Position] {
            let c = fitted(norm, &level(1, 2), &[vec![3.0, 3.0], vec![3.0, 3.0]]);
            let mut scores = vec![3.0, 3.0];
            c.apply(norm, 0, &mut scores);
            assert_eq!(scores, [0.0, 0.0]);
        }
    }
}
