//! What a component must do to be trusted, as tests: [`conformance`] runs over every registered component, in-tree and out-of-tree.
//! [`Vectors`] reads reference vectors; [`shared_folder`] and its kin find test data or say loudly that a test is skipped.
//!
//! The functions here panic with a message: they are meant to be called from tests.

pub mod conformance;
mod determinant;
mod folders;
mod gradcheck;
mod vectors;

pub use determinant::log_abs_det;
pub use folders::{data_folder, reference_folder, shared_folder};
pub use gradcheck::{compare, finite_difference_error};
pub use vectors::{Tensor, Vectors};
