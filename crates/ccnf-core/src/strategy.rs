//! Strategies: how a detector meets a sequence of tasks.

use crate::detector::{Detector, TrainScope};
use crate::error::Result;

/// One stage of a continual run: the classes whose normal images are trained on together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// The classes.
    pub classes: Vec<String>,
    /// Which tensors may change.
    pub scope: TrainScope,
}

/// What a strategy's constructor gets.
#[derive(Debug, Clone, Default)]
pub struct StrategySpec {}

/// How a detector meets a sequence of tasks, registered as kind `strategy`.
///
/// Contract: the stages cover every class of the tasks exactly once as a new class; after stage `i` the classes of the stages
/// `0..=i` are evaluated.
pub trait Strategy: Send {
    /// The stages for the tasks of a protocol.
    fn stages(&self, tasks: &[Vec<String>]) -> Vec<Stage>;
    /// Called after a stage's training.
    fn end_stage(&mut self, _stage: usize, _detector: &mut dyn Detector) -> Result<()> {
        Ok(())
    }
    /// Whether earlier classes keep their scores bit for bit with the class given. If so the forgetting certificate must hold.
    fn promises_no_forgetting(&self) -> bool {
        false
    }
}

crate::component_kind!(Strategy, "strategy", StrategySpec);
