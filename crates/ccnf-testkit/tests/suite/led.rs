//! Strategies that break one promise each while they lead a detector.

use crate::scaling::{NoKeys, made};
use ccnf::prelude::*;
use ccnf_testkit::conformance::{self, Extra};
use serde_json::json;

#[derive(Clone, Copy, PartialEq)]
enum Lie {
    None,
    EmptyState,
    LeavesItOut,
    IgnoresState,
    Adds,
    NotFinite,
    Promises,
    OneStage,
    Rehearses,
}

/// Pulls shared tensors to where the last stage ended, the harder the more steps there were, and tells one lie.
struct Pull {
    anchor: Snapshot,
    steps: u64,
    lie: Lie,
}

impl UpdateRule for Pull {
    fn gradients(&mut self, params: &[&mut Param], grads: &mut Grads) -> Result<Update> {
        self.steps += 1;
        let strength = match self.lie {
            Lie::NotFinite if self.steps > 20 => f32::NAN,
            _ => 0.01 * self.steps as f32,
        };
        for p in params.iter().filter(|p| p.is_trainable()) {
            if let Some(anchor) = self.anchor.tensors.get(p.name()) {
                let pull = |(w, a): (&f32, &f32)| strength * (w - a);
                grads.add(p.value(), &p.to_vec().iter().zip(&anchor.values).map(pull).collect::<Vec<_>>())?;
            }
        }
        Ok(Update::Make)
    }
}

impl Strategy for Pull {
    fn stages(&self, tasks: &[Vec<String>]) -> Vec<Stage> {
        let scope = |i| match self.lie {
            Lie::OneStage if i > 0 => TrainScope::NewClasses,
            _ => TrainScope::All,
        };
        tasks.iter().enumerate().map(|(i, t)| Stage { classes: t.clone(), scope: scope(i) }).collect()
    }
    fn rehearsal(&mut self, view: &TrainView) -> Result<Vec<TrainClass>> {
        let kept = |c: &TrainClass| TrainClass::rehearsed(c.name(), c.images()[..2].to_vec());
        Ok(if self.lie == Lie::Rehearses { view.classes().iter().map(kept).collect() } else { vec![] })
    }
    fn end_stage(&mut self, _: &TrainView, detector: &mut dyn Detector) -> Result<()> {
        self.anchor = Snapshot::of(detector, json!(null));
        Ok(())
    }
    fn promises_no_forgetting(&self) -> bool {
        matches!(self.lie, Lie::Promises | Lie::OneStage)
    }
    fn state(&self) -> Result<Snapshot> {
        Ok(match self.lie {
            Lie::EmptyState => Snapshot::default(),
            Lie::LeavesItOut => self.anchor.clone(),
            _ => Snapshot { meta: json!(self.steps), ..self.anchor.clone() },
        })
    }
    fn restore(&mut self, state: &Snapshot) -> Result<()> {
        match self.lie {
            Lie::IgnoresState => return Ok(()),
            Lie::Adds => self.anchor.tensors.extend(state.tensors.clone()),
            _ => self.anchor = state.clone(),
        }
        self.anchor.meta = json!(null);
        self.steps = state.meta.as_u64().unwrap_or(0);
        Ok(())
    }
}

macro_rules! pulls {
    ($($name:literal $lie:ident $doc:literal;)*) => { $(
        ccnf::register_component!(
            Strategy,
            $name,
            NoKeys,
            |_, _: &Build<'_, _>| made(Pull { anchor: Snapshot::default(), steps: 0, lie: Lie::$lie }),
            $doc
        );
    )* };
}

pulls! {
    "pull" None "pulls";
    "empty-state" EmptyState "keeps all to itself";
    "leaves-it-out" LeavesItOut "keeps one number to itself";
    "ignores-state" IgnoresState "starts anew";
    "adds-state" Adds "puts a state over what is there";
    "pulls-to-nan" NotFinite "divides by zero, later";
    "promises" Promises "trains everything and promises";
    "unfrozen" OneStage "trains new classes and freezes nothing";
    "rehearses-itself" Rehearses "takes the stage's own classes for old ones";
}

#[test]
fn what_keeps_its_state_passes() {
    conformance::strategy("pull", &Extra::default());
}

crate::rejects::rejected! {
    a_state_that_is_empty: strategy "empty-state", "strategy `empty-state`: resumed at step 3 of stage 0: stage 1, step 1, gradients: ";
    a_number_that_is_not_in_the_state: strategy "leaves-it-out", "strategy `leaves-it-out`: resumed at step 3 of stage 0: stage 1, step 1, gradients: ";
    a_state_that_is_ignored: strategy "ignores-state", "strategy `ignores-state`: resumed at step 3 of stage 0: the state is another one after putting it back";
    a_state_put_over_another: strategy "adds-state", "over a strategy that was used: the state is another one";
    a_gradient_that_is_not_a_number: strategy "pulls-to-nan", "strategy `pulls-to-nan`: a small detector in four tasks: stage 1, step 4: the gradient of `fine.w`: value 0 of 3 is NaN";
    a_promise_not_to_forget: strategy "promises", "strategy `promises`: stages of tasks with [1, 1, 1] classes: it promises no forgetting, and a later stage trains everything";
    a_promise_without_freezing: strategy "unfrozen", "strategy `unfrozen`: a small detector in four tasks: it promises no forgetting, and in stage 1: the tensor `moving` (owner: shared) has changed";
    own_classes_rehearsed: strategy "rehearses-itself", "strategy `rehearses-itself`: a small detector in four tasks: rehearsed in stage 0: `d`, which is of no earlier stage";
}
