//! Gaussians in closed form, owned by a class alone: a detector, and layers for the chain of a flow.
//!
//! * [`Mahalanobis`], registered as detector `mahalanobis`: mean and covariances of a class's tokens. No gradient steps, nothing shared
//!   but the standardisation of the input, so nothing is forgotten: this is the baseline that a flow has to beat.
//! * [`Whitening`], registered as layer `whitening`: the same Gaussian as an invertible map.
//! * [`MapFactor`], registered as layer `factor`: correlations across the whole map.
//! * [`ImageDensity`], registered as detector `image-density`: another detector's maps, and a Gaussian of whole images in the image score.

mod cells;
mod config;
mod factor;
mod fit;
mod gaussian;
mod image_density;
mod input;
mod mahalanobis;
mod map_factor;
mod map_products;
mod model;
mod pooled;
mod whiten;
mod whitening;

pub use config::{GaussianMode, MahalanobisConfig, WhiteningConfig};
pub use image_density::{ImageDensity, ImageDensityConfig};
pub use mahalanobis::Mahalanobis;
pub use map_factor::{MapFactor, MapFactorConfig};
pub use whitening::Whitening;
