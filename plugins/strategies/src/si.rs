//! The strategy `si`.

use crate::quadratic::{Quadratic, accumulate, part};
use ccnf::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Config of [`Si`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SiConfig {
    /// Weight `c` of the penalty, not negative.
    pub weight: f32,
    /// `xi`: bounds the importance of parameters that hardly moved, above 0; in squared units of the parameters.
    pub damping: f32,
}

impl Default for SiConfig {
    fn default() -> Self {
        SiConfig { weight: 1.0, damping: 1e-3 }
    }
}

/// Every task trains everything, with the penalty `weight sum_i Omega_i (w_i - w*_i)^2` on leaving where the last task ended: synaptic
/// intelligence (Zenke, Poole and Ganguli 2017).
///
/// `Omega_i = sum over tasks of max(omega_i, 0) / (Delta_i^2 + xi)`: `omega_i = -sum g_i dw_i` over the steps of the task, with the loss's
/// gradient `g` and the change `dw` that the optimiser made, `Delta_i` the change over the whole task. A negative contribution counts as 0:
/// with it the penalty would have no minimum.
pub struct Si {
    config: SiConfig,
    penalty: Quadratic,
    /// `omega` of the running task.
    path: BTreeMap<String, StoredTensor>,
    /// Where the running task began.
    start: BTreeMap<String, StoredTensor>,
    /// Gradient and values before the update that is being made.
    before: BTreeMap<String, (Vec<f32>, Vec<f32>)>,
    /// The penalty in the updates since it was last asked for.
    added: Option<f64>,
}

impl Si {
    /// The strategy.
    pub fn new(config: SiConfig, build: &Build<StrategySpec>) -> Result<Self> {
        if !(config.weight >= 0.0 && config.weight.is_finite()) {
            return Err(build.error("weight", "must be finite and not negative"));
        }
        if !(config.damping > 0.0 && config.damping.is_finite()) {
            return Err(build.error("damping", "must be above 0 and finite"));
        }
        let empty = BTreeMap::new;
        Ok(Si {
            config,
            penalty: Quadratic::default(),
            path: empty(),
            start: empty(),
            before: BTreeMap::new(),
            added: None,
        })
    }
}

impl UpdateRule for Si {
    fn gradients(&mut self, params: &[&mut Param], grads: &mut Grads) -> Result<Update> {
        for p in params.iter().filter(|p| p.is_trainable()) {
            let values = p.to_vec();
            self.start.entry(p.name().to_owned()).or_insert_with(|| StoredTensor {
                owner: p.owner().clone(),
                shape: p.shape(),
                values: values.clone(),
            });
            self.before.insert(p.name().to_owned(), (grads.of(p.value())?, values));
        }
        let penalty = self.penalty.push(2.0 * self.config.weight, params, grads)?;
        self.added = Some(self.added.unwrap_or(0.0) + penalty);
        Ok(Update::Make)
    }

    fn penalty(&mut self) -> Option<f64> {
        self.added.take()
    }

    fn updated(&mut self, params: &[&mut Param]) -> Result<()> {
        for p in params.iter().filter(|p| p.is_trainable()) {
            if let Some((gradient, values)) = self.before.remove(p.name()) {
                let now = p.to_vec();
                let work =
                    gradient.iter().zip(&values).zip(&now).map(|((g, before), now)| -g * (now - before));
                accumulate(&mut self.path, p, &work.collect::<Vec<_>>());
            }
        }
        Ok(())
    }
}

impl Strategy for Si {
    fn stages(&self, tasks: &[Vec<String>]) -> Vec<Stage> {
        tasks.iter().map(|t| Stage { classes: t.clone(), scope: TrainScope::All }).collect()
    }

    fn end_stage(&mut self, _: &TrainView, detector: &mut dyn Detector) -> Result<()> {
        for p in detector.params() {
            let (Some(path), Some(start)) = (self.path.get(p.name()), self.start.get(p.name())) else {
                continue;
            };
            let change = p.to_vec().iter().zip(&start.values).map(|(w, s)| w - s).collect::<Vec<_>>();
            let importance =
                path.values.iter().zip(change).map(|(o, d)| o.max(0.0) / (d * d + self.config.damping));
            self.penalty.add(p, &importance.collect::<Vec<_>>());
            self.penalty.centre(p);
        }
        self.path.clear();
        self.start.clear();
        Ok(())
    }

    fn state(&self) -> Result<Snapshot> {
        let mut state = Snapshot::default();
        self.penalty.save(&mut state.tensors);
        for (which, tensors) in [("path", &self.path), ("start", &self.start)] {
            state.tensors.extend(tensors.iter().map(|(name, t)| (format!("{which}.{name}"), t.clone())));
        }
        Ok(state)
    }

    fn restore(&mut self, state: &Snapshot) -> Result<()> {
        self.penalty.load(&state.tensors);
        self.path = part(&state.tensors, "path");
        self.start = part(&state.tensors, "start");
        self.before.clear();
        Ok(())
    }
}

ccnf::register_component!(
    Strategy,
    "si",
    SiConfig,
    Si::new,
    "every task trains everything, held back where earlier tasks' paths reduced the loss most"
);

#[cfg(test)]
mod tests {
    use crate::recorder::built;
    use crate::toy::{Toy, learn, resumed};
    use approx::assert_relative_eq;
    use serde_json::json;

    #[test]
    fn the_second_task_ends_where_the_known_importance_holds_it() {
        // The first task goes from 0 to m in a quadratic loss c/2 (w - m)^2, so the path's work is the drop of the loss, c m^2 / 2, in the
        // limit of small steps: Omega = c/2 m^2 / (m^2 + xi). Then w minimises c_2/2 (w - m_2)^2 + weight Omega (w - m)^2.
        let (c, m, c2, m2, weight, xi) = (1.0f64, 3.0f64, 2.0f64, -1.0f64, 1.5f64, 0.5f64);
        let mut s = built("si", json!({ "weight": weight, "damping": xi })).unwrap();
        let mut toy = Toy::new(&[(c as f32, m as f32), (c2 as f32, m2 as f32)]).calm();
        learn(&mut *s, &mut toy, 2);
        let omega = c / 2.0 * m * m / (m * m + xi);
        let expected = (c2 * m2 + 2.0 * weight * omega * m) / (c2 + 2.0 * weight * omega);
        assert_relative_eq!(f64::from(toy.w()), expected, epsilon = 2e-2);
    }

    #[test]
    fn a_restored_path_goes_on_as_the_first_did() {
        resumed("si", json!({ "weight": 0.5 }));
    }

    #[test]
    fn a_weight_or_damping_out_of_range_is_an_error() {
        for (config, key) in
            [(json!({ "weight": -1.0 }), "strategy.weight"), (json!({ "damping": 0.0 }), "strategy.damping")]
        {
            assert!(built("si", config).err().unwrap().to_string().contains(key));
        }
    }
}
