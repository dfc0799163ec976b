//! Start values and batches for a peer, as a safetensors file.

use crate::Result;
use ccnf::prelude::*;
use safetensors::tensor::{Dtype, TensorView};
use std::path::Path;

/// Named tensors of f32 and u32 values.
#[derive(Default)]
pub(crate) struct Tensors(Vec<(String, Dtype, Vec<usize>, Vec<u8>)>);

impl Tensors {
    /// Adds a tensor of f32 values.
    pub(crate) fn floats(&mut self, name: &str, values: &[f32], shape: &[usize]) {
        let data = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.0.push((name.to_owned(), Dtype::F32, shape.to_vec(), data));
    }

    /// Adds a vector of indices.
    pub(crate) fn indices(&mut self, name: &str, values: &[u32]) {
        let data = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.0.push((name.to_owned(), Dtype::U32, vec![values.len()], data));
    }

    /// Adds parameters; `scope` is taken off their names.
    pub(crate) fn params(&mut self, params: &[&Param], scope: &str) {
        for p in params {
            let (rows, cols) = p.shape();
            self.floats(p.name().strip_prefix(scope).unwrap_or(p.name()), &p.to_vec(), &[rows, cols]);
        }
    }

    /// Writes the file.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let views = self
            .0
            .iter()
            .map(|(name, dtype, shape, data)| {
                Ok((name.as_str(), TensorView::new(*dtype, shape.clone(), data)?))
            })
            .collect::<Result<Vec<_>>>()?;
        safetensors::serialize_to_file(views, None, path)?;
        Ok(())
    }
}
