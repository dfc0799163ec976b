//! The strategy `lwf`.

use ccnf::core::snapshot;
use ccnf::prelude::*;
use serde::{Deserialize, Serialize};

/// Config of [`Lwf`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LwfConfig {
    /// Weight of the squared difference to the old outputs, not negative.
    pub weight: f32,
}

impl Default for LwfConfig {
    fn default() -> Self {
        LwfConfig { weight: 1.0 }
    }
}

/// Every task trains everything; from the second task on the model's outputs (a flow's latents) on the new data are kept near those of
/// the model before the task: learning without forgetting (Li and Hoiem 2016), with a squared difference where that has a distillation
/// of classifiers. The model before the task is kept as a whole.
pub struct Lwf {
    config: LwfConfig,
    teacher: Option<Snapshot>,
}

impl Lwf {
    /// The strategy.
    pub fn new(config: LwfConfig, build: &Build<StrategySpec>) -> Result<Self> {
        if !(config.weight >= 0.0 && config.weight.is_finite()) {
            return Err(build.error("weight", "must be finite and not negative"));
        }
        Ok(Lwf { config, teacher: None })
    }
}

impl UpdateRule for Lwf {}

impl Strategy for Lwf {
    fn stages(&self, tasks: &[Vec<String>]) -> Vec<Stage> {
        tasks.iter().map(|t| Stage { classes: t.clone(), scope: TrainScope::All }).collect()
    }

    fn fits(&self, stages: &[Stage], detector: &dyn Detector) -> Result<()> {
        if stages.len() < 2 || detector.distils() || (0..stages.len()).all(|s| detector.steps(s) == 0) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Usage, "this detector has no outputs to distil")
            .help("use another strategy, such as replay or ewc"))
    }

    fn begin_stage(&mut self, stage: usize, detector: &mut dyn Detector) -> Result<()> {
        if detector.steps(stage) == 0 {
            return Ok(());
        }
        let teacher =
            self.teacher.clone().map(|teacher| Distillation { teacher, weight: self.config.weight });
        detector.distil(teacher)
    }

    fn end_stage(&mut self, _: &TrainView, detector: &mut dyn Detector) -> Result<()> {
        detector.distil(None)?;
        self.teacher = Some(snapshot(detector));
        Ok(())
    }

    fn state(&self) -> Result<Snapshot> {
        Ok(self.teacher.clone().unwrap_or_default())
    }

    fn restore(&mut self, state: &Snapshot) -> Result<()> {
        self.teacher = (!state.tensors.is_empty()).then(|| state.clone());
        Ok(())
    }
}

ccnf::register_component!(
    Strategy,
    "lwf",
    LwfConfig,
    Lwf::new,
    "every task trains everything, its outputs kept near those of the model before the task"
);

#[cfg(test)]
mod tests {
    use crate::recorder::built;
    use crate::toy::{Toy, learn, resumed};
    use approx::assert_relative_eq;
    use serde_json::json;

    #[test]
    fn the_second_task_ends_between_its_own_optimum_and_the_teacher() {
        // The toy's output is w: in the second task it minimises c/2 (w - m_2)^2 + weight (w - m_1)^2.
        for weight in [0.0f32, 0.5, 4.0] {
            let mut s = built("lwf", json!({ "weight": weight })).unwrap();
            let mut toy = Toy::new(&[(1.0, 3.0), (2.0, -1.0)]);
            learn(&mut *s, &mut toy, 2);
            let expected = (-2.0 + 2.0 * weight * 3.0) / (2.0 + 2.0 * weight);
            assert_relative_eq!(toy.w(), expected, epsilon = 2e-3);
        }
    }

    #[test]
    fn a_restored_teacher_goes_on_as_the_first_did() {
        resumed("lwf", json!({ "weight": 0.5 }));
    }

    #[test]
    fn a_detector_without_outputs_says_so() {
        let mut s = built("lwf", json!({})).unwrap();
        let mut deaf = Toy::new(&[(1.0, 3.0), (2.0, -1.0)]).without_outputs();
        let error = crate::toy::try_learn(&mut *s, &mut deaf, 2).unwrap_err();
        assert!(error.to_string().contains("no outputs"), "{error}");
    }

    #[test]
    fn a_negative_weight_is_an_error() {
        let e = built("lwf", json!({ "weight": -1.0 })).err().unwrap();
        assert!(e.to_string().contains("strategy.weight"), "{e}");
    }
}
