//! How a strategy takes part in a detector's updates.

use crate::error::Result;
use ccnf_tensor::{Adam, Grads, Param};

/// Whether an update is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Update {
    /// The optimiser makes its step.
    Make,
    /// Nothing changes: the gradients were only looked at.
    Skip,
}

/// What a strategy does to the updates of a training step: nothing, unless it overrides a method.
///
/// A detector with several optimisers, such as one per level, calls both methods once per optimiser, with the parameters of that
/// optimiser; names tell them apart. Only trainable parameters count.
pub trait UpdateRule {
    /// Sees the gradients of the detector's loss, before clipping, and may change them.
    fn gradients(&mut self, _params: &[&mut Param], _grads: &mut Grads) -> Result<Update> {
        Ok(Update::Make)
    }
    /// Sees the parameters after the optimiser's step.
    fn updated(&mut self, _params: &[&mut Param]) -> Result<()> {
        Ok(())
    }
    /// The value of what the rule added to the loss in the updates since the last call, for the logs; `None` without such a term.
    fn penalty(&mut self) -> Option<f64> {
        None
    }
}

/// The rule that leaves updates alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct PlainUpdate;

impl UpdateRule for PlainUpdate {}

/// One step of Adam under `rule`, see [`update_with`].
pub fn update(
    adam: &mut Adam,
    params: &mut [&mut Param],
    grads: &mut Grads,
    lr: f64,
    rule: &mut dyn UpdateRule,
) -> Result<Option<f64>> {
    update_with(params, grads, rule, |params, grads| Ok(adam.step(params, grads, lr)?))
}

/// One optimiser step under `rule`: every detector that trains by gradients updates through here. `step` changes the parameters and
/// returns the global gradient norm before clipping, which is given back; `None` where the rule skipped the update.
pub fn update_with(
    params: &mut [&mut Param],
    grads: &mut Grads,
    rule: &mut dyn UpdateRule,
    step: impl FnOnce(&mut [&mut Param], &mut Grads) -> Result<f64>,
) -> Result<Option<f64>> {
    match rule.gradients(params, grads)? {
        Update::Skip => Ok(None),
        Update::Make => {
            let norm = step(params, grads)?;
            rule.updated(params)?;
            Ok(Some(norm))
        }
    }
}
