//! Inputs that contradict each other or lie outside their range.

use std::fmt;

/// Why an input was rejected. (Data that are valid but do not define a metric are not an error: see
/// [`Metric::undefined`](crate::Metric::undefined).)
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum MetricsError {
    /// There is not exactly one label per score.
    LengthMismatch {
        /// Number of scores.
        scores: usize,
        /// Number of labels.
        labels: usize,
    },
    /// Scores that cannot be drawn from together.
    Joint {
        /// What is wrong, with the number of the class.
        what: String,
    },
    /// A buffer does not hold height x width elements.
    SizeMismatch {
        /// Which buffer: "map" or "mask".
        what: &'static str,
        /// Rows.
        height: usize,
        /// Columns.
        width: usize,
        /// Elements in the buffer.
        found: usize,
    },
    /// Height x width, or the number of regions of a set, does not fit in 32 bits.
    TooLarge {
        /// What was counted.
        what: &'static str,
    },
    /// The limit of the false-positive rate is not in (0, 1].
    FprLimit {
        /// The limit given.
        limit: f64,
    },
    /// The level of a quantile is not in [0, 1].
    QuantileLevel {
        /// The level given.
        level: f64,
    },
    /// A result matrix without a task or without a class.
    EmptyMatrix {
        /// Number of tasks (rows).
        tasks: usize,
        /// Number of classes (columns).
        classes: usize,
    },
    /// A row of a result matrix does not have one entry per class.
    RowLength {
        /// Task of the row.
        task: usize,
        /// Number of classes.
        classes: usize,
        /// Entries in the row.
        found: usize,
    },
    /// A class is said to be learnt in a task that does not exist.
    TaskOfClass {
        /// The class.
        class: usize,
        /// The task given for it.
        task: usize,
        /// Number of tasks.
        tasks: usize,
    },
    /// An entry outside a result matrix was addressed.
    NoSuchEntry {
        /// Task (row).
        task: usize,
        /// Class (column).
        class: usize,
        /// Number of tasks.
        tasks: usize,
        /// Number of classes.
        classes: usize,
    },
}

impl fmt::Display for MetricsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LengthMismatch { scores, labels } => {
                write!(f, "{scores} scores but {labels} labels: one label per score is needed")
            }
            Self::SizeMismatch { what, height, width, found } => {
                write!(f, "the {what} has {found} elements, which is not height {height} x width {width}")
            }
            Self::Joint { what } => write!(f, "cannot draw from these runs: {what}"),
            Self::TooLarge { what } => write!(f, "the number of {what} does not fit in 32 bits"),
            Self::FprLimit { limit } => {
                write!(f, "the limit of the false-positive rate must lie in (0, 1], not {limit}")
            }
            Self::QuantileLevel { level } => {
                write!(f, "the level of a quantile must lie in [0, 1], not {level}")
            }
            Self::EmptyMatrix { tasks, classes } => {
                write!(f, "a result matrix needs a task and a class, not {tasks} tasks x {classes} classes")
            }
            Self::RowLength { task, classes, found } => {
                write!(f, "row {task} of the result matrix has {found} entries for {classes} classes")
            }
            Self::TaskOfClass { class, task, tasks } => {
                write!(
                    f,
                    "class {class} is learnt in task {task}, but the tasks are 0 to {}",
                    tasks.saturating_sub(1)
                )
            }
            Self::NoSuchEntry { task, class, tasks, classes } => {
                write!(f, "no entry for task {task}, class {class} in {tasks} tasks x {classes} classes")
            }
        }
    }
}

impl std::error::Error for MetricsError {}
