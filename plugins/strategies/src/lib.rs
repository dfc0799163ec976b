//! Strategies: how a detector meets a sequence of tasks.
//!
//! | name | stages | what may change |
//! |---|---|---|
//! | `freeze-expand` | one per task | the first: everything; later ones: only the new classes' own tensors |
//! | `fine-tune` | one per task | everything, always |
//! | `joint` | one | everything |

mod fine_tune;
mod freeze_expand;
mod joint;
#[cfg(test)]
mod recorder;

pub use fine_tune::{FineTune, FineTuneConfig};
pub use freeze_expand::{FreezeExpand, FreezeExpandConfig};
pub use joint::{Joint, JointConfig};
