//! Sharpens the decision between the true class and another one.

use ccnf::dfdx::prelude::*;
use ccnf::prelude::*;
use serde::{Deserialize, Serialize};

/// The temperature of [`Entropy`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", untagged)]
pub enum Temperature {
    /// A number.
    Value(f32),
    /// `"dim"`: the feature dimension `D`.
    Named(NamedTemperature),
}

/// A temperature with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NamedTemperature {
    /// The feature dimension `D`.
    Dim,
}

/// Config of the `entropy` regulariser.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EntropyConfig {
    /// Weight in the loss; the notes give none: 0 by default, 0.01 in the ablation.
    pub weight: f32,
    /// Temperature of the difference: `"dim"` or a number.
    pub tau: Temperature,
}

impl Default for EntropyConfig {
    fn default() -> Self {
        EntropyConfig { weight: 0.01, tau: Temperature::Named(NamedTemperature::Dim) }
    }
}

/// `L_e = E[-p ln p - (1-p) ln(1-p)]`, `p = sigmoid((l_true - l_neg)/tau)`, minimised (reading A8).
pub struct Entropy {
    config: EntropyConfig,
}

impl Entropy {
    /// Builds the penalty.
    pub fn new(config: EntropyConfig, build: &Build<'_, RegularizerSpec>) -> Result<Self> {
        crate::checked_weight(config.weight, build)?;
        match config.tau {
            Temperature::Value(v) if !(v > 0.0 && v.is_finite()) => {
                Err(build.error("tau", "must be positive"))
            }
            _ => Ok(Entropy { config }),
        }
    }
}

impl Regularizer for Entropy {
    fn name(&self) -> &'static str {
        "entropy"
    }
    fn weight(&self) -> f32 {
        self.config.weight
    }
    fn negative(&self) -> Option<Negative> {
        Some(Negative::Uniform)
    }
    fn penalty(&self, output: &FlowOutput) -> Result<Option<Scalar>> {
        let Some(negative) = &output.log_prob_negative else { return Ok(None) };
        let tau = match self.config.tau {
            Temperature::Value(v) => v,
            Temperature::Named(NamedTemperature::Dim) => output.dim as f32,
        };
        let x = (output.log_prob.clone() - negative.clone()) / tau;
        // With p = sigmoid(x): H = softplus(x) - x p, because -ln(1-p) = softplus(x) and ln p - ln(1-p) = x.
        let softplus = x.clone().relu() + (x.clone().abs().negate().exp() + 1.0).ln();
        Ok(Some((softplus - x.clone() * x.sigmoid()).mean::<Rank0, _>()))
    }
}

ccnf::register_component!(
    Regularizer,
    "entropy",
    EntropyConfig,
    Entropy::new,
    "binary entropy of true against another class: sharpens the decision"
);
