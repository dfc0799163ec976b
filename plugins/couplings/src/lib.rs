//! Invertible couplings: `affine`, `additive`, `all-in-one` and `spline`, with the conditioned subnet they share, and `linear`, without one.

#[macro_use]
mod delegate;

mod additive;
mod affine;
mod all_in_one;
mod linear;
mod private;
mod spline;
mod subnet;

pub use additive::{Additive, AdditiveConfig};
pub use affine::{Affine, AffineConfig};
pub use all_in_one::{AllInOne, AllInOneConfig, SoftClamp};
pub use linear::{Linear, LinearConfig};
pub use private::PrivateConfig;
pub use spline::{Spline, SplineConfig};
pub use subnet::{Context, LastLayer, SpectralConfig, Subnet, SubnetConfig};
