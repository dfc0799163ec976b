//! Which positions of a level share a covariance, and how a position's mean is found.

use crate::config::{GaussianMode, WhiteningConfig};
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
    /// Per position the row of its mean.
    pub(crate) mean_row: Vec<usize>,
    /// Rows of the mean.
    pub(crate) mean_rows: usize,
    /// Per cell the positions (row-major) that share its covariance; a partition of all positions.
    pub(crate) cells: Vec<Vec<usize>>,
}

impl Layout {
    /// The layout of `level`. With a grid of `g` cells a side, row `r` of `h` lies in cell row `floor(r g' / h)`,
    /// `g' = min(g, h)`, and so for columns; the same for the grid of the means.
    pub(crate) fn new(config: &WhiteningConfig, level: &LevelSpec) -> Layout {
        let (height, width) = (level.height, level.width);
        let (rows, columns) = match config.mode {
            GaussianMode::Pooled | GaussianMode::PositionMean => (1, 1),
            GaussianMode::Region => (config.region_grid.min(height), config.region_grid.min(width)),
            GaussianMode::PerPosition => (height, width),
        };
        let cell = |rows: usize, columns: usize, p: usize| {
            (p / width * rows / height) * columns + p % width * columns / width
        };
        let mut cells = vec![Vec::new(); rows * columns];
        (0..height * width).for_each(|p| cells[cell(rows, columns, p)].push(p));
        let (rows, columns) = match (config.mode, config.mean_grid) {
            (GaussianMode::Pooled, _) => (1, 1),
            (_, 0) => (height, width),
            (_, grid) => (grid.min(height), grid.min(width)),
        };
        Layout {
            height,
            width,
            dim: level.channels,
            mean_row: (0..height * width).map(|p| cell(rows, columns, p)).collect(),
            mean_rows: rows * columns,
            cells,
        }
    }

    /// Tokens per image.
    pub(crate) fn positions(&self) -> usize {
        self.height * self.width
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(mode: GaussianMode, region_grid: usize, height: usize, width: usize) -> Layout {
        let config = WhiteningConfig { mode, region_grid, ..WhiteningConfig::default() };
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
    fn means_are_pooled_per_position_or_per_cell_of_their_own_grid() {
        let pooled = layout(GaussianMode::Pooled, 7, 3, 2);
        assert_eq!((pooled.mean_rows, pooled.mean_row[5], pooled.cells.len()), (1, 0, 1));
        assert_eq!(layout(GaussianMode::PositionMean, 7, 3, 2).mean_row, [0, 1, 2, 3, 4, 5]);
        let config = WhiteningConfig { mean_grid: 2, ..WhiteningConfig::default() };
        let grid = Layout::new(&config, &LevelSpec { name: "l".into(), height: 3, width: 2, channels: 1 });
        assert_eq!((grid.mean_rows, grid.mean_row, grid.cells.len()), (4, vec![0, 1, 0, 1, 2, 3], 6));
    }
}
