//! From finished runs to tables with intervals, comparisons and verdicts.
//!
//! A table holds runs of one protocol in one class order on the same images: the hashes of both are its key, and runs that differ in either
//! never share a table.

mod compare;
mod groups;
mod numbers;
mod table;
mod types;

pub(crate) use groups::{Entry, Group, groups};
pub(crate) use table::table;
pub use types::{Comparison, DRAWS, Interval, LEVEL, Pair, Quality, Row, Spread, Table, Verdict};
