//! Strategies: how a detector meets a sequence of tasks.
//!
//! | name | stages | what may change |
//! |---|---|---|
//! | `freeze-expand` | one per task | the first: everything; later ones: only the new classes' own tensors |
//! | `fine-tune` | one per task | everything, always |
//! | `replay` | one per task | everything; kept images of earlier classes are trained on as well |
//! | `ewc` | one per task | everything, held back by the Fisher information of earlier tasks |
//! | `si` | one per task | everything, held back by the importance on earlier paths |
//! | `lwf` | one per task | everything; outputs are kept near those of the model before |
//! | `joint` | one | everything |

mod buffer;
mod ewc;
mod fine_tune;
mod freeze_expand;
mod joint;
mod lwf;
mod quadratic;
#[cfg(test)]
mod recorder;
mod replay;
mod si;
#[cfg(test)]
mod toy;

pub use ewc::{Ewc, EwcConfig};
pub use fine_tune::{FineTune, FineTuneConfig};
pub use freeze_expand::{FreezeExpand, FreezeExpandConfig};
pub use joint::{Joint, JointConfig};
pub use lwf::{Lwf, LwfConfig};
pub use replay::{Replay, ReplayConfig, ReplayPolicy, ReplayUnit};
pub use si::{Si, SiConfig};
