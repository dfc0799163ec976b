//! Operations on maps of numbers: interpolation, blur and pooling.

use ccnf_core::{Error, ErrorKind, Result};

/// A map of one number per cell, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct FloatMap {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// The values, `[height][width]`.
    pub data: Vec<f32>,
}

impl FloatMap {
    /// A map of `data`; fails unless there are `height * width` values, at least one.
    pub fn new(height: usize, width: usize, data: Vec<f32>) -> Result<Self> {
        if data.is_empty() || height * width != data.len() {
            return Err(Error::new(
                ErrorKind::Contract,
                format!("a map of {height} rows and {width} columns cannot have {} values", data.len()),
            ));
        }
        Ok(FloatMap { height, width, data })
    }

    /// The smallest and the largest value that is not NaN; `None` if all are NaN.
    pub fn range(&self) -> Option<(f32, f32)> {
        let mut values = self.data.iter().copied().filter(|v| !v.is_nan());
        let first = values.next()?;
        Some(values.fold((first, first), |(low, high), v| (low.min(v), high.max(v))))
    }

    /// Bilinear interpolation to `height` x `width` without antialiasing, as `torch.nn.functional.interpolate`.
    ///
    /// With `align_corners` the centres of the corner cells stay where they are (source = i (n_in - 1) / (n_out - 1));
    /// without, the edges of the map do (source = (i + 1/2) n_in / n_out - 1/2, not below 0).
    pub fn resize_bilinear(&self, height: usize, width: usize, align_corners: bool) -> FloatMap {
        let rows = taps(self.height, height, align_corners);
        let columns = taps(self.width, width, align_corners);
        let mut data = Vec::with_capacity(height * width);
        for row in &rows {
            let low = &self.data[row.low * self.width..][..self.width];
            let high = &self.data[row.high * self.width..][..self.width];
            data.extend(columns.iter().map(|c| {
                let top = low[c.low] + (low[c.high] - low[c.low]) * c.weight;
                let bottom = high[c.low] + (high[c.high] - high[c.low]) * c.weight;
                top + (bottom - top) * row.weight
            }));
        }
        FloatMap { height, width, data }
    }

    /// Gaussian blur as `scipy.ndimage.gaussian_filter(sigma, mode="reflect", truncate=4)`: radius `⌊4σ + 1/2⌋`, the edge
    /// cell is repeated, and the reflection itself repeats where the map is smaller than the radius. Computed in `f64`.
    /// A sigma that is not positive changes nothing.
    pub fn gaussian_blur(&self, sigma: f32) -> FloatMap {
        let sigma = f64::from(sigma);
        if sigma.is_nan() || sigma <= 0.0 {
            return self.clone();
        }
        let kernel = gaussian_kernel(sigma);
        let (h, w) = (self.height, self.width);
        let source: Vec<f64> = self.data.iter().map(|&v| f64::from(v)).collect();
        let radius = kernel.len() as isize / 2;

        let mut vertical = vec![0.0; h * w];
        for (y, out) in vertical.chunks_exact_mut(w).enumerate() {
            for (k, weight) in kernel.iter().enumerate() {
                let row = reflect(y as isize + k as isize - radius, h);
                for (o, v) in out.iter_mut().zip(&source[row * w..][..w]) {
                    *o += weight * v;
                }
            }
        }
        let columns: Vec<usize> = (-radius..w as isize + radius).map(|x| reflect(x, w)).collect();
        let mut padded = vec![0.0; columns.len()];
        let mut data = Vec::with_capacity(h * w);
        for row in vertical.chunks_exact(w) {
            for (p, &c) in padded.iter_mut().zip(&columns) {
                *p = row[c];
            }
            data.extend(
                padded
                    .windows(kernel.len())
                    .map(|x| x.iter().zip(&kernel).map(|(a, b)| a * b).sum::<f64>() as f32),
            );
        }
        FloatMap { height: h, width: w, data }
    }

    /// Average pooling with a `k` x `k` window, stride 1 and no padding: the result is `k - 1` smaller on each side.
    /// Fails if the window does not fit.
    pub fn avg_pool(&self, k: usize) -> Result<FloatMap> {
        if k == 0 || k > self.height || k > self.width {
            return Err(Error::new(
                ErrorKind::Contract,
                format!(
                    "a pooling window of {k} does not fit into a map of {} x {}",
                    self.height, self.width
                ),
            ));
        }
        let (height, width) = (self.height - k + 1, self.width - k + 1);
        let cells = (0..height).flat_map(|y| (0..width).map(move |x| (y, x)));
        Ok(FloatMap { height, width, data: cells.map(|(y, x)| self.mean(y..y + k, x..x + k)).collect() })
    }

    /// Average pooling to `height` x `width` cells as `torch.nn.functional.adaptive_avg_pool2d`: cell i averages the
    /// source cells from `⌊i n_in / n_out⌋` to `⌈(i + 1) n_in / n_out⌉`.
    pub fn adaptive_avg_pool(&self, height: usize, width: usize) -> FloatMap {
        let span = |i: usize, from: usize, to: usize| i * from / to..((i + 1) * from).div_ceil(to);
        let cells = (0..height).flat_map(|y| (0..width).map(move |x| (y, x)));
        let data =
            cells.map(|(y, x)| self.mean(span(y, self.height, height), span(x, self.width, width))).collect();
        FloatMap { height, width, data }
    }

    fn mean(&self, rows: std::ops::Range<usize>, columns: std::ops::Range<usize>) -> f32 {
        let n = (rows.len() * columns.len()) as f64;
        let sum: f64 =
            rows.flat_map(|y| &self.data[y * self.width..][columns.clone()]).map(|&v| f64::from(v)).sum();
        (sum / n) as f32
    }
}

