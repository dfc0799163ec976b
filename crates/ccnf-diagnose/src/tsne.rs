//! Pictures of latents: principal components, then t-SNE, the same bits every time.

use crate::neighbours::Distances;
use bhtsne::{Neighbor, tSNE};
use ccnf_core::{Error, ErrorKind, Result};
use ccnf_tensor::leading_eigenvectors;

/// Fewer points than this make no picture.
const FEWEST: usize = 8;
/// Accuracy of the Barnes-Hut approximation.
const THETA: f64 = 0.5;
/// Standard deviation of the first coordinate at the start.
const START: f64 = 1e-4;

/// The scores of rows `[n][dim]` on their `count` largest principal components, `[n][components]`, and the number of components.
pub(crate) fn principal_components(rows: &[f32], dim: usize, count: usize) -> Result<(Vec<f32>, usize)> {
    let n = rows.len() / dim.max(1);
    let mut mean = vec![0.0f64; dim];
    for row in rows.chunks_exact(dim) {
        mean.iter_mut().zip(row).for_each(|(m, v)| *m += f64::from(*v) / n as f64);
    }
    let centred: Vec<f64> = rows.iter().enumerate().map(|(k, v)| f64::from(*v) - mean[k % dim]).collect();
    let mut covariance = vec![0.0f64; dim * dim];
    for row in centred.chunks_exact(dim) {
        for (i, own) in covariance.chunks_exact_mut(dim).enumerate() {
            own.iter_mut().zip(row).for_each(|(s, v)| *s += row[i] * v / n as f64);
        }
    }
    let axes = leading_eigenvectors(&covariance, dim, count)?;
    let score = |row: &[f64], axis: &[f64]| row.iter().zip(axis).map(|(r, a)| r * a).sum::<f64>() as f32;
    let scores = centred
        .chunks_exact(dim)
        .flat_map(|row| axes.iter().map(move |(_, axis)| score(row, axis)))
        .collect();
    Ok((scores, axes.len()))
}

/// The t-SNE embedding (van der Maaten & Hinton 2008, Barnes-Hut approximation) of rows `[n][dim]` after reduction to `components`
/// principal components. `None` for too few points.
///
/// Nothing is random: it starts from the first two components, scaled to a standard deviation of 1e-4 (Kobak & Berens 2019), the
/// neighbours are computed exactly, and one thread does all sums, whose order would otherwise depend on which thread is free.
pub(crate) fn embed(
    rows: &[f32],
    dim: usize,
    components: usize,
    perplexity: f64,
) -> Result<Option<Vec<[f64; 2]>>> {
    let n = rows.len() / dim.max(1);
    if n < FEWEST {
        return Ok(None);
    }
    let (reduced, components) = principal_components(rows, dim, components.max(2))?;
    let squares = |values: &mut dyn Iterator<Item = &f32>| values.map(|v| f64::from(*v).powi(2)).sum::<f64>();
    let first = squares(&mut reduced.iter().step_by(components));
    // What is left of equal rows after rounding is no spread.
    if first <= f64::from(f32::EPSILON).powi(2) * squares(&mut rows.iter()) {
        return Ok(Some(vec![[0.0; 2]; n]));
    }
    let perplexity = perplexity.min((n - 1) as f64 / 3.0);
    let neighbours: Vec<Vec<Neighbor<f64>>> = Distances::of(&reduced, components)
        .nearest(((3.0 * perplexity) as usize).clamp(1, n - 1))
        .into_iter()
        .map(|near| near.into_iter().map(|(index, distance)| Neighbor { index, distance }).collect())
        .collect();
    let scale = START / (first / n as f64).sqrt();
    let second = |r: &[f32]| if components > 1 { f64::from(r[1]) * scale } else { 0.0 };
    let start: Vec<f64> =
        reduced.chunks_exact(components).flat_map(|r| [f64::from(r[0]) * scale, second(r)]).collect();
    let one_thread = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .map_err(|e| Error::new(ErrorKind::Io, format!("cannot start a thread: {e}")))?;
    let points: Vec<usize> = (0..n).collect();
    let embedding = one_thread.install(|| {
        let mut tsne = tSNE::<f64, usize, 2>::new(&points);
        tsne.perplexity(perplexity).initial_embedding(start);
        tsne.barnes_hut_with_neighbors(THETA, &neighbours).embedding()
    });
    Ok(Some(embedding.chunks_exact(2).map(|p| [p[0], p[1]]).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ccnf_tensor::Streams;

    /// Three clouds far from each other in 6 dims.
    fn clouds(n: usize) -> Vec<f32> {
        let noise = Streams::new(3).normal("clouds", 6 * n);
        noise.iter().enumerate().map(|(k, v)| v + if k % 6 == (k / 6) % 3 { 20.0 } else { 0.0 }).collect()
    }

    #[test]
    fn components_are_ordered_and_uncorrelated() {
        let (scores, k) = principal_components(&clouds(60), 6, 3).unwrap();
        assert_eq!((k, scores.len()), (3, 180));
        let dot = |a: usize, b: usize| -> f64 {
            scores.chunks_exact(3).map(|r| f64::from(r[a]) * f64::from(r[b])).sum()
        };
        assert!(dot(0, 0) >= dot(1, 1) && dot(1, 1) >= dot(2, 2));
        assert!(dot(0, 1).abs() < 1e-3 * dot(0, 0), "{} beside {}", dot(0, 1), dot(0, 0));
    }

    #[test]
    fn clouds_stay_apart_and_the_picture_repeats_bit_for_bit() {
        let rows = clouds(90);
        let a = embed(&rows, 6, 50, 10.0).unwrap().unwrap();
        let b = embed(&rows, 6, 50, 10.0).unwrap().unwrap();
        let bits = |p: &[[f64; 2]]| p.iter().flatten().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&a), bits(&b));
        let flat: Vec<f32> = a.iter().flatten().map(|v| *v as f32).collect();
        assert!(flat.iter().all(|v| v.is_finite()));
        let class: Vec<usize> = (0..90).map(|i| i % 3).collect();
        assert_eq!(Distances::of(&flat, 2).accuracy(&class, 5).value, Some(1.0));
    }

    #[test]
    fn few_points_equal_points_and_a_large_perplexity_are_no_trouble() {
        assert!(embed(&clouds(7), 6, 50, 30.0).unwrap().is_none());
        assert_eq!(embed(&clouds(8), 6, 50, 30.0).unwrap().unwrap().len(), 8);
        for v in [0.0, 1.0, 0.1] {
            assert_eq!(embed(&[v; 40], 2, 50, 30.0).unwrap().unwrap(), [[0.0; 2]; 20]);
        }
    }

    #[test]
    fn latents_of_one_dim_have_a_picture() {
        let line: Vec<f32> = (0..30).map(|v| v as f32).collect();
        assert!(embed(&line, 1, 50, 5.0).unwrap().unwrap().iter().flatten().all(|v| v.is_finite()));
    }
}
