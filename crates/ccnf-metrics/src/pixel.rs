//! Pixel-level metrics over a set of anomaly maps.

use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, ParallelIterator};

use crate::aupro;
use crate::components::{Connectivity, label_regions};
use crate::curve::{self, F1Max};
use crate::error::MetricsError;
use crate::metric::Metric;
use crate::ranking::{NotFinite, Ranking, label_of, pack};

/// The usual limit of the false-positive rate for [`PixelSet::aupro`].
pub const AUPRO_FPR_LIMIT: f64 = 0.3;

/// One anomaly map and its ground truth, borrowed.
#[derive(Clone, Copy, Debug)]
pub struct PixelMap<'a> {
    height: usize,
    width: usize,
    scores: &'a [f32],
    mask: &'a [bool],
}

impl<'a> PixelMap<'a> {
    /// A map of `scores` and a `mask` (`true` = anomalous), both `[height, width]`, row-major.
    ///
    /// # Errors
    ///
    /// [`MetricsError::SizeMismatch`] if one of them does not have height x width elements.
    pub fn new(
        height: usize,
        width: usize,
        scores: &'a [f32],
        mask: &'a [bool],
    ) -> Result<Self, MetricsError> {
        for (what, found) in [("map", scores.len()), ("mask", mask.len())] {
            if height.checked_mul(width) != Some(found) {
                return Err(MetricsError::SizeMismatch { what, height, width, found });
            }
        }
        Ok(Self { height, width, scores, mask })
    }
}

/// All pixels of a set of maps, sorted once by score.
///
/// The maps may differ in size. The set keeps eight bytes per pixel (score and region packed into one
/// integer, sorted in place) and does not hold on to the maps, so 50 million pixels take 400 MB beside the
/// caller's own maps and masks.
///
/// ```
/// use ccnf_metrics::{AUPRO_FPR_LIMIT, Connectivity, PixelMap, PixelSet};
///
/// let scores = [0.9, 0.1, 0.2, 0.1];
/// let mask = [true, false, false, false];
/// let maps = [PixelMap::new(2, 2, &scores, &mask)?];
/// let set = PixelSet::from_maps(&maps, Connectivity::Eight)?;
/// assert_eq!(set.auroc().value(), Some(1.0));
/// assert_eq!(set.aupro(AUPRO_FPR_LIMIT)?.value(), Some(1.0));
/// # Ok::<(), ccnf_metrics::MetricsError>(())
/// ```
#[derive(Clone, Debug)]
pub struct PixelSet {
    ranking: Ranking,
    region_sizes: Vec<u32>,
}

impl PixelSet {
    /// Finds the ground-truth regions of every mask and sorts the pixels of all maps, in parallel. The result
    /// does not depend on the order of the maps (up to rounding) or on the number of threads.
    ///
    /// # Errors
    ///
    /// [`MetricsError::TooLarge`] if a map has more pixels, or the set more regions, than fit in 32 bits.
    pub fn from_maps(maps: &[PixelMap<'_>], connectivity: Connectivity) -> Result<Self, MetricsError> {
        let mut keys = vec![0_u64; maps.iter().map(|map| map.scores.len()).sum()];
        let mut slots = Vec::with_capacity(maps.len());
        let mut rest = keys.as_mut_slice();
        for map in maps {
            let (slot, tail) = rest.split_at_mut(map.scores.len());
            slots.push(slot);
            rest = tail;
        }
        // regions are numbered within their map first ...
        let sizes_per_map: Vec<Vec<u32>> = slots
            .into_par_iter()
            .zip(maps)
            .map(|(slot, map)| {
                let regions = label_regions(map.height, map.width, map.mask, connectivity)?;
                for ((key, &score), &label) in slot.iter_mut().zip(map.scores).zip(&regions.labels) {
                    *key = pack(score, label);
                }
                Ok(regions.sizes)
            })
            .collect::<Result<_, MetricsError>>()?;
        let region_sizes = sizes_per_map.concat();
        if u32::try_from(region_sizes.len()).is_err() {
            return Err(MetricsError::TooLarge { what: "regions of a set" });
        }
        // ... then moved behind the regions of the maps before
        let (mut start, mut offset) = (0, 0_u64);
        for (map, sizes) in maps.iter().zip(&sizes_per_map) {
            let end = start + map.scores.len();
            if offset > 0 && !sizes.is_empty() {
                for key in keys[start..end].iter_mut().filter(|key| label_of(**key) != 0) {
                    *key += offset;
                }
            }
            start = end;
            offset += sizes.len() as u64;
        }
        Ok(Self { ranking: Ranking::new(keys, first_not_finite(maps)), region_sizes })
    }

    /// Number of pixels of the set.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ranking.len()
    }

