//! [`chain`](super::chain), [`affine_coupling`](super::affine_coupling) and [`affine_tail`](super::affine_tail) on the CPU: chains of layers whose rows stay in the cache,
//! with hand-written gradients that skip constants.

use super::chain::{Chain, Kept, segment_len};
use super::kernels::{ROWS, exp, pieces, simd, tanh};
use super::raw::{self, read};
use super::{AffineTail, Layer};
use crate::{Result, Var};
use dfdx::prelude::{HasShape, Merge, PutTape, SplitTape, Tape};
use rayon::prelude::*;
use std::ops::Range;

/// A buffer of `width` values per token, cut by segment; empty pieces where there is none.
fn by_segment(buffer: Option<&mut [f32]>, width: usize, tokens: usize) -> Vec<&mut [f32]> {
    let len = segment_len(tokens);
    pieces(buffer, len * width, tokens.div_ceil(len))
}

/// Where the rows `rows` lie in the piece of their segment.
fn local(rows: &Range<usize>, tokens: usize, width: usize) -> Range<usize> {
    let start = rows.start % segment_len(tokens);
    start * width..(start + rows.len()) * width
}

pub(super) fn chain(x: &Var, layers: &[Layer]) -> Result<Var> {
    let n = x.shape().0;
    let outputs = layers.last().map_or(0, |l| l.weight.shape().0);
    let (chain, mut tape) = Chain::new(x, layers)?;
    let mut y = raw::zeros(n, outputs)?;
    let kept = {
        let parts = by_segment(Some(raw::slice_mut(&mut y)?), outputs, n);
        chain.forward(tape.is_on(), parts, |part, rows, values, width| {
            let to = part[local(&rows, n, outputs)].chunks_exact_mut(outputs);
            to.zip(values.chunks_exact(width)).for_each(|(to, from)| to.copy_from_slice(&from[..outputs]));
        })
    };
    let yg = y.ghost();
    tape.add_backward_op(move |grads| {
        let g = raw::take(grads.get_or_alloc_mut(&yg)?)?;
        let d = chain.x().shape().1;
        let mut gx = if chain.x_on() { Some(raw::take(grads.get_or_alloc_mut(chain.x())?)?) } else { None };
        let parts = by_segment(gx.as_mut().map(|g| &mut g[..]), d, n);
        let sums = chain.backward(
            &kept,
            parts,
            |_, rows, to, width| {
                let from = g[rows.start * outputs..rows.end * outputs].chunks_exact(outputs);
                to.chunks_exact_mut(width)
                    .zip(from)
                    .for_each(|(to, from)| to[..outputs].copy_from_slice(from));
            },
            |part, rows, from, width| {
                add_columns(&mut part[local(&rows, n, d)], d, from, width, chain.inputs())
            },
        );
        if let Some(gx) = gx {
            *grads.get_or_alloc_mut(chain.x())? = gx;
        }
        chain.add(&sums, grads)
    });
    Ok(y.put_tape(tape))
}

/// Adds the first `used` columns of `from` (rows of `width` values) to those of `to` (rows of `stride`).
fn add_columns(to: &mut [f32], stride: usize, from: &[f32], width: usize, used: usize) {
    simd(
        #[inline(always)]
        || {
            for (to, from) in to.chunks_exact_mut(stride).zip(from.chunks_exact(width)) {
                to[..used].iter_mut().zip(from).for_each(|(to, from)| *to += *from);
            }
        },
    );
}

