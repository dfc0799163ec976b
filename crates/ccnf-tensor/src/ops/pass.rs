//! The element-wise part of a layer on rows: tables, activation, FiLM, and their gradients.

use super::kernels::simd;
use super::pool::Buffer;
use super::raw::{self, read};
use super::row_sums::RowSums;
use super::{Index, RowTable};
use crate::{Mat, Result, SwitchTape};
use dfdx::prelude::{Merge, SplitTape};

/// A row table without its tape.
pub(super) struct Table {
    pub(super) values: Mat,
    pub(super) index: Option<Index>,
    pub(super) on: bool,
}

#[derive(Clone, Copy)]
pub(super) struct TableView<'a> {
    values: &'a [f32],
    index: Option<&'a [u32]>,
    on: bool,
}

impl Table {
    pub(super) fn new(table: &RowTable, tape: &mut SwitchTape) -> Result<Self> {
        let (values, own) = table.table.clone().split_tape();
        raw::slice(&values)?;
        *tape = tape.merge(own);
        Ok(Table { values, index: table.index.clone(), on: own.is_on() })
    }
    pub(super) fn view(&self) -> TableView<'_> {
        TableView { values: read(&self.values), index: self.index.as_deref(), on: self.on }
    }
}

impl<'a> TableView<'a> {
    #[inline(always)]
    fn number(&self, token: usize) -> usize {
        self.index.map_or(0, |i| i[token] as usize)
    }
    #[inline(always)]
    fn row(&self, token: usize, width: usize) -> &'a [f32] {
        let row = self.number(token);
        &self.values[row * width..(row + 1) * width]
    }
}

/// The parts of a stage that its element-wise passes need.
pub(super) struct Pass<'a> {
    pub(super) out: usize,
    /// Values per row of a chunk: `out` up to a whole number of vectors.
    pub(super) width: usize,
    pub(super) relu: bool,
    pub(super) tables: Vec<TableView<'a>>,
    pub(super) film: Option<(TableView<'a>, bool)>,
}

