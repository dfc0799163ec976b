//! Gaussian detectors: a class is a mean and covariances of its tokens, fitted in closed form, owned by the class alone.
//!
//! * [`Mahalanobis`], registered as detector `mahalanobis`: one covariance per class, per region or per position.
//!
//! No gradient steps, nothing shared but the standardisation of the input, so nothing is forgotten: this is the baseline that
//! a flow has to beat.

mod cells;
mod config;
mod factor;
mod fit;
mod gaussian;
mod input;
mod mahalanobis;
mod model;
mod whiten;

pub use config::{GaussianMode, MahalanobisConfig};
pub use mahalanobis::Mahalanobis;
