//! Bounds the log-scales.

use ccnf::prelude::*;
use serde::{Deserialize, Serialize};

/// Config of the `scale` regulariser.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ScaleConfig {
    /// Weight in the loss.
    pub weight: f32,
}

impl Default for ScaleConfig {
    fn default() -> Self {
        ScaleConfig { weight: 1e-3 }
    }
}

/// `L_scale = mean of s^2` over tokens, blocks and dims, after the clamp (reading A6). Absent for flows without scales.
pub struct Scale {
    weight: f32,
}

impl Scale {
    /// Builds the penalty.
    pub fn new(config: ScaleConfig, build: &Build<'_, RegularizerSpec>) -> Result<Self> {
        Ok(Scale { weight: crate::checked_weight(config.weight, build)? })
    }
}

impl Regularizer for Scale {
    fn name(&self) -> &'static str {
        "scale"
    }
    fn weight(&self) -> f32 {
        self.weight
    }
    fn penalty(&self, output: &FlowOutput) -> Result<Option<Scalar>> {
        if output.log_scales.is_empty() {
            return Ok(None);
        }
        let blocks = output.log_scales.len() as f32;
        let mut sum = ccnf::tensor::constant_scalar(0.0)?;
        for s in &output.log_scales {
            sum = sum + ops::mean_square(s)?;
        }
        Ok(Some(sum / blocks))
    }
}

ccnf::register_component!(Regularizer, "scale", ScaleConfig, Scale::new, "mean of the squared log-scales");
