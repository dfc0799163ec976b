//! The other operations on the CPU, with hand-written gradients.

use super::Index;
use super::kernels::{ROWS, dot};
use super::raw::{self, read};
use crate::{Mat, Result, Scalar, Var, VarVec};
use dfdx::prelude::{HasShape, Merge, PutTape, SplitTape, Tape};
use rayon::prelude::*;

pub(super) fn split_cols(x: &Var, widths: &[usize]) -> Result<Vec<Var>> {
    let (n, d) = *x.shape();
    let values = raw::slice(x)?;
    let (x, tape) = x.clone().split_tape();
    let mut parts = Vec::with_capacity(widths.len());
    let mut from = 0;
    for &w in widths {
        let part: Vec<f32> =
            values.chunks_exact(d.max(1)).flat_map(|r| &r[from..from + w]).copied().collect();
        let part: Mat = raw::tensor(part, (n, w))?;
        let (xg, pg) = (x.ghost(), part.ghost());
        let start = from;
        let mut tape = tape;
        tape.add_backward_op(move |grads| {
            let g = raw::take(grads.get_or_alloc_mut(&pg)?)?;
            let gx = grads.get_or_alloc_mut(&xg)?;
            for (gx, g) in gx.chunks_exact_mut(d.max(1)).zip(g.chunks_exact(w.max(1))) {
                gx[start..start + w].iter_mut().zip(g).for_each(|(a, b)| *a += *b);
            }
            Ok(())
        });
        parts.push(part.put_tape(tape));
        from += w;
    }
    Ok(parts)
}

pub(super) fn stack_rows(rows: &[Var], width: usize) -> Result<Var> {
    let mut tape = crate::SwitchTape::Off;
    let mut values = Vec::with_capacity(rows.len() * width);
    let mut ghosts = Vec::with_capacity(rows.len());
    for row in rows {
        let (row, row_tape) = row.clone().split_tape();
        values.extend_from_slice(raw::slice(&row)?);
        ghosts.push((row.ghost(), row_tape.is_on()));
        tape = tape.merge(row_tape);
    }
    let y: Mat = raw::tensor(values, (rows.len(), width))?;
    let yg = y.ghost();
    tape.add_backward_op(move |grads| {
        let g = raw::take(grads.get_or_alloc_mut(&yg)?)?;
        for ((ghost, on), g) in ghosts.iter().zip(g.chunks_exact(width.max(1))) {
            if *on {
                grads.get_or_alloc_mut(ghost)?.iter_mut().zip(g).for_each(|(a, b)| *a += *b);
            }
        }
        Ok(())
    });
    Ok(y.put_tape(tape))
}

pub(super) fn permute_cols(x: &Var, order: &Index) -> Result<Var> {
    let (n, d) = *x.shape();
    let (x, mut tape) = x.clone().split_tape();
    let mut y = raw::scratch(n * d);
    for (y, x) in y.chunks_exact_mut(d.max(1)).zip(raw::slice(&x)?.chunks_exact(d.max(1))) {
        for (y, from) in y.iter_mut().zip(order.iter()) {
            *y = x[*from as usize];
        }
    }
    let y: Mat = raw::tensor(y, (n, d))?;
    let (xg, yg, order) = (x.ghost(), y.ghost(), order.clone());
    tape.add_backward_op(move |grads| {
        let g = raw::take(grads.get_or_alloc_mut(&yg)?)?;
        let gx = grads.get_or_alloc_mut(&xg)?;
        for (gx, g) in gx.chunks_exact_mut(d.max(1)).zip(g.chunks_exact(d.max(1))) {
            for (g, to) in g.iter().zip(order.iter()) {
                gx[*to as usize] += *g;
            }
        }
        Ok(())
    });
    Ok(y.put_tape(tape))
}

