//! Config of the layer `whitening` and of the detector `mahalanobis`.

use ccnf::prelude::*;
use serde::{Deserialize, Serialize};

/// What mean and covariance a token is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum GaussianMode {
    /// One mean and one covariance per class and level.
    Pooled,
    /// A mean per position, one covariance of the residuals.
    PositionMean,
    /// A mean per position, a covariance per cell of a coarse grid.
    Region,
    /// A mean and a covariance per position (PaDiM-like).
    PerPosition,
}

/// Config of [`Whitening`](crate::Whitening).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WhiteningConfig {
    /// What mean and covariance a token is whitened with.
    pub mode: GaussianMode,
    /// For `region`: cells per side. A level with fewer rows or columns has a cell per row or column.
    pub region_grid: usize,
    /// Weight, in [0, 1], of the sphere in the pooled covariance; added to the weight of the pooled covariance in that of a
    /// cell.
    pub shrinkage: f64,
    /// The pooled covariance counts in that of a cell like this many tokens per channel.
    pub prior: f64,
    /// Cells per side of the grid whose cells share a mean, in every mode but `pooled`; 0: every position has its own.
    pub mean_grid: usize,
    /// Whether the mean at a position is averaged with those of its up to eight neighbours; only where it is its own.
    pub smooth: bool,
}

impl Default for WhiteningConfig {
    fn default() -> Self {
        let mode = GaussianMode::Region;
        WhiteningConfig { mode, region_grid: 7, shrinkage: 0.02, prior: 1.0, mean_grid: 0, smooth: true }
    }
}

impl WhiteningConfig {
    /// Checks the ranges.
    pub(crate) fn check<S>(&self, build: &Build<S>) -> Result<()> {
        if self.region_grid == 0 {
            return Err(build.error("region_grid", "must be 1 or more"));
        }
        if !(0.0..=1.0).contains(&self.shrinkage) {
            return Err(build.error("shrinkage", "must be between 0 and 1"));
        }
        if !(self.prior >= 0.0 && self.prior.is_finite()) {
            return Err(build.error("prior", "must be finite and not negative"));
        }
        Ok(())
    }
}

/// Config of [`Mahalanobis`](crate::Mahalanobis).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MahalanobisConfig {
    /// What mean and covariance a token is compared with.
    pub mode: GaussianMode,
    /// For `region`: cells per side. A level with fewer rows or columns has a cell per row or column.
    pub region_grid: usize,
    /// Weight, in [0, 1], of the sphere in the pooled covariance; added to the weight of the pooled covariance in that of a
    /// cell.
    pub shrinkage: f64,
    /// The pooled covariance counts in that of a cell like this many tokens per channel.
    pub prior: f64,
    /// Cells per side of the grid whose cells share a mean, in every mode but `pooled`; 0: every position has its own.
    pub mean_grid: usize,
    /// Whether the mean at a position is averaged with those of its up to eight neighbours; only where it is its own.
    pub smooth: bool,
    /// From log-likelihoods to scores.
    pub scorer: Component,
    /// Which class an image is scored under when none is given.
    pub router: Component,
}

impl Default for MahalanobisConfig {
    fn default() -> Self {
        MahalanobisConfig {
            mode: GaussianMode::Region,
            region_grid: 7,
            shrinkage: 0.02,
            prior: 1.0,
            mean_grid: 0,
            smooth: true,
            scorer: Component::of("likelihood"),
            router: Component::of("likelihood"),
        }
    }
}

impl MahalanobisConfig {
    /// The keys that the layer `whitening` has, too.
    pub(crate) fn whitening(&self) -> WhiteningConfig {
        let MahalanobisConfig { mode, region_grid, shrinkage, prior, mean_grid, smooth, .. } = *self;
        WhiteningConfig { mode, region_grid, shrinkage, prior, mean_grid, smooth }
    }
}
