//! Typed errors of tensor code.

/// Shorthand for a result with [`TensorError`].
pub type Result<T, E = TensorError> = std::result::Result<T, E>;

/// What can go wrong in tensor code.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum TensorError {
    /// Shapes do not fit together.
    #[error("{op}: expected {expected}, found {found}")]
    Shape {
        /// The operation.
        op: &'static str,
        /// What it needs.
        expected: String,
        /// What it was given.
        found: String,
    },
    /// An index points outside its table.
    #[error("{op}: index {index} is outside a table of {len} rows")]
    Index {
        /// The operation.
        op: &'static str,
        /// The index.
        index: usize,
        /// The number of rows.
        len: usize,
    },
    /// The device failed, for example because memory ran out.
    #[error("{op}: the device failed: {message}")]
    Device {
        /// The operation.
        op: &'static str,
        /// What the device said.
        message: String,
    },
    /// A NaN or an infinity where a finite number is needed.
    #[error("{what} is not finite ({value}) in {place}")]
    NonFinite {
        /// The quantity.
        what: String,
        /// NaN, inf or -inf.
        value: f32,
        /// Layer, task and step.
        place: String,
    },
    /// `backward` was called where nothing is recorded.
    #[error("no recording is active in this thread: call `backward` inside `record`")]
    NotRecording,
}

impl TensorError {
    pub(crate) fn shape(op: &'static str, expected: impl Into<String>, found: impl Into<String>) -> Self {
        TensorError::Shape { op, expected: expected.into(), found: found.into() }
    }
    pub(crate) fn device(op: &'static str, e: impl std::fmt::Debug) -> Self {
        TensorError::Device { op, message: format!("{e:?}") }
    }
}
