//! Metrics for (continual) visual anomaly detection, exact or with a bound on their error.
//!
//! - [`auroc`], [`average_precision`], [`f1_max`]: one score per image.
//! - [`PixelStream`] takes anomaly maps one after the other and makes a [`PixelSet`]: the same three, and
//!   AUPRO, over all pixels.
//! - [`continual_summary`]: accuracy, forgetting and backward transfer over a sequence of tasks.
//! - [`paired_auroc_difference`]: two methods on the same images, with a bootstrap interval.
//! - [`joint_bootstrap`]: accuracy and forgetting of several methods, each with several runs, on the same draws.
//! - [`wilcoxon_signed_rank`], [`holm`]: a test over classes, and the correction for several tests.
//! - [`quantile`]: a decision threshold from the scores of normal training images.
//!
//! # Conventions
//!
//! - A higher score is more anomalous; the positive label (`true`) is "anomalous".
//! - A threshold `t` flags a score `s` when `s >= t`.
//! - Every distinct score is a threshold. Equal scores cross it together, so no result depends on the order of
//!   the input. `-0.0` equals `0.0`.
//! - Scores are `f32`, everything computed from them is `f64`. Nothing is sampled or resampled. Only the
//!   scores of very many pixels are binned, with a bound on the error of every metric
//!   ([`Metric::error_bound`]).
//! - A metric that the data do not define is an undefined [`Metric`] with its reason, never `0` and never NaN.
//!   A score that is NaN or infinite makes every metric of its set undefined; the reason names the score.
//! - Inputs that contradict each other (two lengths, a task that does not exist) are a [`MetricsError`].
//!
//! ```
//! use ccnf_metrics::{auroc, f1_max};
//!
//! let scores = [0.1, 0.4, 0.35, 0.8];
//! let labels = [false, false, true, true];
//! assert_eq!(auroc(&scores, &labels)?.value(), Some(0.75));
//! assert_eq!(f1_max(&scores, &labels)?.f1.value(), Some(0.8));
//!
//! let only_normal = auroc(&[0.1, 0.2], &[false, false])?;
//! assert_eq!(only_normal.value(), None);
//! assert_eq!(only_normal.reason(), Some("no anomalous sample"));
//! # Ok::<(), ccnf_metrics::MetricsError>(())
//! ```

mod aupro;
mod binary;
mod components;
mod continual;
mod curve;
mod error;
mod histogram;
mod joint;
mod metric;
mod paired;
mod pixel;
mod ranking;
mod rmatrix;
mod stream;
mod sum;
mod threshold;
mod wilcoxon;

pub use binary::{auroc, average_precision, f1_max};
pub use components::{Connectivity, Regions, label_regions};
pub use continual::{ContinualSummary, continual_summary};
pub use curve::F1Max;
pub use error::MetricsError;
pub use joint::{Drawn, MethodDraws, RunScores, joint_bootstrap, spread_of_draws};
pub use metric::Metric;
pub use paired::{PairedDifference, PairedScores, paired_auroc_difference};
pub use pixel::{AUPRO_FPR_LIMIT, PixelMap, PixelSet};
pub use rmatrix::RMatrix;
pub use stream::{PixelStream, StreamLimits};
pub use threshold::quantile;
pub use wilcoxon::{holm, wilcoxon_signed_rank};
