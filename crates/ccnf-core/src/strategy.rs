//! Strategies: how a detector meets a sequence of tasks.

use crate::detector::{Detector, TrainScope};
use crate::error::Result;
use crate::state::Snapshot;
use crate::train::TrainConfig;
use crate::update::UpdateRule;
use crate::view::{TrainClass, TrainView};
use ccnf_tensor::Streams;

/// One stage of a continual run: the classes whose normal images are trained on together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// The classes.
    pub classes: Vec<String>,
    /// Which tensors may change.
    pub scope: TrainScope,
}

/// What a strategy's constructor gets.
#[derive(Debug, Clone)]
pub struct StrategySpec {
    /// The `[train]` section.
    pub train: TrainConfig,
    /// Random streams of the run.
    pub streams: Streams,
}

/// How a detector meets a sequence of tasks, registered as kind `strategy`. The methods of [`UpdateRule`] are called within the
/// training steps.
///
/// A stage runs as `rehearsal`, the detector's `begin_stage`, `begin_stage`, the detector's steps and `end_stage`, `end_stage`. When an
/// interrupted stage goes on, `restore` comes first, then `rehearsal` and `begin_stage` again.
///
/// Contract: the stages cover every class of the tasks exactly once as a new class; after stage `i` the classes of the stages
/// `0..=i` are evaluated. All that is kept between calls is in `state`; randomness comes from the streams, named by stage.
pub trait Strategy: UpdateRule + Send {
    /// The stages for the tasks of a protocol.
    fn stages(&self, tasks: &[Vec<String>]) -> Vec<Stage>;
    /// Fails where the strategy cannot lead this detector through these stages: asked before any work is done.
    fn fits(&self, _stages: &[Stage], _detector: &dyn Detector) -> Result<()> {
        Ok(())
    }
    /// Images of earlier classes to be trained on beside those of `view`, kept from earlier stages.
    fn rehearsal(&mut self, _view: &TrainView) -> Result<Vec<TrainClass>> {
        Ok(vec![])
    }
    /// Called before the first step of a stage, and before going on in its middle: penalties, teachers.
    fn begin_stage(&mut self, _stage: usize, _detector: &mut dyn Detector) -> Result<()> {
        Ok(())
    }
    /// Called after a stage's training with the stage's own classes and what was rehearsed.
    fn end_stage(&mut self, _view: &TrainView, _detector: &mut dyn Detector) -> Result<()> {
        Ok(())
    }
    /// Whether earlier classes keep their scores bit for bit with the class given. If so the forgetting certificate must hold.
    fn promises_no_forgetting(&self) -> bool {
        false
    }
    /// All that is kept between calls, for checkpoints: buffers, importances. Tensors that were made from a class's images belong to it.
    fn state(&self) -> Result<Snapshot> {
        Ok(Snapshot::default())
    }
    /// Puts a state back.
    fn restore(&mut self, _state: &Snapshot) -> Result<()> {
        Ok(())
    }
}

crate::component_kind!(Strategy, "strategy", StrategySpec);
