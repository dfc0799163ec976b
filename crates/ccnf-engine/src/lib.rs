//! One continual run: assemble a model from a config, train it stage after stage, score it, and keep everything that was computed.
//!
//! [`Assembly::new`] builds all components from a [`Config`](ccnf_core::Config); [`run`] carries the run through in a [`RunFolder`];
//! [`evaluate_run`] and [`Predictor`] use a finished one. Progress goes to an [`Observer`].

mod assembly;
mod certificate;
mod checkpoint;
mod environment;
mod evaluate;
mod events;
mod finished;
mod folder;
mod fuse;
mod metrics;
mod observer;
mod overlays;
mod painted;
mod predict;
mod protocol;
mod provenance;
mod reopen;
mod run;
mod run_config;
mod score_stage;
mod shortlist;
mod summary;
mod tensorboard;
mod timing;
mod train;
mod validation;

pub use assembly::{Assembly, compose_for_run};
pub use certificate::{Certificate, StageCertificate};
pub use checkpoint::{Checkpoint, read_checkpoint, write_checkpoint};
pub use environment::environment;
pub use evaluate::{EvalOutcome, evaluate_run};
pub use finished::FinishedRun;
pub use folder::{FolderLock, FolderState, RunFolder, outside_of_run};
pub use fuse::{FusedMap, fuse};
pub use metrics::{ClassEntry, MetricsFile, Number, Routing, Rows, StageCost, metrics_schema};
pub use observer::{Observer, Silent};
pub use predict::{Prediction, Predictor, expand_inputs};
pub use protocol::{ProtocolConfig, presets};
pub use provenance::Provenance;
pub use reopen::{GivenEvaluation, Reopened};
pub use run::{Outcome, run};
pub use run_config::{RUN_KEYS, RunConfig, RunSection, config_schema};
pub use score_stage::{ClassEvaluation, ImageRow, StageEvaluation, Use};
pub use shortlist::ShortlistCheck;
pub use summary::summary_markdown;
pub use tensorboard::export_tensorboard;
pub use timing::StageTiming;
pub use validation::{ValidationSplit, write_validation};
