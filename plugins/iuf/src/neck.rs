//! Several feature levels on one grid.

use ccnf::core::check_size;
use ccnf::data::FloatMap;
use ccnf::prelude::*;
use std::borrow::Cow;

/// The neck, which has no tensors: every level is resized bilinearly, with corners aligned, to one grid, and the levels are concatenated
/// channel by channel: `[h * w, C]` with `C` the sum of the levels' channels (spec section 2).
///
/// The published neck takes the grid of the coarsest of its levels, stride 16.
#[derive(Debug, Clone)]
pub struct Neck {
    levels: Vec<LevelSpec>,
    /// Rows of the grid.
    pub height: usize,
    /// Columns of the grid.
    pub width: usize,
}

impl Neck {
    /// The grid of the coarsest level.
    pub fn coarsest(levels: &[LevelSpec]) -> Neck {
        let level = levels.iter().min_by_key(|l| l.tokens());
        Neck::with_grid(levels, level.map_or((0, 0), |l| (l.height, l.width)))
    }

    /// The grid of the finest level.
    pub fn finest(levels: &[LevelSpec]) -> Neck {
        let level = levels.iter().max_by_key(|l| l.tokens());
        Neck::with_grid(levels, level.map_or((0, 0), |l| (l.height, l.width)))
    }

    fn with_grid(levels: &[LevelSpec], (height, width): (usize, usize)) -> Neck {
        Neck { levels: levels.to_vec(), height, width }
    }

    /// Tokens of the grid.
    pub fn tokens(&self) -> usize {
        self.height * self.width
    }

    /// Channels of all levels, `C`.
    pub fn channels(&self) -> usize {
        self.levels.iter().map(|l| l.channels).sum()
    }

    /// The aligned map of an image, `[h * w][C]`. `level` changes the values of a level before they are resized. Fails for values that
    /// are not finite or not as many as the level says.
    pub fn align(
        &self,
        image: &dyn ImageFeatures,
        level: impl Fn(usize, &[f32]) -> Option<Vec<f32>>,
    ) -> Result<Vec<f32>> {
        let c = self.channels();
        let mut out = vec![0.0; self.tokens() * c];
        let mut first = 0;
        for (number, spec) in self.levels.iter().enumerate() {
            let values = image.level(number)?;
            check_size(&values, spec)?;
            check_finite("a feature", || format!("level `{}`", spec.name), values.iter())?;
            let values = level(number, &values).map_or(values, Cow::Owned);
            let grid = (spec.height, spec.width);
            let values = resize_map(&values, grid, (self.height, self.width), spec.channels)?;
            for (to, from) in out.chunks_exact_mut(c).zip(values.chunks_exact(spec.channels)) {
                to[first..first + spec.channels].copy_from_slice(from);
            }
            first += spec.channels;
        }
        Ok(out)
    }
}

/// Applies `change` to every channel of a channel-last map of `channels` channels; it returns maps of `tokens` cells.
fn by_channel(
    values: &[f32],
    grid: (usize, usize),
    tokens: usize,
    channels: usize,
    change: impl Fn(&FloatMap) -> FloatMap,
) -> Result<Vec<f32>> {
    let mut out = vec![0.0; tokens * channels];
    for k in 0..channels {
        let channel = values.iter().skip(k).step_by(channels).copied().collect();
        let changed = change(&FloatMap::new(grid.0, grid.1, channel)?);
        out.iter_mut().skip(k).step_by(channels).zip(&changed.data).for_each(|(to, from)| *to = *from);
    }
    Ok(out)
}

/// A channel-last map `[h * w][channels]` resized bilinearly with corners aligned.
pub fn resize_map<'a>(
    values: &'a [f32],
    from: (usize, usize),
    to: (usize, usize),
    channels: usize,
) -> Result<Cow<'a, [f32]>> {
    if from == to {
        return Ok(Cow::Borrowed(values));
    }
    let resized = by_channel(values, from, to.0 * to.1, channels, |m| m.resize_bilinear(to.0, to.1, true))?;
    Ok(Cow::Owned(resized))
}

/// A channel-last map `[h * w][channels]` under adaptive average pooling.
pub fn pool_map<'a>(
    values: &'a [f32],
    from: (usize, usize),
    to: (usize, usize),
    channels: usize,
) -> Result<Cow<'a, [f32]>> {
    if from == to {
        return Ok(Cow::Borrowed(values));
    }
    Ok(Cow::Owned(by_channel(values, from, to.0 * to.1, channels, |m| m.adaptive_avg_pool(to.0, to.1))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(name: &str, side: usize, channels: usize) -> LevelSpec {
        LevelSpec { name: name.into(), height: side, width: side, channels }
    }

    #[test]
    fn the_coarsest_level_keeps_its_values_and_the_others_come_to_its_grid() {
        let levels = [level("fine", 3, 1), level("coarse", 2, 2)];
        let neck = Neck::coarsest(&levels);
        assert_eq!((neck.tokens(), neck.channels()), (4, 3));
        let image = vec![(0..9).map(|v| v as f32).collect(), (10..18).map(|v| v as f32).collect()];
        let aligned = neck.align(&image, |_, _| None).unwrap();
        // Corners of the fine level, then both channels of the coarse one.
        assert_eq!(aligned, [0.0, 10.0, 11.0, 2.0, 12.0, 13.0, 6.0, 14.0, 15.0, 8.0, 16.0, 17.0]);
        let fine = Neck::finest(&levels).align(&image, |_, _| None).unwrap();
        assert_eq!(fine.len(), 27);
        assert_eq!(fine[12..15], [4.0, 13.0, 14.0]);
    }

    #[test]
    fn a_level_may_be_changed_first() {
        let neck = Neck::coarsest(&[level("a", 1, 2)]);
        let twice = |_: usize, v: &[f32]| Some(v.iter().map(|v| 2.0 * v).collect());
        assert_eq!(neck.align(&vec![vec![1.0, -3.0]], twice).unwrap(), [2.0, -6.0]);
    }

    #[test]
    fn short_and_infinite_features_are_errors() {
        let neck = Neck::coarsest(&[level("a", 1, 2)]);
        let align = |v: Vec<f32>| neck.align(&vec![v], |_, _| None).unwrap_err().kind();
        assert_eq!(align(vec![1.0]), ErrorKind::Encoder);
        assert_eq!(align(vec![1.0, f32::INFINITY]), ErrorKind::NonFinite);
    }
}
