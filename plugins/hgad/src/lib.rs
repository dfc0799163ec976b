//! The `hgad` detector: a flow per level whose latents follow a hierarchical Gaussian mixture.
//!
//! Source: Yao, Li, Qian, Wang & Zhang, "Hierarchical Gaussian Mixture Normalizing Flow Modeling for Unified Anomaly Detection",
//! ECCV 2024, and its released code. What is the project's own: growth by classes, the freeze switches, standardised features, tokens
//! drawn equally per class instead of whole images, and maps without test-set extremes.

mod centres;
mod chain;
mod config;
mod detector;
mod level;
mod loss;
mod maps;
mod mixture;
mod probe;
mod product;
mod schedule;

pub use centres::{Centres, initial_centres};
pub use config::{EntropyClasses, HgadConfig, Later, MapKind};
pub use detector::Hgad;
pub use loss::{Losses, Phase, losses};
pub use maps::{product_maps, set_normalised};
pub use mixture::Mixture;
pub use schedule::{learning_rate, phase};
