//! From the two kinds of token maps to score maps.

use ccnf::data::FloatMap;
use ccnf::prelude::*;

/// `sum over levels of exp(min(v - max, 0))`, every level brought to `height x width` (bilinear, corners aligned); one maximum per level.
fn sum_of_levels(levels: &[FloatMap], maxima: &[f32], height: usize, width: usize) -> Result<Vec<f32>> {
    if levels.len() != maxima.len() {
        let (l, m) = (levels.len(), maxima.len());
        return Err(Error::new(ErrorKind::Contract, format!("{l} level maps and {m} maxima")));
    }
    let mut sum = vec![0.0; height * width];
    for (map, max) in levels.iter().zip(maxima) {
        let values = map.data.iter().map(|v| (v - max).min(0.0).exp()).collect();
        let scaled = FloatMap::new(map.height, map.width, values)?.resize_bilinear(height, width, true);
        sum.iter_mut().zip(&scaled.data).for_each(|(s, v)| *s += v);
    }
    Ok(sum)
}

/// The product of both kinds of maps for one image: at the grid of every level `(L - S_1)(L - S_2)` with `S` the sum over the `L` levels of
/// `exp(min(v - max, 0))`, where `v` is the log-likelihood per dimension (kind 1) or minus the entropy (kind 2).
///
/// `maxima` are the largest values of each kind at each level in the class's **training** images. The released code takes them from the
/// test set of the class instead, and in place of `L`, the largest value that `S` can have, the largest one of that test set; then an
/// image's score depends on the other test images. See [`set_normalised`].
pub fn product_maps(kinds: [&[FloatMap]; 2], maxima: [&[f32]; 2]) -> Result<Vec<LevelMap>> {
    let levels = kinds[0].len() as f32;
    kinds[0]
        .iter()
        .map(|grid| {
            let (height, width) = (grid.height, grid.width);
            let first = sum_of_levels(kinds[0], maxima[0], height, width)?;
            let second = sum_of_levels(kinds[1], maxima[1], height, width)?;
            let data = first.iter().zip(&second).map(|(a, b)| (levels - a) * (levels - b)).collect();
            Ok(LevelMap { height, width, data })
        })
        .collect()
}

/// One kind of map as released, for all images of a test set at once: `images[i][level]` minus the largest value of the set at the level,
/// `exp`, brought to `side x side`, summed over levels, subtracted from the largest value of the set, smoothed. The released score is the
/// product of the results for both kinds.
///
/// **The result for an image depends on the other test images.** No component uses it; it is for comparisons with published numbers.
pub fn set_normalised(images: &[Vec<FloatMap>], side: usize, sigma: f32) -> Result<Vec<FloatMap>> {
    let levels = images.first().map_or(0, Vec::len);
    if images.iter().any(|i| i.len() != levels) {
        return Err(Error::new(ErrorKind::Contract, "images of a set have unequal numbers of level maps"));
    }
    let largest = |values: &mut dyn Iterator<Item = f32>| values.fold(f32::NEG_INFINITY, f32::max);
    let maxima: Vec<f32> =
        (0..levels).map(|l| largest(&mut images.iter().flat_map(|i| i[l].data.iter().copied()))).collect();
    let sums = images.iter().map(|i| sum_of_levels(i, &maxima, side, side)).collect::<Result<Vec<_>>>()?;
    let top = largest(&mut sums.iter().flatten().copied());
    sums.into_iter()
        .map(|s| {
            let turned = FloatMap::new(side, side, s.iter().map(|v| top - v).collect())?;
            Ok(turned.gaussian_blur(sigma))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(side: usize, values: &[f32]) -> FloatMap {
        FloatMap::new(side, side, values.to_vec()).unwrap()
    }

    #[test]
    fn the_product_is_zero_where_training_was_most_normal_and_at_most_the_square_of_the_levels() {
        let kinds = [
            [map(1, &[3.0]), map(2, &[2.0, 2.0, 2.0, -900.0])],
            [map(1, &[-1.0]), map(2, &[0.0, 0.0, 0.0, -800.0])],
        ];
        let maps = product_maps([&kinds[0], &kinds[1]], [&[3.0, 2.0], &[-1.0, 0.0]]).unwrap();
        assert_eq!((maps[0].height, maps[1].height), (1, 2));
        assert_eq!(maps[1].data, [0.0, 0.0, 0.0, 1.0]);
        // A value above the training maximum counts as the maximum and does not turn the sign.
        let above = product_maps([&kinds[0], &kinds[1]], [&[1.0, -5.0], &[-1.0, 0.0]]).unwrap();
        assert!(above[1].data.iter().all(|v| *v >= 0.0));
    }

    #[test]
    fn level_maps_and_maxima_must_be_as_many() {
        let one = [map(1, &[0.0])];
        assert!(product_maps([&one, &one], [&[0.0], &[]]).is_err());
        assert!(set_normalised(&[vec![map(1, &[0.0])], vec![]], 2, 1.0).is_err());
    }
}
