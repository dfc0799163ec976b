//! Means and covariances of a class at a level.

use crate::cells::Layout;
use crate::config::WhiteningConfig;
use crate::input::Scaling;
use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use rayon::prelude::*;

/// Mean and covariances in f64.
pub(crate) struct Moments {
    /// `[mean rows, D]`.
    pub(crate) mean: Vec<f64>,
    /// Per cell `[D, D]`.
    pub(crate) covariances: Vec<Vec<f64>>,
}

/// Tokens whose products are summed at once: bounds the memory.
const BLOCK: usize = 2048;

/// Fits the images of a class (each `[positions][D]`, raw).
///
/// * Mean: of all tokens, or of a cell of its grid, or per position; there, if `smooth`, averaged with the neighbours in the 3x3
///   window that exist.
/// * `S_p = sum r r^T / n` over the residuals `r` of all tokens to that mean; shrunk to `(1-s) S_p + s tr(S_p)/D I`.
/// * A cell with `n` tokens: `S = sum r r^T / n` over its tokens, shrunk to `(1-a) S + a S_p`,
///   `a = min(1, kD/(kD+n) + s)`, `k` the `prior`; where there is just one cell it is `S_p`.
pub(crate) fn fit(
    images: &[&[f32]],
    layout: &Layout,
    input: &Scaling,
    settings: &WhiteningConfig,
) -> Moments {
    let WhiteningConfig { smooth, shrinkage, prior, .. } = *settings;
    let dim = layout.dim;
    let mut mean = position_means(images, layout, input);
    if layout.mean_rows < layout.positions() {
        mean = averages(&mean, layout);
    } else if smooth {
        mean = smoothed(&mean, layout);
    }
    let rows: Vec<Vec<usize>>;
    let one = layout.cells.len() == 1;
    let units = if one {
        rows = (0..layout.height).map(|r| (r * layout.width..(r + 1) * layout.width).collect()).collect();
        &rows
    } else {
        &layout.cells
    };
    let mut sums: Vec<Vec<f64>> =
        units.par_iter().map(|positions| scatter(images, positions, layout, input, &mean)).collect();

    let tokens = (images.len() * layout.positions()) as f64;
    let mut pooled = vec![0.0; dim * dim];
    for s in &sums {
        pooled.iter_mut().zip(s).for_each(|(p, v)| *p += v / tokens);
    }
    let sphere = (0..dim).map(|i| pooled[i * dim + i]).sum::<f64>() / dim as f64;
    pooled.iter_mut().for_each(|v| *v *= 1.0 - shrinkage);
    (0..dim).for_each(|i| pooled[i * dim + i] += shrinkage * sphere);
    if one {
        return Moments { mean, covariances: vec![pooled] };
    }
    for (s, positions) in sums.iter_mut().zip(&layout.cells) {
        let n = (images.len() * positions.len()) as f64;
        let weight = prior * dim as f64;
        let a = (weight / (weight + n) + shrinkage).min(1.0);
        s.iter_mut().zip(&pooled).for_each(|(v, p)| *v = (1.0 - a) * *v / n + a * p);
    }
    Moments { mean, covariances: sums }
}

/// The mean over images at each position, `[positions, D]`.
fn position_means(images: &[&[f32]], layout: &Layout, input: &Scaling) -> Vec<f64> {
    let dim = layout.dim;
    let mut mean = vec![0.0; layout.positions() * dim];
    mean.par_chunks_mut(dim).enumerate().for_each(|(p, m)| {
        for image in images {
            m.iter_mut()
                .zip(input.apply(&image[p * dim..(p + 1) * dim]))
                .for_each(|(s, v)| *s += f64::from(v));
        }
        m.iter_mut().for_each(|s| *s /= images.len() as f64);
    });
    mean
}

/// The means of the positions that share one.
fn averages(rows: &[f64], layout: &Layout) -> Vec<f64> {
    let dim = layout.dim;
    let (mut mean, mut counts) = (vec![0.0; layout.mean_rows * dim], vec![0.0; layout.mean_rows]);
    for (row, m) in rows.chunks_exact(dim).zip(&layout.mean_row) {
        counts[*m] += 1.0;
        mean[m * dim..(m + 1) * dim].iter_mut().zip(row).for_each(|(m, v)| *m += v);
    }
    for (mean, n) in mean.chunks_exact_mut(dim).zip(counts) {
        mean.iter_mut().for_each(|m| *m /= n);
    }
    mean
}

/// The mean over the 3x3 window; at the border over the positions that exist.
fn smoothed(mean: &[f64], layout: &Layout) -> Vec<f64> {
    let (h, w, dim) = (layout.height, layout.width, layout.dim);
    let mut out = vec![0.0; mean.len()];
    out.par_chunks_mut(dim).enumerate().for_each(|(p, o)| {
        let (r, c) = (p / w, p % w);
        let mut n = 0.0;
        for i in r.saturating_sub(1)..(r + 2).min(h) {
            for j in c.saturating_sub(1)..(c + 2).min(w) {
                n += 1.0;
                let row = &mean[(i * w + j) * dim..(i * w + j + 1) * dim];
                o.iter_mut().zip(row).for_each(|(o, v)| *o += v);
            }
        }
        o.iter_mut().for_each(|v| *v /= n);
    });
    out
}

