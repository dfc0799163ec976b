//! The detector `patch-memory`: the distance to the nearest of a class's kept patches.

mod bank;
mod coreset;
mod detector;
mod model;

pub use detector::{Coreset, PatchMemory, PatchMemoryConfig};