/// Average pooling of a channel-last feature map `[h][w][channels]` with a `k` x `k` window (k odd), stride 1 and padding
/// `k / 2`: `out` has the size of `data`. Cells outside the map are not counted, so the mean is over those inside.
pub fn pool_features(
    data: &[f32],
    out: &mut [f32],
    h: usize,
    w: usize,
    channels: usize,
    k: usize,
) -> Result<()> {
    if k.is_multiple_of(2) || data.len() != h * w * channels || out.len() != data.len() {
        return Err(Error::new(
            ErrorKind::Contract,
            format!(
                "cannot pool {} values into {} as a map of {h} x {w} cells and {channels} channels with window {k}",
                data.len(),
                out.len()
            ),
        )
        .help("the window is odd, and both buffers hold h * w * channels values"));
    }
    let row_length = w * channels;
    let mut column_sums = vec![0.0f32; row_length];
    for (y, out_row) in out.chunks_exact_mut(row_length.max(1)).enumerate() {
        let rows = y.saturating_sub(k / 2)..(y + k / 2 + 1).min(h);
        column_sums.fill(0.0);
        for row in data[rows.start * row_length..rows.end * row_length].chunks_exact(row_length) {
            column_sums.iter_mut().zip(row).for_each(|(s, v)| *s += v);
        }
        for (x, cell) in out_row.chunks_exact_mut(channels).enumerate() {
            let columns = x.saturating_sub(k / 2)..(x + k / 2 + 1).min(w);
            let scale = 1.0 / (rows.len() * columns.len()) as f32;
            cell.fill(0.0);
            for c in column_sums[columns.start * channels..columns.end * channels].chunks_exact(channels) {
                cell.iter_mut().zip(c).for_each(|(o, v)| *o += v);
            }
            cell.iter_mut().for_each(|v| *v *= scale);
        }
    }
    Ok(())
}

/// Where one output cell of an interpolation reads: `low` and `high`, mixed by `weight`.
struct Tap {
    low: usize,
    high: usize,
    weight: f32,
}

fn taps(from: usize, to: usize, align_corners: bool) -> Vec<Tap> {
    let last = from - 1;
    (0..to)
        .map(|i| {
            let at = match (align_corners, to) {
                (true, 1) => 0.0,
                (true, _) => i as f64 * last as f64 / (to - 1) as f64,
                (false, _) => ((i as f64 + 0.5) * from as f64 / to as f64 - 0.5).max(0.0),
            };
            let low = (at as usize).min(last);
            Tap { low, high: (low + 1).min(last), weight: (at - low as f64) as f32 }
        })
        .collect()
}

fn gaussian_kernel(sigma: f64) -> Vec<f64> {
    let radius = (4.0 * sigma + 0.5) as i64;
    let weights: Vec<f64> = (-radius..=radius).map(|x| (-0.5 * (x as f64 / sigma).powi(2)).exp()).collect();
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|w| w / sum).collect()
}

/// The index inside `0..n` that `i` falls on when the map is mirrored at its edges (`d c b a | a b c d | d c b a`).
fn reflect(i: isize, n: usize) -> usize {
    let n = n as isize;
    let i = i.rem_euclid(2 * n);
    (if i < n { i } else { 2 * n - 1 - i }) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reflection_repeats_beyond_the_map() {
        let seen: Vec<usize> = (-5..6).map(|i| reflect(i, 2)).collect();
        assert_eq!(seen, [0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 1]);
    }

    #[test]
    fn pooling_features_averages_only_cells_inside() {
        // 2 x 3 cells, 2 channels; the second channel is 10 times the first.
        let data: Vec<f32> = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0].iter().flat_map(|&v| [v, 10.0 * v]).collect();
        let mut out = vec![f32::NAN; data.len()];
        pool_features(&data, &mut out, 2, 3, 2, 3).unwrap();
        let expected = [3.0, 3.5, 4.0, 3.0, 3.5, 4.0];
        for (cell, e) in out.chunks(2).zip(expected) {
            approx::assert_relative_eq!(cell[0], e, epsilon = 1e-6);
            approx::assert_relative_eq!(cell[1], 10.0 * e, epsilon = 1e-5);
        }
    }

    #[test]
    fn pooling_with_window_one_copies() {
        let data = [1.0, 2.0, 3.0, 4.0];
        let mut out = [0.0; 4];
        pool_features(&data, &mut out, 2, 2, 1, 1).unwrap();
        assert_eq!(out, data);
    }

    #[test]
    fn pooling_agrees_with_the_valid_form_inside() {
        let map = FloatMap::new(5, 6, (0..30).map(|i| ((i * 7) % 11) as f32).collect()).unwrap();
        let mut same = vec![0.0; 30];
        pool_features(&map.data, &mut same, 5, 6, 1, 3).unwrap();
        let valid = map.avg_pool(3).unwrap();
        for y in 0..3 {
            for x in 0..4 {
                approx::assert_relative_eq!(valid.data[y * 4 + x], same[(y + 1) * 6 + x + 1], epsilon = 1e-5);
            }
        }
    }

    #[test]
    fn an_even_window_is_refused() {
        assert!(pool_features(&[0.0; 4], &mut [0.0; 4], 2, 2, 1, 2).is_err());
    }

    #[test]
    fn blurring_a_flat_map_changes_nothing() {
        let flat = FloatMap::new(3, 2, vec![2.5; 6]).unwrap();
        assert_eq!(flat.gaussian_blur(4.0), flat);
    }

    #[test]
    fn a_range_skips_nan() {
        let map = FloatMap::new(1, 3, vec![f32::NAN, 2.0, -1.0]).unwrap();
        assert_eq!(map.range(), Some((-1.0, 2.0)));
    }
}
