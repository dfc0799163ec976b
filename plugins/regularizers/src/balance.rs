//! Balances the two terms of the log-likelihood.

use ccnf::dfdx::prelude::*;
use ccnf::prelude::*;
use serde::{Deserialize, Serialize};

/// Config of the `balance` regulariser.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BalanceConfig {
    /// Weight in the loss.
    pub weight: f32,
    /// The other form in the notes: `(1/D) (E|J| - E|log p(z)|)` without the outer absolute value.
    pub signed: bool,
}

impl Default for BalanceConfig {
    fn default() -> Self {
        BalanceConfig { weight: 1e-2, signed: false }
    }
}

/// `L_balance = (1/D) |E[|J|] - E[|log p(z)|]|` (reading A4). Note C6: it pulls `|J|/D` towards `|log p(z)|/D` whatever the data.
pub struct Balance {
    weight: f32,
    signed: bool,
}

impl Balance {
    /// Builds the penalty.
    pub fn new(config: BalanceConfig, build: &Build<'_, RegularizerSpec>) -> Result<Self> {
        Ok(Balance { weight: crate::checked_weight(config.weight, build)?, signed: config.signed })
    }
}

impl Regularizer for Balance {
    fn name(&self) -> &'static str {
        "balance"
    }
    fn weight(&self) -> f32 {
        self.weight
    }
    fn penalty(&self, output: &FlowOutput) -> Result<Option<Scalar>> {
        let log_det = output.log_det.clone().abs().mean::<Rank0, _>();
        let prior = output.log_prior.clone().abs().mean::<Rank0, _>();
        let difference = (log_det - prior) / output.dim as f32;
        Ok(Some(if self.signed { difference } else { difference.abs() }))
    }
}

ccnf::register_component!(
    Regularizer,
    "balance",
    BalanceConfig,
    Balance::new,
    "(1/D) |E|J| - E|log p(z)||: keeps log-det and prior in balance"
);
