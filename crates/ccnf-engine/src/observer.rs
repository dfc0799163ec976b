//! Where progress goes.

/// Sees what a run is doing. All methods have empty defaults.
pub trait Observer: Send + Sync {
    /// A piece of work with `total` units starts.
    fn start(&self, _what: &str, _total: u64) {}
    /// `done` units are finished; `note` is a short status such as the loss.
    fn advance(&self, _done: u64, _note: &str) {}
    /// The piece of work is finished.
    fn finish(&self) {}
}

/// Shows nothing.
pub struct Silent;
impl Observer for Silent {}
