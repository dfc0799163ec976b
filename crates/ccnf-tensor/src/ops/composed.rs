//! Every own operation made of plain `dfdx` operations: slow and obviously right. The reference in tests, and what runs on
//! CUDA. `dfdx`'s `slice` is avoided (its CPU gradient overwrites instead of adding); columns are taken by a product with
//! a 0/1 matrix, which is exact.
//!
//! These functions trust their arguments; the checked entry points are in [`super`].

mod maps;
mod spline;

pub use maps::{depthwise, haar, haar_inverse};
pub use spline::spline_coupling;

use super::transformer::normal_cdf_and_gelu_slope;
use super::{Activation, AffineTail, AttentionSplit, Dropout, Index, Layer, RowTable};
use crate::{Mat, Result, Scalar, TensorError, Var, VarVec, constant, constant_scalar, device, mat};
use dfdx::prelude::*;

/// Columns `from..from + width` of `x`.
fn columns(x: &Var, from: usize, width: usize) -> Result<Var> {
    let d = x.shape().1;
    let mut pick = vec![0.0; d * width];
    (0..width).for_each(|j| pick[(from + j) * width + j] = 1.0);
    Ok(x.clone().matmul(constant(&mat(pick, d, width)?)))
}

fn rows_of(t: &RowTable, n: usize) -> Result<Var> {
    let index: Vec<usize> = match &t.index {
        None => vec![0; n],
        Some(i) => i.iter().map(|v| *v as usize).collect(),
    };
    let index = device().try_tensor_from_vec(index, (n,)).map_err(|e| TensorError::device("gather", e))?;
    Ok(t.table.clone().gather::<(usize, usize), _>(index))
}

fn layer(x: &Var, layer: &Layer) -> Result<Var> {
    let (n, d) = *x.shape();
    let (out, inp) = *layer.weight.shape();
    let x = if d == inp { x.clone() } else { columns(x, 0, inp)? };
    let mut h = x.matmul(layer.weight.clone().permute::<(usize, usize), Axes2<1, 0>>());
    for t in &layer.tables {
        h = h + rows_of(t, n)?;
    }
    let relu = layer.activation == Activation::Relu;
    let Some(f) = &layer.film else {
        return Ok(if relu { h.relu() } else { h });
    };
    let film = rows_of(&f.rows, n)?;
    let (gamma, beta) = (columns(&film, 0, out)?, columns(&film, out, out)?);
    if relu && !f.before_activation {
        h = h.relu();
    }
    h = h.clone() + h * gamma + beta;
    Ok(if relu && f.before_activation { h.relu() } else { h })
}

/// [`chain`](super::chain).
pub fn chain(x: &Var, layers: &[Layer]) -> Result<Var> {
    layers.iter().try_fold(x.clone(), |h, l| layer(&h, l))
}

/// [`affine_coupling`](super::affine_coupling).
pub fn affine_coupling(x: &Var, layers: &[Layer], scale: f32) -> Result<AffineTail> {
    affine_tail(x, &chain(x, layers)?, scale)
}

/// [`split_cols`](super::split_cols).
pub fn split_cols(x: &Var, widths: &[usize]) -> Result<Vec<Var>> {
    let mut from = 0;
    widths
        .iter()
        .map(|w| {
            from += w;
            columns(x, from - w, *w)
        })
        .collect()
}

/// [`stack_rows`](super::stack_rows).
pub fn stack_rows(rows: &[Var]) -> Result<Var> {
    let k = rows.len();
    let mut sum: Option<Var> = None;
    for (i, row) in rows.iter().enumerate() {
        let mut pick = vec![0.0; k];
        pick[i] = 1.0;
        let placed = constant(&mat(pick, k, 1)?).matmul(row.clone());
        sum = Some(match sum {
            None => placed,
            Some(s) => s + placed,
        });
    }
    sum.ok_or_else(|| TensorError::shape("stack_rows", "at least one row", "none"))
}

/// [`affine_tail`](super::affine_tail).
pub fn affine_tail(x: &Var, raw: &Var, scale: f32) -> Result<AffineTail> {
    let d = x.shape().1;
    let db = raw.shape().1 / 2;
    let (xa, xb) = (columns(x, 0, d - db)?, columns(x, d - db, db)?);
    let log_scale = columns(raw, 0, db)?.tanh() * scale;
    let yb = xb * log_scale.clone().exp() + columns(raw, db, db)?;
    let log_det = log_scale.clone().sum::<(usize,), Axis<1>>();
    let y = (xa, yb).concat_along(Axis::<1>);
    Ok(AffineTail { y, log_det, log_scale })
}

/// [`permute_cols`](super::permute_cols).
pub fn permute_cols(x: &Var, order: &Index) -> Result<Var> {
    let d = order.len();
    let mut pick = vec![0.0; d * d];
    order.iter().enumerate().for_each(|(j, i)| pick[*i as usize * d + j] = 1.0);
    Ok(x.clone().matmul(constant(&mat(pick, d, d)?)))
}

/// [`square_sum`](super::square_sum).
pub fn square_sum(x: &Var) -> Result<VarVec> {
    Ok(x.clone().square().sum::<(usize,), Axis<1>>())
}

