//! The strategy `freeze-expand`.

use ccnf::prelude::*;
use serde::{Deserialize, Serialize};

/// Config of [`FreezeExpand`]: no keys.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FreezeExpandConfig {}

/// One stage per task. The first trains everything; then everything shared is frozen for good, and later stages train only
/// what the new classes own.
///
/// No tensor that an old class uses changes after its stage, so with the class given its scores stay bit for bit, unless the
/// scorer looks at classes that came later (`classes = "known"`).
#[derive(Debug, Clone, Copy)]
pub struct FreezeExpand;

impl FreezeExpand {
    /// The strategy.
    pub fn new(_: FreezeExpandConfig, _: &Build<StrategySpec>) -> Result<Self> {
        Ok(FreezeExpand)
    }
}

impl UpdateRule for FreezeExpand {}

impl Strategy for FreezeExpand {
    fn stages(&self, tasks: &[Vec<String>]) -> Vec<Stage> {
        let scope = |task: usize| if task == 0 { TrainScope::All } else { TrainScope::NewClasses };
        tasks.iter().enumerate().map(|(i, t)| Stage { classes: t.clone(), scope: scope(i) }).collect()
    }

    fn end_stage(&mut self, view: &TrainView, detector: &mut dyn Detector) -> Result<()> {
        if view.stage() == 0 { detector.freeze_shared() } else { Ok(()) }
    }

    fn promises_no_forgetting(&self) -> bool {
        true
    }
}

ccnf::register_component!(
    Strategy,
    "freeze-expand",
    FreezeExpandConfig,
    FreezeExpand::new,
    "the first task trains everything, later ones only the tensors of their new classes"
);

#[cfg(test)]
mod tests {
    use crate::recorder::{Recorder, run, strategy, tasks};
    use ccnf::prelude::*;

    #[test]
    fn the_first_stage_trains_everything_and_later_ones_only_new_classes() {
        let stages = strategy("freeze-expand").stages(&tasks());
        let scopes: Vec<_> = stages.iter().map(|s| s.scope).collect();
        assert_eq!(scopes, [TrainScope::All, TrainScope::NewClasses, TrainScope::NewClasses]);
        assert_eq!(stages.into_iter().map(|s| s.classes).collect::<Vec<_>>(), tasks());
    }

    #[test]
    fn the_shared_part_is_frozen_once_after_the_first_stage() {
        let mut detector = Recorder::default();
        let mut s = strategy("freeze-expand");
        run(&mut *s, &mut detector);
        assert_eq!(
            detector.calls,
            [
                "begin [a, b] All",
                "end [a, b]",
                "freeze",
                "begin [c] NewClasses",
                "end [c]",
                "begin [d] NewClasses",
                "end [d]"
            ]
        );
        assert!(s.promises_no_forgetting());
    }

    #[test]
    fn an_error_of_the_detector_is_passed_on() {
        let mut detector = Recorder { fail_to_freeze: true, ..Recorder::default() };
        assert!(
            strategy("freeze-expand").end_stage(&TrainView::new(0, vec![], vec![]), &mut detector).is_err()
        );
    }

    #[test]
    fn no_tasks_are_no_stages() {
        assert!(strategy("freeze-expand").stages(&[]).is_empty());
    }
}
