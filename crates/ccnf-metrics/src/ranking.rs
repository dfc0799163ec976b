//! Scores sorted once, most anomalous first, eight bytes per score.

use std::fmt;

use rayon::slice::ParallelSliceMut;

/// Packs a score and its label into one integer whose ascending order is descending score, then ascending
/// label.
///
/// `label` is 0 for a normal sample; any other value is anomalous (and may name a region). `-0.0` packs like
/// `0.0`. Finite scores only: the order of NaN is meaningless, [`Ranking::new`] is told about it instead.
pub(crate) fn pack(score: f32, label: u32) -> u64 {
    let bits = (score + 0.0).to_bits();
    let ascending = if bits >> 31 == 1 { !bits } else { bits | 0x8000_0000 };
    (u64::from(!ascending) << 32) | u64::from(label)
}

fn score_of(key: u64) -> f32 {
    let ascending = !high(key);
    let bits = if ascending >> 31 == 1 { ascending & 0x7fff_ffff } else { !ascending };
    f32::from_bits(bits)
}

fn high(key: u64) -> u32 {
    (key >> 32) as u32
}

/// The label that was packed.
pub(crate) fn label_of(key: u64) -> u32 {
    key as u32
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

/// Sorted keys and their totals.
#[derive(Clone, Debug)]
pub(crate) struct Ranking {
    keys: Vec<u64>,
    /// Anomalous samples, P.
    pub(crate) positives: u64,
    /// Normal samples, N.
    pub(crate) negatives: u64,
    /// The first non-finite score, which makes everything undefined.
    pub(crate) not_finite: Option<NotFinite>,
}

impl Ranking {
    /// Sorts the keys in place, in parallel. Equal keys are identical, so the result does not depend on the
    /// number of threads.
    pub(crate) fn new(mut keys: Vec<u64>, not_finite: Option<NotFinite>) -> Self {
        keys.par_sort_unstable();
        let positives = keys.iter().filter(|&&key| label_of(key) != 0).count() as u64;
        let negatives = keys.len() as u64 - positives;
        Self { keys, positives, negatives, not_finite }
    }

    /// Number of samples.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// One step per distinct score, from the highest to the lowest.
    pub(crate) fn steps(&self) -> Steps<'_> {
        Steps { rest: &self.keys, true_positives: 0, false_positives: 0 }
    }
}

/// All samples that share one score, and the counts once they are flagged.
pub(crate) struct Step<'a> {
    /// The shared score: flagged are the samples with score >= threshold.
    pub(crate) threshold: f32,
    /// Flagged anomalous samples.
    pub(crate) true_positives: u64,
    /// Flagged normal samples.
    pub(crate) false_positives: u64,
    /// Keys of the anomalous samples that this step adds.
    pub(crate) new_positives: &'a [u64],
    /// Normal samples that this step adds.
    pub(crate) new_negatives: u64,
}

/// Iterator over the distinct scores of a [`Ranking`].
pub(crate) struct Steps<'a> {
    rest: &'a [u64],
    true_positives: u64,
    false_positives: u64,
}

impl<'a> Iterator for Steps<'a> {
    type Item = Step<'a>;

    fn next(&mut self) -> Option<Step<'a>> {
        let first = *self.rest.first()?;
        let end = self.rest.iter().position(|&key| high(key) != high(first)).unwrap_or(self.rest.len());
        let (group, rest) = self.rest.split_at(end);
        let (normal, anomalous) = group.split_at(group.partition_point(|&key| label_of(key) == 0));
        self.rest = rest;
        self.true_positives += anomalous.len() as u64;
        self.false_positives += normal.len() as u64;
        Some(Step {
            threshold: score_of(first),
            true_positives: self.true_positives,
            false_positives: self.false_positives,
            new_positives: anomalous,
            new_negatives: normal.len() as u64,
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
            assert!(pack(pair[0], 9) < pack(pair[1], 0), "{pair:?}");
        }
        for score in scores {
            assert_eq!(score_of(pack(score, 7)).to_bits(), score.to_bits());
            assert_eq!(label_of(pack(score, u32::MAX)), u32::MAX);
        }
    }

    #[test]
    fn negative_zero_ties_with_zero() {
        assert_eq!(pack(-0.0, 1), pack(0.0, 1));
    }

    #[test]
    fn steps_group_equal_scores() {
        let keys = vec![pack(1.0, 0), pack(2.0, 1), pack(1.0, 3), pack(1.0, 0)];
        let steps: Vec<_> = Ranking::new(keys, None)
            .steps()
            .map(|step| (step.threshold, step.true_positives, step.false_positives, step.new_negatives))
            .collect();
        assert_eq!(steps, [(2.0, 1, 0, 0), (1.0, 2, 2, 2)]);
    }
}
