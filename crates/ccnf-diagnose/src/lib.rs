//! What changed in a model between tasks, and what that does to the classes it learnt first.
//!
//! [`diagnose`] opens finished runs and answers, for each:
//!
//! * [`Drift`] and [`FunctionalChange`]: how far tensors, latents and class weights move from stage to stage;
//! * [`SwapTest`]: which part of the model causes the loss of the first classes, by scoring models put together from two states, and whether a
//!   refit recovers more than the same refit without any flow;
//! * [`Freeze`]: what happens to the entropy over the classes on normal and on defective pixels;
//! * [`LatentMap`]: how well the classes are separated in the latents.
//!
//! Change of parameters alone says nothing about a cause; only the swap test does. What a run does not define is
//! [`Part::Undefined`] with its reason. Every draw comes from [`Options::seed`]: the same call gives the same bits.

mod charts;
mod csv;
mod diagnosis;
mod drift;
mod entropy;
mod freeze;
mod functional;
mod gaussian;
mod latents;
mod neighbours;
mod options;
mod page;
mod part;
mod refit;
mod summary;
mod swap;
mod tables;
mod tokens;
mod tsne;
mod variants;
mod verdict;
mod write;

pub use diagnosis::{Diagnosis, RunDiagnosis, diagnose};
pub use drift::{Drift, DriftScope, DriftSummary, TensorDrift};
pub use freeze::{AurocChange, Entropies, Freeze, Over, Posterior};
pub use functional::{FunctionalChange, Quantity};
pub use latents::{LatentMap, Point};
pub use options::{Analysis, Options};
pub use part::Part;
pub use swap::SwapTest;
pub use variants::{ClassScore, Difference, Variant};
pub use verdict::Cause;
