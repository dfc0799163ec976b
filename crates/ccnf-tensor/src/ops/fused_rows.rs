//! [`layer_norm`](super::layer_norm), [`gather_rows`](super::gather_rows), [`gelu`](super::gelu) and [`dropout`](super::dropout) on the CPU, with hand-written gradients.

use super::kernels::{ROWS, simd};
use super::raw::{self, read};
use super::transformer::normal_cdf_and_gelu_slope;
use super::{Dropout, Index};
use crate::{Mat, Result, Var};
use dfdx::prelude::{HasShape, Merge, PutTape, SplitTape, Tape};
use rayon::prelude::*;

/// Mean and `1 / sqrt(var + eps)` of a row.
#[inline(always)]
fn moments(row: &[f32], eps: f32) -> (f32, f32) {
    let n = row.len() as f32;
    let mean = row.iter().sum::<f32>() / n;
    let var = row.iter().map(|v| (v - mean) * (v - mean)).sum::<f32>() / n;
    (mean, 1.0 / (var + eps).sqrt())
}

pub(super) fn layer_norm(x: &Var, gamma: &Var, beta: &Var, eps: f32) -> Result<Var> {
    let (n, d) = *x.shape();
    let ((x, x_tape), (gamma, gamma_tape), (beta, beta_tape)) =
        (x.clone().split_tape(), gamma.clone().split_tape(), beta.clone().split_tape());
    let (x_on, gamma_on, beta_on) = (x_tape.is_on(), gamma_tape.is_on(), beta_tape.is_on());
    let mut tape = x_tape.merge(gamma_tape).merge(beta_tape);
    let mut y = raw::zeros(n, d)?;
    {
        let (x, gamma, beta) = (raw::slice(&x)?, raw::slice(&gamma)?, raw::slice(&beta)?);
        let blocks =
            raw::slice_mut(&mut y)?.par_chunks_mut(ROWS * d.max(1)).zip(x.par_chunks(ROWS * d.max(1)));
        blocks.for_each(|(y, x)| {
            simd(
                #[inline(always)]
                || {
                    for (y, x) in y.chunks_exact_mut(d).zip(x.chunks_exact(d)) {
                        let (mean, inverse) = moments(x, eps);
                        for (((y, x), g), b) in y.iter_mut().zip(x).zip(gamma).zip(beta) {
                            *y = g * ((x - mean) * inverse) + b;
                        }
                    }
                },
            );
        });
    }
    let (xg, yg, gamma_ghost, beta_ghost) = (x.ghost(), y.ghost(), gamma.ghost(), beta.ghost());
    tape.add_backward_op(move |grads| {
        let g = raw::take(grads.get_or_alloc_mut(&yg)?)?;
        let mut gx = vec![0.0f32; if x_on { n * d } else { 0 }];
        let size = ROWS * d.max(1);
        let mut targets: Vec<&mut [f32]> = gx.chunks_mut(size).collect();
        targets.resize_with(n.div_ceil(ROWS), Default::default);
        let blocks = targets.into_par_iter().zip(read(&x).par_chunks(size)).zip(g.par_chunks(size));
        // sums of the blocks are added in order, whatever the number of threads
        let sums: Vec<(Vec<f32>, Vec<f32>)> =
            blocks.map(|((gx, x), g)| layer_norm_gradient(gx, x, g, read(&gamma), eps)).collect();
        if x_on {
            grads.get_or_alloc_mut(&xg)?.iter_mut().zip(&gx).for_each(|(a, b)| *a += *b);
        }
        for (by_gamma, by_beta) in &sums {
            if gamma_on {
                grads.get_or_alloc_mut(&gamma_ghost)?.iter_mut().zip(by_gamma).for_each(|(a, b)| *a += *b);
            }
            if beta_on {
                grads.get_or_alloc_mut(&beta_ghost)?.iter_mut().zip(by_beta).for_each(|(a, b)| *a += *b);
            }
        }
        Ok(())
    });
    Ok(y.put_tape(tape))
}

