//! The detector `mahalanobis` and the Gaussians that it shares with layers.

mod common;
mod detector;
mod likelihood;
