//! The strategy `joint`.

use ccnf::prelude::*;
use serde::{Deserialize, Serialize};

/// Config of [`Joint`]: no keys.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct JointConfig {}

/// One stage with the classes of all tasks, in their order: not continual at all, the usual upper bound.
#[derive(Debug, Clone, Copy)]
pub struct Joint;

impl Joint {
    /// The strategy.
    pub fn new(_: JointConfig, _: &Build<StrategySpec>) -> Result<Self> {
        Ok(Joint)
    }
}

impl UpdateRule for Joint {}

impl Strategy for Joint {
    fn stages(&self, tasks: &[Vec<String>]) -> Vec<Stage> {
        let classes = tasks.concat();
        if classes.is_empty() { vec![] } else { vec![Stage { classes, scope: TrainScope::All }] }
    }
}

ccnf::register_component!(
    Strategy,
    "joint",
    JointConfig,
    Joint::new,
    "one stage with the classes of all tasks: the upper bound"
);

#[cfg(test)]
mod tests {
    use crate::recorder::{Recorder, run, strategy};

    #[test]
    fn all_classes_are_trained_in_one_stage() {
        let mut detector = Recorder::default();
        let mut s = strategy("joint");
        run(&mut *s, &mut detector);
        assert_eq!(detector.calls, ["begin [a, b, c, d] All", "end [a, b, c, d]"]);
        assert!(!s.promises_no_forgetting());
    }

    #[test]
    fn no_tasks_are_no_stages() {
        assert!(strategy("joint").stages(&[]).is_empty());
    }
}
