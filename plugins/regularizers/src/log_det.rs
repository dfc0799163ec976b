//! Bounds the log-determinant.

use ccnf::dfdx::prelude::*;
use ccnf::prelude::*;
use serde::{Deserialize, Serialize};

/// Config of the `log-det` regulariser.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LogDetConfig {
    /// Weight in the loss.
    pub weight: f32,
}

impl Default for LogDetConfig {
    fn default() -> Self {
        LogDetConfig { weight: 2e-4 }
    }
}

/// `L_logdet = (1/D) E[|J|]`, `E` over the tokens of the step.
pub struct LogDet {
    weight: f32,
}

impl LogDet {
    /// Builds the penalty.
    pub fn new(config: LogDetConfig, build: &Build<'_, RegularizerSpec>) -> Result<Self> {
        Ok(LogDet { weight: crate::checked_weight(config.weight, build)? })
    }
}

impl Regularizer for LogDet {
    fn name(&self) -> &'static str {
        "log-det"
    }
    fn weight(&self) -> f32 {
        self.weight
    }
    fn penalty(&self, output: &FlowOutput) -> Result<Option<Scalar>> {
        Ok(Some(output.log_det.clone().abs().mean::<Rank0, _>() / output.dim as f32))
    }
}

ccnf::register_component!(
    Regularizer,
    "log-det",
    LogDetConfig,
    LogDet::new,
    "(1/D) E|J|: keeps the log-determinant small"
);
