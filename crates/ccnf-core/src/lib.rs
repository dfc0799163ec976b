//! Traits, registry, configuration, errors and state of the framework: what every other crate builds on.
//!
//! * [`Section`] is a part of the composed configuration; [`register_component!`] puts a constructor into the registry.
//! * [`Dataset`], [`Encoder`], [`ClassLayer`], [`Coupling`], [`Conditioner`], [`Regularizer`], [`Scorer`], [`Router`], [`Detector`] and
//!   [`Strategy`] are the kinds of components; the contract of each stands on its trait.
//! * [`TrainView`] is all that training code ever sees: normal images of the current stage.
//! * [`Stateful`] makes the state of a model named and owned data.

mod config;
mod dataset;
mod detector;
mod encoder;
mod error;
mod flow_parts;
mod layer;
mod likelihood;
mod optimizer;
pub mod panics;
mod probe;
mod registry;
mod scoring;
mod state;
mod strategy;
mod teacher;
mod tokens;
mod train;
mod update;
mod view;

pub use config::*;
pub use dataset::*;
pub use detector::*;
pub use encoder::*;
pub use error::*;
pub use flow_parts::*;
pub use layer::*;
pub use likelihood::*;
pub use optimizer::*;
pub use probe::*;
pub use registry::*;
pub use scoring::*;
pub use state::*;
pub use strategy::*;
pub use teacher::*;
pub use tokens::*;
pub use train::*;
pub use update::*;
pub use view::*;

pub use ccnf_tensor;
pub use {figment, inventory, schemars, serde, serde_json};
