//! Which positions of a level share a covariance, and how a position's mean is found.

use crate::config::{GaussianMode, MahalanobisConfig};
use ccnf::prelude::*;

/// The layout of a level's Gaussian.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Rows of tokens.
    pub(crate) height: usize,
    /// Columns of tokens.
    pub(crate) width: usize,
    /// Channels `D`.
    pub(crate) dim: usize,
    /// Whether every position has its own mean.
    pub(crate) position_means: bool,
    /// Per cell the positions (row-major) that share its covariance; a partition of all positions.
    pub(crate) cells: Vec<Vec<usize>>,
}

impl Layout {
    /// The layout of `level`. With a grid of `g` cells a side, row `r` of `h` lies in cell row `floor(r g' / h)`,
    /// `g' = min(g, h)`, and so for columns.
    pub(crate) fn new(config: &MahalanobisConfig, level: &LevelSpec) -> Layout {
        let (height, width) = (level.height, level.width);
        let (rows, columns) = match config.mode {
            GaussianMode::Pooled | GaussianMode::PositionMean => (1, 1),
            GaussianMode::Region => (config.region_grid.min(height), config.region_grid.min(width)),
            GaussianMode::PerPosition => (height, width),
        };
        let mut cells = vec![Vec::new(); rows * columns];
        for r in 0..height {
            for c in 0..width {
                cells[(r * rows / height) * columns + c * columns / width].push(r * width + c);
            }
        }
        Layout {
            height,
            width,
            dim: level.channels,
            position_means: config.mode != GaussianMode::Pooled,
            cells,
        }
    }

    /// Tokens per image.
    pub(crate) fn positions(&self) -> usize {
        self.height * self.width
    }

    /// Rows of the mean.
    pub(crate) fn mean_rows(&self) -> usize {
        if self.position_means { self.positions() } else { 1 }
    }

    /// The row of the mean for a position.
    pub(crate) fn mean_row(&self, position: usize) -> usize {
        if self.position_means { position } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(mode: GaussianMode, region_grid: usize, height: usize, width: usize) -> Layout {
        let config = MahalanobisConfig { mode, region_grid, ..MahalanobisConfig::default() };
        Layout::new(&config, &LevelSpec { name: "l".into(), height, width, channels: 1 })
    }

    #[test]
    fn a_region_grid_is_a_partition_also_where_it_does_not_divide() {
        let l = layout(GaussianMode::Region, 3, 7, 5);
        let mut all: Vec<usize> = l.cells.concat();
        all.sort_unstable();
        assert_eq!(all, (0..35).collect::<Vec<_>>());
        assert_eq!(l.cells.len(), 9);
        // Rows 0-2, 3-4, 5-6; columns 0-1, 2-3, 4.
        assert_eq!(l.cells[0], [0, 1, 5, 6, 10, 11]);
        assert_eq!(l.cells[8], [29, 34]);
    }

    #[test]
    fn a_level_smaller_than_the_grid_has_a_cell_per_position() {
        assert_eq!(layout(GaussianMode::Region, 7, 3, 2), layout(GaussianMode::PerPosition, 7, 3, 2));
        assert_eq!(layout(GaussianMode::Region, 1, 3, 2), layout(GaussianMode::PositionMean, 7, 3, 2));
    }

    #[test]
    fn only_pooled_has_one_mean() {
        let pooled = layout(GaussianMode::Pooled, 7, 3, 2);
        assert_eq!((pooled.mean_rows(), pooled.mean_row(5), pooled.cells.len()), (1, 0, 1));
        assert_eq!(layout(GaussianMode::PositionMean, 7, 3, 2).mean_rows(), 6);
    }
}
