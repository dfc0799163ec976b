//! Pixel-level metrics over a set of anomaly maps.

use crate::aupro;
use crate::curve::{self, F1Max};
use crate::error::MetricsError;
use crate::metric::Metric;
use crate::ranking::Ranking;

/// The usual limit of the false-positive rate for [`PixelSet::aupro`].
pub const AUPRO_FPR_LIMIT: f64 = 0.3;

/// One anomaly map and its ground truth, borrowed.
#[derive(Clone, Copy, Debug)]
pub struct PixelMap<'a> {
    pub(crate) width: usize,
    pub(crate) scores: &'a [f32],
    pub(crate) mask: &'a [bool],
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
        Ok(Self { width, scores, mask })
    }
}

/// All pixels of a set of maps, ranked by score. A [`PixelStream`](crate::PixelStream) makes it.
///
/// Metrics of a set in which every distinct score was kept are exact. In a larger set neighbouring scores may
/// have been joined in bins; then the metrics take the scores of a bin as ties, and
/// [`Metric::error_bound`] says how far the exact value can be away, whatever the order within the bins.
#[derive(Clone, Debug)]
pub struct PixelSet {
    pub(crate) ranking: Ranking,
    pub(crate) regions: usize,
}

impl PixelSet {
    /// Number of pixels of the set.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ranking.len() as usize
    }

    /// Whether the set has no pixel.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of ground-truth regions of the set.
    #[must_use]
    pub fn region_count(&self) -> usize {
        self.regions
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
        aupro::aupro(&self.ranking, self.regions, fpr_limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Connectivity, PixelStream};

    fn set_of(maps: &[PixelMap<'_>]) -> Result<PixelSet, MetricsError> {
        let mut stream = PixelStream::new(Connectivity::Eight);
        stream.push(maps)?;
        Ok(stream.finish())
    }

    #[test]
    fn maps_of_different_sizes_form_one_set() -> Result<(), MetricsError> {
        let maps = [
            PixelMap::new(1, 3, &[3.0, 1.0, 3.0], &[true, false, true])?,
            PixelMap::new(2, 1, &[2.0, 0.5], &[true, false])?,
            PixelMap::new(0, 0, &[], &[])?,
        ];
        let set = set_of(&maps)?;
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
        let set = set_of(&maps)?;
        let reason = Some("the score of map 1 at row 1, column 1 is not finite (NaN)");
        assert_eq!(set.auroc().reason(), reason);
        assert_eq!(set.average_precision().reason(), reason);
        assert_eq!(set.f1_max().f1.reason(), reason);
        assert_eq!(set.aupro(AUPRO_FPR_LIMIT)?.reason(), reason);
        Ok(())
    }

    #[test]
    fn an_empty_set_has_undefined_metrics() -> Result<(), MetricsError> {
        let set = set_of(&[])?;
        assert!(set.is_empty());
        assert_eq!(set.auroc().reason(), Some("no sample"));
        assert_eq!(set.aupro(AUPRO_FPR_LIMIT)?.reason(), Some("no sample"));
        Ok(())
    }
}
