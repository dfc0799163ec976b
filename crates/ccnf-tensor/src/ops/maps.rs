//! Operations on whole maps of tokens: checked entry points.

use crate::{Result, TensorError, Var};
use dfdx::prelude::HasShape;

#[cfg(feature = "cuda")]
use super::composed;
#[cfg(not(feature = "cuda"))]
use super::fused_maps;

/// The tokens of a map: `height * width` rows of a matrix, row after row of the map. Several maps follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Rows of the map.
    pub height: usize,
    /// Columns of the map.
    pub width: usize,
}

impl Grid {
    /// Tokens of a map.
    pub fn tokens(&self) -> usize {
        self.height * self.width
    }

    /// The grid of 2x2 patches; `None` where a side is odd or there is no token.
    pub fn halved(&self) -> Option<Grid> {
        let even = self.tokens() > 0 && self.height.is_multiple_of(2) && self.width.is_multiple_of(2);
        even.then_some(Grid { height: self.height / 2, width: self.width / 2 })
    }

    /// The tokens of a patch of a grid that can be halved: upper left, upper right, lower left, lower right.
    pub fn patch(&self, patch: usize) -> [usize; 4] {
        let across = self.width / 2;
        let first = 2 * (patch / across) * self.width + 2 * (patch % across);
        [first, first + 1, first + self.width, first + self.width + 1]
    }

    /// Fails unless there are rows of whole maps.
    fn check(&self, op: &'static str, rows: usize) -> Result<()> {
        if self.tokens() == 0 || !rows.is_multiple_of(self.tokens()) {
            let wanted = format!("whole maps of {} x {} tokens", self.height, self.width);
            return Err(TensorError::shape(op, wanted, format!("{rows} tokens")));
        }
        Ok(())
    }
}

/// All pairs of neighbours of a map: a cell, a cell of the 3x3 window around it, and the place of that cell in the window.
pub(super) fn neighbours(grid: Grid) -> impl Iterator<Item = (usize, usize, usize)> {
    let Grid { height, width } = grid;
    (0..grid.tokens()).flat_map(move |cell| {
        let (r, c) = (cell / width, cell % width);
        (0..9).filter_map(move |k| {
            let (row, column) = ((r + k / 3).checked_sub(1)?, (c + k % 3).checked_sub(1)?);
            (row < height && column < width).then_some((cell, row * width + column, k))
        })
    })
}

/// Depthwise 3x3 convolution of maps with zero padding, and a skip: `y_p = x_p + sum over the window of weight_k * x_(p + k)`, channel by
/// channel. `x` is `[maps * tokens, C]`; `weight` is `[9, C]`, the window row after row. (Chollet 2017; He et al. 2016.)
pub fn depthwise(x: &Var, weight: &Var, grid: Grid) -> Result<Var> {
    let (n, c) = *x.shape();
    grid.check("depthwise", n)?;
    if *weight.shape() != (9, c) || c == 0 {
        let found = format!("{:?}", weight.shape());
        return Err(TensorError::shape("depthwise", format!("a weight [9, {c}]"), found));
    }
    #[cfg(not(feature = "cuda"))]
    return fused_maps::depthwise(x, weight, grid);
    #[cfg(feature = "cuda")]
    return composed::depthwise(x, weight, grid);
}

/// The Haar step: every 2x2 patch of tokens `(a, b, c, d)` becomes one token of four times as many channels,
/// `(a + b + c + d, a - b + c - d, a + b - c - d, a - b - c + d) / 2`, so a map of half the height and width. Orthonormal, so its
/// log-determinant is 0. (Ardizzone et al. 2019; Jacobsen et al. 2018.) `grid`, of even sides, is that of `x`.
pub fn haar(x: &Var, grid: Grid) -> Result<Var> {
    check_haar(grid, x.shape().0)?;
    #[cfg(not(feature = "cuda"))]
    return fused_maps::haar(x, grid, false);
    #[cfg(feature = "cuda")]
    return composed::haar(x, grid);
}

/// The inverse of [`haar`], which is also its transpose; `grid` is the one with the smaller tokens.
pub fn haar_inverse(y: &Var, grid: Grid) -> Result<Var> {
    let (n, c) = *y.shape();
    check_haar(grid, 4 * n)?;
    if !c.is_multiple_of(4) {
        return Err(TensorError::shape("haar_inverse", "four times as many channels", c.to_string()));
    }
    #[cfg(not(feature = "cuda"))]
    return fused_maps::haar(y, grid, true);
    #[cfg(feature = "cuda")]
    return composed::haar_inverse(y, grid);
}

fn check_haar(grid: Grid, rows: usize) -> Result<()> {
    if grid.halved().is_none() {
        let found = format!("{} x {}", grid.height, grid.width);
        return Err(TensorError::shape("haar", "a map of even sides", found));
    }
    grid.check("haar", rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_corner_has_four_neighbours_and_a_middle_nine() {
        let grid = Grid { height: 3, width: 4 };
        let of =
            |cell: usize| neighbours(grid).filter(|n| n.0 == cell).map(|n| (n.1, n.2)).collect::<Vec<_>>();
        assert_eq!(of(0), [(0, 4), (1, 5), (4, 7), (5, 8)]);
        assert_eq!(of(11), [(6, 0), (7, 1), (10, 3), (11, 4)]);
        assert_eq!(of(5), (0..9).map(|k| (k / 3 * 4 + k % 3, k)).collect::<Vec<_>>());
    }

    #[test]
    fn patches_cover_a_map_once() {
        let grid = Grid { height: 4, width: 6 };
        assert_eq!(grid.patch(4), [14, 15, 20, 21]);
        let mut cells: Vec<usize> = (0..6).flat_map(|p| grid.patch(p)).collect();
        cells.sort_unstable();
        assert_eq!(cells, (0..24).collect::<Vec<_>>());
        assert_eq!(grid.halved(), Some(Grid { height: 2, width: 3 }));
        assert_eq!(Grid { height: 7, width: 6 }.halved(), None);
    }
}
