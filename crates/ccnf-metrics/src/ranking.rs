//! Scores by rank, most anomalous first: sorted one by one, or counted in bins.

use std::fmt;

use rayon::slice::ParallelSliceMut;

use crate::histogram::{Bin, Histogram};
use crate::sum::CompensatedSum;

/// The integer of a score whose ascending order is descending score. `-0.0` gives the key of `0.0`.
pub(crate) fn key_of(score: f32) -> u32 {
    let bits = (score + 0.0).to_bits();
    let ascending = if bits >> 31 == 1 { !bits } else { bits | 0x8000_0000 };
    !ascending
}

/// The key of `f32::MIN`; above are only those of minus infinity and NaN.
const LAST_FINITE: u32 = 0xff7f_ffff;

fn score_of(key: u32) -> f32 {
    let ascending = !key;
    let bits = if ascending >> 31 == 1 { ascending & 0x7fff_ffff } else { !ascending };
    f32::from_bits(bits)
}

/// An anomalous sample as one integer: the key of its score, then the size of its region.
pub(crate) fn positive(score: f32, region_size: u32) -> u64 {
    (u64::from(key_of(score)) << 32) | u64::from(region_size)
}

/// Key and region size of an anomalous sample.
pub(crate) fn parts_of(positive: u64) -> (u32, u32) {
    ((positive >> 32) as u32, positive as u32)
}

/// A non-finite score as it appears in the reason of an undefined metric.
#[derive(Clone, Debug)]
pub(crate) struct NotFinite {
    /// Where it stands, e.g. "score 17".
    pub(crate) place: String,
    /// Its value.
    pub(crate) score: f32,
}

impl fmt::Display for NotFinite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is not finite ({})", self.place, self.score)
    }
}

/// Samples by rank, and their totals.
#[derive(Clone, Debug)]
pub(crate) struct Ranking {
    samples: Samples,
    /// Anomalous samples, P.
    pub(crate) positives: u64,
    /// Normal samples, N.
    pub(crate) negatives: u64,
    /// The first non-finite score, which makes everything undefined.
    pub(crate) not_finite: Option<NotFinite>,
}

#[derive(Clone, Debug)]
enum Samples {
    /// Four bytes per normal and eight per anomalous sample, ascending.
    Sorted {
        negatives: Vec<u32>,
        positives: Vec<u64>,
    },
    Binned(Histogram),
}

impl Ranking {
    /// Sorts keys ([`key_of`]) of normal and anomalous ([`positive`]) samples in place, in parallel. Equal keys
    /// are identical, so the result does not depend on the number of threads.
    pub(crate) fn sorted(
        mut negatives: Vec<u32>,
        mut positives: Vec<u64>,
        not_finite: Option<NotFinite>,
    ) -> Self {
        negatives.par_sort_unstable();
        positives.par_sort_unstable();
        let totals = (positives.len() as u64, negatives.len() as u64);
        let samples = Samples::Sorted { negatives, positives };
        Self { samples, positives: totals.0, negatives: totals.1, not_finite }
    }

    /// Samples that were counted in bins.
    pub(crate) fn binned(histogram: Histogram, not_finite: Option<NotFinite>) -> Self {
        let (mut positives, mut negatives) = (0, 0);
        for bin in histogram.bins() {
            positives += u64::from(bin.positives);
            negatives += u64::from(bin.negatives);
        }
        Self { samples: Samples::Binned(histogram), positives, negatives, not_finite }
    }

    /// Number of samples.
    pub(crate) fn len(&self) -> u64 {
        self.positives + self.negatives
    }

    /// Whether every step is a single score. If not, the samples of a step have scores in an interval, in any
    /// order.
    pub(crate) fn is_exact(&self) -> bool {
        match &self.samples {
            Samples::Sorted { .. } => true,
            Samples::Binned(histogram) => histogram.is_exact(),
        }
    }

    /// One step per distinct score or bin, from the highest to the lowest.
    pub(crate) fn steps(&self) -> impl Iterator<Item = Step> {
        let (sorted, binned) = match &self.samples {
            Samples::Sorted { negatives, positives } => (Some(SortedSteps { negatives, positives }), None),
            Samples::Binned(histogram) => (None, Some(histogram.bins().map(Step::from))),
        };
        let (mut true_positives, mut false_positives) = (0, 0);
        sorted.into_iter().flatten().chain(binned.into_iter().flatten()).map(move |step| {
            true_positives += step.new_positives;
            false_positives += step.new_negatives;
            Step { true_positives, false_positives, ..step }
        })
    }
}