/// With `u` the normalised row and `h = g gamma`: `dx = (h - mean(h) - u mean(h u)) / sqrt(var + eps)`. Returns the block's sums of
/// `g u` and `g`.
fn layer_norm_gradient(
    gx: &mut [f32],
    x: &[f32],
    g: &[f32],
    gamma: &[f32],
    eps: f32,
) -> (Vec<f32>, Vec<f32>) {
    let d = gamma.len();
    let (mut by_gamma, mut by_beta) = (vec![0.0f32; d], vec![0.0f32; d]);
    simd(
        #[inline(always)]
        || {
            for (r, (x, g)) in x.chunks_exact(d).zip(g.chunks_exact(d)).enumerate() {
                let (mean, inverse) = moments(x, eps);
                let (mut plain, mut with_u) = (0.0f32, 0.0f32);
                for (j, (x, g)) in x.iter().zip(g).enumerate() {
                    let u = (x - mean) * inverse;
                    by_gamma[j] += g * u;
                    by_beta[j] += g;
                    plain += g * gamma[j];
                    with_u += g * gamma[j] * u;
                }
                let (plain, with_u) = (plain / d as f32, with_u / d as f32);
                let Some(gx) = gx.get_mut(r * d..(r + 1) * d) else { continue };
                for (((gx, x), g), gamma) in gx.iter_mut().zip(x).zip(g).zip(gamma) {
                    let u = (x - mean) * inverse;
                    *gx = (g * gamma - plain - u * with_u) * inverse;
                }
            }
        },
    );
    (by_gamma, by_beta)
}

pub(super) fn gather_rows(table: &Var, index: &Index) -> Result<Var> {
    let d = table.shape().1;
    let (table, mut tape) = table.clone().split_tape();
    let values = raw::slice(&table)?;
    let rows = index.iter().flat_map(|i| &values[*i as usize * d..(*i as usize + 1) * d]).copied();
    let y: Mat = raw::tensor(rows.collect(), (index.len(), d))?;
    let (tg, yg, index) = (table.ghost(), y.ghost(), index.clone());
    tape.add_backward_op(move |grads| {
        let g = raw::take(grads.get_or_alloc_mut(&yg)?)?;
        let sums = grads.get_or_alloc_mut(&tg)?;
        for (g, i) in g.chunks_exact(d.max(1)).zip(index.iter()) {
            let row = &mut sums[*i as usize * d..(*i as usize + 1) * d];
            row.iter_mut().zip(g).for_each(|(a, b)| *a += *b);
        }
        Ok(())
    });
    Ok(y.put_tape(tape))
}

/// Values that one task handles.
const PIECE: usize = 1 << 13;

/// `y_i = value(i, x_i)` with `dy_i / dx_i = slope(i, x_i)`.
fn element_wise(
    x: &Var,
    value: impl Fn(u64, f32) -> f32 + Sync,
    slope: impl Fn(u64, f32) -> f32 + Sync + 'static,
) -> Result<Var> {
    let shape = *x.shape();
    let (x, mut tape) = x.clone().split_tape();
    let values = raw::slice(&x)?.par_iter().enumerate().with_min_len(PIECE);
    let y: Mat = raw::tensor(values.map(|(i, x)| value(i as u64, *x)).collect(), shape)?;
    let (xg, yg) = (x.ghost(), y.ghost());
    tape.add_backward_op(move |grads| {
        let g = raw::take(grads.get_or_alloc_mut(&yg)?)?;
        let gx = grads.get_or_alloc_mut(&xg)?;
        let all = gx.par_iter_mut().zip(g.par_iter()).zip(read(&x).par_iter()).enumerate();
        all.with_min_len(PIECE).for_each(|(i, ((gx, g), x))| *gx += *g * slope(i as u64, *x));
        Ok(())
    });
    Ok(y.put_tape(tape))
}

pub(super) fn gelu(x: &Var) -> Result<Var> {
    element_wise(x, |_, x| x * normal_cdf_and_gelu_slope(x).0, |_, x| normal_cdf_and_gelu_slope(x).1)
}

pub(super) fn dropout(x: &Var, dropout: Dropout) -> Result<Var> {
    element_wise(x, move |i, x| x * dropout.factor(i), move |i, _| dropout.factor(i))
}
