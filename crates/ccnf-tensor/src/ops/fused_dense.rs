//! [`dense`](super::dense) on the CPU: one matrix product, one pass for everything else, hand-written gradients that skip
//! constants.

use super::kernels::{ROWS, View, add_transposed_product, matmul, pieces, simd};
use super::raw::{self, read};
use super::row_sums::{RowSums, is_small, segment_sum};
use super::{Activation, Dense, Index, RowTable};
use crate::{Mat, Result, SwitchTape, Var};
use dfdx::prelude::{HasShape, Merge, PutTape, SplitTape, Tape};
use rayon::prelude::*;

/// A row table without its tape.
struct Table {
    values: Mat,
    index: Option<Index>,
    on: bool,
}

impl Table {
    /// The table, and its tape merged into `tape`.
    fn new(table: &RowTable, tape: SwitchTape) -> (Self, SwitchTape) {
        let (values, own) = table.table.clone().split_tape();
        (Table { values, index: table.index.clone(), on: own.is_on() }, tape.merge(own))
    }
    fn view(&self) -> TableView<'_> {
        TableView {
            values: read(&self.values),
            index: self.index.as_deref(),
            rows: self.values.shape().0,
            on: self.on,
        }
    }
}

#[derive(Clone, Copy)]
struct TableView<'a> {
    values: &'a [f32],
    index: Option<&'a [u32]>,
    rows: usize,
    on: bool,
}

impl<'a> TableView<'a> {
    fn number(&self, token: usize) -> usize {
        self.index.map_or(0, |i| i[token] as usize)
    }
    fn row(&self, token: usize, width: usize) -> &'a [f32] {
        let row = self.number(token);
        &self.values[row * width..(row + 1) * width]
    }
    /// Whether its gradient is summed inside the element-wise pass.
    fn sums_here(&self) -> bool {
        self.on && is_small(self.rows)
    }
}

/// What the element-wise pass of a layer does.
struct Pass<'a> {
    out: usize,
    relu: bool,
    tables: Vec<TableView<'a>>,
    /// FiLM, and whether it comes before the activation.
    film: Option<(TableView<'a>, bool)>,
}

impl Pass<'_> {
    fn is_empty(&self) -> bool {
        self.tables.is_empty() && self.film.is_none() && !self.relu
    }

    /// From the matrix product to the output, in place; `inner`, if not empty, gets the values that FiLM multiplies.
    fn forward(&self, y: &mut [f32], inner: Option<&mut [f32]>) {
        if self.is_empty() || self.out == 0 {
            return;
        }
        let (out, size) = (self.out, ROWS * self.out);
        let inner = pieces(inner, size, y.len().div_ceil(size));
        y.par_chunks_mut(size).zip(inner).enumerate().for_each(|(c, (y, inner))| {
            simd(|| {
                for (r, y) in y.chunks_exact_mut(out).enumerate() {
                    let token = c * ROWS + r;
                    for table in &self.tables {
                        y.iter_mut().zip(table.row(token, out)).for_each(|(y, t)| *y += *t);
                    }
                    let Some((table, before)) = &self.film else {
                        if self.relu {
                            relu_keeping_nan(y);
                        }
                        continue;
                    };
                    if self.relu && !before {
                        relu_keeping_nan(y);
                    }
                    if let Some(inner) = inner.get_mut(r * out..(r + 1) * out) {
                        inner.copy_from_slice(y);
                    }
                    let (gamma, beta) = table.row(token, 2 * out).split_at(out);
                    for ((y, g), b) in y.iter_mut().zip(gamma).zip(beta) {
                        *y = (1.0 + *g) * *y + *b;
                    }
                    if self.relu && *before {
                        relu_keeping_nan(y);
                    }
                }
            });
        });
    }

    /// From the gradient of the output to that of the matrix product, in place. Returns the tasks' sums for the gradients of the
    /// FiLM table and of the small tables.
    fn backward(&self, g: &mut [f32], output: &[f32], inner: &[f32]) -> Vec<(RowSums, Vec<RowSums>)> {
        let needs_sums = self.tables.iter().any(TableView::sums_here);
        if self.out == 0 || (self.film.is_none() && !self.relu && !needs_sums) {
            return Vec::new();
        }
        g.par_chunks_mut(ROWS * self.out)
            .enumerate()
            .map(|(c, g)| simd(|| self.backward_task(c, g, output, inner)))
            .collect()
    }

    #[inline(always)]
    fn backward_task(
        &self,
        task: usize,
        g: &mut [f32],
        output: &[f32],
        inner: &[f32],
    ) -> (RowSums, Vec<RowSums>) {
        let out = self.out;
        let film_rows = self.film.as_ref().map_or(0, |(t, _)| t.rows);
        let mut film_sums = RowSums::new(film_rows, 2 * out);
        let mut sums: Vec<RowSums> =
            self.tables.iter().map(|t| RowSums::new(if t.sums_here() { t.rows } else { 0 }, out)).collect();
        for (r, g) in g.chunks_exact_mut(out).enumerate() {
            let token = task * ROWS + r;
            let values = token * out..(token + 1) * out;
            if let Some((table, before)) = &self.film {
                let h = &inner[values.clone()];
                if self.relu && *before {
                    mask(g, &output[values]);
                }
                if table.on {
                    let (sum_gamma, sum_beta) = film_sums.row(table.number(token)).split_at_mut(out);
                    for (((sg, sb), g), h) in sum_gamma.iter_mut().zip(sum_beta).zip(g.iter()).zip(h) {
                        *sg += *g * *h;
                        *sb += *g;
                    }
                }
                let gamma = &table.row(token, 2 * out)[..out];
                g.iter_mut().zip(gamma).for_each(|(g, gamma)| *g *= 1.0 + *gamma);
                if self.relu && !*before {
                    mask(g, h);
                }
            } else if self.relu {
                mask(g, &output[values]);
            }
            for (table, sums) in self.tables.iter().zip(&mut sums) {
                if table.sums_here() {
                    sums.row(table.number(token)).iter_mut().zip(g.iter()).for_each(|(s, g)| *s += *g);
                }
            }
        }
        (film_sums, sums)
    }
}

