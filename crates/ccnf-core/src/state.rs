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

impl Stateful for Param {
    fn params(&self) -> Vec<&Param> {
        vec![self]
    }
    fn params_mut(&mut self) -> Vec<&mut Param> {
        vec![self]
    }
}

impl<T: Stateful> Stateful for [T] {
    fn params(&self) -> Vec<&Param> {
        self.iter().flat_map(T::params).collect()
    }
    fn params_mut(&mut self) -> Vec<&mut Param> {
        self.iter_mut().flat_map(T::params_mut).collect()
    }
}

/// Collections of what has tensors: all of them, in order.
macro_rules! collections {
    ($([$($size:tt)*] $t:ty;)*) => { $(
        impl<T: Stateful, $($size)*> Stateful for $t {
            fn params(&self) -> Vec<&Param> {
                self.as_slice().params()
            }
            fn params_mut(&mut self) -> Vec<&mut Param> {
                self.as_mut_slice().params_mut()
            }
        }
    )* };
}

collections! {
    [] Vec<T>;
    [] Option<T>;
    [const N: usize] [T; N];
}

/// [`Stateful`] for a struct whose tensors are in the fields named: each a [`Param`], something stateful, or a `Vec`, `Option` or array of
/// such. Both methods then list the same tensors in the same order.
///
/// ```
/// use ccnf_core::Stateful;
/// use ccnf_core::ccnf_tensor::{Owner, Param};
///
/// struct Linear {
///     weight: Param,
///     bias: Option<Param>,
/// }
/// ccnf_core::stateful!(Linear { weight, bias });
///
/// let weight = Param::weight("weight", Owner::Shared, vec![1.0, 2.0], 1, 2)?;
/// let mut linear = Linear { weight, bias: None };
/// assert_eq!(linear.params().len(), 1);
/// linear.bias = Some(Param::weight("bias", Owner::Shared, vec![0.0], 1, 1)?);
/// assert_eq!(linear.params_mut()[1].name(), "bias");
/// # Ok::<(), ccnf_core::Error>(())
/// ```
#[macro_export]
macro_rules! stateful {
    ($t:ty { $($field:ident),+ $(,)? }) => {
        impl $crate::Stateful for $t {
            fn params(&self) -> Vec<&$crate::ccnf_tensor::Param> {
                let mut all = vec![];
                $( all.extend($crate::Stateful::params(&self.$field)); )+
                all
            }
            fn params_mut(&mut self) -> Vec<&mut $crate::ccnf_tensor::Param> {
                let mut all = vec![];
                $( all.extend($crate::Stateful::params_mut(&mut self.$field)); )+
                all
            }
        }
    };
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
