//! Properties that hold for any input, and AUPRO against a slow definition-by-definition version.

use ccnf_metrics::{
    Connectivity, Metric, MetricsError, PixelMap, PixelSet, PixelStream, auroc, average_precision, f1_max,
    quantile,
};
use proptest::prelude::*;

/// Few distinct values, so that ties are frequent, with a label each.
fn samples() -> impl Strategy<Value = (Vec<f32>, Vec<bool>)> {
    prop::collection::vec((-6_i8..6, any::<bool>()), 1..60)
        .prop_map(|pairs| pairs.into_iter().map(|(score, label)| (f32::from(score) / 2.0, label)).unzip())
}

fn close(a: &Metric, b: f64) -> bool {
    a.value().is_some_and(|a| (a - b).abs() < 1e-12)
}

/// Every pair of an anomalous and a normal sample.
fn slow_auroc(scores: &[f32], labels: &[bool]) -> Option<f64> {
    let of = |wanted: bool| move |(&score, &label): (&f32, &bool)| (label == wanted).then_some(score);
    let positives: Vec<f32> = scores.iter().zip(labels).filter_map(of(true)).collect();
    let negatives: Vec<f32> = scores.iter().zip(labels).filter_map(of(false)).collect();
    let win = |&p: &f32, &n: &f32| {
        if p > n {
            1.0
        } else if p == n {
            0.5
        } else {
            0.0
        }
    };
    let wins: f64 = positives.iter().flat_map(|p| negatives.iter().map(move |n| win(p, n))).sum();
    let pairs = positives.len() * negatives.len();
    (pairs > 0).then(|| wins / pairs as f64)
}

/// Average precision and the best F1, from the counts at every distinct threshold.
fn slow_precision_and_f1(scores: &[f32], labels: &[bool]) -> Option<(f64, f64)> {
    let positives = labels.iter().filter(|&&label| label).count() as f64;
    let (mut ap, mut best, mut last_recall) = (0.0, 0.0_f64, 0.0);
    for threshold in distinct_descending(scores.iter().copied()) {
        let flagged: Vec<bool> =
            scores.iter().zip(labels).filter(|(s, _)| **s >= threshold).map(|(_, &label)| label).collect();
        let hits = flagged.iter().filter(|&&label| label).count() as f64;
        let (precision, recall) = (hits / flagged.len() as f64, hits / positives);
        ap += (recall - last_recall) * precision;
        best = best.max(2.0 * hits / (flagged.len() as f64 + positives));
        last_recall = recall;
    }
    (positives > 0.0).then_some((ap, best))
}

fn distinct_descending(scores: impl Iterator<Item = f32>) -> Vec<f32> {
    let mut thresholds: Vec<f32> = scores.collect();
    thresholds.sort_by(|a, b| b.total_cmp(a));
    thresholds.dedup();
    thresholds
}

#[derive(Clone, Debug)]
struct TinyMap {
    height: usize,
    width: usize,
    scores: Vec<f32>,
    mask: Vec<bool>,
}

impl TinyMap {
    fn borrow(&self) -> PixelMap<'_> {
        PixelMap::new(self.height, self.width, &self.scores, &self.mask).expect("sizes agree")
    }

    /// Pixel lists of the regions: pixels join while any two touch.
    fn regions(&self, connectivity: Connectivity) -> Vec<Vec<usize>> {
        let touch = |a: usize, b: usize| {
            let rows = (a / self.width).abs_diff(b / self.width);
            let columns = (a % self.width).abs_diff(b % self.width);
            match connectivity {
                Connectivity::Four => rows + columns == 1,
                Connectivity::Eight => rows.max(columns) == 1,
            }
        };
        let mut regions: Vec<Vec<usize>> = Vec::new();
        for pixel in (0..self.mask.len()).filter(|&pixel| self.mask[pixel]) {
            let (joined, apart): (Vec<_>, Vec<_>) =
                regions.into_iter().partition(|region| region.iter().any(|&other| touch(pixel, other)));
            regions = apart;
            regions.push(joined.into_iter().flatten().chain([pixel]).collect());
        }
        regions
    }
}

