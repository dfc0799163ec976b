//! [`affine_tail`](super::affine_tail) on the CPU: one pass forward, one pass backward.

use super::AffineTail;
use super::kernels::{ROWS, exp, pieces, simd, tanh};
use super::raw::{self, read};
use crate::{Mat, Result, Var};
use dfdx::prelude::{HasShape, Merge, PutTape, SplitTape, Tape};
use rayon::prelude::*;

pub(super) fn affine_tail(x: &Var, raw_values: &Var, scale: f32) -> Result<AffineTail> {
    let (n, d) = *x.shape();
    let db = raw_values.shape().1 / 2;
    let (x, x_tape) = x.clone().split_tape();
    let (r, r_tape) = raw_values.clone().split_tape();
    let mut tape = x_tape.merge(r_tape);
    let (mut y, mut s, mut log_det) = (raw::zeros(n, d)?, raw::zeros(n, db)?, raw::scratch(n));
    {
        let (x, r) = (raw::slice(&x)?, raw::slice(&r)?);
        forward(x, r, scale, (d, db), (raw::slice_mut(&mut y)?, raw::slice_mut(&mut s)?, &mut log_det));
    }
    let log_det = raw::tensor(log_det, (n,))?;
    if tape.is_on() {
        let (xg, rg) = (x.ghost(), r.ghost());
        let (yg, lg, sg) = (y.ghost(), log_det.ghost(), s.ghost());
        let (x_on, r_on) = (x_tape.is_on(), r_tape.is_on());
        let saved: Mat = s.clone();
        tape.add_backward_op(move |grads| {
            let gy = raw::take(grads.get_or_alloc_mut(&yg)?)?;
            let gl = raw::take(grads.get_or_alloc_mut(&lg)?)?;
            let gs = raw::take(grads.get_or_alloc_mut(&sg)?)?;
            // Both gradients leave the map, so that one pass can write both.
            let mut gx = if x_on { Some(raw::take(grads.get_or_alloc_mut(&xg)?)?) } else { None };
            let mut gr = if r_on { Some(raw::take(grads.get_or_alloc_mut(&rg)?)?) } else { None };
            let output = OutputGradients { y: &gy, log_det: &gl, scale: &gs };
            let pieces = (gx.as_mut().map(|g| &mut g[..]), gr.as_mut().map(|g| &mut g[..]));
            backward(read(&x), read(&saved), scale, (d, db), &output, pieces);
            if let Some(gx) = gx {
                *grads.get_or_alloc_mut(&xg)? = gx;
            }
            if let Some(gr) = gr {
                *grads.get_or_alloc_mut(&rg)? = gr;
            }
            Ok(())
        });
    }
    Ok(AffineTail { y: y.put_tape(tape), log_det: log_det.put_tape(tape), log_scale: s.put_tape(tape) })
}

/// Fills `(y, s, log_det)`.
fn forward(
    x: &[f32],
    r: &[f32],
    scale: f32,
    (d, db): (usize, usize),
    out: (&mut [f32], &mut [f32], &mut [f32]),
) {
    let da = d - db;
    let tasks = out.2.len().div_ceil(ROWS);
    let s_pieces = pieces(Some(out.1), ROWS * db, tasks);
    let rows = out.0.par_chunks_mut(ROWS * d.max(1)).zip(out.2.par_chunks_mut(ROWS));
    rows.zip(s_pieces).enumerate().for_each(|(c, ((y, log_det), s))| {
        simd(|| {
            for (k, (y, log_det)) in y.chunks_exact_mut(d).zip(log_det).enumerate() {
                let token = c * ROWS + k;
                let x = &x[token * d..(token + 1) * d];
                let (raw_s, t) = r[token * 2 * db..(token + 1) * 2 * db].split_at(db);
                let s = &mut s[k * db..(k + 1) * db];
                y[..da].copy_from_slice(&x[..da]);
                for (((y, x), (raw_s, t)), s) in
                    y[da..].iter_mut().zip(&x[da..]).zip(raw_s.iter().zip(t)).zip(s.iter_mut())
                {
                    *s = scale * tanh(*raw_s);
                    *y = *x * exp(*s) + *t;
                }
                *log_det = s.iter().sum();
            }
        });
    });
}

/// Gradients of the three outputs.
struct OutputGradients<'a> {
    y: &'a [f32],
    log_det: &'a [f32],
    scale: &'a [f32],
}

/// Adds to the gradients of `x` and of the raw values, where they are wanted.
fn backward(
    x: &[f32],
    s: &[f32],
    scale: f32,
    (d, db): (usize, usize),
    output: &OutputGradients<'_>,
    (gx, gr): (Option<&mut [f32]>, Option<&mut [f32]>),
) {
    let da = d - db;
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    let tasks = output.log_det.len().div_ceil(ROWS);
    let gx = pieces(gx, ROWS * d, tasks);
    let gr = pieces(gr, ROWS * 2 * db, tasks);
    gx.into_par_iter().zip(gr).enumerate().for_each(|(c, (gx, gr))| {
        simd(|| {
            let last = output.log_det.len().min((c + 1) * ROWS);
            for (k, token) in (c * ROWS..last).enumerate() {
                let gy = &output.y[token * d..(token + 1) * d];
                let s = &s[token * db..(token + 1) * db];
                if !gr.is_empty() {
                    let (g_raw, g_t) = gr[k * 2 * db..(k + 1) * 2 * db].split_at_mut(db);
                    let xb = &x[token * d + da..(token + 1) * d];
                    let gs = &output.scale[token * db..(token + 1) * db];
                    let gl = output.log_det[token];
                    let (gy, gxb) = (&gy[da..], gx.get_mut(k * d + da..(k + 1) * d).unwrap_or_default());
                    for (g_t, gy) in g_t.iter_mut().zip(gy) {
                        *g_t += *gy;
                    }
                    // ds/d raw = scale (1 - tanh^2) = scale - s^2 / scale
                    if gxb.is_empty() {
                        for ((((g_raw, gy), xb), s), gs) in g_raw.iter_mut().zip(gy).zip(xb).zip(s).zip(gs) {
                            *g_raw += (*gy * exp(*s) * *xb + gl + *gs) * (scale - *s * *s * inverse);
                        }
                    } else {
                        let inputs = gy.iter().zip(xb).zip(s).zip(gs);
                        for ((g_raw, gxb), (((gy, xb), s), gs)) in g_raw.iter_mut().zip(gxb).zip(inputs) {
                            let through = *gy * exp(*s);
                            *g_raw += (through * *xb + gl + *gs) * (scale - *s * *s * inverse);
                            *gxb += through;
                        }
                    }
                } else if let Some(gxb) = gx.get_mut(k * d + da..(k + 1) * d) {
                    for ((gxb, gy), s) in gxb.iter_mut().zip(&gy[da..]).zip(s) {
                        *gxb += *gy * exp(*s);
                    }
                }
                if let Some(gxa) = gx.get_mut(k * d..k * d + da) {
                    gxa.iter_mut().zip(gy).for_each(|(gx, gy)| *gx += *gy);
                }
            }
        });
    });
}