pub(super) fn square_sum(x: &Var) -> Result<VarVec> {
    let (n, d) = *x.shape();
    let (x, mut tape) = x.clone().split_tape();
    let sums: Vec<f32> = raw::slice(&x)?
        .par_chunks(d.max(1))
        .with_min_len(ROWS)
        .map(|r| r.iter().map(|v| v * v).sum())
        .collect();
    let y = raw::tensor(if d == 0 { vec![0.0; n] } else { sums }, (n,))?;
    let (xg, yg) = (x.ghost(), y.ghost());
    tape.add_backward_op(move |grads| {
        let g = raw::take(grads.get_or_alloc_mut(&yg)?)?;
        let gx = grads.get_or_alloc_mut(&xg)?;
        let rows = gx.par_chunks_mut(d.max(1)).zip(read(&x).par_chunks(d.max(1)));
        rows.zip(g.par_iter()).with_min_len(ROWS).for_each(|((gx, x), g)| {
            gx.iter_mut().zip(x).for_each(|(gx, x)| *gx += 2.0 * *g * *x);
        });
        Ok(())
    });
    Ok(y.put_tape(tape))
}

pub(super) fn mean_square(x: &Var) -> Result<Scalar> {
    let (n, d) = *x.shape();
    let count = (n * d).max(1) as f64;
    let (x, mut tape) = x.clone().split_tape();
    let sums: Vec<f64> = raw::slice(&x)?
        .par_chunks(ROWS * d.max(1))
        .map(|c| c.iter().map(|v| f64::from(*v) * f64::from(*v)).sum())
        .collect();
    let y = raw::tensor(vec![(sums.iter().sum::<f64>() / count) as f32], ())?;
    let (xg, yg) = (x.ghost(), y.ghost());
    tape.add_backward_op(move |grads| {
        let g = grads.get_or_alloc_mut(&yg)?[0] * 2.0 / count as f32;
        let gx = grads.get_or_alloc_mut(&xg)?;
        gx.par_chunks_mut(ROWS * d.max(1)).zip(read(&x).par_chunks(ROWS * d.max(1))).for_each(|(gx, x)| {
            gx.iter_mut().zip(x).for_each(|(gx, x)| *gx += g * *x);
        });
        Ok(())
    });
    Ok(y.put_tape(tape))
}

/// Sums over the tokens of each class, `[classes, d]`, of what `add(sum, row, class)` adds; blocks of tokens in parallel, added in order.
fn class_sums(
    z: &[f32],
    class: &Index,
    (classes, d): (usize, usize),
    add: impl Fn(&mut [f64], &[f32], usize) + Sync,
) -> Vec<f64> {
    /// Tokens of a block.
    const BLOCK: usize = 1024;
    let blocks: Vec<Vec<f64>> = z
        .par_chunks(BLOCK * d.max(1))
        .zip(class.par_chunks(BLOCK))
        .map(|(z, class)| {
            let mut sums = vec![0.0; classes * d];
            for (row, c) in z.chunks_exact(d.max(1)).zip(class) {
                let c = *c as usize;
                add(&mut sums[c * d..(c + 1) * d], row, c);
            }
            sums
        })
        .collect();
    let mut total = vec![0.0; classes * d];
    for block in &blocks {
        total.iter_mut().zip(block).for_each(|(t, b)| *t += *b);
    }
    total
}