pub(super) fn affine_coupling(x: &Var, layers: &[Layer], scale: f32) -> Result<AffineTail> {
    let (n, d) = *x.shape();
    let (chain, mut tape) = Chain::new(x, layers)?;
    let db = layers.last().map_or(0, |l| l.weight.shape().0) / 2;
    let (mut y, mut s, mut log_det) = (raw::zeros(n, d)?, raw::zeros(n, db)?, raw::scratch(n));
    let kept: Vec<Kept> = {
        let y = by_segment(Some(raw::slice_mut(&mut y)?), d, n);
        let s = by_segment(Some(raw::slice_mut(&mut s)?), db, n);
        let parts = y.into_iter().zip(s).zip(by_segment(Some(&mut log_det), 1, n)).collect();
        let x = read(chain.x());
        chain.forward(tape.is_on(), parts, |((y, s), log_det), rows, raw, width| {
            let out =
                (&mut y[local(&rows, n, d)], &mut s[local(&rows, n, db)], &mut log_det[local(&rows, n, 1)]);
            simd(
                #[inline(always)]
                || tail(&x[rows.start * d..rows.end * d], (raw, width), scale, (d, db), out),
            );
        })
    };
    let log_det = raw::tensor(log_det, (n,))?;
    let (yg, lg, sg, saved) = (y.ghost(), log_det.ghost(), s.ghost(), s.clone());
    tape.add_backward_op(move |grads| {
        let gy = raw::take(grads.get_or_alloc_mut(&yg)?)?;
        let gl = raw::take(grads.get_or_alloc_mut(&lg)?)?;
        let gs = raw::take(grads.get_or_alloc_mut(&sg)?)?;
        let mut gx = if chain.x_on() { Some(raw::take(grads.get_or_alloc_mut(chain.x())?)?) } else { None };
        let parts = by_segment(gx.as_mut().map(|g| &mut g[..]), d, n);
        let (x, s) = (read(chain.x()), read(&saved));
        let sums = chain.backward(
            &kept,
            parts,
            |gx, rows, g, width| {
                let all = rows.start * d..rows.end * d;
                let changed = rows.start * db..rows.end * db;
                let output = TailGradients {
                    y: &gy[all.clone()],
                    log_det: &gl[rows.clone()],
                    scale: &gs[changed.clone()],
                };
                let gx = gx.get_mut(local(&rows, n, d)).unwrap_or_default();
                simd(
                    #[inline(always)]
                    || tail_backward(&x[all], &s[changed], scale, (d, db), &output, (gx, g, width)),
                );
            },
            |gx, rows, g, width| add_columns(&mut gx[local(&rows, n, d)], d, g, width, chain.inputs()),
        );
        if let Some(gx) = gx {
            *grads.get_or_alloc_mut(chain.x())? = gx;
        }
        chain.add(&sums, grads)
    });
    Ok(AffineTail { y: y.put_tape(tape), log_det: log_det.put_tape(tape), log_scale: s.put_tape(tape) })
}

pub(super) fn affine_tail(x: &Var, raw: &Var, scale: f32) -> Result<AffineTail> {
    let ((n, d), width) = (*x.shape(), raw.shape().1);
    let db = width / 2;
    let ((x, x_tape), (raw, raw_tape)) = (x.clone().split_tape(), raw.clone().split_tape());
    let (x_on, raw_on) = (x_tape.is_on(), raw_tape.is_on());
    let mut tape = x_tape.merge(raw_tape);
    let (mut y, mut s, mut log_det) = (raw::zeros(n, d)?, raw::zeros(n, db)?, raw::scratch(n));
    {
        let (x, raw) = (raw::slice(&x)?, raw::slice(&raw)?);
        let out = raw::slice_mut(&mut y)?.par_chunks_mut(ROWS * d);
        let out = out.zip(raw::slice_mut(&mut s)?.par_chunks_mut(ROWS * db));
        let out = out.zip(log_det.par_chunks_mut(ROWS));
        let blocks = out.zip(x.par_chunks(ROWS * d).zip(raw.par_chunks(ROWS * width)));
        blocks.for_each(|(((y, s), log_det), (x, raw))| {
            simd(
                #[inline(always)]
                || tail(x, (raw, width), scale, (d, db), (y, s, log_det)),
            );
        });
    }
    let log_det = raw::tensor(log_det, (n,))?;
    let (yg, lg, sg, saved) = (y.ghost(), log_det.ghost(), s.ghost(), s.clone());
    tape.add_backward_op(move |grads| {
        let gy = raw::take(grads.get_or_alloc_mut(&yg)?)?;
        let gl = raw::take(grads.get_or_alloc_mut(&lg)?)?;
        let gs = raw::take(grads.get_or_alloc_mut(&sg)?)?;
        let mut gx = if x_on { Some(raw::take(grads.get_or_alloc_mut(&x)?)?) } else { None };
        let mut g = raw::scratch(n * width);
        let outputs = gy.par_chunks(ROWS * d).zip(gl.par_chunks(ROWS)).zip(gs.par_chunks(ROWS * db));
        let inputs = read(&x).par_chunks(ROWS * d).zip(read(&saved).par_chunks(ROWS * db));
        let targets = pieces(gx.as_mut().map(|g| &mut g[..]), ROWS * d, n.div_ceil(ROWS));
        let targets = targets.into_par_iter().zip(g.par_chunks_mut(ROWS * width));
        targets.zip(outputs).zip(inputs).for_each(|(((gx, g), ((y, log_det), gs)), (x, s))| {
            let output = TailGradients { y, log_det, scale: gs };
            simd(
                #[inline(always)]
                || tail_backward(x, s, scale, (d, db), &output, (gx, g, width)),
            );
        });
        if let Some(gx) = gx {
            *grads.get_or_alloc_mut(&x)? = gx;
        }
        if raw_on {
            grads.get_or_alloc_mut(&raw)?.iter_mut().zip(&g).for_each(|(a, b)| *a += *b);
        }
        Ok(())
    });
    Ok(AffineTail { y: y.put_tape(tape), log_det: log_det.put_tape(tape), log_scale: s.put_tape(tape) })
}

