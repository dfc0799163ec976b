//! The `ccnf` detector: a class-conditional normalizing flow per feature level, behind class-private invertible layers.

mod assemble;
mod chain;
mod config;
mod defects;
mod detector;
mod episode;
mod first_task;
mod flow;
mod groups;
mod init;
mod input;
mod level;
mod loss;
mod prepared;
mod probe;
mod projection;
mod pseudo;
mod scales;

pub use config::{Basis, CcnfConfig, Mixing};
pub use detector::Ccnf;
pub use first_task::FirstTaskConfig;
pub use flow::{Flow, FlowForward, FlowSpec};
pub use groups::Conditions;
pub use init::RowInitConfig;
pub use loss::{StepLosses, Term, flow_output, log_prior, step_loss};
