//! The kept patches of all classes, without scoring.

use crate::bank::Bank;
use crate::coreset::{greedy, random};
use crate::detector::{Coreset, PatchMemoryConfig};
use ccnf::core::{Standardization, check_size};
use ccnf::prelude::*;

/// Standardisation and patches per class and level.
pub(crate) struct Model {
    pub(crate) config: PatchMemoryConfig,
    pub(crate) levels: Vec<LevelSpec>,
    pub(crate) standards: Vec<Standardization>,
    /// Whether the standardisation was fitted.
    pub(crate) fitted: bool,
    pub(crate) classes: Vec<String>,
    /// `[class][level]`.
    pub(crate) banks: Vec<Vec<Bank>>,
    pub(crate) streams: Streams,
}

impl Model {
    /// The standardised tokens of a class at a level that may be kept, `[n, D]`, and the image of each.
    fn candidates(&self, class: &TrainClass, level: usize) -> Result<(Vec<f32>, Vec<u32>)> {
        let (spec, d) = (&self.levels[level], self.levels[level].channels);
        let all = class.len() * spec.tokens();
        let count = match (self.config.coreset, self.config.candidates) {
            (Coreset::Random, _) => self.config.patches,
            (Coreset::Greedy, 0) => all,
            (Coreset::Greedy, times) => self.config.patches.saturating_mul(times),
        };
        let mut rng = self.streams.stream(&format!("patches.level{level}.{}", class.name()), 0);
        let (mut tokens, mut image) = (Vec::with_capacity(count.min(all) * d), None::<(usize, Values<'_>)>);
        let mut origins = Vec::with_capacity(count.min(all));
        for chosen in random(all, count, &mut rng) {
            let (number, cell) = (chosen / spec.tokens(), chosen % spec.tokens());
            if image.as_ref().is_none_or(|(n, _)| *n != number) {
                image = Some((number, class.image(number, level)?));
            }
            if let Some((_, values)) = &image {
                self.standards[level].push(&values[cell * d..(cell + 1) * d], &mut tokens);
                origins.push(number as u32);
            }
        }
        let place = || format!("level `{}` of the training images of class `{}`", spec.name, class.name());
        check_finite("a feature", place, &tokens)?;
        Ok((tokens, origins))
    }

    /// Chooses the patches of a class.
    pub(crate) fn fit(&self, class: &TrainClass) -> Result<Vec<Bank>> {
        let mut banks = Vec::new();
        for (level, spec) in self.levels.iter().enumerate() {
            let d = spec.channels;
            let (tokens, origins) = self.candidates(class, level)?;
            let kept = match self.config.coreset {
                Coreset::Random => (0..tokens.len() / d).collect(),
                Coreset::Greedy => greedy(&tokens, d, self.config.patches),
            };
            let mut bank = Bank::new(level, class.name(), kept.len(), d)?;
            let values = kept.iter().flat_map(|i| tokens[i * d..(i + 1) * d].iter().copied()).collect();
            bank.set(values, kept.iter().map(|i| origins[*i]).collect())?;
            banks.push(bank);
        }
        Ok(banks)
    }

    /// `-|x - m|^2 / 2` per token of each candidate; `m` of another image where the candidate is a training image.
    pub(crate) fn log_likelihood(&self, level: usize, candidates: &[Candidate<'_>]) -> Result<Vec<Vec<f32>>> {
        let spec = &self.levels[level];
        let one = |c: &Candidate<'_>| -> Result<Vec<f32>> {
            let values = c.image.level(level)?;
            check_size(&values, spec)?;
            let mut x = Vec::with_capacity(values.len());
            self.standards[level].push(&values, &mut x);
            let own = c.training.map(|n| n as u32);
            let distances = self.banks[c.class][level].distances(&x, self.config.neighbours, own)?;
            Ok(distances.into_iter().map(|d| d * -0.5).collect())
        };
        candidates.iter().map(one).collect()
    }
}