impl Pass<'_> {
    /// From the matrix product to the layer's output, in place. `kept`, if not empty, gets the inner values: those that FiLM multiplies,
    /// or the output where there is no FiLM. `first` is the number of the first row's token.
    pub(super) fn forward(&self, rows: &mut [f32], kept: &mut [f32], first: usize) {
        if !self.tables.is_empty() || self.film.is_some() || self.relu || !kept.is_empty() {
            simd(
                #[inline(always)]
                || self.forward_rows(rows, kept, first),
            );
        }
    }

    #[inline(always)]
    fn forward_rows(&self, rows: &mut [f32], kept: &mut [f32], first: usize) {
        for (r, padded) in rows.chunks_exact_mut(self.width).enumerate() {
            let token = first + r;
            let y = &mut padded[..self.out];
            let mut kept = kept.get_mut(r * self.width..r * self.width + self.out);
            let last = match self.tables.split_last() {
                None => None,
                Some((last, others)) => {
                    for table in others {
                        y.iter_mut().zip(table.row(token, self.out)).for_each(|(y, t)| *y += *t);
                    }
                    Some(last.row(token, self.out))
                }
            };
            // the usual layer in one pass
            if let (Some((film, false)), Some(kept), Some(last), true) =
                (&self.film, &mut kept, last, self.relu)
            {
                let (gamma, beta) = film.row(token, 2 * self.out).split_at(self.out);
                let inputs = last.iter().zip(gamma).zip(beta);
                for ((y, kept), ((t, g), b)) in y.iter_mut().zip(kept.iter_mut()).zip(inputs) {
                    let v = *y + *t;
                    let v = if v < 0.0 { 0.0 } else { v };
                    *kept = v;
                    *y = (1.0 + *g) * v + *b;
                }
                continue;
            }
            if let Some(last) = last {
                y.iter_mut().zip(last).for_each(|(y, t)| *y += *t);
            }
            let before = self.film.as_ref().is_some_and(|(_, before)| *before);
            if self.relu && !before {
                relu_keeping_nan(y);
            }
            if let Some(kept) = kept {
                kept.copy_from_slice(y);
            }
            self.modulate(y, token);
        }
    }

    /// FiLM and, where it comes first, the activation: from the inner values of a row to its output.
    #[inline(always)]
    fn modulate(&self, y: &mut [f32], token: usize) {
        let Some((table, before)) = &self.film else { return };
        let (gamma, beta) = table.row(token, 2 * self.out).split_at(self.out);
        for ((y, g), b) in y.iter_mut().zip(gamma).zip(beta) {
            *y = (1.0 + *g) * *y + *b;
        }
        if self.relu && *before {
            relu_keeping_nan(y);
        }
    }

    /// The layer's output again, from its inner values; `to` has the same layout.
    pub(super) fn output(&self, kept: &[f32], to: &mut [f32], first: usize) {
        simd(
            #[inline(always)]
            || self.output_rows(kept, to, first),
        );
    }

    #[inline(always)]
    fn output_rows(&self, kept: &[f32], to: &mut [f32], first: usize) {
        for (r, (kept, to)) in kept.chunks_exact(self.width).zip(to.chunks_exact_mut(self.width)).enumerate()
        {
            to[..self.out].copy_from_slice(&kept[..self.out]);
            to[self.out..].fill(0.0);
            self.modulate(&mut to[..self.out], first + r);
        }
    }

    /// From the gradient of the output to that of the matrix product, in place; adds to the sums of the tables.
    pub(super) fn backward(&self, g: &mut [f32], kept: &[f32], first: usize, sums: &mut StageSums) {
        simd(
            #[inline(always)]
            || self.backward_rows(g, kept, first, sums),
        );
    }

    #[inline(always)]
    fn backward_rows(&self, g: &mut [f32], kept: &[f32], first: usize, sums: &mut StageSums) {
        for (r, g) in g.chunks_exact_mut(self.width).enumerate() {
            let token = first + r;
            let g = &mut g[..self.out];
            let kept = kept.get(r * self.width..r * self.width + self.out).unwrap_or(&[]);
            if let Some((table, before)) = &self.film {
                let (gamma, beta) = table.row(token, 2 * self.out).split_at(self.out);
                if self.relu && *before {
                    for (((g, h), gamma), beta) in g.iter_mut().zip(kept).zip(gamma).zip(beta) {
                        *g = if (1.0 + *gamma) * *h + *beta > 0.0 { *g } else { 0.0 };
                    }
                }
                if table.on {
                    let (sum_gamma, sum_beta) = sums.film.row(table.number(token)).split_at_mut(self.out);
                    for (((sg, sb), g), h) in sum_gamma.iter_mut().zip(sum_beta).zip(g.iter()).zip(kept) {
                        *sg += *g * *h;
                        *sb += *g;
                    }
                }
                if self.relu && !*before {
                    for ((g, gamma), h) in g.iter_mut().zip(gamma).zip(kept) {
                        *g = if *h > 0.0 { *g * (1.0 + *gamma) } else { 0.0 };
                    }
                } else {
                    g.iter_mut().zip(gamma).for_each(|(g, gamma)| *g *= 1.0 + *gamma);
                }
            } else if self.relu {
                g.iter_mut().zip(kept).for_each(|(g, o)| *g = if *o > 0.0 { *g } else { 0.0 });
            }
            for (table, sums) in self.tables.iter().zip(&mut sums.tables) {
                if table.on {
                    sums.row(table.number(token)).iter_mut().zip(g.iter()).for_each(|(s, g)| *s += *g);
                }
            }
        }
    }
}

/// `max(v, 0)` that lets NaN through, so that it is found later and not hidden.
#[inline(always)]
fn relu_keeping_nan(values: &mut [f32]) {
    values.iter_mut().for_each(|v| *v = if *v < 0.0 { 0.0 } else { *v });
}

/// One segment's sums for the gradients of one layer.
pub(super) struct StageSums {
    /// `[outputs, inputs up to whole vectors]`; empty where the weight is constant.
    pub(super) weight: Buffer,
    pub(super) tables: Vec<RowSums>,
    pub(super) film: RowSums,
}
