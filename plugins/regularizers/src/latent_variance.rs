//! Keeps the latents' standard deviation at 1.

use ccnf::dfdx::prelude::*;
use ccnf::prelude::*;
use serde::{Deserialize, Serialize};

/// Config of the `latent-variance` regulariser.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LatentVarianceConfig {
    /// Weight in the loss.
    pub weight: f32,
    /// The other reading: one std over all tokens and dims, where a dimension can compensate another.
    pub global: bool,
}

impl Default for LatentVarianceConfig {
    fn default() -> Self {
        LatentVarianceConfig { weight: 0.05, global: false }
    }
}

/// `L_zreg = mean over classes and dims of (std(z) - 1)^2`, std per dim within the class, divided by n (readings A5, CV4).
pub struct LatentVariance {
    config: LatentVarianceConfig,
}

impl LatentVariance {
    /// Builds the penalty.
    pub fn new(config: LatentVarianceConfig, build: &Build<'_, RegularizerSpec>) -> Result<Self> {
        crate::checked_weight(config.weight, build)?;
        Ok(LatentVariance { config })
    }
}

impl Regularizer for LatentVariance {
    fn name(&self) -> &'static str {
        "latent-variance"
    }
    fn weight(&self) -> f32 {
        self.config.weight
    }
    fn penalty(&self, output: &FlowOutput) -> Result<Option<Scalar>> {
        if !self.config.global {
            return Ok(Some(ops::within_class_std_penalty(&output.z, &output.class, output.classes)?));
        }
        let mean = output.z.clone().mean::<Rank0, _>();
        let shape = *output.z.shape();
        let centred = output.z.clone() - mean.broadcast_like::<_, Axes2<0, 1>>(&shape);
        Ok(Some((ops::mean_square(&centred)?.sqrt() - 1.0).square()))
    }
}

ccnf::register_component!(
    Regularizer,
    "latent-variance",
    LatentVarianceConfig,
    LatentVariance::new,
    "(std(z) - 1)^2 within classes: keeps latents at unit variance"
);
