//! The strategy `ewc`.

use crate::quadratic::Quadratic;
use ccnf::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Config of [`Ewc`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EwcConfig {
    /// Weight of the penalty, not negative.
    pub weight: f32,
    /// Batches from which the Fisher information is estimated, at least 1.
    pub batches: u64,
}

impl Default for EwcConfig {
    fn default() -> Self {
        EwcConfig { weight: 1000.0, batches: 32 }
    }
}

/// Every task trains everything, with the penalty `weight/2 sum_t sum_i F_t,i (w_i - w*_t,i)^2` on leaving what earlier tasks `t` ended
/// at: elastic weight consolidation (Kirkpatrick et al. 2017). The sums over tasks are kept, so the memory does not grow with them.
///
/// `F` is the diagonal of the empirical Fisher information of the step's loss per token: at the end of a stage, `N` times the mean square
/// of the loss's gradient over `batches` batches of `N` tokens. (The gradient of a mean over `N` independent tokens has an `N`th of the
/// variance of a token's.) The loss is that of the detector, so per dimension and with its penalties.
pub struct Ewc {
    config: EwcConfig,
    spec: StrategySpec,
    penalty: Quadratic,
    /// The penalty in the updates since it was last asked for.
    added: Option<f64>,
}

impl Ewc {
    /// The strategy.
    pub fn new(config: EwcConfig, build: &Build<StrategySpec>) -> Result<Self> {
        if !(config.weight >= 0.0 && config.weight.is_finite()) {
            return Err(build.error("weight", "must be finite and not negative"));
        }
        if config.batches == 0 {
            return Err(build.error("batches", "must be at least 1"));
        }
        Ok(Ewc { config, spec: build.spec.clone(), penalty: Quadratic::default(), added: None })
    }
}

/// Sums squared gradients and lets nothing change.
#[derive(Default)]
struct Squares(BTreeMap<String, Vec<f32>>);

impl UpdateRule for Squares {
    fn gradients(&mut self, params: &[&mut Param], grads: &mut Grads) -> Result<Update> {
        for p in params.iter().filter(|p| p.is_trainable()) {
            let g = grads.of(p.value())?;
            let sums = self.0.entry(p.name().to_owned()).or_insert_with(|| vec![0.0; g.len()]);
            sums.iter_mut().zip(&g).for_each(|(s, g)| *s += g * g);
        }
        Ok(Update::Skip)
    }
}

impl UpdateRule for Ewc {
    fn gradients(&mut self, params: &[&mut Param], grads: &mut Grads) -> Result<Update> {
        let penalty = self.penalty.push(self.config.weight, params, grads)?;
        self.added = Some(self.added.unwrap_or(0.0) + penalty);
        Ok(Update::Make)
    }

    fn penalty(&mut self) -> Option<f64> {
        self.added.take()
    }
}

impl Strategy for Ewc {
    fn stages(&self, tasks: &[Vec<String>]) -> Vec<Stage> {
        tasks.iter().map(|t| Stage { classes: t.clone(), scope: TrainScope::All }).collect()
    }

    fn end_stage(&mut self, view: &TrainView, detector: &mut dyn Detector) -> Result<()> {
        let steps = detector.steps(view.stage());
        if steps == 0 {
            return Ok(());
        }
        let mut squares = Squares::default();
        for batch in 0..self.config.batches {
            // Beyond the steps that were made: other draws from the same streams.
            detector.step(view, steps + batch, &mut squares)?;
        }
        let factor = self.spec.train.phase(view.stage()).tokens as f32 / self.config.batches as f32;
        for p in detector.params() {
            if let Some(sums) = squares.0.get(p.name()) {
                let fisher: Vec<f32> = sums.iter().map(|s| s * factor).collect();
                self.penalty.add(p, &fisher);
            }
        }
        Ok(())
    }

    fn state(&self) -> Result<Snapshot> {
        let mut state = Snapshot::default();
        self.penalty.save(&mut state.tensors);
        Ok(state)
    }

    fn restore(&mut self, state: &Snapshot) -> Result<()> {
        self.penalty.load(&state.tensors);
        Ok(())
    }
}

ccnf::register_component!(
    Strategy,
    "ewc",
    EwcConfig,
    Ewc::new,
    "every task trains everything, held back where the Fisher information of earlier tasks is high"
);

#[cfg(test)]
mod tests {
    use crate::recorder::built;
    use crate::toy::{Toy, learn, resumed};
    use approx::assert_relative_eq;
    use serde_json::json;

    #[test]
    fn two_tasks_end_at_the_mean_weighted_with_their_curvatures() {
        // The loss of task t is c_t/2 (w - m_t)^2 with a gradient that alternates by +-1, so F_1 = N. In the second task w minimises
        // c_2/2 (w - m_2)^2 + weight N/2 (w - m_1)^2.
        let n = 4.0;
        for weight in [0.0, 0.1, 2.0] {
            let mut s = built("ewc", json!({ "weight": weight, "batches": 8 })).unwrap();
            let mut toy = Toy::new(&[(1.0, 3.0), (2.0, -1.0)]);
            learn(&mut *s, &mut toy, 2);
            let expected = (-2.0 + weight * n * 3.0) / (2.0 + weight * n);
            assert_relative_eq!(toy.w(), expected as f32, epsilon = 2e-3);
        }
    }

    #[test]
    fn estimating_changes_nothing_and_a_restored_penalty_goes_on_as_the_first_did() {
        resumed("ewc", json!({ "weight": 0.5 }));
    }

    #[test]
    fn a_weight_or_count_out_of_range_is_an_error() {
        for (config, key) in
            [(json!({ "weight": -1.0 }), "strategy.weight"), (json!({ "batches": 0 }), "strategy.batches")]
        {
            assert!(built("ewc", config).err().unwrap().to_string().contains(key));
        }
    }
}
