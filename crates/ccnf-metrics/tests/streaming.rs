//! What a `PixelStream` promises beyond its exact size: the exact value lies within the error bound, whatever the
//! scores are, and the bound is small where the scores permit it.

use ccnf_metrics::{Connectivity, Metric, MetricsError, PixelMap, PixelSet, PixelStream, StreamLimits};
use proptest::prelude::*;

/// Rounding in `f64`, which the bounds leave out.
const ROUNDING: f64 = 1e-12;
/// Everything is binned, at the lowest resolution that the spread of the scores can enforce.
const COARSE: StreamLimits = StreamLimits { exact_pixels: 0, bins: 0 };

#[derive(Clone, Debug)]
struct Map {
    width: usize,
    scores: Vec<f32>,
    mask: Vec<bool>,
}

impl Map {
    fn borrow(&self) -> PixelMap<'_> {
        PixelMap::new(self.scores.len() / self.width, self.width, &self.scores, &self.mask)
            .expect("sizes agree")
    }
}

fn stream(maps: &[Map], limits: StreamLimits) -> Result<PixelSet, MetricsError> {
    let mut stream = PixelStream::with_limits(Connectivity::Eight, limits);
    stream.push(&maps.iter().map(Map::borrow).collect::<Vec<_>>())?;
    Ok(stream.finish())
}

/// All metrics by name; AUPRO at a limit as well.
fn metrics(set: &PixelSet, limit: f64) -> Result<[(&'static str, Metric); 4], MetricsError> {
    let f1 = set.f1_max().f1;
    Ok([("AUROC", set.auroc()), ("AP", set.average_precision()), ("F1", f1), ("AUPRO", set.aupro(limit)?)])
}

/// Normal pixels in `pages` evenly spaced places of the whole range of `f32`: as many pages of the histogram.
fn spread(pages: usize) -> Map {
    let places = (0..pages).map(|page| f32::from_bits((page * (65_536 / pages)) as u32 * 65_536));
    let scores: Vec<f32> = places.filter(|score| score.is_finite()).collect();
    Map { width: scores.len(), mask: vec![false; scores.len()], scores }
}

/// Scores from a narrow interval, from few levels, or from all finite numbers.
fn scores(count: usize) -> impl Strategy<Value = Vec<f32>> {
    let narrow = (any::<u16>(), 1_u32..0x1_0000).prop_flat_map(|(page, width)| {
        (0..width).prop_map(move |low| f32::from_bits(u32::from(page) << 16 | low))
    });
    let finite = |score: f32| if score.is_finite() { score } else { 0.0 };
    prop_oneof![
        prop::collection::vec(narrow.prop_map(finite), count),
        prop::collection::vec((0_u32..0x1_0000).prop_map(|low| f32::from_bits(0x3f80_0000 | low)), count),
        prop::collection::vec((0_u8..5).prop_map(f32::from), count),
        prop::collection::vec(any::<u32>().prop_map(move |bits| finite(f32::from_bits(bits))), count),
    ]
}

fn maps() -> impl Strategy<Value = Vec<Map>> {
    let map = (1_usize..9, 1_usize..9, 0.0..1.0_f64).prop_flat_map(|(height, width, density)| {
        let mask = prop::collection::vec(prop::bool::weighted(density), height * width);
        (scores(height * width), mask).prop_map(move |(scores, mask)| Map { width, scores, mask })
    });
    prop::collection::vec(map, 1..6)
}

proptest! {
    #[test]
    fn the_exact_value_lies_within_the_error_bound(
        mut maps in maps(),
        pages in 0_u32..14,
        exact_pixels in 0_usize..200,
        limit in 0.01..=1.0_f64,
    ) {
        maps.push(spread(1 << pages));
        let exact = metrics(&stream(&maps, StreamLimits::default())?, limit)?;
        let streamed = metrics(&stream(&maps, StreamLimits { exact_pixels, bins: 0 })?, limit)?;
        for ((name, exact), (_, streamed)) in exact.iter().zip(&streamed) {
            prop_assert_eq!(exact.reason(), streamed.reason());
            let (Some(value), Some(bound)) = (streamed.value(), streamed.error_bound()) else { continue };
            prop_assert_eq!(exact.error_bound(), Some(0.0));
            prop_assert!((0.0..=1.0).contains(&value), "{} {}", name, value);
            let error = (value - exact.value().expect("defined as well")).abs();
            prop_assert!(error <= bound + ROUNDING, "{} {}: error {}, bound {}", name, value, error, bound);
        }
    }

    #[test]
    fn the_grouping_of_the_maps_changes_nothing(maps in maps(), exact_pixels in 0_usize..200) {
        let limits = StreamLimits { exact_pixels, bins: 0 };
        let whole = metrics(&stream(&maps, limits)?, 0.3)?;
        let mut single = PixelStream::with_limits(Connectivity::Eight, limits);
        for map in &maps {
            single.push(&[map.borrow()])?;
        }
        for ((name, whole), (_, single)) in whole.iter().zip(&metrics(&single.finish(), 0.3)?) {
            prop_assert_eq!(whole.reason(), single.reason());
            for (a, b) in [(whole.value(), single.value()), (whole.error_bound(), single.error_bound())] {
                let (a, b) = (a.unwrap_or(0.0), b.unwrap_or(0.0));
                prop_assert!((a - b).abs() <= ROUNDING, "{}: {} and {}", name, a, b);
            }
        }
    }
}

#[test]
fn scores_that_all_fall_into_one_bin_have_a_large_bound_that_is_reached() -> Result<(), MetricsError> {
    // below the anomalous scores: the normal ones, of the same bin as soon as bins are 2^16 scores wide
    let side = 512;
    let count = side * side;
    let mask: Vec<bool> = (0..count).map(|pixel| pixel < count / 4).collect();
    let scores = mask.iter().map(|&label| if label { 1.0 + f32::EPSILON } else { 1.0 }).collect();
    let maps = [Map { width: side, scores, mask }, spread(65_536)];
    let (exact, binned) = (stream(&maps, StreamLimits::default())?, stream(&maps, COARSE)?);
    let pairs = metrics(&exact, 0.3)?.into_iter().zip(metrics(&binned, 0.3)?);
    for ((name, exact), (_, binned)) in pairs.filter(|((name, _), _)| *name != "AP") {
        let error = (exact.value().unwrap_or(0.0) - binned.value().unwrap_or(0.0)).abs();
        let bound = binned.error_bound().unwrap_or(0.0);
        assert!(bound > 0.25, "{name}: {bound}");
        assert!(error <= bound + ROUNDING && error >= 0.99 * bound, "{name}: error {error}, bound {bound}");
    }
    Ok(())
}

#[test]
fn scores_in_a_narrow_range_stay_exact_beyond_the_exact_size() -> Result<(), MetricsError> {
    let width = 300;
    // a quarter of [1, 2): 32 of the 128 values that the leading bits have there
    let scores: Vec<f32> = (0..width * width).map(|i| 1.0 + (i * 7919 % 65_521) as f32 / 262_144.0).collect();
    let mask = (0..width * width).map(|i| i % width < 40 && i % 5 > 1).collect();
    let maps = [Map { width, scores, mask }];
    let limits = StreamLimits { exact_pixels: 0, ..StreamLimits::default() };
    for ((name, exact), (_, counted)) in metrics(&stream(&maps, StreamLimits::default())?, 0.3)?
        .iter()
        .zip(&metrics(&stream(&maps, limits)?, 0.3)?)
    {
        assert_eq!(counted.error_bound(), Some(0.0), "{name}");
        let error = (exact.value().unwrap_or(f64::NAN) - counted.value().unwrap_or(f64::NAN)).abs();
        assert!(error <= ROUNDING, "{name}: {error}");
    }
    Ok(())
}

/// Scores around 0 of both signs, so that all small powers of two occur, in blocks of anomalous pixels higher.
fn realistic(count: usize) -> Vec<Map> {
    let side = 128;
    let mut state = 1_u64;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1_u64 << 24) as f32
    };
    let map = |_| {
        let mask: Vec<bool> = (0..side * side).map(|i| i % side > 90 && i / side < 25).collect();
        let scores = mask.iter().map(|&label| {
            let noise: f32 = (0..6).map(|_| uniform() - 0.5).sum();
            if label { noise + 0.8 } else { noise }
        });
        Map { width: side, scores: scores.collect(), mask: mask.clone() }
    };
    (0..count).map(map).collect()
}

