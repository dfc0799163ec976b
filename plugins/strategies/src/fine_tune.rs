//! The strategy `fine-tune`.

use ccnf::prelude::*;
use serde::{Deserialize, Serialize};

/// Config of [`FineTune`]: no keys.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FineTuneConfig {}

/// One stage per task, each trains everything on the task's classes alone: the lower bound that shows what forgetting costs.
#[derive(Debug, Clone, Copy)]
pub struct FineTune;

impl FineTune {
    /// The strategy.
    pub fn new(_: FineTuneConfig, _: &Build<StrategySpec>) -> Result<Self> {
        Ok(FineTune)
    }
}

impl UpdateRule for FineTune {}

impl Strategy for FineTune {
    fn stages(&self, tasks: &[Vec<String>]) -> Vec<Stage> {
        tasks.iter().map(|t| Stage { classes: t.clone(), scope: TrainScope::All }).collect()
    }
}

ccnf::register_component!(
    Strategy,
    "fine-tune",
    FineTuneConfig,
    FineTune::new,
    "every task trains everything on its own classes alone (forgets)"
);

#[cfg(test)]
mod tests {
    use crate::recorder::{Recorder, run, strategy, tasks};

    #[test]
    fn every_stage_trains_everything_and_nothing_is_frozen() {
        let mut detector = Recorder::default();
        let mut s = strategy("fine-tune");
        assert_eq!(s.stages(&tasks()).into_iter().map(|s| s.classes).collect::<Vec<_>>(), tasks());
        run(&mut *s, &mut detector);
        assert_eq!(
            detector.calls,
            ["begin [a, b] All", "end [a, b]", "begin [c] All", "end [c]", "begin [d] All", "end [d]"]
        );
        assert!(!s.promises_no_forgetting());
    }
}
