//! Separates the true class from another one.

use ccnf::dfdx::prelude::*;
use ccnf::prelude::*;
use serde::{Deserialize, Serialize};

/// Config of the `mutual-information` regulariser.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MutualInformationConfig {
    /// Weight in the loss; the notes give none: 0 by default, 0.1 in the ablation.
    pub weight: f32,
    /// Margin `m` in nats per dimension.
    pub margin: f32,
    /// The wrong class is the most likely other one instead of a uniform draw.
    pub hard: bool,
}

impl Default for MutualInformationConfig {
    fn default() -> Self {
        MutualInformationConfig { weight: 0.1, margin: 0.1, hard: false }
    }
}

/// `L_mi = E[softplus(m - (l_true - l_neg)/D)]` (reading A7: the literal `-(l_true - l_neg)` is unbounded below).
pub struct MutualInformation {
    config: MutualInformationConfig,
}

impl MutualInformation {
    /// Builds the penalty.
    pub fn new(config: MutualInformationConfig, build: &Build<'_, RegularizerSpec>) -> Result<Self> {
        crate::checked_weight(config.weight, build)?;
        if !config.margin.is_finite() {
            return Err(build.error("margin", "must be finite"));
        }
        Ok(MutualInformation { config })
    }
}

impl Regularizer for MutualInformation {
    fn name(&self) -> &'static str {
        "mutual-information"
    }
    fn weight(&self) -> f32 {
        self.config.weight
    }
    fn negative(&self) -> Option<Negative> {
        Some(if self.config.hard { Negative::Hard } else { Negative::Uniform })
    }
    fn penalty(&self, output: &FlowOutput) -> Result<Option<Scalar>> {
        let Some(negative) = &output.log_prob_negative else { return Ok(None) };
        let gap = (output.log_prob.clone() - negative.clone()) / output.dim as f32;
        let x = gap.negate() + self.config.margin;
        // softplus(x) = max(x, 0) + ln(1 + exp(-|x|)), stable on both sides.
        let tail = (x.clone().abs().negate().exp() + 1.0).ln();
        Ok(Some((x.relu() + tail).mean::<Rank0, _>()))
    }
}

ccnf::register_component!(
    Regularizer,
    "mutual-information",
    MutualInformationConfig,
    MutualInformation::new,
    "softplus margin between the true and another class's likelihood"
);
