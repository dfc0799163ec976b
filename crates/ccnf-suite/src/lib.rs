//! Many runs: plan, execute, collect, compare, report.
//!
//! A [`SuiteSpec`] is a grid of models, protocols, class orders and seeds. [`Planner`] resolves every cell to a configuration and the id that
//! follows from it; a [`SuiteFolder`] keeps the plan and the runs. Whoever executes them, every run is one idempotent [`run_one`].

mod collect;
mod compare;
mod diff;
mod execute;
mod folder;
mod models;
mod plan;
mod progress;
mod report;
mod results;
mod run_one;
mod spec;
mod statistics;

pub use collect::{Collected, State, collect, state};
pub use compare::{compare, open_runs, plan};
pub use diff::{Difference, NumberPair, RunDiff, diff};
pub use execute::{Local, Slurm, Submission, Submitted, Watch, commands, default_jobs, this_program};
pub use folder::{Manifest, SuiteFolder};
pub use models::{model, models};
pub use plan::{Cell, Plan, PlannedRun, Planner, WaitingRun};
pub use progress::{JsonLines, Progress};
pub use report::{ReportOptions, write_report};
pub use results::{Missing, Results, results_schema};
pub use run_one::run_one;
pub use spec::{EqualMemory, ModelSpec, ProtocolSpec, SuiteSpec, suite_schema};
pub use statistics::{Comparison, DRAWS, Interval, LEVEL, Pair, Quality, Row, Spread, Table, Verdict};
