//! The plugin `template`: a component of every kind, each complete in its file. Every file needs the crate `ccnf` alone, and
//! `ccnf-testkit` for the line that tests it.

pub mod conditioner;
pub mod coupling;
pub mod dataset;
pub mod detector;
pub mod encoder;
pub mod layer;
pub mod regularizer;
pub mod router;
pub mod scorer;
pub mod strategy;

ccnf::plugin!();