/// All samples that share one score or bin, and the counts once they are flagged.
pub(crate) struct Step {
    /// The score of all of them, or the lowest of the bin: flagged are the samples with score >= threshold.
    pub(crate) threshold: f32,
    /// Flagged anomalous samples.
    pub(crate) true_positives: u64,
    /// Flagged normal samples.
    pub(crate) false_positives: u64,
    /// Anomalous samples that this step adds.
    pub(crate) new_positives: u64,
    /// Normal samples that this step adds.
    pub(crate) new_negatives: u64,
    /// Sum over the anomalous samples that this step adds of 1 / (size of the sample's region).
    pub(crate) new_overlap: f64,
}

impl From<Bin> for Step {
    fn from(bin: Bin) -> Self {
        Step {
            threshold: score_of(bin.last_key.min(LAST_FINITE)),
            true_positives: 0,
            false_positives: 0,
            new_positives: u64::from(bin.positives),
            new_negatives: u64::from(bin.negatives),
            new_overlap: bin.overlap,
        }
    }
}

/// Merges the two sorted lists; the running counts stay 0.
struct SortedSteps<'a> {
    negatives: &'a [u32],
    positives: &'a [u64],
}

impl Iterator for SortedSteps<'_> {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        let heads = [self.negatives.first().copied(), self.positives.first().map(|&p| parts_of(p).0)];
        let key = heads.into_iter().flatten().min()?;
        let new_negatives = self.negatives.iter().take_while(|&&negative| negative == key).count();
        self.negatives = &self.negatives[new_negatives..];
        let new_positives = self.positives.iter().take_while(|&&p| parts_of(p).0 == key).count();
        let (group, rest) = self.positives.split_at(new_positives);
        self.positives = rest;
        let mut overlap = CompensatedSum::default();
        // equal sizes are neighbours
        for same in group.chunk_by(|a, b| a == b) {
            overlap.add(same.len() as f64 / f64::from(parts_of(same[0]).1));
        }
        Some(Step {
            threshold: score_of(key),
            true_positives: 0,
            false_positives: 0,
            new_positives: new_positives as u64,
            new_negatives: new_negatives as u64,
            new_overlap: overlap.value(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_ascend_as_scores_descend_and_unpack_exactly() {
        let scores = [f32::MAX, 3.5, f32::MIN_POSITIVE, 1e-45, 0.0, -1e-45, -2.0, f32::MIN];
        for pair in scores.windows(2) {
            assert!(key_of(pair[0]) < key_of(pair[1]), "{pair:?}");
        }
        for score in scores {
            assert_eq!(score_of(key_of(score)).to_bits(), score.to_bits());
            assert_eq!(parts_of(positive(score, u32::MAX)), (key_of(score), u32::MAX));
        }
        assert_eq!(score_of(LAST_FINITE), f32::MIN);
    }

    #[test]
    fn negative_zero_ties_with_zero() {
        assert_eq!(key_of(-0.0), key_of(0.0));
    }

    #[test]
    fn steps_group_equal_scores_in_both_forms() {
        let (negatives, positives) = ([1.0, 1.0].map(key_of), [positive(2.0, 1), positive(1.0, 2)]);
        let mut histogram = Histogram::new(1 << 20);
        histogram.add_negatives(negatives.into_iter());
        positives
            .map(parts_of)
            .into_iter()
            .for_each(|(key, size)| histogram.add_positives([key].into_iter(), size));
        let sorted = Ranking::sorted(negatives.to_vec(), positives.to_vec(), None);
        for ranking in [sorted, Ranking::binned(histogram, None)] {
            assert!(ranking.is_exact());
            let steps: Vec<_> = ranking
                .steps()
                .map(|s| (s.threshold, s.true_positives, s.false_positives, s.new_negatives, s.new_overlap))
                .collect();
            assert_eq!(steps, [(2.0, 1, 0, 0, 1.0), (1.0, 2, 2, 2, 0.5)]);
        }
    }
}
