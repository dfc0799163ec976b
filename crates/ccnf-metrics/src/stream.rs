//! Collects the pixels of maps that are shown once.

use rayon::iter::{
    IndexedParallelIterator, IntoParallelRefIterator, IntoParallelRefMutIterator, ParallelIterator,
};
use rayon::slice::ParallelSlice;

use crate::components::{Connectivity, Run, Runs, find_runs};
use crate::error::MetricsError;
use crate::histogram::Histogram;
use crate::pixel::{PixelMap, PixelSet};
use crate::ranking::{NotFinite, Ranking, key_of, parts_of, positive};

/// Histograms that are filled at the same time. A fixed number, so that no result depends on the machine.
const SHARDS: usize = 4;
/// Maps are taken in groups of about so many pixels, which bounds what a group needs beside the result.
const GROUP_PIXELS: usize = 1 << 22;

/// How much a [`PixelStream`] keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamLimits {
    /// Up to so many pixels every score is kept and sorted: 4 bytes per normal and 8 per anomalous pixel.
    /// Default 2^25: images of 256 x 256 pixels, 512 of them.
    pub exact_pixels: usize,
    /// Beyond, scores are counted in up to 4 times so many bins of 16 bytes while the stream is filled, and in
    /// so many when it is finished. At least 65536, which is taken for anything lower; default 2^21.
    pub bins: usize,
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self { exact_pixels: 1 << 25, bins: 1 << 21 }
    }
}

/// Takes anomaly maps as they come and makes a [`PixelSet`] of their pixels; no map has to be kept.
///
/// Up to [`StreamLimits::exact_pixels`] pixels every score is kept and the metrics are exact. From then on
/// scores are counted in bins, and memory no longer grows. A bin is a single score at first. Whenever there
/// would be too many bins, all neighbours are joined in pairs: bins are aligned intervals of 2^k consecutive
/// `f32` values, with one k for the set. So scores in a narrow range (by default: with up to 32 different
/// values of their 16 leading bits) stay exact at any size; scores spread over many powers of two end with
/// thousands of bins per power of two. The error bound of a metric is computed from the counts (see
/// [`PixelSet`]), never assumed.
///
/// The result depends neither on the number of threads nor, up to rounding, on the order or grouping of the
/// maps. Maps of one [`push`](Self::push) are taken in parallel.
///
/// ```
/// use ccnf_metrics::{AUPRO_FPR_LIMIT, Connectivity, PixelMap, PixelStream};
///
/// let mut stream = PixelStream::new(Connectivity::Eight);
/// for shift in [0.0, 0.05] {
///     let scores = [0.9, 0.1, 0.2, 0.1].map(|score| score + shift);
///     let mask = [true, false, false, false];
///     stream.push(&[PixelMap::new(2, 2, &scores, &mask)?])?;
/// }
/// let set = stream.finish();
/// assert_eq!(set.auroc().value(), Some(1.0));
/// assert_eq!(set.auroc().error_bound(), Some(0.0));
/// assert_eq!(set.aupro(AUPRO_FPR_LIMIT)?.value(), Some(1.0));
/// # Ok::<(), ccnf_metrics::MetricsError>(())
/// ```
#[derive(Clone, Debug)]
pub struct PixelStream {
    connectivity: Connectivity,
    limits: StreamLimits,
    kept: Kept,
    maps: usize,
    pixels: usize,
    regions: usize,
    not_finite: Option<NotFinite>,
}

#[derive(Clone, Debug)]
enum Kept {
    Scores { negatives: Vec<u32>, positives: Vec<u64> },
    Counts(Vec<Histogram>),
}

impl PixelStream {
    /// An empty stream with the default limits. `connectivity` says which mask pixels form a region.
    #[must_use]
    pub fn new(connectivity: Connectivity) -> Self {
        Self::with_limits(connectivity, StreamLimits::default())
    }

    /// An empty stream that keeps more or less.
    #[must_use]
    pub fn with_limits(connectivity: Connectivity, limits: StreamLimits) -> Self {
        let kept = Kept::Scores { negatives: Vec::new(), positives: Vec::new() };
        Self { connectivity, limits, kept, maps: 0, pixels: 0, regions: 0, not_finite: None }
    }

    /// Adds the pixels of maps, which may differ in size.
    ///
    /// # Errors
    ///
    /// [`MetricsError::TooLarge`] if the pixels of all maps so far do not fit in 32 bits; then none of these
    /// `maps` was added.
    pub fn push(&mut self, maps: &[PixelMap<'_>]) -> Result<(), MetricsError> {
        // bins count in 32 bits
        let pixels = maps.iter().fold(self.pixels, |sum, map| sum.saturating_add(map.scores.len()));
        if u32::try_from(pixels).is_err() {
            return Err(MetricsError::TooLarge { what: "pixels of a set" });
        }
        let mut rest = maps;
        while !rest.is_empty() {
            let mut pixels = 0;
            let fits = |map: &&PixelMap<'_>| {
                pixels += map.scores.len();
                pixels <= GROUP_PIXELS
            };
            let (group, tail) = rest.split_at(rest.iter().take_while(fits).count().max(1));
            self.push_group(group)?;
            rest = tail;
        }
        Ok(())
    }

