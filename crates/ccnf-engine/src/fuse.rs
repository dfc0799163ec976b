//! From level maps to one map and one score.

use ccnf_core::{Error, ErrorKind, FusionConfig, ImageRule, ImageTerm, LevelMap, Result};
use ccnf_data::FloatMap;

/// The fused map of one image and its image score.
#[derive(Debug, Clone)]
pub struct FusedMap {
    /// `map_size x map_size`; higher = more anomalous.
    pub map: FloatMap,
    /// The image score.
    pub score: f32,
}

/// Upsamples every level map bilinearly (corners aligned), takes the plain mean over levels, smooths with a Gaussian, and takes the
/// image score from the smoothed map.
pub fn fuse(levels: &[LevelMap], config: &FusionConfig) -> Result<FusedMap> {
    let side = config.map_size;
    if levels.is_empty() {
        return Err(Error::new(ErrorKind::Contract, "a detector returned no level map"));
    }
    let mut sum = vec![0.0f64; side * side];
    for l in levels {
        let up = FloatMap::new(l.height, l.width, l.data.clone())?.resize_bilinear(side, side, true);
        sum.iter_mut().zip(&up.data).for_each(|(s, v)| *s += f64::from(*v));
    }
    let mean = sum.iter().map(|s| (s / levels.len() as f64) as f32).collect();
    let mut map = FloatMap::new(side, side, mean)?;
    if config.blur_sigma > 0.0 {
        map = map.gaussian_blur(config.blur_sigma as f32);
    }
    let largest = |map: &FloatMap| map.data.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let score = match config.image.rule {
        ImageRule::Max => largest(&map),
        ImageRule::PooledMax => largest(&map.avg_pool(config.image.window)?),
        ImageRule::TopMean => {
            let n =
                ((map.data.len() as f64 * config.image.fraction).ceil() as usize).clamp(1, map.data.len());
            let mut values = map.data.clone();
            values.select_nth_unstable_by(n - 1, |a, b| b.total_cmp(a));
            (values[..n].iter().map(|v| f64::from(*v)).sum::<f64>() / n as f64) as f32
        }
    };
    FusedMap { map, score }.checked()
}

impl FusedMap {
    /// The same map, the image score with what the detector says of the image beside its maps.
    pub(crate) fn with(self, term: Option<ImageTerm>) -> Result<FusedMap> {
        let score = term.map_or(self.score, |t| t.with_map(self.score));
        FusedMap { score, ..self }.checked()
    }

    fn checked(self) -> Result<FusedMap> {
        if self.score.is_finite() {
            return Ok(self);
        }
        let message = format!("the image score is not finite ({})", self.score);
        Err(Error::new(ErrorKind::NonFinite, message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ccnf_core::ImageScoreConfig;

    #[test]
    fn constant_levels_fuse_to_their_mean_under_every_rule() {
        let level = |h: usize, v: f32| LevelMap { height: h, width: h, data: vec![v; h * h] };
        for rule in [ImageRule::Max, ImageRule::TopMean, ImageRule::PooledMax] {
            let config = FusionConfig {
                map_size: 9,
                blur_sigma: 1.0,
                image: ImageScoreConfig { rule, fraction: 0.1, window: 2 },
                ..FusionConfig::default()
            };
            let f = fuse(&[level(3, 1.0), level(2, 3.0)], &config).unwrap();
            assert!((f.score - 2.0).abs() < 1e-6);
        }
    }

    #[test]
    fn top_mean_averages_the_highest_pixels() {
        let config = FusionConfig {
            map_size: 2,
            blur_sigma: 0.0,
            image: ImageScoreConfig { rule: ImageRule::TopMean, fraction: 0.5, window: 1 },
            ..FusionConfig::default()
        };
        let f = fuse(&[LevelMap { height: 2, width: 2, data: vec![4.0, 1.0, 2.0, 3.0] }], &config).unwrap();
        assert_eq!(f.score, 3.5);
    }

    #[test]
    fn pooled_max_is_the_highest_mean_of_a_window() {
        let config = FusionConfig {
            map_size: 3,
            blur_sigma: 0.0,
            image: ImageScoreConfig { rule: ImageRule::PooledMax, fraction: 0.5, window: 2 },
            ..FusionConfig::default()
        };
        let data = vec![9.0, 0.0, 0.0, 0.0, 2.0, 4.0, 0.0, 3.0, 3.0];
        let f = fuse(&[LevelMap { height: 3, width: 3, data }], &config).unwrap();
        assert_eq!(f.score, 3.0);
    }

    #[test]
    fn a_term_of_the_detector_has_its_weight_in_the_image_score_and_none_in_the_map() {
        let level = LevelMap { height: 1, width: 1, data: vec![2.0] };
        let config = FusionConfig { map_size: 2, blur_sigma: 0.0, ..FusionConfig::default() };
        for (weight, score) in [(0.0, 2.0), (0.25, 4.0), (1.0, 10.0)] {
            let f = fuse(std::slice::from_ref(&level), &config)
                .unwrap()
                .with(Some(ImageTerm { score: 10.0, weight }))
                .unwrap();
            assert_eq!((f.score, f.map.data), (score, vec![2.0; 4]));
        }
        let nan = ImageTerm { score: f32::NAN, weight: 0.5 };
        assert!(fuse(&[level], &config).unwrap().with(Some(nan)).is_err());
    }

    #[test]
    fn nan_is_an_error() {
        let l = LevelMap { height: 1, width: 1, data: vec![f32::NAN] };
        assert!(
            fuse(&[l], &FusionConfig { map_size: 1, blur_sigma: 0.0, ..FusionConfig::default() }).is_err()
        );
    }
}
