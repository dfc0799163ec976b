//! The strategy `template-strategy`: how a detector meets task after task.

use ccnf::prelude::*;
use ccnf::serde::{Deserialize, Serialize};
use ccnf::serde_json::Value;

/// Its keys in a config: a public field, its documentation and its default each.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "ccnf::serde", deny_unknown_fields, default)]
#[schemars(crate = "ccnf::schemars")]
pub struct TemplateConfig {
    /// Strength of the pull, not negative; 0 is plain fine-tuning.
    pub strength: f32,
}

impl Default for TemplateConfig {
    fn default() -> Self {
        TemplateConfig { strength: 0.1 }
    }
}

/// Every task trains everything; from the second task on, `strength/2 |w - w*|^2` is added to the loss of the weights `w` that all classes
/// share, with `w*` what they were after the task before (L2-SP: Li, Grandvalet & Davoine 2018).
pub struct TemplateStrategy {
    config: TemplateConfig,
    /// `w*` by name; empty in the first task.
    anchor: Snapshot,
    /// What was added to the loss since somebody asked.
    added: f64,
}

impl TemplateStrategy {
    /// The strategy; fails for a strength out of range.
    pub fn new(config: TemplateConfig, build: &Build<'_, StrategySpec>) -> Result<Self> {
        if !(config.strength >= 0.0 && config.strength.is_finite()) {
            return Err(build.error("strength", "must be finite and not negative"));
        }
        Ok(TemplateStrategy { config, anchor: Snapshot::default(), added: 0.0 })
    }
}

/// What a strategy does within a training step.
impl UpdateRule for TemplateStrategy {
    /// Sees the gradients of the detector's own loss and may change them: here the gradient of the pull is added.
    fn gradients(&mut self, params: &[&mut Param], grads: &mut Grads) -> Result<Update> {
        for p in params.iter().filter(|p| p.is_trainable()) {
            let Some(anchor) = self.anchor.tensors.get(p.name()).filter(|a| a.shape == p.shape()) else {
                continue;
            };
            let away: Vec<f32> = p.to_vec().iter().zip(&anchor.values).map(|(w, a)| w - a).collect();
            grads.add(p.value(), &away.iter().map(|d| self.config.strength * d).collect::<Vec<_>>())?;
            let squares: f64 = away.iter().map(|d| f64::from(*d).powi(2)).sum();
            self.added += 0.5 * f64::from(self.config.strength) * squares;
        }
        Ok(Update::Make)
    }

    fn penalty(&mut self) -> Option<f64> {
        let added = std::mem::take(&mut self.added);
        (!self.anchor.tensors.is_empty()).then_some(added)
    }
}

impl Strategy for TemplateStrategy {
    /// One stage per task. `TrainScope::NewClasses` would let a stage change only what belongs to its classes.
    fn stages(&self, tasks: &[Vec<String>]) -> Vec<Stage> {
        tasks.iter().map(|t| Stage { classes: t.clone(), scope: TrainScope::All }).collect()
    }

    fn end_stage(&mut self, _: &TrainView, detector: &mut dyn Detector) -> Result<()> {
        self.anchor = Snapshot::of(detector, Value::Null);
        let shared = |p: &&Param| *p.owner() == Owner::Shared && p.role() == Role::Weight;
        let params = detector.params();
        let kept: Vec<&str> = params.into_iter().filter(shared).map(Param::name).collect();
        self.anchor.tensors.retain(|name, _| kept.contains(&name.as_str()));
        Ok(())
    }

    /// Everything that is kept between stages goes into checkpoints, and counts as memory.
    fn state(&self) -> Result<Snapshot> {
        Ok(self.anchor.clone())
    }

    fn restore(&mut self, state: &Snapshot) -> Result<()> {
        self.anchor = state.clone();
        Ok(())
    }
}

ccnf::register_component!(
    Strategy,
    "template-strategy",
    TemplateConfig,
    TemplateStrategy::new,
    "every task trains everything, shared weights pulled to where the task before left them"
);

#[cfg(test)]
ccnf_testkit::conformance!(Strategy, "template-strategy", { "strength": 0.0 });

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_weights_are_pulled_back_in_proportion_to_their_distance() {
        let mut w = Param::weight("w", Owner::Shared, vec![3.0, -1.0], 1, 2).unwrap();
        let mut own = Param::weight("own", Owner::Class("a".into()), vec![5.0], 1, 1).unwrap();
        let stored =
            |values: Vec<f32>| StoredTensor { owner: Owner::Shared, shape: (1, values.len()), values };
        let mut strategy = TemplateStrategy {
            config: TemplateConfig { strength: 0.5 },
            anchor: Snapshot::default(),
            added: 0.0,
        };
        let mut step = |strategy: &mut TemplateStrategy| {
            let loss = || Ok::<_, Error>((ops::mean_square(&w.var())?, ()));
            let (_, (), mut grads) = gradients(loss).unwrap();
            assert_eq!(strategy.gradients(&[&mut w, &mut own], &mut grads).unwrap(), Update::Make);
            (grads.of(w.value()).unwrap(), grads.of(own.value()).unwrap())
        };
        // The gradient of the loss alone is w.
        assert_eq!(step(&mut strategy), (vec![3.0, -1.0], vec![0.0]));
        assert_eq!(strategy.penalty(), None);
        strategy.anchor.tensors.insert("w".into(), stored(vec![1.0, 1.0]));
        assert_eq!(step(&mut strategy), (vec![4.0, -2.0], vec![0.0]));
        // 0.5/2 (2^2 + 2^2), and nothing is counted twice.
        assert_eq!([strategy.penalty(), strategy.penalty()], [Some(2.0), Some(0.0)]);
    }
}
