//! A chain of conditioned layers on rows, forward and backward, without tensors: what the fused operations are made of.
//!
//! Tokens are cut into *segments* (the unit of parallel work and of partial sums) and these into *chunks* that stay in the
//! cache while they pass through all layers. Segments follow from the number of tokens alone, and partial sums are added
//! in order, so no result depends on the number of threads.

use super::kernels::simd;
use super::pass::{Pass, StageSums, Table};
use super::pool::Buffer;
use super::product::{Operand, Packed, add_outer, lanes};
use super::raw::{self, read};
use super::row_sums::RowSums;
use super::{Activation, Layer};
use crate::{Dev, Mat, Result, SwitchTape, Var};
use dfdx::prelude::{Gradients, HasErr, HasShape, Merge, SplitTape};
use rayon::prelude::*;
use std::ops::Range;

/// Tokens of a segment, about.
const SEGMENT: usize = 512;
/// Tokens of a chunk: a multiple of the rows of a tile on all processors.
const CHUNK: usize = 96;

/// Tokens per segment for `n` tokens: equal segments of about [`SEGMENT`], whole tiles.
pub(super) fn segment_len(n: usize) -> usize {
    n.div_ceil(n.div_ceil(SEGMENT).max(1)).next_multiple_of(12).max(1)
}

/// One layer, ready to run.
struct Stage {
    weight: Mat,
    weight_on: bool,
    packed: Packed,
    relu: bool,
    tables: Vec<Table>,
    /// FiLM, and whether it comes before the activation.
    film: Option<(Table, bool)>,
    inputs: usize,
    outputs: usize,
    /// Whether the backward pass needs the layer's inner values.
    keeps: bool,
}

impl Stage {
    fn pass(&self) -> Pass<'_> {
        Pass {
            out: self.outputs,
            width: self.packed.width(),
            relu: self.relu,
            tables: self.tables.iter().map(Table::view).collect(),
            film: self.film.as_ref().map(|(table, before)| (table.view(), *before)),
        }
    }
    /// Sums of nothing yet; `width` is the number of inputs up to whole vectors, `segment` the number of its tokens.
    fn sums(&self, width: usize, segment: usize) -> StageSums {
        let table =
            |t: &Table, width| RowSums::new(if t.on { t.values.shape().0 } else { 0 }, segment, width);
        StageSums {
            weight: Buffer::zeros(if self.weight_on { self.outputs * width } else { 0 }),
            tables: self.tables.iter().map(|t| table(t, self.outputs)).collect(),
            film: self.film.as_ref().map_or_else(RowSums::default, |(t, _)| table(t, 2 * self.outputs)),
        }
    }
    /// Whether a gradient of this layer's own tensors is wanted.
    fn is_on(&self) -> bool {
        self.weight_on || self.tables.iter().any(|t| t.on) || self.film.as_ref().is_some_and(|(t, _)| t.on)
    }
}

/// The inner values of one segment, per layer.
pub(super) type Kept = Vec<Buffer>;

/// A chain of layers on the tokens of `x`.
pub(super) struct Chain {
    stages: Vec<Stage>,
    x: Mat,
    x_on: bool,
    tokens: usize,
}

