//! Who carries out the runs of a plan: this machine, Slurm, or whoever reads a list of commands.

mod list;
mod local;
mod slurm;

pub use list::commands;
pub use local::{Local, Watch, default_jobs, this_program};
pub use slurm::{Slurm, Submission, Submitted};
