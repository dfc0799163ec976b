//! The `ccnf` detector: a class-conditional normalizing flow per feature level.

mod config;
mod detector;
mod flow;
mod init;
mod level;
mod loss;

pub use config::{CcnfConfig, Mixing};
pub use detector::Ccnf;
pub use flow::{Flow, FlowForward, FlowSpec};
pub use init::RowInitConfig;
pub use loss::{StepLosses, Term, flow_output, log_prior, step_loss};
