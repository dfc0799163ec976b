//! A bound for the number of memory-mapped files.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many files a cache maps at most. Linux allows a process 65,530 mappings by default (`vm.max_map_count`), and a process
/// that has none left cannot even allocate.
pub(super) const MAPS: usize = 50_000;

/// Mappings that may still be made.
#[derive(Debug, Clone)]
pub(super) struct MapBudget(Arc<AtomicUsize>);

/// The right to one mapping, given back when dropped.
pub(super) struct MapSlot(Arc<AtomicUsize>);

impl MapBudget {
    pub(super) fn new(maps: usize) -> Self {
        MapBudget(Arc::new(AtomicUsize::new(maps)))
    }

    /// `None` when all are taken.
    pub(super) fn take(&self) -> Option<MapSlot> {
        let less = |left: usize| left.checked_sub(1);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).ok().map(|_| MapSlot(self.0.clone()))
    }
}

impl Drop for MapSlot {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