/// Fills `(y, s, log_det)` of some rows from the subnet's output (rows of `width` values).
#[inline(always)]
fn tail(
    x: &[f32],
    (raw, width): (&[f32], usize),
    scale: f32,
    (d, db): (usize, usize),
    (y, s, log_det): (&mut [f32], &mut [f32], &mut [f32]),
) {
    let da = d - db;
    let rows = x.chunks_exact(d).zip(raw.chunks_exact(width)).zip(y.chunks_exact_mut(d));
    for (((x, raw), y), (k, log_det)) in rows.zip(log_det.iter_mut().enumerate()) {
        let (raw_s, t) = raw[..2 * db].split_at(db);
        let s = &mut s[k * db..(k + 1) * db];
        y[..da].copy_from_slice(&x[..da]);
        let inputs = x[da..].iter().zip(raw_s.iter().zip(t));
        for ((y, (x, (raw_s, t))), s) in y[da..].iter_mut().zip(inputs).zip(s.iter_mut()) {
            *s = scale * tanh(*raw_s);
            *y = *x * exp(*s) + *t;
        }
        *log_det = s.iter().sum();
    }
}

/// Gradients of the three outputs of some rows.
struct TailGradients<'a> {
    y: &'a [f32],
    log_det: &'a [f32],
    scale: &'a [f32],
}

/// Fills the gradient `g` of the subnet's output (rows of `width` values) and adds to that of `x`, where it is wanted.
#[inline(always)]
fn tail_backward(
    x: &[f32],
    s: &[f32],
    scale: f32,
    (d, db): (usize, usize),
    output: &TailGradients<'_>,
    (gx, g, width): (&mut [f32], &mut [f32], usize),
) {
    let da = d - db;
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    for (k, g) in g.chunks_exact_mut(width).enumerate() {
        let (g_raw, g_t) = g[..2 * db].split_at_mut(db);
        let (kept, changed) = output.y[k * d..(k + 1) * d].split_at(da);
        let xb = &x[k * d + da..(k + 1) * d];
        let s = &s[k * db..(k + 1) * db];
        let gs = &output.scale[k * db..(k + 1) * db];
        let gl = output.log_det[k];
        g_t.copy_from_slice(changed);
        // ds/d raw = scale (1 - tanh^2) = scale - s^2 / scale
        for ((g_raw, gy), ((xb, s), gs)) in g_raw.iter_mut().zip(changed).zip(xb.iter().zip(s).zip(gs)) {
            *g_raw = (*gy * exp(*s) * *xb + gl + *gs) * (scale - *s * *s * inverse);
        }
        if let Some(gx) = gx.get_mut(k * d..(k + 1) * d) {
            let (gxa, gxb) = gx.split_at_mut(da);
            gxa.iter_mut().zip(kept).for_each(|(gx, gy)| *gx += *gy);
            for ((gx, gy), s) in gxb.iter_mut().zip(changed).zip(s) {
                *gx += *gy * exp(*s);
            }
        }
    }
}