/// The curve point by point, then trapezoids up to the limit.
fn slow_aupro(maps: &[TinyMap], connectivity: Connectivity, limit: f64) -> Option<f64> {
    let regions: Vec<Vec<f32>> = maps
        .iter()
        .flat_map(|map| map.regions(connectivity).into_iter().map(move |region| (map, region)))
        .map(|(map, region)| region.iter().map(|&pixel| map.scores[pixel]).collect())
        .collect();
    let normal: Vec<f32> = maps
        .iter()
        .flat_map(|map| map.scores.iter().zip(&map.mask).filter(|(_, mask)| !**mask).map(|(&score, _)| score))
        .collect();
    if regions.is_empty() || normal.is_empty() {
        return None;
    }
    let share =
        |scores: &[f32], t: f32| scores.iter().filter(|&&s| s >= t).count() as f64 / scores.len() as f64;
    let mut points = vec![(0.0, 0.0)];
    for t in distinct_descending(maps.iter().flat_map(|map| map.scores.iter().copied())) {
        let pro = regions.iter().map(|region| share(region, t)).sum::<f64>() / regions.len() as f64;
        points.push((share(&normal, t), pro));
    }
    let mut area = 0.0;
    for pair in points.windows(2) {
        let ((x0, y0), (x1, y1)) = (pair[0], pair[1]);
        let end = x1.min(limit);
        if end > x0 {
            let y_end = y0 + (y1 - y0) * (end - x0) / (x1 - x0);
            area += (end - x0) * (y0 + y_end) / 2.0;
        }
    }
    Some(area / limit)
}