    /// Whether the set has no pixel.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of ground-truth regions of the set.
    #[must_use]
    pub fn region_count(&self) -> usize {
        self.region_sizes.len()
    }

    /// [`auroc`](crate::auroc) over the pixels of the set.
    #[must_use]
    pub fn auroc(&self) -> Metric {
        curve::auroc(&self.ranking)
    }

    /// [`average_precision`](crate::average_precision) over the pixels of the set.
    #[must_use]
    pub fn average_precision(&self) -> Metric {
        curve::average_precision(&self.ranking)
    }

    /// [`f1_max`](crate::f1_max) over the pixels of the set.
    #[must_use]
    pub fn f1_max(&self) -> F1Max {
        curve::f1_max(&self.ranking)
    }

    /// Area under the per-region-overlap curve up to a false-positive rate, divided by that rate, in [0, 1]
    /// (Bergmann et al., MVTec AD, IJCV 2021).
    ///
    /// The curve starts at (0, 0) and has one point per distinct score t: x = share of all normal pixels of
    /// the set with score >= t, y = mean over the ground-truth regions, large or small, of their share of
    /// pixels with score >= t. Points are joined by straight lines, so ties give a slanted segment; the
    /// segment that crosses `fpr_limit` (usually [`AUPRO_FPR_LIMIT`]) is cut there. A constant map gives
    /// `fpr_limit / 2`.
    ///
    /// Undefined without a region, without a normal pixel, or with a non-finite score.
    ///
    /// # Errors
    ///
    /// [`MetricsError::FprLimit`] if the limit is not in (0, 1].
    pub fn aupro(&self, fpr_limit: f64) -> Result<Metric, MetricsError> {
        aupro::aupro(&self.ranking, &self.region_sizes, fpr_limit)
    }
}

fn first_not_finite(maps: &[PixelMap<'_>]) -> Option<NotFinite> {
    maps.iter().enumerate().find_map(|(number, map)| {
        let index = map.scores.iter().position(|score| !score.is_finite())?;
        let (row, column) = (index / map.width, index % map.width);
        let place = format!("the score of map {number} at row {row}, column {column}");
        Some(NotFinite { place, score: map.scores[index] })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_of_different_sizes_form_one_set() -> Result<(), MetricsError> {
        let maps = [
            PixelMap::new(1, 3, &[3.0, 1.0, 3.0], &[true, false, true])?,
            PixelMap::new(2, 1, &[2.0, 0.5], &[true, false])?,
            PixelMap::new(0, 0, &[], &[])?,
        ];
        let set = PixelSet::from_maps(&maps, Connectivity::Eight)?;
        assert_eq!((set.len(), set.region_count()), (5, 3));
        assert_eq!(set.auroc().value(), Some(1.0));
        assert_eq!(set.average_precision().value(), Some(1.0));
        assert_eq!(set.f1_max().threshold.value(), Some(2.0));
        assert_eq!(set.aupro(AUPRO_FPR_LIMIT)?.value(), Some(1.0));
        Ok(())
    }

    #[test]
    fn sizes_must_agree() {
        assert_eq!(
            PixelMap::new(2, 2, &[0.0; 4], &[true; 3]).err(),
            Some(MetricsError::SizeMismatch { what: "mask", height: 2, width: 2, found: 3 })
        );
        assert!(PixelMap::new(2, 2, &[0.0; 5], &[true; 4]).is_err());
    }

    #[test]
    fn a_non_finite_pixel_is_named_and_makes_everything_undefined() -> Result<(), MetricsError> {
        let maps = [
            PixelMap::new(1, 1, &[0.0], &[true])?,
            PixelMap::new(2, 2, &[0.0, 0.0, 0.0, f32::NAN], &[false; 4])?,
        ];
        let set = PixelSet::from_maps(&maps, Connectivity::Eight)?;
        let reason = Some("the score of map 1 at row 1, column 1 is not finite (NaN)");
        assert_eq!(set.auroc().reason(), reason);
        assert_eq!(set.average_precision().reason(), reason);
        assert_eq!(set.f1_max().f1.reason(), reason);
        assert_eq!(set.aupro(AUPRO_FPR_LIMIT)?.reason(), reason);
        Ok(())
    }

    #[test]
    fn an_empty_set_has_undefined_metrics() -> Result<(), MetricsError> {
        let set = PixelSet::from_maps(&[], Connectivity::Eight)?;
        assert!(set.is_empty());
        assert_eq!(set.auroc().reason(), Some("no sample"));
        assert_eq!(set.aupro(AUPRO_FPR_LIMIT)?.reason(), Some("no sample"));
        Ok(())
    }
}