/// `sum r r^T` over the tokens of all images at `positions`, `[D, D]`.
fn scatter(
    images: &[&[f32]],
    positions: &[usize],
    layout: &Layout,
    input: &Scaling,
    mean: &[f64],
) -> Vec<f64> {
    let dim = layout.dim;
    let mut sum = vec![0.0; dim * dim];
    let mut block = Vec::with_capacity(BLOCK.min(images.len() * positions.len()) * dim);
    let mut add = |block: &mut Vec<f64>| {
        let n = block.len() / dim;
        let r = MatRef::from_row_major_slice(block.as_slice(), n, dim);
        let dst = MatMut::from_row_major_slice_mut(&mut sum, dim, dim);
        matmul(dst, Accum::Add, r.transpose(), r, 1.0, Par::Seq);
        block.clear();
    };
    for image in images {
        for &p in positions {
            let row = layout.mean_row[p];
            let center = &mean[row * dim..(row + 1) * dim];
            block.extend(
                input.apply(&image[p * dim..(p + 1) * dim]).zip(center).map(|(v, m)| f64::from(v) - m),
            );
            if block.len() == BLOCK * dim {
                add(&mut block);
            }
        }
    }
    if !block.is_empty() {
        add(&mut block);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::GaussianMode;
    use approx::assert_abs_diff_eq;
    use ccnf::prelude::*;

    fn fitted(mode: GaussianMode, grid: usize, shrinkage: f64, smooth: bool, images: &[&[f32]]) -> Moments {
        let config =
            WhiteningConfig { mode, region_grid: grid, shrinkage, smooth, ..WhiteningConfig::default() };
        let level = LevelSpec { name: "l".into(), height: 1, width: 3, channels: 2 };
        let input = Scaling::identity(2);
        fit(images, &Layout::new(&config, &level), &input, &config)
    }

    const IMAGES: [&[f32]; 2] = [&[0.0, 0.0, 3.0, 1.0, 6.0, 2.0], &[2.0, 0.0, 3.0, 3.0, 4.0, 6.0]];

    #[test]
    fn the_smoothed_mean_averages_the_neighbours_that_exist() {
        // Position means (1, 0), (3, 2), (5, 4).
        let m = fitted(GaussianMode::PositionMean, 7, 0.0, true, &IMAGES).mean;
        assert_eq!(m, [2.0, 1.0, 3.0, 2.0, 4.0, 3.0]);
        assert_eq!(
            fitted(GaussianMode::PositionMean, 7, 0.0, false, &IMAGES).mean,
            [1.0, 0.0, 3.0, 2.0, 5.0, 4.0]
        );
        assert_eq!(fitted(GaussianMode::Pooled, 7, 0.0, true, &IMAGES).mean, [3.0, 2.0]);
    }

    #[test]
    fn the_pooled_covariance_is_shrunk_to_its_mean_variance() {
        // Residuals to (3, 2): (-3,-2) (0,-1) (3,0) (-1,-2) (0,1) (1,4).
        let plain = &fitted(GaussianMode::Pooled, 7, 0.0, true, &IMAGES).covariances[0];
        let expected = [20.0 / 6.0, 12.0 / 6.0, 12.0 / 6.0, 26.0 / 6.0];
        plain.iter().zip(expected).for_each(|(a, b)| assert_abs_diff_eq!(*a, b, epsilon = 1e-12));
        let shrunk = &fitted(GaussianMode::Pooled, 7, 0.1, true, &IMAGES).covariances[0];
        let sphere = 23.0 / 6.0;
        assert_abs_diff_eq!(shrunk[0], 0.9 * expected[0] + 0.1 * sphere, epsilon = 1e-12);
        assert_abs_diff_eq!(shrunk[1], 0.9 * expected[1], epsilon = 1e-12);
    }

    #[test]
    fn a_cell_is_shrunk_to_the_pooled_covariance_by_its_token_count() {
        let m = fitted(GaussianMode::PerPosition, 7, 0.1, false, &IMAGES);
        let pooled = &fitted(GaussianMode::PositionMean, 7, 0.1, false, &IMAGES).covariances[0];
        // Position 1 has the residuals (0, -1), (0, 1); D = 2 and n = 2, so a = 0.5 + 0.1.
        let own = [0.0, 0.0, 0.0, 1.0];
        for k in 0..4 {
            assert_abs_diff_eq!(m.covariances[1][k], 0.4 * own[k] + 0.6 * pooled[k], epsilon = 1e-12);
        }
    }

    #[test]
    fn residuals_are_not_centred_again_after_smoothing() {
        let m = fitted(GaussianMode::PositionMean, 7, 0.0, true, &IMAGES);
        // Residuals: (-2,-1) (0,-1) (2,-1) (0,-1) (0,1) (0,3).
        let expected = [8.0 / 6.0, 0.0, 0.0, 14.0 / 6.0];
        m.covariances[0].iter().zip(expected).for_each(|(a, b)| assert_abs_diff_eq!(*a, b, epsilon = 1e-12));
    }
}
