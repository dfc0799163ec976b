//! Tables, rows, comparisons: what is written to `results.json`.

use ccnf_core::schemars::JsonSchema;
use ccnf_engine::Number;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Draws of the bootstrap.
pub const DRAWS: usize = 2000;

/// The level of every test, and of the intervals.
pub const LEVEL: f64 = 0.05;

/// A value with the 95 % interval of the bootstrap over test images and seeds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Interval {
    /// The value on all images, mean over runs.
    pub value: Number,
    /// Its standard error.
    pub standard_error: Number,
    /// The 2.5 % quantile of the draws.
    pub low: Number,
    /// The 97.5 % quantile.
    pub high: Number,
}

/// Mean and sample standard deviation over runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Spread {
    /// The mean.
    pub mean: Number,
    /// The standard deviation; undefined for a single run.
    pub deviation: Number,
}

/// What one use of the class (given or routed) gives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Quality {
    /// Mean image AUROC after the last task.
    pub accuracy: Interval,
    /// Mean loss of image AUROC since each earlier class was learnt; positive = forgotten.
    pub forgetting: Interval,
    /// Image AUROC after the last task per class, mean over runs.
    pub class_accuracy: BTreeMap<String, f64>,
    /// Loss since the class was learnt, mean over runs; classes of the last task have none.
    pub class_forgetting: BTreeMap<String, f64>,
}

/// A row of a table: one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Row {
    /// The model.
    pub model: String,
    /// The seeds of its runs.
    pub seeds: Vec<u64>,
    /// The ids of its runs, in the same order.
    pub runs: Vec<String>,
    /// Stages of a run: 1 for joint training.
    pub stages: usize,
    /// `given` and `routed`.
    pub quality: BTreeMap<String, Quality>,
    /// Every number of the runs' summaries, over runs.
    pub summary: BTreeMap<String, Spread>,
    /// Whether every tensor and map of earlier classes stayed bit for bit in every run; null for a single stage.
    pub certificate: Option<bool>,
    /// Values that the first stage trains, and the mean over later stages.
    pub trainable: [f64; 2],
    /// Bytes of shared state after the last stage, mean over runs.
    pub shared_bytes: f64,
    /// Bytes that a class adds, mean over classes and runs.
    pub class_bytes: f64,
}

/// Two methods on the same draws: the first minus the second.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Comparison {
    /// The difference with its interval.
    pub difference: Interval,
    /// Two-sided p of the difference over its standard error under a normal distribution.
    pub p: Number,
    /// The same, corrected for all pairs of the table (Holm).
    pub p_holm: Number,
    /// Two-sided p of the Wilcoxon signed-rank test over classes: whether the difference holds for classes in general.
    pub wilcoxon: Number,
    /// The same, corrected for all pairs of the table.
    pub wilcoxon_holm: Number,
    /// The smallest difference that these images and seeds find in 4 of 5 repetitions at the level 0.05, without correction.
    pub detectable: Number,
    /// What can be said.
    pub verdict: Verdict,
}

/// What a comparison says, by the corrected p of the bootstrap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The first is higher.
    FirstHigher,
    /// The second is higher.
    SecondHigher,
    /// The difference can be chance.
    NotDistinguishable,
    /// One of the two has no value.
    Undefined,
}

/// A pair of rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Pair {
    /// The first model.
    pub first: String,
    /// The second model.
    pub second: String,
    /// `given` or `routed`.
    pub class: String,
    /// Accuracy after the last task.
    pub accuracy: Comparison,
    /// Forgetting.
    pub forgetting: Comparison,
}

/// All models under one protocol.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Table {
    /// The protocol with its class order.
    pub name: String,
    /// The protocol's hash.
    pub protocol: String,
    /// The hash of images, labels and masks.
    pub data: String,
    /// The classes of every task.
    pub tasks: Vec<Vec<String>>,
    /// Classes that are left out of intervals and comparisons, with the reason.
    pub left_out: BTreeMap<String, String>,
    /// The smallest number of normal or of defective test images of a class that is not left out.
    pub least_images: usize,
    /// The models, in the order of the suite.
    pub rows: Vec<Row>,
    /// All pairs of rows.
    pub pairs: Vec<Pair>,
}
