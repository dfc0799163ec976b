//! The block of the discriminator.

use crate::layers::{LayerNorm, Linear, MultiHead};
use ccnf::prelude::*;

/// A pre-norm block (spec section 4): `x += attention(norm1(x))`, `x += mlp(norm2(x))`, the MLP `d -> hidden -> d` with GELU. Attention runs
/// along each row of the grid only; rows do not see each other.
#[derive(Debug, Clone)]
pub struct RowBlock {
    norm1: LayerNorm,
    attention: MultiHead,
    norm2: LayerNorm,
    mlp1: Linear,
    mlp2: Linear,
}
parts!(RowBlock { norm1, attention, norm2, mlp1, mlp2 });

impl RowBlock {
    /// A block of width `d`.
    pub fn new(name: &str, d: usize, heads: usize, hidden: usize, s: &Streams) -> Result<Self> {
        Ok(RowBlock {
            norm1: LayerNorm::new(&format!("{name}.norm1"), d)?,
            attention: MultiHead::new(&format!("{name}.attention"), d, heads, s)?,
            norm2: LayerNorm::new(&format!("{name}.norm2"), d)?,
            mlp1: Linear::xavier(&format!("{name}.mlp1"), (d, hidden), s)?,
            mlp2: Linear::xavier(&format!("{name}.mlp2"), (hidden, d), s)?,
        })
    }

    /// `x` is `[rows * columns, d]`, row of the grid after row.
    pub fn forward(&self, x: &Var, rows: usize) -> Result<Var> {
        let normed = self.norm1.forward(x)?;
        let x = x.clone() + self.attention.forward([&normed; 3], rows, None)?;
        let hidden = ops::gelu(&self.mlp1.forward(&self.norm2.forward(&x)?)?)?;
        Ok(x + self.mlp2.forward(&hidden)?)
    }
}