pub(super) fn dense(layer: &Dense<'_>, (n, inp, out): (usize, usize, usize)) -> Result<Var> {
    let (x, x_tape) = layer.x.clone().split_tape();
    let (w, w_tape) = layer.w.clone().split_tape();
    let stride = x.shape().1;
    let relu = layer.activation == Activation::Relu;
    let mut tape = x_tape.merge(w_tape);
    let mut split = |table: &RowTable| {
        let (table, merged) = Table::new(table, tape);
        tape = merged;
        table
    };
    let tables: Vec<Table> = layer.tables.iter().map(&mut split).collect();
    let film: Option<(Table, bool)> = layer.film.map(|f| (split(&f.rows), f.before_activation));

    let mut y = raw::zeros(n, out)?;
    // What the backward pass needs beside the output: the value that FiLM multiplies.
    let mut inner = if film.is_some() && tape.is_on() { Some(raw::zeros(n, out)?) } else { None };
    {
        let y = raw::slice_mut(&mut y)?;
        let w = View::new(raw::slice(&w)?, out, inp, inp);
        matmul(y, out, View::new(raw::slice(&x)?, n, inp, stride), w.transposed(), false);
        pass(&tables, &film, out, relu).forward(y, inner.as_mut().map(raw::slice_mut).transpose()?);
    }
    if !tape.is_on() {
        return Ok(y.put_tape(tape));
    }
    let (x_on, w_on) = (x_tape.is_on(), w_tape.is_on());
    let (xg, wg, yg) = (x.ghost(), w.ghost(), y.ghost());
    let table_ghosts: Vec<_> = tables.iter().map(|t| t.values.ghost()).collect();
    let film_ghost = film.as_ref().map(|(t, _)| t.values.ghost());
    // The tensors are cheap clones of shared buffers; they are released when the operation has run.
    let output = y.clone();
    tape.add_backward_op(move |grads| {
        let mut g = raw::take(grads.get_or_alloc_mut(&yg)?)?;
        let pass = pass(&tables, &film, out, relu);
        let sums = pass.backward(&mut g, read(&output), inner.as_ref().map_or(&[], read));
        if let (Some(ghost), Some((table, _))) = (&film_ghost, &pass.film)
            && table.on
        {
            let gradient = grads.get_or_alloc_mut(ghost)?;
            sums.iter().for_each(|(film, _)| film.add_to(gradient));
        }
        for (k, (ghost, table)) in table_ghosts.iter().zip(&pass.tables).enumerate() {
            if table.sums_here() {
                let gradient = grads.get_or_alloc_mut(ghost)?;
                sums.iter().for_each(|(_, tables)| tables[k].add_to(gradient));
            } else if table.on {
                segment_sum(grads.get_or_alloc_mut(ghost)?, &g, table.index, out);
            }
        }
        let g = View::new(&g, n, out, out);
        if w_on {
            add_transposed_product(grads.get_or_alloc_mut(&wg)?, g, View::new(read(&x), n, inp, stride));
        }
        if x_on {
            matmul(grads.get_or_alloc_mut(&xg)?, stride, g, View::new(read(&w), out, inp, inp), true);
        }
        Ok(())
    });
    Ok(y.put_tape(tape))
}

fn pass<'a>(tables: &'a [Table], film: &'a Option<(Table, bool)>, out: usize, relu: bool) -> Pass<'a> {
    let film = film.as_ref().map(|(table, before)| (table.view(), *before));
    Pass { out, relu, tables: tables.iter().map(Table::view).collect(), film }
}

/// `max(v, 0)` that lets NaN through, so that it is found later and not hidden.
#[inline(always)]
fn relu_keeping_nan(values: &mut [f32]) {
    values.iter_mut().for_each(|v| *v = if *v < 0.0 { 0.0 } else { *v });
}

/// The gradient of the ReLU that gave `output`.
#[inline(always)]
fn mask(g: &mut [f32], output: &[f32]) {
    g.iter_mut().zip(output).for_each(|(g, o)| *g = if *o > 0.0 { *g } else { 0.0 });
}