    /// Ends the stream: sorts what was kept, or joins the counts.
    #[must_use]
    pub fn finish(self) -> PixelSet {
        let ranking = match self.kept {
            Kept::Scores { negatives, positives } => Ranking::sorted(negatives, positives, self.not_finite),
            Kept::Counts(mut shards) => {
                let mut whole = shards.pop().unwrap_or_else(|| Histogram::new(self.limits.bins));
                while let Some(shard) = shards.pop() {
                    whole.absorb(&shard);
                }
                Ranking::binned(whole, self.not_finite)
            }
        };
        PixelSet { ranking, regions: self.regions }
    }

    fn push_group(&mut self, group: &[PixelMap<'_>]) -> Result<(), MetricsError> {
        if self.not_finite.is_none() {
            self.not_finite = first_not_finite(group, self.maps);
        }
        let pixels = self.pixels + group.iter().map(|map| map.scores.len()).sum::<usize>();
        if pixels > self.limits.exact_pixels {
            self.count_kept();
        }
        self.regions += match &mut self.kept {
            Kept::Scores { negatives, positives } => keep(group, self.connectivity, negatives, positives)?,
            Kept::Counts(shards) => count(group, self.connectivity, self.maps, shards)?,
        };
        (self.pixels, self.maps) = (pixels, self.maps + group.len());
        Ok(())
    }

    /// Goes over from scores to counts.
    fn count_kept(&mut self) {
        let Kept::Scores { negatives, positives } = &self.kept else { return };
        let mut shards = vec![Histogram::new(self.limits.bins); SHARDS];
        let share = |all: usize| all.div_ceil(SHARDS).max(1);
        shards.par_iter_mut().zip(negatives.par_chunks(share(negatives.len()))).for_each(|(shard, keys)| {
            shard.add_negatives(keys.iter().copied());
        });
        shards.par_iter_mut().zip(positives.par_chunks(share(positives.len()))).for_each(|(shard, part)| {
            for (key, region_size) in part.iter().copied().map(parts_of) {
                shard.add_positives([key].into_iter(), region_size);
            }
        });
        self.kept = Kept::Counts(shards);
    }
}

/// Appends the pixels of maps and returns the number of their regions.
fn keep(
    maps: &[PixelMap<'_>],
    connectivity: Connectivity,
    negatives: &mut Vec<u32>,
    positives: &mut Vec<u64>,
) -> Result<usize, MetricsError> {
    let parts = maps
        .par_iter()
        .map(|map| {
            let Runs { runs, sizes } = find_runs(map.width, map.mask, connectivity)?;
            let anomalous = sizes.iter().map(|&size| size as usize).sum::<usize>();
            let mut negatives = Vec::with_capacity(map.scores.len() - anomalous);
            let mut positives = Vec::with_capacity(anomalous);
            normal_spans(map, &runs)
                .for_each(|span| negatives.extend(span.iter().map(|&score| key_of(score))));
            for run in runs {
                let size = sizes[run.region as usize];
                positives.extend(map.scores[run.pixels].iter().map(|&score| positive(score, size)));
            }
            Ok((negatives, positives, sizes.len()))
        })
        .collect::<Result<Vec<_>, MetricsError>>()?;
    let mut regions = 0;
    for (new_negatives, new_positives, new_regions) in parts {
        negatives.extend(new_negatives);
        positives.extend(new_positives);
        regions += new_regions;
    }
    Ok(regions)
}

/// Counts the pixels of maps, of which the first has number `first`, and returns the number of their regions.
fn count(
    maps: &[PixelMap<'_>],
    connectivity: Connectivity,
    first: usize,
    shards: &mut [Histogram],
) -> Result<usize, MetricsError> {
    let number_of_shards = shards.len();
    let count_map = |map: &PixelMap<'_>, shard: &mut Histogram| {
        let Runs { runs, sizes } = find_runs(map.width, map.mask, connectivity)?;
        normal_spans(map, &runs)
            .for_each(|span| shard.add_negatives(span.iter().map(|&score| key_of(score))));
        for run in runs {
            let keys = map.scores[run.pixels].iter().map(|&score| key_of(score));
            shard.add_positives(keys, sizes[run.region as usize]);
        }
        Ok(sizes.len())
    };
    let regions_of_shard = |(number, shard): (usize, &mut Histogram)| {
        let own = (first..).zip(maps).filter(|(map_number, _)| map_number % number_of_shards == number);
        own.map(|(_, map)| count_map(map, shard)).sum::<Result<usize, MetricsError>>()
    };
    shards.par_iter_mut().enumerate().map(regions_of_shard).sum()
}

/// The scores between the runs.
fn normal_spans<'a>(map: &PixelMap<'a>, runs: &[Run]) -> impl Iterator<Item = &'a [f32]> {
    let scores = map.scores;
    let begins = [0].into_iter().chain(runs.iter().map(|run| run.pixels.end));
    let ends = runs.iter().map(|run| run.pixels.start).chain([scores.len()]);
    begins.zip(ends).map(|(begin, end)| &scores[begin..end])
}

/// The first score that is not finite, in maps of which the first has number `first`.
fn first_not_finite(maps: &[PixelMap<'_>], first: usize) -> Option<NotFinite> {
    maps.par_iter().enumerate().find_map_first(|(index, map)| {
        // without a way out, so that it is done in vector registers
        if map.scores.iter().fold(true, |all, score| all & score.is_finite()) {
            return None;
        }
        let number = first + index;
        let index = map.scores.iter().position(|score| !score.is_finite())?;
        let (row, column) = (index / map.width, index % map.width);
        let place = format!("the score of map {number} at row {row}, column {column}");
        Some(NotFinite { place, score: map.scores[index] })
    })
}
