//! [`dense`](super::dense) on the CPU: one matrix product, one pass for everything else, hand-written gradients that skip
//! constants.

use super::kernels::{ROWS, View, matmul, segment_sum, simd};
use super::{Activation, Dense, raw};
use crate::{Mat, Result, TensorError, Var};
use dfdx::prelude::{Merge, PutTape, SplitTape, Tape};
use rayon::prelude::*;

pub(super) fn dense(layer: &Dense<'_>, (n, inp, out): (usize, usize, usize)) -> Result<Var> {
    let (x, x_tape) = layer.x.clone().split_tape();
    let (w, w_tape) = layer.w.clone().split_tape();
    let stride = x_stride(&x);
    let mut tape = x_tape.merge(w_tape);
    let relu = layer.activation == Activation::Relu;
    let mut tables = Vec::new();
    for t in layer.tables {
        let (table, t_tape) = t.table.clone().split_tape();
        tape = tape.merge(t_tape);
        tables.push((table, t.index.clone(), t_tape.is_on()));
    }
    let mut film = None;
    if let Some(f) = layer.film {
        let (table, f_tape) = f.rows.table.clone().split_tape();
        tape = tape.merge(f_tape);
        film = Some((table, f.rows.index.clone(), f_tape.is_on(), f.before_activation));
    }

    let mut y = raw::scratch(n * out);
    matmul(&mut y, out, View::new(raw::slice(&x)?, n, inp, stride), View::new(raw::slice(&w)?, out, inp, inp).transposed(), false);
    // What the backward pass needs beside the output: the value that FiLM multiplies.
    let mut inner = if film.is_some() && tape.is_on() { raw::scratch(n * out) } else { Vec::new() };
    {
        let tables: Vec<(&[f32], Option<&[u32]>)> = tables
            .iter()
            .map(|(t, i, _)| Ok((raw::slice(t)?, i.as_deref())))
            .collect::<Result<_>>()?;
        let film = match &film {
            None => None,
            Some((t, i, _, before)) => Some((raw::slice(t)?, i.as_deref(), *before)),
        };
        let save = !inner.is_empty();
        let mut empty: Vec<&mut [f32]> = Vec::new();
        let inner_chunks: Vec<&mut [f32]> = if save {
            inner.chunks_mut(ROWS * out.max(1)).collect()
        } else {
            empty.resize_with(n.div_ceil(ROWS), Default::default);
            empty
        };
        y.par_chunks_mut(ROWS * out.max(1)).zip(inner_chunks.into_par_iter()).enumerate().for_each(|(c, (y, inner))| {
            simd(|| {
                for (r, y) in y.chunks_exact_mut(out).enumerate() {
                    let token = c * ROWS + r;
                    for (table, index) in &tables {
                        let row = index.map_or(0, |i| i[token] as usize);
                        for (y, t) in y.iter_mut().zip(&table[row * out..(row + 1) * out]) {
                            *y += *t;
                        }
                    }
                    match film {
                        None if relu => y.iter_mut().for_each(|v| *v = relu_keeping_nan(*v)),
                        None => {}
                        Some((table, index, before)) => {
                            let row = index.map_or(0, |i| i[token] as usize);
                            let (gamma, beta) = table[row * 2 * out..(row + 1) * 2 * out].split_at(out);
                            if relu && !before {
                                y.iter_mut().for_each(|v| *v = relu_keeping_nan(*v));
                            }
                            if save {
                                inner[r * out..(r + 1) * out].copy_from_slice(y);
                            }
                            for ((y, g), b) in y.iter_mut().zip(gamma).zip(beta) {
                                *y = (1.0 + *g) * *y + *b;
                            }
                            if relu && before {
                                y.iter_mut().for_each(|v| *v = relu_keeping_nan(*v));
                            }
                        }
                    }
                }
            });
        });
    }

    let y: Mat = raw::tensor(y, (n, out))?;
    if !tape.is_on() {
        return Ok(y.put_tape(tape));
    }
    let (x_on, w_on) = (x_tape.is_on(), w_tape.is_on());
    let (xg, wg, yg) = (x.ghost(), w.ghost(), y.ghost());
    let table_ghosts: Vec<_> = tables.iter().map(|(t, i, on)| (t.ghost(), i.clone(), *on)).collect();
    let film_ghost = film.as_ref().map(|(t, _, on, _)| (t.ghost(), *on));
    // The weight and the tables are cheap clones of shared buffers; they are released when the operation has run.
    let output = y.clone();
    tape.add_backward_op(move |grads| {
        let mut g = std::mem::take(&mut **grads.get_or_alloc_mut(&yg)?);
        let out_values = read(&output);
        if let Some((table, index, _, before)) = &film {
            let table = read(table);
            let mut film_grad = if film_ghost.as_ref().is_some_and(|f| f.1) { vec![0.0; n * 2 * out] } else { Vec::new() };
            let save = !film_grad.is_empty();
            let mut empty: Vec<&mut [f32]> = Vec::new();
            let chunks: Vec<&mut [f32]> = if save {
                film_grad.chunks_mut(ROWS * 2 * out.max(1)).collect()
            } else {
                empty.resize_with(n.div_ceil(ROWS), Default::default);
                empty
            };
            g.par_chunks_mut(ROWS * out.max(1)).zip(chunks.into_par_iter()).enumerate().for_each(|(c, (g, fg))| {
                simd(|| {
                    for (r, g) in g.chunks_exact_mut(out).enumerate() {
                        let token = c * ROWS + r;
                        let row = index.as_deref().map_or(0, |i| i[token] as usize);
                        let gamma = &table[row * 2 * out..row * 2 * out + out];
                        let h = &inner[token * out..(token + 1) * out];
                        let o = &out_values[token * out..(token + 1) * out];
                        if relu && *before {
                            g.iter_mut().zip(o).for_each(|(g, o)| *g = if *o > 0.0 { *g } else { 0.0 });
                        }
                        if save {
                            let (fg, fb) = fg[r * 2 * out..(r + 1) * 2 * out].split_at_mut(out);
                            for ((fg, h), g) in fg.iter_mut().zip(h).zip(g.iter()) {
                                *fg = *g * *h;
                            }
                            fb.copy_from_slice(g);
                        }
                        for ((g, gamma), h) in g.iter_mut().zip(gamma).zip(h) {
                            let v = *g * (1.0 + *gamma);
                            *g = if !relu || *before || *h > 0.0 { v } else { 0.0 };
                        }
                    }
                });
            });
            if let Some((ghost, true)) = &film_ghost {
                segment_sum(grads.get_or_alloc_mut(ghost)?, &film_grad, index.as_deref(), 2 * out);
            }
        } else if relu {
            g.par_chunks_mut(ROWS * out.max(1)).zip(out_values.par_chunks(ROWS * out.max(1))).for_each(|(g, o)| {
                simd(|| g.iter_mut().zip(o).for_each(|(g, o)| *g = if *o > 0.0 { *g } else { 0.0 }));
            });
        }
        for (ghost, index, on) in &table_ghosts {
            if *on {
                segment_sum(grads.get_or_alloc_mut(ghost)?, &g, index.as_deref(), out);
            }
        }
        let g_view = View::new(&g, n, out, out);
        if w_on {
            let gw = grads.get_or_alloc_mut(&wg)?;
            matmul(gw, inp, g_view.transposed(), View::new(read(&x), n, inp, stride), true);
        }
        if x_on {
            let gx = grads.get_or_alloc_mut(&xg)?;
            matmul(gx, stride, g_view, View::new(read(&w), out, inp, inp), true);
        }
        Ok(())
    });
    Ok(y.put_tape(tape))
}

/// `max(v, 0)` that lets NaN through, so that it is found later and not hidden.
#[inline(always)]
fn relu_keeping_nan(v: f32) -> f32 {
    if v < 0.0 { 0.0 } else { v }
}

fn x_stride(x: &Mat) -> usize {
    use dfdx::prelude::HasShape;
    x.shape().1
}

/// Values of a tensor that the forward pass has already read successfully.
fn read(t: &Mat) -> &[f32] {
    raw::slice(t).unwrap_or_else(|e: TensorError| unreachable!("{e}"))
}
