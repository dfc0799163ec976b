//! What a component must do to be trusted, as tests: [`mod@conformance`] runs over every registered component, in-tree and out-of-tree.
//! [`Vectors`] reads reference vectors; [`shared_folder`] and its kin find test data or say loudly that a test is skipped.
//!
//! [`conformance!`] is the one line by which a component's file tests it; [`conformance::check()`] gives the verdict to a program. The other
//! functions here panic with a message: they are meant to be called from tests.

mod author;
pub mod conformance;
mod determinant;
mod folders;
mod gradcheck;
mod vectors;

#[doc(hidden)]
pub use author::conforms;
pub use determinant::log_abs_det;
pub use folders::{data_folder, reference_folder, shared_folder};
pub use gradcheck::{compare, finite_difference_error};
pub use serde_json;
pub use vectors::{Tensor, Vectors};

/// The snippets of docs/plugins are compiled as tests.
#[cfg(doctest)]
mod book {
    macro_rules! pages {
        ($($name:ident = $file:literal),* $(,)?) => {
            $(#[doc = include_str!(concat!("../../../docs/plugins/", $file, ".md"))] pub struct $name;)*
        };
    }
    pages! {
        Readme = "README", FirstCoupling = "first-coupling", Dataset = "dataset", Encoder = "encoder", Detector = "detector", Layer = "layer",
        Coupling = "coupling", Conditioner = "conditioner", Regularizer = "regularizer", Scorer = "scorer", Router = "router", Strategy = "strategy",
        Trust = "trust", Versions = "versions", Errors = "errors",
    }
}
