//! The area under the per-region-overlap curve; its definition stands at `PixelSet::aupro`.

use crate::curve::unusable;
use crate::error::MetricsError;
use crate::metric::Metric;
use crate::ranking::Ranking;
use crate::sum::CompensatedSum;

/// AUPRO of pixels in `regions` regions.
///
/// Bound: the curve passes through the ends of the steps, which are real thresholds, and does not fall in
/// between. From (x0, y0) to (x1, y1) its area differs from that of the straight line by at most
/// (x1 - x0)(y1 - y0)/2. In the step that the limit cuts, at width w and with the line at height y, the area
/// lies between w y0 and w y1, and the line's is w (y0 + y)/2: the error is at most w (y1 - (y0 + y)/2).
pub(crate) fn aupro(ranking: &Ranking, regions: usize, fpr_limit: f64) -> Result<Metric, MetricsError> {
    if !(fpr_limit > 0.0 && fpr_limit <= 1.0) {
        return Err(MetricsError::FprLimit { limit: fpr_limit });
    }
    if let Some(undefined) = unusable(ranking) {
        return Ok(undefined);
    }
    if regions == 0 {
        return Ok(Metric::undefined("no anomalous region"));
    }
    if ranking.negatives == 0 {
        return Ok(Metric::undefined("no normal pixel"));
    }
    let (mut overlap, mut area, mut doubt) =
        (CompensatedSum::default(), CompensatedSum::default(), CompensatedSum::default());
    let (mut fpr, mut pro) = (0.0, 0.0);
    for step in ranking.steps() {
        overlap.add(step.new_overlap);
        let next_fpr = step.false_positives as f64 / ranking.negatives as f64;
        // the shares add up to 1 only up to rounding
        let next_pro = (overlap.value() / regions as f64).min(1.0);
        if next_fpr >= fpr_limit {
            let at_limit = pro + (next_pro - pro) * ((fpr_limit - fpr) / (next_fpr - fpr));
            let mean = (pro + at_limit) / 2.0;
            area.add((fpr_limit - fpr) * mean);
            doubt.add((fpr_limit - fpr) * (next_pro - mean));
            break;
        }
        area.add((next_fpr - fpr) * (pro + next_pro) / 2.0);
        doubt.add((next_fpr - fpr) * (next_pro - pro) / 2.0);
        (fpr, pro) = (next_fpr, next_pro);
    }
    let bound = if ranking.is_exact() { 0.0 } else { doubt.value() / fpr_limit };
    Ok(Metric::within((area.value() / fpr_limit).min(1.0), bound))
}

#[cfg(test)]
mod tests {
    use approx::assert_abs_diff_eq;

    use crate::{Connectivity, Metric, MetricsError, PixelMap, PixelStream};

    fn one_row(scores: &[f32], mask: &[bool], limit: f64) -> Result<Metric, MetricsError> {
        let map = PixelMap::new(1, scores.len(), scores, mask)?;
        let mut stream = PixelStream::new(Connectivity::Eight);
        stream.push(&[map])?;
        stream.finish().aupro(limit)
    }

    #[test]
    fn regions_weigh_equally_and_the_limit_cuts_a_segment() -> Result<(), MetricsError> {
        // regions {a}, {b, c}; normal pixels p, q. Thresholds: 5 -> a: (0, 1/2); 4 -> p: (1/2, 1/2);
        // 3 -> b and q: (1, 3/4); 2 -> c: (1, 1)
        let scores = [5.0, 4.0, 3.0, 2.0, 3.0];
        let mask = [true, false, true, true, false];
        // up to 1: 1/2 * 1/2 + 1/2 * (1/2 + 3/4)/2
        assert_abs_diff_eq!(value(&one_row(&scores, &mask, 1.0)?), 0.5625, epsilon = 1e-15);
        // up to 3/4: the tied segment is cut half-way at overlap 5/8
        let expected = (0.25 + 0.25 * (0.5 + 0.625) / 2.0) / 0.75;
        assert_abs_diff_eq!(value(&one_row(&scores, &mask, 0.75)?), expected, epsilon = 1e-15);
        assert_abs_diff_eq!(value(&one_row(&scores, &mask, 0.5)?), 0.5, epsilon = 1e-15);
        Ok(())
    }

    fn value(metric: &Metric) -> f64 {
        metric.value().unwrap_or(f64::NAN)
    }

    #[test]
    fn a_constant_map_gives_half_the_limit() -> Result<(), MetricsError> {
        let metric = one_row(&[7.0; 5], &[true, false, true, false, false], 0.3)?;
        assert_abs_diff_eq!(value(&metric), 0.15, epsilon = 1e-15);
        Ok(())
    }

    #[test]
    fn a_perfect_map_gives_exactly_one() -> Result<(), MetricsError> {
        let mask: Vec<bool> = (0..40).map(|i| [0, 1, 2, 10, 20, 21].contains(&i)).collect();
        let scores: Vec<f32> = mask.iter().map(|&anomalous| f32::from(u8::from(anomalous))).collect();
        assert_eq!(one_row(&scores, &mask, 0.3)?.value(), Some(1.0));
        Ok(())
    }

    #[test]
    fn undefined_without_a_region_or_a_normal_pixel() -> Result<(), MetricsError> {
        assert_eq!(one_row(&[1.0], &[false], 0.3)?.reason(), Some("no anomalous region"));
        assert_eq!(one_row(&[1.0], &[true], 0.3)?.reason(), Some("no normal pixel"));
        Ok(())
    }

    #[test]
    fn the_limit_must_lie_above_zero_and_not_above_one() {
        for limit in [0.0, -0.1, 1.1, f64::NAN] {
            assert!(matches!(one_row(&[1.0], &[true], limit), Err(MetricsError::FprLimit { .. })));
        }
    }
}