fn set_of(maps: &[PixelMap<'_>], connectivity: Connectivity) -> Result<PixelSet, MetricsError> {
    let mut stream = PixelStream::new(connectivity);
    stream.push(maps)?;
    Ok(stream.finish())
}

fn tiny_maps() -> impl Strategy<Value = Vec<TinyMap>> {
    let map =
        (1_usize..6, 1_usize..6, 1_i8..12, 0.0..0.8_f64).prop_flat_map(|(height, width, levels, density)| {
            let scores =
                prop::collection::vec((0..levels).prop_map(|level| f32::from(level) / 4.0), height * width);
            let mask = prop::collection::vec(prop::bool::weighted(density), height * width);
            (scores, mask).prop_map(move |(scores, mask)| TinyMap { height, width, scores, mask })
        });
    prop::collection::vec(map, 1..5)
}

proptest! {
    #[test]
    fn auroc_equals_the_count_over_all_pairs((scores, labels) in samples()) {
        let expected = slow_auroc(&scores, &labels);
        let metric = auroc(&scores, &labels)?;
        prop_assert_eq!(metric.is_defined(), expected.is_some());
        prop_assert!(expected.is_none_or(|expected| close(&metric, expected)));
    }

    #[test]
    fn ap_and_f1_equal_the_counts_at_every_threshold((scores, labels) in samples()) {
        let (ap, best) = (average_precision(&scores, &labels)?, f1_max(&scores, &labels)?);
        match slow_precision_and_f1(&scores, &labels) {
            None => prop_assert!(!ap.is_defined() && !best.f1.is_defined() && !best.threshold.is_defined()),
            Some((slow_ap, slow_f1)) => {
                prop_assert!(close(&ap, slow_ap));
                prop_assert!(close(&best.f1, slow_f1));
                let threshold = best.threshold.value().expect("defined with the F1");
                let hits = scores.iter().zip(&labels).filter(|(s, l)| f64::from(**s) >= threshold && **l).count();
                let flagged = scores.iter().filter(|s| f64::from(**s) >= threshold).count();
                let positives = labels.iter().filter(|label| **label).count();
                prop_assert!(close(&best.f1, 2.0 * hits as f64 / (flagged + positives) as f64));
            }
        }
    }

    #[test]
    fn strictly_increasing_maps_of_the_scores_change_nothing((scores, labels) in samples()) {
        let mapped: Vec<f32> = scores.iter().map(|score| (score / 2.0).exp() * 3.0 - 100.0).collect();
        prop_assert_eq!(auroc(&scores, &labels)?, auroc(&mapped, &labels)?);
        prop_assert_eq!(average_precision(&scores, &labels)?, average_precision(&mapped, &labels)?);
        prop_assert_eq!(f1_max(&scores, &labels)?.f1, f1_max(&mapped, &labels)?.f1);
    }

    #[test]
    fn swapped_labels_or_negated_scores_mirror_auroc((scores, labels) in samples()) {
        let metric = auroc(&scores, &labels)?;
        let swapped: Vec<bool> = labels.iter().map(|label| !label).collect();
        let negated: Vec<f32> = scores.iter().map(|score| -score).collect();
        for mirror in [auroc(&scores, &swapped)?, auroc(&negated, &labels)?] {
            prop_assert_eq!(mirror.is_defined(), metric.is_defined());
            prop_assert!(metric.value().is_none_or(|value| close(&mirror, 1.0 - value)));
        }
    }

    #[test]
    fn the_order_of_the_samples_changes_nothing((scores, labels) in samples()) {
        let reversed: (Vec<f32>, Vec<bool>) =
            scores.iter().copied().zip(labels.iter().copied()).rev().unzip();
        prop_assert_eq!(auroc(&scores, &labels)?, auroc(&reversed.0, &reversed.1)?);
        prop_assert_eq!(average_precision(&scores, &labels)?, average_precision(&reversed.0, &reversed.1)?);
        prop_assert_eq!(f1_max(&scores, &labels)?, f1_max(&reversed.0, &reversed.1)?);
    }

    #[test]
    fn aupro_equals_the_slow_version(maps in tiny_maps(), limit in 0.01..=1.0_f64, eight in any::<bool>()) {
        let connectivity = if eight { Connectivity::Eight } else { Connectivity::Four };
        let borrowed: Vec<PixelMap<'_>> = maps.iter().map(TinyMap::borrow).collect();
        let set = set_of(&borrowed, connectivity)?;
        let regions: usize = maps.iter().map(|map| map.regions(connectivity).len()).sum();
        prop_assert_eq!(set.region_count(), regions);
        let (metric, expected) = (set.aupro(limit)?, slow_aupro(&maps, connectivity, limit));
        prop_assert_eq!(metric.is_defined(), expected.is_some());
        prop_assert!(expected.is_none_or(|expected| close(&metric, expected)), "{} {:?}", metric, expected);
    }

    #[test]
    fn pixel_metrics_equal_the_image_metrics_of_all_pixels(maps in tiny_maps()) {
        let borrowed: Vec<PixelMap<'_>> = maps.iter().map(TinyMap::borrow).collect();
        let set = set_of(&borrowed, Connectivity::Eight)?;
        let scores: Vec<f32> = maps.iter().flat_map(|map| map.scores.clone()).collect();
        let labels: Vec<bool> = maps.iter().flat_map(|map| map.mask.clone()).collect();
        prop_assert_eq!(set.len(), scores.len());
        prop_assert_eq!(set.auroc(), auroc(&scores, &labels)?);
        prop_assert_eq!(set.average_precision(), average_precision(&scores, &labels)?);
        prop_assert_eq!(set.f1_max(), f1_max(&scores, &labels)?);
    }

    #[test]
    fn a_quantile_lies_between_its_neighbours((scores, _) in samples(), level in 0.0..=1.0_f64) {
        let mut sorted = scores.clone();
        sorted.sort_by(f32::total_cmp);
        let position = level * (sorted.len() - 1) as f64;
        let (below, above) = (position.floor() as usize, position.ceil() as usize);
        let value = quantile(&scores, level)?.value().expect("finite scores");
        prop_assert!(f64::from(sorted[below]) <= value && value <= f64::from(sorted[above]));
    }
}
