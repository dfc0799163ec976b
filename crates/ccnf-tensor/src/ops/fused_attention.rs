//! [`attention`](super::attention) on the CPU: per group and head two products forward and four backward, with the probabilities kept.

use super::kernels::{exp, simd};
use super::pool::Buffer;
use super::product::{Operand, Packed, add_outer, lanes};
use super::raw::{self, read};
use super::{AttentionSplit, Dropout};
use crate::{Result, Var};
use dfdx::prelude::{HasShape, Merge, PutTape, SplitTape, Tape};
use rayon::prelude::*;

/// Sizes of one group.
#[derive(Clone, Copy)]
struct Sizes {
    queries: usize,
    keys: usize,
    /// Columns of all heads.
    columns: usize,
    heads: usize,
    /// Columns of a head.
    head: usize,
    /// Values per row of scores: the keys up to whole vectors.
    row: usize,
    /// Values per row of a head's columns, up to whole vectors.
    padded: usize,
}

/// One group's rows.
#[derive(Clone, Copy)]
struct Rows<'a> {
    q: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
}

pub(super) fn attention(
    q: &Var,
    k: &Var,
    v: &Var,
    split: AttentionSplit,
    dropout: Option<Dropout>,
) -> Result<Var> {
    let ((n, d), (m, _)) = (*q.shape(), *k.shape());
    let head = d / split.heads;
    let s = Sizes {
        queries: n / split.groups,
        keys: m / split.groups,
        columns: d,
        heads: split.heads,
        head,
        row: (m / split.groups).next_multiple_of(lanes()),
        padded: head.next_multiple_of(lanes()),
    };
    let ((q, q_tape), (k, k_tape), (v, v_tape)) =
        (q.clone().split_tape(), k.clone().split_tape(), v.clone().split_tape());
    let on = [q_tape.is_on(), k_tape.is_on(), v_tape.is_on()];
    let mut tape = q_tape.merge(k_tape).merge(v_tape);
    let mut y = raw::zeros(n, d)?;
    let kept: Vec<Buffer> = {
        let (q, k, v) = (raw::slice(&q)?, raw::slice(&k)?, raw::slice(&v)?);
        let groups = raw::slice_mut(&mut y)?.par_chunks_mut(s.queries * d).enumerate();
        groups.map(|(g, y)| s.forward(s.rows(q, k, v, g), y, g, dropout)).collect()
    };
    let yg = y.ghost();
    tape.add_backward_op(move |grads| {
        let g = raw::take(grads.get_or_alloc_mut(&yg)?)?;
        let (mut dq, mut dk, mut dv) = (Buffer::zeros(n * d), Buffer::zeros(m * d), Buffer::zeros(m * d));
        let parts = dq.par_chunks_mut(s.queries * d).zip(dk.par_chunks_mut(s.keys * d));
        let parts = parts.zip(dv.par_chunks_mut(s.keys * d)).zip(g.par_chunks(s.queries * d));
        parts.zip(&kept).enumerate().for_each(|(number, ((((dq, dk), dv), g), p))| {
            let rows = s.rows(read(&q), read(&k), read(&v), number);
            s.backward(rows, p, g, [dq, dk, dv], number, dropout);
        });
        for ((leaf, gradient), on) in [(&q, &dq), (&k, &dk), (&v, &dv)].into_iter().zip(on) {
            if on {
                grads.get_or_alloc_mut(leaf)?.iter_mut().zip(gradient.iter()).for_each(|(a, b)| *a += *b);
            }
        }
        Ok(())
    });
    Ok(y.put_tape(tape))
}

