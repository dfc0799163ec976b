//! What the conformance suite accepts and rejects, and how it says so.

mod check;
mod led;
mod line;
mod rejects;
mod scaling;
mod unusual;
