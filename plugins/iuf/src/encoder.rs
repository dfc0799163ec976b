//! The encoder layer with object-aware self-attention.

use crate::layers::{FeedForward, LayerNorm, MultiHead, Noise};
use ccnf::prelude::*;

/// A post-norm encoder layer whose queries are modulated by the class (spec section 3):
///
/// ```text
/// a = attention(query = (x + pe) * c, key = x + pe, value = x)
/// y = norm1(x + dropout(a)),   output = norm2(y + dropout(ffn(y)))
/// ```
///
/// `pe` is the position code, `c` the discriminator's map for this layer, both `[N, d]` like `x`; `*` is elementwise and comes before the
/// query's projection.
#[derive(Debug, Clone)]
pub struct EncoderLayer {
    attention: MultiHead,
    feed_forward: FeedForward,
    norm1: LayerNorm,
    norm2: LayerNorm,
}
parts!(EncoderLayer { attention, feed_forward, norm1, norm2 });

/// What a layer gives.
pub struct LayerOutput {
    /// Its output, `[N, d]`.
    pub y: Var,
    /// The output of its second feed-forward layer, `[N, d]`.
    pub feed_forward: Var,
}

impl EncoderLayer {
    /// A layer of width `d`.
    pub fn new(name: &str, d: usize, heads: usize, hidden: usize, s: &Streams) -> Result<Self> {
        Ok(EncoderLayer {
            attention: MultiHead::fused(&format!("{name}.attention"), d, heads, s)?,
            feed_forward: FeedForward::new(name, d, hidden, s)?,
            norm1: LayerNorm::new(&format!("{name}.norm1"), d)?,
            norm2: LayerNorm::new(&format!("{name}.norm2"), d)?,
        })
    }

    /// `x`, `class` and `position` are `[groups * tokens, d]`.
    pub fn forward(
        &self,
        x: &Var,
        class: &Var,
        position: &Var,
        groups: usize,
        noise: &mut Noise<'_>,
    ) -> Result<LayerOutput> {
        let key = x.clone() + position.clone();
        let query = key.clone() * class.clone();
        let a = self.attention.forward([&query, &key, x], groups, noise.dropout())?;
        let y = self.norm1.forward(&(x.clone() + noise.drop(a)?))?;
        let feed_forward = self.feed_forward.forward(&y, noise)?;
        let y = self.norm2.forward(&(y + noise.drop(feed_forward.clone())?))?;
        Ok(LayerOutput { y, feed_forward })
    }

    /// The layer whose gradients later stages project.
    pub fn projected(&self) -> &crate::Linear {
        self.feed_forward.second()
    }
}