pub(super) fn within_class_std_penalty(z: &Var, class: &Index, classes: usize) -> Result<Scalar> {
    let (_, d) = *z.shape();
    let (z, mut tape) = z.clone().split_tape();
    let mut counts = vec![0usize; classes];
    class.iter().for_each(|c| counts[*c as usize] += 1);
    let values = raw::slice(&z)?;
    let mut mean = class_sums(values, class, (classes, d), |sum, row, _| {
        sum.iter_mut().zip(row).for_each(|(m, v)| *m += f64::from(*v));
    });
    scale_rows(&mut mean, &counts, d);
    let mut std = class_sums(values, class, (classes, d), |sum, row, c| {
        for ((s, m), v) in sum.iter_mut().zip(&mean[c * d..(c + 1) * d]).zip(row) {
            *s += (f64::from(*v) - m).powi(2);
        }
    });
    scale_rows(&mut std, &counts, d);
    std.iter_mut().for_each(|s| *s = s.sqrt());
    let used = counts.iter().filter(|n| **n >= 2).count();
    let total = (used * d).max(1) as f64;
    let value: f64 = (0..classes)
        .filter(|c| counts[*c] >= 2)
        .flat_map(|c| &std[c * d..(c + 1) * d])
        .map(|s| (s - 1.0).powi(2))
        .sum::<f64>()
        / total;
    let y = raw::tensor(vec![value as f32], ())?;
    let (zg, yg, class) = (z.ghost(), y.ghost(), class.clone());
    tape.add_backward_op(move |grads| {
        let g = f64::from(grads.get_or_alloc_mut(&yg)?[0]);
        // d std_j / d z_nj = (z_nj - mean_j) / (n std_j): one coefficient per class and dim.
        let coefficient: Vec<f32> = std
            .iter()
            .enumerate()
            .map(|(k, s)| {
                let n = counts[k / d.max(1)];
                if n < 2 || *s == 0.0 { 0.0 } else { (g * 2.0 * (s - 1.0) / (total * n as f64 * s)) as f32 }
            })
            .collect();
        let mean: Vec<f32> = mean.iter().map(|m| *m as f32).collect();
        let gz = grads.get_or_alloc_mut(&zg)?;
        let rows = gz.par_chunks_mut(d.max(1)).zip(read(&z).par_chunks(d.max(1))).zip(class.par_iter());
        rows.with_min_len(ROWS).for_each(|((gz, row), c)| {
            let range = *c as usize * d..(*c as usize + 1) * d;
            for (((gz, v), k), m) in gz.iter_mut().zip(row).zip(&coefficient[range.clone()]).zip(&mean[range])
            {
                *gz += *k * (*v - *m);
            }
        });
        Ok(())
    });
    Ok(y.put_tape(tape))
}

fn scale_rows(sums: &mut [f64], counts: &[usize], d: usize) {
    for (row, n) in sums.chunks_exact_mut(d.max(1)).zip(counts) {
        row.iter_mut().for_each(|v| *v /= (*n).max(1) as f64);
    }
}

/// Values of a weight that one task handles.
const PIECE: usize = 1 << 14;

pub(super) fn spectral_scale(w: &Var, u: &Mat, v: &Mat, cap: bool) -> Result<Var> {
    let (o, i) = *w.shape();
    let (w, mut tape) = w.clone().split_tape();
    let (u, v) = (u.as_vec(), v.as_vec());
    let values = raw::slice(&w)?;
    let sigma = super::bilinear_form(values, &u, &v);
    let active = !cap || sigma > 1.0;
    let divisor = if active { sigma } else { 1.0 };
    let scaled = values.par_iter().with_min_len(PIECE).map(|w| w / divisor).collect();
    let y: Mat = raw::tensor(scaled, (o, i))?;
    let (wg, yg) = (w.ghost(), y.ghost());
    tape.add_backward_op(move |grads| {
        let g = raw::take(grads.get_or_alloc_mut(&yg)?)?;
        let inner = if active { dot(&g, read(&w)) } else { 0.0 };
        let k = if active { (inner / (f64::from(sigma) * f64::from(sigma))) as f32 } else { 0.0 };
        let gw = grads.get_or_alloc_mut(&wg)?;
        let piece = (PIECE / i.max(1)).max(1);
        let rows = gw.par_chunks_mut(piece * i.max(1)).zip(g.par_chunks(piece * i.max(1)));
        rows.zip(u.par_chunks(piece)).for_each(|((gw, g), u)| {
            for ((gw, g), u) in gw.chunks_exact_mut(i.max(1)).zip(g.chunks_exact(i.max(1))).zip(u) {
                for ((gw, g), v) in gw.iter_mut().zip(g).zip(&v) {
                    *gw += *g / divisor - k * *u * *v;
                }
            }
        });
        Ok(())
    });
    Ok(y.put_tape(tape))
}
