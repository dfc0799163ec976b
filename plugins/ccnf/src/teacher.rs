//! The flow of an earlier state, whose latents are kept near.

use crate::flow::Flow;
use ccnf::dfdx::prelude::HasShape;
use ccnf::prelude::*;

/// The shared tensors of an earlier state. Class rows are the flow's own: tokens of a class that the earlier state did not know are asked
/// about under the row that they have now.
pub(crate) struct Teacher {
    tensors: Vec<(String, Mat)>,
    pub(crate) weight: f32,
}

impl Teacher {
    /// Takes what belongs to `flow` out of a detector's state.
    pub(crate) fn new(flow: &Flow, distillation: &Distillation) -> Result<Teacher> {
        let mut tensors = Vec::new();
        for p in flow.params().into_iter().filter(|p| *p.owner() == Owner::Shared) {
            let stored = distillation.teacher.tensors.get(p.name()).filter(|t| t.shape == p.shape());
            let Some(stored) = stored else {
                let message = format!("the teacher has no tensor `{}` of this shape", p.name());
                return Err(Error::new(ErrorKind::Contract, message));
            };
            let (rows, cols) = stored.shape;
            tensors.push((p.name().to_owned(), mat(stored.values.clone(), rows, cols)?));
        }
        Ok(Teacher { tensors, weight: distillation.weight })
    }

    /// The teacher's latents. Its tensors take the place of the flow's for the time of the forward.
    pub(crate) fn latents(&mut self, flow: &mut Flow, x: &Var, condition: &Condition<'_>) -> Result<Mat> {
        self.swap(flow);
        let latents = condition(flow).and_then(|c| flow.forward(x, &c));
        self.swap(flow);
        let z = latents?.z;
        let (rows, cols) = *z.shape();
        Ok(mat(z.as_vec(), rows, cols)?)
    }

    fn swap(&mut self, flow: &mut Flow) {
        let shared = flow.params_mut().into_iter().filter(|p| *p.owner() == Owner::Shared);
        // The same tensors in the same order as in `new`: a flow's shared tensors never change but in value.
        for (p, (_, mine)) in shared.zip(&mut self.tensors) {
            std::mem::swap(p.value_mut(), mine);
        }
    }
}

/// The condition of the tokens under a flow's present tensors.
pub(crate) type Condition<'a> = dyn Fn(&Flow) -> Result<Vec<BlockCondition>> + 'a;