/// [`mean_square`](super::mean_square).
pub fn mean_square(x: &Var) -> Result<Scalar> {
    Ok(x.clone().square().mean::<Rank0, _>())
}

/// [`within_class_std_penalty`](super::within_class_std_penalty).
pub fn within_class_std_penalty(z: &Var, class: &Index, classes: usize) -> Result<Scalar> {
    let mut total = constant_scalar(0.0)?;
    let mut used = 0;
    for c in 0..classes {
        let rows: Vec<usize> =
            class.iter().enumerate().filter(|(_, k)| **k as usize == c).map(|(n, _)| n).collect();
        let n = rows.len();
        if n < 2 {
            continue;
        }
        let index = device().try_tensor_from_vec(rows, (n,)).map_err(|e| TensorError::device("gather", e))?;
        let own: Var = z.clone().gather::<(usize, usize), _>(index);
        let shape = *own.shape();
        let mean = own.clone().mean::<(usize,), Axis<0>>().broadcast_like::<_, Axis<0>>(&shape);
        let std = (own - mean).square().mean::<(usize,), Axis<0>>().sqrt();
        total = total + (std - 1.0).square().mean::<Rank0, _>();
        used += 1;
    }
    Ok(if used == 0 { total } else { total / used as f32 })
}

/// [`spectral_scale`](super::spectral_scale).
pub fn spectral_scale(w: &Var, u: &Mat, v: &Mat, cap: bool) -> Result<Var> {
    let outer = u.clone().permute::<(usize, usize), Axes2<1, 0>>().matmul(v.clone());
    let sigma = (w.clone() * outer).sum::<Rank0, _>();
    if cap && sigma.as_vec().first().is_none_or(|s| *s <= 1.0) {
        return Ok(w.clone());
    }
    let shape = *w.shape();
    Ok(w.clone() / sigma.broadcast_like::<_, Axes2<0, 1>>(&shape))
}

/// [`gather_rows`](super::gather_rows).
pub fn gather_rows(table: &Var, index: &Index) -> Result<Var> {
    rows_of(&RowTable { table: table.clone(), index: Some(index.clone()) }, index.len())
}

/// Rows in groups and columns in heads: `[groups, heads, rows of a group, columns of a head]`.
type Heads = Tensor<(usize, usize, usize, usize), f32, crate::Dev, crate::SwitchTape>;

/// [`attention`](super::attention).
pub fn attention(q: &Var, k: &Var, v: &Var, split: AttentionSplit, dropout: Option<Dropout>) -> Result<Var> {
    let AttentionSplit { groups, heads } = split;
    let (n, d) = *q.shape();
    let by_head = |x: &Var| -> Heads {
        let shape = (groups, x.shape().0 / groups, heads, d / heads);
        // Times 1: `dfdx` refuses a product of a tensor with itself, which query and key may be.
        (x.clone() * 1.0).reshape_like(&shape).permute::<_, Axes4<0, 2, 1, 3>>()
    };
    let keys: Heads = by_head(k).permute::<_, Axes4<0, 1, 3, 2>>();
    let scores: Heads = by_head(q).matmul(keys) * (1.0 / ((d / heads) as f32).sqrt());
    let mut p = scores.softmax::<Axis<3>>();
    if let Some(dropout) = dropout {
        let shape = *p.shape();
        let factors = (0..shape.num_elements() as u64).map(|i| dropout.factor(i)).collect();
        p = p * crate::filled("dropout", factors, shape)?.put_tape(crate::SwitchTape::Off);
    }
    let y: Heads = p.matmul(by_head(v)).permute::<_, Axes4<0, 2, 1, 3>>();
    Ok(y.reshape_like(&(n, d)))
}

/// [`layer_norm`](super::layer_norm).
pub fn layer_norm(x: &Var, gamma: &Var, beta: &Var, eps: f32) -> Result<Var> {
    let shape = *x.shape();
    let row = |t: &Var| rows_of(&RowTable { table: t.clone(), index: None }, shape.0);
    let mean = x.clone().mean::<(usize,), Axis<1>>().broadcast_like::<_, Axis<1>>(&shape);
    let centred = x.clone() - mean;
    let std = (centred.clone().square().mean::<(usize,), Axis<1>>() + eps).sqrt();
    Ok(centred / std.broadcast_like::<_, Axis<1>>(&shape) * row(gamma)? + row(beta)?)
}

/// [`gelu`](super::gelu): `dfdx` has no `erf`, so value and slope are constants and the gradient is that of a line through them.
pub fn gelu(x: &Var) -> Result<Var> {
    let (n, d) = *x.shape();
    let values = x.as_vec();
    let table = |f: &dyn Fn(f32) -> f32| Ok(constant(&mat(values.iter().map(|v| f(*v)).collect(), n, d)?));
    let value: Var = table(&|v| v * normal_cdf_and_gelu_slope(v).0)?;
    let slope: Var = table(&|v| normal_cdf_and_gelu_slope(v).1)?;
    Ok((x.clone() - table(&|v| v)?) * slope + value)
}

/// [`dropout`](super::dropout).
pub fn dropout(x: &Var, dropout: Dropout) -> Result<Var> {
    let (n, d) = *x.shape();
    let factors = (0..(n * d) as u64).map(|i| dropout.factor(i)).collect();
    Ok(x.clone() * constant(&mat(factors, n, d)?))
}
