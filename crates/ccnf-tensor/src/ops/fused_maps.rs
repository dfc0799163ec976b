//! Operations on whole maps on the CPU: [`depthwise`](super::depthwise), [`haar`](super::haar) and its inverse, with hand-written gradients.

use super::kernels::{pieces, simd};
use super::maps::{Grid, neighbours};
use super::raw::{self, read};
use crate::{Result, Var};
use dfdx::prelude::{HasShape, Merge, PutTape, SplitTape, Tape};
use rayon::prelude::*;

pub(super) fn depthwise(x: &Var, weight: &Var, grid: Grid) -> Result<Var> {
    let (n, c) = *x.shape();
    let map = grid.tokens() * c;
    let ((x, x_tape), (weight, weight_tape)) = (x.clone().split_tape(), weight.clone().split_tape());
    let (x_on, weight_on) = (x_tape.is_on(), weight_tape.is_on());
    let mut tape = x_tape.merge(weight_tape);
    let mut y = raw::zeros(n, c)?;
    {
        let (x, weight) = (raw::slice(&x)?, raw::slice(&weight)?);
        let maps = raw::slice_mut(&mut y)?.par_chunks_mut(map).zip(x.par_chunks(map));
        maps.for_each(|(y, x)| {
            simd(
                #[inline(always)]
                || {
                    y.copy_from_slice(x);
                    for (cell, other, k) in neighbours(grid) {
                        add_product(row_mut(y, cell, c), row(x, other, c), row(weight, k, c));
                    }
                },
            );
        });
    }
    let (xg, yg, wg) = (x.ghost(), y.ghost(), weight.ghost());
    tape.add_backward_op(move |grads| {
        let g = raw::take(grads.get_or_alloc_mut(&yg)?)?;
        let mut gx = if x_on { Some(raw::take(grads.get_or_alloc_mut(&xg)?)?) } else { None };
        let targets = pieces(gx.as_mut().map(|g| &mut g[..]), map, n / grid.tokens().max(1));
        let maps = targets.into_par_iter().zip(g.par_chunks(map)).zip(read(&x).par_chunks(map));
        let weight = read(&weight);
        // the maps' sums are added in order, whatever the number of threads
        let sums: Vec<Vec<f32>> = maps
            .map(|((gx, g), x)| {
                let mut sums = vec![0.0; if weight_on { weight.len() } else { 0 }];
                simd(
                    #[inline(always)]
                    || {
                        gx.iter_mut().zip(g).for_each(|(gx, g)| *gx += *g);
                        for (cell, other, k) in neighbours(grid) {
                            if !gx.is_empty() {
                                add_product(row_mut(gx, other, c), row(g, cell, c), row(weight, k, c));
                            }
                            if !sums.is_empty() {
                                add_product(row_mut(&mut sums, k, c), row(g, cell, c), row(x, other, c));
                            }
                        }
                    },
                );
                sums
            })
            .collect();
        if let Some(gx) = gx {
            *grads.get_or_alloc_mut(&xg)? = gx;
        }
        if weight_on {
            let gw = grads.get_or_alloc_mut(&wg)?;
            sums.iter().for_each(|sums| gw.iter_mut().zip(sums).for_each(|(a, b)| *a += *b));
        }
        Ok(())
    });
    Ok(y.put_tape(tape))
}

#[inline(always)]
fn row(values: &[f32], k: usize, width: usize) -> &[f32] {
    &values[k * width..(k + 1) * width]
}

#[inline(always)]
fn row_mut(values: &mut [f32], k: usize, width: usize) -> &mut [f32] {
    &mut values[k * width..(k + 1) * width]
}

/// `to += a b`.
#[inline(always)]
fn add_product(to: &mut [f32], a: &[f32], b: &[f32]) {
    to.iter_mut().zip(a.iter().zip(b)).for_each(|(to, (a, b))| *to += *a * *b);
}

/// [`haar`](super::haar), or with `back` its inverse; each is the other's gradient. `grid` is the fine one, `d` the channels there.
pub(super) fn haar(x: &Var, grid: Grid, back: bool) -> Result<Var> {
    let (n, c) = *x.shape();
    let d = if back { c / 4 } else { c };
    let (x, mut tape) = x.clone().split_tape();
    let mut y = if back { raw::zeros(4 * n, d)? } else { raw::zeros(n / 4, 4 * d)? };
    transform(raw::slice(&x)?, raw::slice_mut(&mut y)?, (grid, d), back);
    let (xg, yg) = (x.ghost(), y.ghost());
    tape.add_backward_op(move |grads| {
        let g = raw::take(grads.get_or_alloc_mut(&yg)?)?;
        transform(&g, grads.get_or_alloc_mut(&xg)?, (grid, d), !back);
        Ok(())
    });
    Ok(y.put_tape(tape))
}

/// Adds the transform of all maps of `from` to `to`.
fn transform(from: &[f32], to: &mut [f32], (grid, d): (Grid, usize), back: bool) {
    let size = grid.tokens() * d;
    to.par_chunks_mut(size).zip(from.par_chunks(size)).for_each(|(to, from)| {
        simd(
            #[inline(always)]
            || {
                for patch in 0..grid.tokens() / 4 {
                    let coarse = |k: usize| (4 * patch + k) * d;
                    let fine = grid.patch(patch).map(|cell| cell * d);
                    let (source, target) = match back {
                        true => ([0, 1, 2, 3].map(coarse), fine),
                        false => (fine, [0, 1, 2, 3].map(coarse)),
                    };
                    for j in 0..d {
                        // the matrix is symmetric, so it is its own inverse
                        let [a, b, c, e] = source.map(|at| from[at + j]);
                        to[target[0] + j] += 0.5 * (a + b + c + e);
                        to[target[1] + j] += 0.5 * (a - b + c - e);
                        to[target[2] + j] += 0.5 * (a + b - c - e);
                        to[target[3] + j] += 0.5 * (a - b - c + e);
                    }
                }
            },
        );
    });
}
