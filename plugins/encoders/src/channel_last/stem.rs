//! The first convolution: from 8-bit pixels to the rows of a matrix product.

use super::operators::{Conv, Padding, Scaling};
use std::ops::Range;

/// Gathers the pixels under the kernel.
pub(super) struct Stem {
    size: usize,
    kernel: usize,
    stride: usize,
    padding: Padding,
    side: usize,
    /// What the scalings make of each grey level.
    table: [f32; 256],
}

impl Stem {
    /// For images of `size` x `size`; `None` where the kernel does not fit or the padding is not the same in height and
    /// width.
    pub(super) fn new(conv: &Conv, scalings: &[Scaling], size: usize) -> Option<Stem> {
        let Conv { kernel, stride, padding, .. } = *conv;
        let side = out_side(size, &padding, kernel, stride)?;
        let scaled = |level: usize| {
            scalings.iter().fold(level as f32 / 255.0, |v, s| match s {
                Scaling::Add(c) => v + c,
                Scaling::Subtract(c) => v - c,
                Scaling::Multiply(c) => v * c,
                Scaling::Divide(c) => v / c,
            })
        };
        Some(Stem { size, kernel, stride, padding, side, table: std::array::from_fn(scaled) })
    }

    /// Height and width of the images.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Height and width of the result.
    pub(super) fn side(&self) -> usize {
        self.side
    }

    /// Weights `[output][channel][row][column]` in the order of [`Stem::gather`].
    pub(super) fn reorder(&self, weight: &[f32]) -> Vec<f32> {
        let taps = self.kernel * self.kernel;
        let one = |w: &[f32]| (0..3 * taps).map(|i| w[i % 3 * taps + i / 3]).collect::<Vec<f32>>();
        weight.chunks_exact(3 * taps).flat_map(one).collect()
    }

    /// The values under the kernel, `[row][column][channel]`, for each pixel of some rows of the result.
    pub(super) fn gather(
        &self,
        image: &[u8],
        rows: Range<usize>,
        line: &mut Vec<f32>,
        patches: &mut Vec<f32>,
    ) {
        let run = 3 * self.kernel;
        let patch = run * self.kernel;
        let (left, width) = (3 * self.padding.left, 3 * self.size);
        line.clear();
        line.resize(left + width + 3 * self.padding.right, 0.0);
        patches.resize(rows.len() * self.side * patch, 0.0);
        for (y, row) in rows.zip(patches.chunks_exact_mut(self.side * patch)) {
            for k in 0..self.kernel {
                let inside = (y * self.stride + k).checked_sub(self.padding.top).filter(|i| *i < self.size);
                match inside {
                    None => line[left..left + width].fill(0.0),
                    Some(i) => {
                        for (v, pixel) in line[left..].iter_mut().zip(&image[i * width..][..width]) {
                            *v = self.table[usize::from(*pixel)];
                        }
                    }
                }
                for (x, patch) in row.chunks_exact_mut(patch).enumerate() {
                    patch[k * run..][..run].copy_from_slice(&line[3 * x * self.stride..][..run]);
                }
            }
        }
    }
}

/// Height and width after a convolution; `None` where it does not fit.
pub(super) fn out_side(side: usize, padding: &Padding, kernel: usize, stride: usize) -> Option<usize> {
    let (tall, wide) = (side + padding.top + padding.bottom, side + padding.left + padding.right);
    (tall == wide && tall >= kernel).then(|| (tall - kernel) / stride + 1)
}