#[test]
fn the_bound_is_below_a_hundred_thousandth_for_scores_around_zero() -> Result<(), MetricsError> {
    let maps = realistic(64);
    let limits = StreamLimits { exact_pixels: 100_000, ..StreamLimits::default() };
    let binned = metrics(&stream(&maps, limits)?, 0.3)?;
    for ((name, exact), (_, binned)) in
        metrics(&stream(&maps, StreamLimits::default())?, 0.3)?.iter().zip(&binned)
    {
        let error = (exact.value().unwrap_or(f64::NAN) - binned.value().unwrap_or(f64::NAN)).abs();
        let bound = binned.error_bound().unwrap_or(f64::NAN);
        assert!(bound > 0.0 && bound < 1e-5, "{name}: {bound}");
        assert!(error <= bound, "{name}: error {error}, bound {bound}");
    }
    Ok(())
}

#[test]
fn the_number_of_threads_changes_nothing() -> Result<(), Box<dyn std::error::Error>> {
    let maps = realistic(9);
    let limits = StreamLimits { exact_pixels: 30_000, bins: 0 };
    let mut results = Vec::new();
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
        results.push(pool.install(|| metrics(&stream(&maps, limits)?, 0.3))?);
    }
    assert_eq!(results[0], results[1]);
    Ok(())
}

#[test]
fn a_non_finite_score_is_named_by_its_map_beyond_the_exact_size() -> Result<(), MetricsError> {
    let mut maps = realistic(3);
    maps[2].scores[130] = f32::NEG_INFINITY;
    let mut stream = PixelStream::with_limits(Connectivity::Eight, COARSE);
    for map in &maps {
        stream.push(&[map.borrow()])?;
    }
    let set = stream.finish();
    assert_eq!(set.len(), 3 * 128 * 128);
    let reason = "the score of map 2 at row 1, column 2 is not finite (-inf)";
    for (name, metric) in metrics(&set, 0.3)? {
        assert_eq!(metric.reason(), Some(reason), "{name}");
    }
    Ok(())
}
