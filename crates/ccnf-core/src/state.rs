//! State as named, owned data.

use crate::error::{Error, ErrorKind, Result};
use ccnf_tensor::{Owner, Param, TensorHash};
use std::collections::BTreeMap;

/// A component with tensors.
///
/// Contract: both methods list the same tensors in the same order; names are unique within a model and stay the same over a
/// run; a tensor that belongs to one class is owned by that class.
pub trait Stateful {
    /// All tensors.
    fn params(&self) -> Vec<&Param>;
    /// All tensors, to be trained or loaded.
    fn params_mut(&mut self) -> Vec<&mut Param>;
}

/// A tensor by value, as a checkpoint holds it.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredTensor {
    /// Who it belongs to.
    pub owner: Owner,
    /// `[rows, columns]`.
    pub shape: (usize, usize),
    /// Row-major values.
    pub values: Vec<f32>,
}

/// All tensors of a model by name, and what the model needs beside them to be built again.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Snapshot {
    /// Tensors by name.
    pub tensors: BTreeMap<String, StoredTensor>,
    /// The component's own description of its state: known classes, flags.
    pub meta: serde_json::Value,
}

impl Snapshot {
    /// The tensors of `s`, copied.
    pub fn of(s: &(impl Stateful + ?Sized), meta: serde_json::Value) -> Snapshot {
        let tensors = s
            .params()
            .into_iter()
            .map(|p| {
                (
                    p.name().to_owned(),
                    StoredTensor { owner: p.owner().clone(), shape: p.shape(), values: p.to_vec() },
                )
            })
            .collect();
        Snapshot { tensors, meta }
    }

    /// Puts the tensors back into `s`, which must have exactly the same names and shapes.
    pub fn restore_into(&self, s: &mut (impl Stateful + ?Sized)) -> Result<()> {
        let mut left: BTreeMap<&str, &StoredTensor> =
            self.tensors.iter().map(|(k, v)| (k.as_str(), v)).collect();
        for p in s.params_mut() {
            let Some(t) = left.remove(p.name()) else {
                return Err(other_model(format!("the checkpoint has no tensor `{}`", p.name())));
            };
            if t.shape != p.shape() {
                return Err(other_model(format!(
                    "the tensor `{}` is {:?} in the checkpoint and {:?} in this model",
                    p.name(),
                    t.shape,
                    p.shape()
                )));
            }
            p.set(t.values.clone())?;
        }
        match left.keys().next() {
            None => Ok(()),
            Some(k) => Err(other_model(format!("this model has no tensor `{k}`, the checkpoint does"))),
        }
    }
}

fn other_model(message: String) -> Error {
    Error::new(ErrorKind::Checkpoint, message).help(
        "the checkpoint was made by another model or configuration; use the configuration of its run folder",
    )
}

/// Name, owner and hash of every tensor: what the forgetting certificate compares.
pub fn hashes(s: &(impl Stateful + ?Sized)) -> Vec<(String, Owner, TensorHash)> {
    s.params().into_iter().map(|p| (p.name().to_owned(), p.owner().clone(), p.hash())).collect()
}
