//! The decoder layer with a learned query.

use crate::encoder::LayerOutput;
use crate::layers::{FeedForward, LayerNorm, MultiHead, Noise};
use ccnf::prelude::*;

/// A post-norm decoder layer that asks with a query table of its own (spec section 3), so that the input cannot simply be copied:
///
/// ```text
/// t = norm1(table + dropout(attention(query = table + pe, key = memory + pe, value = memory)))
/// t = norm2(t + dropout(attention(query = t + pe, key = previous + pe, value = previous)))
/// output = norm3(t + dropout(ffn(t)))
/// ```
///
/// The table is `[tokens, d]`, standard normal at the start; `previous` is the output of the layer before, the encoder's for the first.
#[derive(Debug, Clone)]
pub struct DecoderLayer {
    table: Param,
    memory: MultiHead,
    previous: MultiHead,
    feed_forward: FeedForward,
    norm1: LayerNorm,
    norm2: LayerNorm,
    norm3: LayerNorm,
}
parts!(DecoderLayer { table, memory, previous, feed_forward, norm1, norm2, norm3 });

impl DecoderLayer {
    /// A layer of width `d` on `tokens` tokens.
    pub fn new(
        name: &str,
        tokens: usize,
        d: usize,
        heads: usize,
        hidden: usize,
        s: &Streams,
    ) -> Result<Self> {
        let table = format!("{name}.table");
        let values = s.normal(&table, tokens * d);
        let norm = |k: usize| LayerNorm::new(&format!("{name}.norm{k}"), d);
        Ok(DecoderLayer {
            table: Param::weight(table, Owner::Shared, values, tokens, d)?,
            memory: MultiHead::fused(&format!("{name}.memory_attention"), d, heads, s)?,
            previous: MultiHead::fused(&format!("{name}.previous_attention"), d, heads, s)?,
            feed_forward: FeedForward::new(name, d, hidden, s)?,
            norm1: norm(1)?,
            norm2: norm(2)?,
            norm3: norm(3)?,
        })
    }

    /// `memory`, `previous` and `position` are `[groups * tokens, d]`; `cell` says which row of the table belongs to each of these rows.
    pub fn forward(
        &self,
        memory: &Var,
        previous: &Var,
        position: &Var,
        cell: &Index,
        groups: usize,
        noise: &mut Noise<'_>,
    ) -> Result<LayerOutput> {
        let with_code = |x: &Var| x.clone() + position.clone();
        let table = ops::gather_rows(&self.table.var(), cell)?;
        let inputs = [&with_code(&table), &with_code(memory), memory];
        let a = self.memory.forward(inputs, groups, noise.dropout())?;
        let t = self.norm1.forward(&(table + noise.drop(a)?))?;
        let inputs = [&with_code(&t), &with_code(previous), previous];
        let a = self.previous.forward(inputs, groups, noise.dropout())?;
        let t = self.norm2.forward(&(t + noise.drop(a)?))?;
        let feed_forward = self.feed_forward.forward(&t, noise)?;
        let y = self.norm3.forward(&(t + noise.drop(feed_forward.clone())?))?;
        Ok(LayerOutput { y, feed_forward })
    }

    /// The layer whose gradients later stages project.
    pub fn projected(&self) -> &crate::Linear {
        self.feed_forward.second()
    }
}
