//! From a reconstruction to maps.

use ccnf::core::check_size;
use ccnf::prelude::*;

/// `e = sqrt(sum over channels of (F^ - F)^2)` per token (spec section 8); both are `[N, C]` row-major.
pub fn distance_map(reconstructed: &[f32], features: &[f32], channels: usize) -> Vec<f32> {
    let tokens = reconstructed.chunks_exact(channels).zip(features.chunks_exact(channels));
    tokens
        .map(|(a, b)| a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt() as f32)
        .collect()
}

/// Fails for a class that is asked about and not known, and for images that do not fit the levels.
pub(crate) fn check_request(
    images: &[&dyn ImageFeatures],
    request: ScoreRequest<'_>,
    classes: &[String],
    levels: &[LevelSpec],
) -> Result<()> {
    if let Some(class) = request.given.filter(|c| !classes.iter().any(|k| k == c)) {
        return Err(unknown_class(class, classes));
    }
    if classes.is_empty() {
        return Err(Error::new(ErrorKind::Usage, "no class has been learnt").help("train a stage first"));
    }
    for image in images {
        for (number, level) in levels.iter().enumerate() {
            check_size(&image.level(number)?, level)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_is_the_length_of_the_difference() {
        assert_eq!(distance_map(&[3.0, 4.0, 1.0, 1.0], &[0.0, 0.0, 1.0, -1.0], 2), [5.0, 2.0]);
    }
}