impl Sizes {
    fn rows<'a>(&self, q: &'a [f32], k: &'a [f32], v: &'a [f32], group: usize) -> Rows<'a> {
        let (a, b) = (self.queries * self.columns, self.keys * self.columns);
        let keys = group * b..(group + 1) * b;
        Rows { q: &q[group * a..(group + 1) * a], k: &k[keys.clone()], v: &v[keys] }
    }

    /// The columns of head `h` of `from`, in rows of `width` values, zeros behind them.
    fn gather(&self, from: &[f32], h: usize, width: usize) -> Buffer {
        let mut to = Buffer::zeros(from.len() / self.columns * width);
        for (to, from) in to.chunks_exact_mut(width).zip(from.chunks_exact(self.columns)) {
            to[..self.head].copy_from_slice(&from[h * self.head..(h + 1) * self.head]);
        }
        to
    }

    /// Writes rows of `padded` values to the columns of head `h`.
    fn scatter(&self, from: &[f32], h: usize, to: &mut [f32]) {
        for (to, from) in to.chunks_exact_mut(self.columns).zip(from.chunks_exact(self.padded)) {
            to[h * self.head..(h + 1) * self.head].copy_from_slice(&from[..self.head]);
        }
    }

    /// The columns of head `h` as the right operand of a product.
    fn packed(&self, from: &[f32], h: usize, operand: Operand) -> Packed {
        Packed::new(&self.gather(from, h, self.head), self.keys, self.head, operand)
    }

    fn scale(&self) -> f32 {
        1.0 / (self.head as f32).sqrt()
    }

    /// Multiplies the scores of head `h` with their dropout factors.
    fn drop(&self, scores: &mut [f32], dropout: Dropout, group: usize, h: usize) {
        let first = ((group * self.heads + h) * self.queries * self.keys) as u64;
        for (i, row) in scores.chunks_exact_mut(self.row).enumerate() {
            let first = first + (i * self.keys) as u64;
            row[..self.keys].iter_mut().zip(first..).for_each(|(p, at)| *p *= dropout.factor(at));
        }
    }

    /// Writes the group's result; returns the probabilities before dropout, `[heads][queries][row]`.
    fn forward(&self, x: Rows<'_>, y: &mut [f32], group: usize, dropout: Option<Dropout>) -> Buffer {
        let size = self.queries * self.row;
        let mut all = Buffer::scratch(self.heads * size);
        let mut dropped = Buffer::scratch(if dropout.is_some() { size } else { 0 });
        let mut out = Buffer::scratch(self.queries * self.padded);
        for (h, p) in all.chunks_exact_mut(size).enumerate() {
            let keys = self.packed(x.k, h, Operand::Transposed);
            keys.rows_times(&x.q[h * self.head..], self.columns, self.queries, p);
            p.chunks_exact_mut(self.row).for_each(|row| softmax(&mut row[..self.keys], self.scale()));
            let mut weights: &[f32] = p;
            if let Some(dropout) = dropout {
                dropped.copy_from_slice(p);
                self.drop(&mut dropped, dropout, group, h);
                weights = &dropped;
            }
            let values = self.packed(x.v, h, Operand::Plain);
            values.rows_times(weights, self.row, self.queries, &mut out);
            self.scatter(&out, h, y);
        }
        all
    }

    /// With `P` the probabilities, `M` the dropout factors and `g` the gradient of the result:
    /// `dV = (P M)^T g`, `dP = M (g V^T)`, `dS = P (dP - rowsum(P dP)) / sqrt(head)`, `dQ = dS K`, `dK = dS^T Q`.
    fn backward(
        &self,
        x: Rows<'_>,
        kept: &[f32],
        g: &[f32],
        [dq, dk, dv]: [&mut [f32]; 3],
        group: usize,
        dropout: Option<Dropout>,
    ) {
        let size = self.queries * self.row;
        let mut scores = Buffer::scratch(size);
        let mut out = Buffer::scratch(self.queries * self.padded);
        for (h, p) in kept.chunks_exact(size).enumerate() {
            let g = self.gather(g, h, self.padded);
            scores.copy_from_slice(p);
            if let Some(dropout) = dropout {
                self.drop(&mut scores, dropout, group, h);
            }
            let mut sum = Buffer::zeros(self.keys * self.padded);
            add_outer(&mut sum, &scores, self.row, self.keys, &g, self.padded);
            self.scatter(&sum, h, dv);

            let values = self.packed(x.v, h, Operand::Transposed);
            values.rows_times(&g, self.padded, self.queries, &mut scores);
            if let Some(dropout) = dropout {
                self.drop(&mut scores, dropout, group, h);
            }
            let scale = self.scale();
            for (ds, p) in scores.chunks_exact_mut(self.row).zip(p.chunks_exact(self.row)) {
                softmax_gradient(ds, p, scale);
            }
            self.packed(x.k, h, Operand::Plain).rows_times(&scores, self.row, self.queries, &mut out);
            self.scatter(&out, h, dq);
            sum.fill(0.0);
            let q = self.gather(x.q, h, self.padded);
            add_outer(&mut sum, &scores, self.row, self.keys, &q, self.padded);
            self.scatter(&sum, h, dk);
        }
    }
}

/// `softmax(scale * row)` in place; a NaN makes the whole row NaN.
fn softmax(row: &mut [f32], scale: f32) {
    simd(
        #[inline(always)]
        || {
            let largest = row.iter().fold(f32::NEG_INFINITY, |m, v| if *v > m { *v } else { m });
            row.iter_mut().for_each(|v| *v = exp((*v - largest) * scale));
            let total: f32 = row.iter().sum();
            row.iter_mut().for_each(|v| *v /= total);
        },
    );
}

/// From the gradient of the probabilities `p` to that of the scores, in place. Both are 0 behind the keys.
fn softmax_gradient(ds: &mut [f32], p: &[f32], scale: f32) {
    simd(
        #[inline(always)]
        || {
            let inner: f32 = ds.iter().zip(p).map(|(d, p)| d * p).sum();
            ds.iter_mut().zip(p).for_each(|(d, p)| *d = *p * (*d - inner) * scale);
        },
    );
}
