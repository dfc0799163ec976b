//! Penalties on one step's flow output (CCNF notes, section 3; readings of ambiguous forms A4-A8).

mod balance;
mod entropy;
mod latent_variance;
mod log_det;
mod mutual_information;
mod scale;

pub use balance::{Balance, BalanceConfig};
pub use entropy::{Entropy, EntropyConfig, NamedTemperature, Temperature};
pub use latent_variance::{LatentVariance, LatentVarianceConfig};
pub use log_det::{LogDet, LogDetConfig};
pub use mutual_information::{MutualInformation, MutualInformationConfig};
pub use scale::{Scale, ScaleConfig};

use ccnf::prelude::*;

/// Checks a weight from a config.
fn checked_weight(weight: f32, build: &Build<'_, RegularizerSpec>) -> Result<f32> {
    if weight.is_finite() && weight >= 0.0 {
        Ok(weight)
    } else {
        Err(build.error("weight", "must be finite and not negative"))
    }
}
