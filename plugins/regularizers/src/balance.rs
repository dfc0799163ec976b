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
    /// The other form in the notes, with signed terms: `(1/D) |E[J] - E[log p(z)]|`.
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
        let (log_det, prior) = (output.log_det.clone(), output.log_prior.clone());
        let (log_det, prior) = if self.signed { (log_det, prior) } else { (log_det.abs(), prior.abs()) };
        let difference = log_det.mean::<Rank0, _>() - prior.mean::<Rank0, _>();
        Ok(Some(difference.abs() / output.dim as f32))
    }
}

ccnf::register_component!(
    Regularizer,
    "balance",
    BalanceConfig,
    Balance::new,
    "(1/D) |E|J| - E|log p(z)||: keeps log-det and prior in balance"
);
