//! Named tensors with an owner.

use crate::{Mat, Result, Var, constant, mat, tracked};
use dfdx::prelude::HasShape;
use std::fmt;

/// Who a tensor belongs to: from the owner follow the freeze rule, the forgetting certificate and the bytes a class adds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// Used for every class.
    Shared,
    /// Private to one class.
    Class(String),
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Owner::Shared => f.write_str("shared"),
            Owner::Class(c) => write!(f, "class {c}"),
        }
    }
}

/// What a tensor is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Trained by gradient steps.
    Weight,
    /// Fixed or computed in closed form: statistics, rotations, power-iteration vectors.
    Buffer,
}

/// BLAKE3 of a tensor's shape and bits.
pub type TensorHash = [u8; 32];

/// A named, owned tensor of a component. Vectors are matrices with one row.
#[derive(Debug, Clone)]
pub struct Param {
    name: String,
    owner: Owner,
    role: Role,
    trainable: bool,
    value: Mat,
}

impl Param {
    /// A weight from row-major values; trainable until it is frozen.
    pub fn weight(
        name: impl Into<String>,
        owner: Owner,
        values: Vec<f32>,
        rows: usize,
        cols: usize,
    ) -> Result<Self> {
        Ok(Param {
            name: name.into(),
            owner,
            role: Role::Weight,
            trainable: true,
            value: mat(values, rows, cols)?,
        })
    }

    /// A buffer from row-major values.
    pub fn buffer(
        name: impl Into<String>,
        owner: Owner,
        values: Vec<f32>,
        rows: usize,
        cols: usize,
    ) -> Result<Self> {
        Ok(Param {
            name: name.into(),
            owner,
            role: Role::Buffer,
            trainable: false,
            value: mat(values, rows, cols)?,
        })
    }

    /// The unique name within the model, dots between levels: `level0.block1.lin0.weight`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Who the tensor belongs to.
    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    /// What the tensor is for.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Whether gradient steps may change it.
    pub fn is_trainable(&self) -> bool {
        self.trainable
    }

    /// Lets gradient steps change it, or not. Buffers stay as they are.
    pub fn set_trainable(&mut self, trainable: bool) {
        self.trainable = trainable && self.role == Role::Weight;
    }

    /// `[rows, columns]`.
    pub fn shape(&self) -> (usize, usize) {
        *self.value.shape()
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.shape().0 * self.shape().1
    }

    /// True for a tensor without values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The tensor.
    pub fn value(&self) -> &Mat {
        &self.value
    }

    /// The tensor, to be updated in place by an optimiser.
    pub fn value_mut(&mut self) -> &mut Mat {
        &mut self.value
    }

    /// The values, row-major.
    pub fn to_vec(&self) -> Vec<f32> {
        self.value.as_vec()
    }

    /// Replaces the values; the shape stays.
    pub fn set(&mut self, values: Vec<f32>) -> Result<()> {
        let (r, c) = self.shape();
        self.value = mat(values, r, c)?;
        Ok(())
    }

    /// The tensor in a forward pass: tracked when trainable, otherwise a constant.
    pub fn var(&self) -> Var {
        if self.trainable { tracked(&self.value) } else { constant(&self.value) }
    }

    /// BLAKE3 over shape and bit patterns: equal hashes mean bitwise equal tensors.
    pub fn hash(&self) -> TensorHash {
        let mut h = blake3::Hasher::new();
        let (r, c) = self.shape();
        h.update(&(r as u64).to_le_bytes());
        h.update(&(c as u64).to_le_bytes());
        let bytes: Vec<u8> = self.to_vec().iter().flat_map(|v| v.to_le_bytes()).collect();
        h.update(&bytes);
        *h.finalize().as_bytes()
    }
}
