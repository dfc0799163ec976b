//! The sentinel against NaN and infinities.

use crate::{Result, TensorError};

/// Fails with the first value that is not finite. `what` names the quantity, `place` the layer, task and step.
///
/// `dfdx`'s ReLU turns NaN into 0 and its maximum skips NaN, so NaN can hide: check losses and log-likelihoods.
pub fn check_finite<'a>(
    what: &str,
    place: impl FnOnce() -> String,
    values: impl IntoIterator<Item = &'a f32>,
) -> Result<()> {
    match values.into_iter().find(|v| !v.is_finite()) {
        None => Ok(()),
        Some(v) => Err(TensorError::NonFinite { what: what.to_owned(), value: *v, place: place() }),
    }
}