impl Chain {
    /// Packs the weights; also returns the tape of the result. Shapes and indices have been checked.
    pub(super) fn new(x: &Var, layers: &[Layer]) -> Result<(Chain, SwitchTape)> {
        let (x, x_tape) = x.clone().split_tape();
        let mut tape = x_tape;
        let weights = layers.iter().map(|l| raw::slice(&l.weight)).collect::<Result<Vec<_>>>()?;
        let packed: Vec<Packed> = weights
            .par_iter()
            .zip(layers)
            .map(|(values, l)| {
                let (outputs, inputs) = *l.weight.shape();
                Packed::new(values, outputs, inputs, Operand::Transposed)
            })
            .collect();
        let stages = layers
            .iter()
            .zip(packed)
            .enumerate()
            .map(|(k, (l, packed))| {
                let (weight, w_tape) = l.weight.clone().split_tape();
                tape = tape.merge(w_tape);
                let (outputs, inputs) = *weight.shape();
                let tables = l.tables.iter().map(|t| Table::new(t, &mut tape)).collect::<Result<_>>()?;
                let film = match &l.film {
                    None => None,
                    Some(f) => Some((Table::new(&f.rows, &mut tape)?, f.before_activation)),
                };
                Ok(Stage {
                    packed,
                    weight,
                    weight_on: w_tape.is_on(),
                    relu: l.activation == Activation::Relu,
                    tables,
                    film,
                    inputs,
                    outputs,
                    keeps: k + 1 < layers.len() || l.film.is_some() || l.activation == Activation::Relu,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        raw::slice(&x)?;
        let tokens = x.shape().0;
        Ok((Chain { stages, x, x_on: x_tape.is_on(), tokens }, tape))
    }

    /// The input.
    pub(super) fn x(&self) -> &Mat {
        &self.x
    }

    /// Whether the gradient of the input is wanted.
    pub(super) fn x_on(&self) -> bool {
        self.x_on
    }

    /// Columns of the input that the chain uses.
    pub(super) fn inputs(&self) -> usize {
        self.stages.first().map_or(0, |s| s.inputs)
    }

    fn segment(&self, number: usize) -> Range<usize> {
        let len = segment_len(self.tokens);
        number * len..((number + 1) * len).min(self.tokens)
    }

    fn widest(&self) -> usize {
        self.stages.iter().map(|s| s.packed.width()).max().unwrap_or(0)
    }

    /// Runs all tokens. `parts` holds what each segment's results go to; `sink(part, rows, y, width)` gets the output of the tokens
    /// `rows`, `width` values per row. With `keep` the inner values come back, for [`backward`](Chain::backward).
    pub(super) fn forward<P: Send>(
        &self,
        keep: bool,
        parts: Vec<P>,
        sink: impl Fn(&mut P, Range<usize>, &[f32], usize) + Sync,
    ) -> Vec<Kept> {
        let passes: Vec<Pass<'_>> = self.stages.iter().map(Stage::pass).collect();
        let (x, stride) = (read(&self.x), self.x.shape().1);
        let run = |(number, mut part): (usize, P)| {
            let segment = self.segment(number);
            let mut kept: Kept = self
                .stages
                .iter()
                .map(|s| Buffer::scratch(if keep && s.keeps { segment.len() * s.packed.width() } else { 0 }))
                .collect();
            let mut from = Buffer::scratch(CHUNK * self.widest());
            let mut to = Buffer::scratch(CHUNK * self.widest());
            for first in segment.clone().step_by(CHUNK) {
                let rows = CHUNK.min(segment.end - first);
                let mut input = (&x[first * stride..], stride);
                for ((stage, pass), kept) in self.stages.iter().zip(&passes).zip(&mut kept) {
                    let width = pass.width;
                    let y = &mut to[..rows * width];
                    stage.packed.rows_times(input.0, input.1, rows, y);
                    let local = first - segment.start;
                    let kept = kept.get_mut(local * width..(local + rows) * width).unwrap_or_default();
                    pass.forward(y, kept, first);
                    std::mem::swap(&mut from, &mut to);
                    input = (&from[..], width);
                }
                sink(&mut part, first..first + rows, &from, input.1);
            }
            kept
        };
        parts.into_par_iter().enumerate().map(run).collect()
    }

    /// For each layer whether a gradient is wanted of anything below it.
    fn wanted_below(&self) -> Vec<bool> {
        let on = std::iter::once(self.x_on).chain(self.stages.iter().map(Stage::is_on));
        on.scan(false, |any, on| Some(std::mem::replace(any, *any || on) || on))
            .take(self.stages.len())
            .collect()
    }

    /// Gradients. `source(part, rows, g, width)` fills the gradient of the output of the tokens `rows`; `sink(part, rows, g, width)`
    /// gets the gradient of the first [`inputs`](Chain::inputs) columns of the input, where it is wanted. What comes back is summed up
    /// by [`add`](Chain::add).
    pub(super) fn backward<P: Send>(
        &self,
        kept: &[Kept],
        parts: Vec<P>,
        source: impl Fn(&mut P, Range<usize>, &mut [f32], usize) + Sync,
        sink: impl Fn(&mut P, Range<usize>, &[f32], usize) + Sync,
    ) -> Vec<Vec<StageSums>> {
        let passes: Vec<Pass<'_>> = self.stages.iter().map(Stage::pass).collect();
        let below = self.wanted_below();
        let back: Vec<Option<Packed>> = self
            .stages
            .par_iter()
            .zip(&below)
            .map(|(s, below)| {
                below.then(|| Packed::new(read(&s.weight), s.outputs, s.inputs, Operand::Plain))
            })
            .collect();
        let inputs: Vec<usize> = self.stages.iter().map(|s| s.inputs.next_multiple_of(lanes())).collect();
        let (x, stride) = (read(&self.x), self.x.shape().1);
        let widest = self.widest().max(inputs.iter().copied().max().unwrap_or(0));
        let run = |(number, mut part): (usize, P)| {
            let segment = self.segment(number);
            let mut sums: Vec<StageSums> =
                self.stages.iter().zip(&inputs).map(|(s, w)| s.sums(*w, segment.len())).collect();
            let mut g = Buffer::scratch(CHUNK * widest);
            let mut next = Buffer::scratch(CHUNK * widest);
            let mut h = Buffer::scratch(CHUNK * widest);
            for first in segment.clone().step_by(CHUNK) {
                let rows = CHUNK.min(segment.end - first);
                let kept_of = |k: usize| {
                    let (width, local) = (passes[k].width, first - segment.start);
                    kept[number][k].get(local * width..(local + rows) * width).unwrap_or(&[])
                };
                let last = self.stages.len() - 1;
                source(
                    &mut part,
                    first..first + rows,
                    &mut g[..rows * passes[last].width],
                    passes[last].width,
                );
                for k in (0..=last).rev() {
                    let (stage, pass) = (&self.stages[k], &passes[k]);
                    pass.backward(&mut g[..rows * pass.width], kept_of(k), first, &mut sums[k]);
                    if stage.weight_on && stage.inputs > 0 {
                        let input = if k == 0 {
                            copy_columns(
                                &x[first * stride..],
                                stride,
                                stage.inputs,
                                &mut h[..rows * inputs[0]],
                                inputs[0],
                            );
                            &h[..rows * inputs[0]]
                        } else if passes[k - 1].film.is_none() {
                            kept_of(k - 1)
                        } else {
                            passes[k - 1].output(kept_of(k - 1), &mut h[..rows * inputs[k]], first);
                            &h[..rows * inputs[k]]
                        };
                        let g = &g[..rows * pass.width];
                        add_outer(&mut sums[k].weight, g, pass.width, stage.outputs, input, inputs[k]);
                    }
                    let Some(back) = &back[k] else { break };
                    let width = back.width();
                    back.rows_times(&g, pass.width, rows, &mut next[..rows * width]);
                    std::mem::swap(&mut g, &mut next);
                    if k == 0 {
                        sink(&mut part, first..first + rows, &g, width);
                    }
                }
            }
            sums
        };
        parts.into_par_iter().enumerate().map(run).collect()
    }

    /// Adds the segments' sums, in order, to the gradients of weights and tables.
    pub(super) fn add(
        &self,
        sums: &[Vec<StageSums>],
        grads: &mut Gradients<f32, Dev>,
    ) -> std::result::Result<(), <Dev as HasErr>::Err> {
        /// Rows of a weight that one task adds up.
        const ROWS: usize = 16;
        for (k, stage) in self.stages.iter().enumerate() {
            if stage.weight_on && stage.inputs > 0 {
                let (inputs, width) = (stage.inputs, stage.inputs.next_multiple_of(lanes()));
                let gradient = grads.get_or_alloc_mut(&stage.weight)?;
                gradient.par_chunks_mut(ROWS * inputs).enumerate().for_each(|(c, rows)| {
                    simd(
                        #[inline(always)]
                        || {
                            for segment in sums {
                                let sum = &segment[k].weight[c * ROWS * width..];
                                for (row, sum) in rows.chunks_exact_mut(inputs).zip(sum.chunks_exact(width)) {
                                    row.iter_mut().zip(sum).for_each(|(g, s)| *g += *s);
                                }
                            }
                        },
                    );
                });
            }
            for (t, table) in stage.tables.iter().enumerate().filter(|(_, table)| table.on) {
                let all: Vec<&RowSums> = sums.iter().map(|segment| &segment[k].tables[t]).collect();
                RowSums::add(&all, grads.get_or_alloc_mut(&table.values)?);
            }
            if let Some((table, _)) = stage.film.as_ref().filter(|(table, _)| table.on) {
                let all: Vec<&RowSums> = sums.iter().map(|segment| &segment[k].film).collect();
                RowSums::add(&all, grads.get_or_alloc_mut(&table.values)?);
            }
        }
        Ok(())
    }
}

/// The first `used` columns of rows of `stride` values, as rows of `width` values, the rest zero.
fn copy_columns(from: &[f32], stride: usize, used: usize, to: &mut [f32], width: usize) {
    for (to, from) in to.chunks_exact_mut(width).zip(from.chunks(stride)) {
        to[..used].copy_from_slice(&from[..used]);
        to[used..].fill(0.0);
    }
}
