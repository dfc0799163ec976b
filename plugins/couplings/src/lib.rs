//! Invertible couplings: `affine` and `additive`, with the conditioned subnet they share.

mod additive;
mod affine;
mod subnet;

pub use additive::{Additive, AdditiveConfig};
pub use affine::{Affine, AffineConfig};
pub use subnet::{LastLayer, SpectralConfig, Subnet, SubnetConfig};
