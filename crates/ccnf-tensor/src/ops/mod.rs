//! Operations with hand-written gradients, where `dfdx` is slow or wrong, and their composed twins.
//!
//! Each operation here has a twin in [`composed`] made of plain `dfdx` operations: the twin is the reference in tests
//! and the implementation on CUDA.
//!
//! | operation | computes |
//! |---|---|
//! | [`chain`] | layers `h = film(act(h W^T + tables))` one after the other: a conditioned subnet |
//! | [`affine_coupling`] | an affine (or additive) coupling with its log-determinant, subnet included |
//! | [`affine_tail`] | the affine coupling under a subnet's output |
//! | [`depthwise`] | depthwise 3x3 convolution of maps with a skip |
//! | [`haar`], [`haar_inverse`] | the Haar step: 2x2 patches become tokens |
//! | [`spline_coupling`] | a coupling by rational-quadratic splines with its log-determinant |
//! | [`linear`] | `x W^T + b` |
//! | [`split_cols`] | column blocks of a matrix |
//! | [`stack_rows`] | one matrix from single rows |
//! | [`permute_cols`] | a fixed permutation of the columns |
//! | [`square_sum`] | `sum of x^2` per row |
//! | [`mean_square`] | mean of `x^2` |
//! | [`within_class_std_penalty`] | mean of `(std - 1)^2` within classes |
//! | [`spectral_scale`] | `W / sigma` |
//! | [`attention`] | multi-head attention within groups of rows |
//! | [`layer_norm`] | layer normalisation of rows |
//! | [`gather_rows`] | the row of a table for every token |
//! | [`gelu`] | `x Phi(x)` |
//! | [`dropout`](dropout()) | dropout without a stored mask |

#[cfg(not(feature = "cuda"))]
mod chain;
pub mod composed;
#[cfg(not(feature = "cuda"))]
mod fused;
#[cfg(not(feature = "cuda"))]
mod fused_attention;
#[cfg(not(feature = "cuda"))]
mod fused_chain;
#[cfg(not(feature = "cuda"))]
mod fused_maps;
#[cfg(not(feature = "cuda"))]
mod fused_rows;
#[cfg(not(feature = "cuda"))]
mod fused_spline;
#[cfg(not(feature = "cuda"))]
mod kernels;
mod maps;
#[cfg(not(feature = "cuda"))]
mod pass;
#[cfg(not(feature = "cuda"))]
mod pool;
#[cfg(not(feature = "cuda"))]
mod product;
#[cfg(not(feature = "cuda"))]
mod raw;
#[cfg(not(feature = "cuda"))]
mod row_sums;
mod spline;
mod transformer;

pub use maps::{Grid, depthwise, haar, haar_inverse};
pub use spline::{MIN_SIZE, MIN_SLOPE, Spline, SplineTail, spline_coupling, spline_inverse};
pub use transformer::{AttentionSplit, Dropout, attention, dropout, gather_rows, gelu, layer_norm};

use crate::{Mat, Result, Scalar, TensorError, Var, VarVec};
use dfdx::prelude::HasShape;
use std::sync::Arc;

/// Row numbers of a table, one per token.
pub type Index = Arc<[u32]>;

/// A table whose rows are added to (or modulate) the tokens that point to them. This is how everything that depends
/// only on the class or only on the position is computed once per class or position instead of once per token.
#[derive(Clone, Debug)]
pub struct RowTable {
    /// `[rows, width]`.
    pub table: Var,
    /// The row of each token; `None`: the table has one row, used by every token (a bias).
    pub index: Option<Index>,
}

/// What follows the affine part of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    Identity,
    /// `max(x, 0)`.
    Relu,
}

/// Feature-wise linear modulation: `(1 + gamma) * h + beta` with `[gamma, beta]` a row of the table (Perez et al. 2018).
#[derive(Clone, Debug)]
pub struct Film {
    /// `[classes, 2 * width]`, gamma first, and the class of each token.
    pub rows: RowTable,
    /// Modulate before the activation instead of after it.
    pub before_activation: bool,
}

/// One layer: `film(act(h W^T + sum of tables))`.
#[derive(Clone, Debug)]
pub struct Layer {
    /// `W`, `[out, in]`.
    pub weight: Var,
    /// Added before the activation: bias, class part, position part; each `[.., out]`.
    pub tables: Vec<RowTable>,
    /// The activation.
    pub activation: Activation,
    /// Modulation.
    pub film: Option<Film>,
}

impl Layer {
    /// `h W^T + b` with `weight` `[out, in]` and `bias` `[1, out]`: no activation, no modulation.
    pub fn new(weight: Var, bias: Var) -> Layer {
        let tables = vec![RowTable { table: bias, index: None }];
        Layer { weight, tables, activation: Activation::Identity, film: None }
    }
}

/// Checks all shapes and indices of a chain on `x`; returns the number of its outputs.
fn check_chain(x: &Var, layers: &[Layer]) -> Result<usize> {
    let (n, d) = *x.shape();
    let mut columns = d;
    for (k, layer) in layers.iter().enumerate() {
        let (out, inp) = *layer.weight.shape();
        if inp > columns || (k > 0 && inp != columns) {
            let (least, place) = (if k == 0 { "at least " } else { "" }, format!("layer {k}"));
            return Err(TensorError::shape(
                "chain",
                format!("{least}{inp} inputs of {place}"),
                columns.to_string(),
            ));
        }
        if out == 0 {
            return Err(TensorError::shape("chain", "a layer with outputs", format!("none in layer {k}")));
        }
        layer.tables.iter().try_for_each(|t| check_table(t, n, out))?;
        layer.film.iter().try_for_each(|f| check_table(&f.rows, n, 2 * out))?;
        columns = out;
    }
    if layers.is_empty() {
        return Err(TensorError::shape("chain", "at least one layer", "none"));
    }
    Ok(columns)
}

fn check_table(t: &RowTable, n: usize, width: usize) -> Result<()> {
    let (rows, cols) = *t.table.shape();
    if cols != width {
        return Err(TensorError::shape("row table", format!("{width} columns"), cols.to_string()));
    }
    match &t.index {
        None if rows == 1 => Ok(()),
        None => Err(TensorError::shape("row table", "one row where there is no index", rows.to_string())),
        Some(i) if i.len() != n => {
            Err(TensorError::shape("row table", format!("{n} indices"), i.len().to_string()))
        }
        Some(i) => match i.iter().find(|r| **r as usize >= rows) {
            None => Ok(()),
            Some(r) => Err(TensorError::Index { op: "row table", index: *r as usize, len: rows }),
        },
    }
}

/// Layers one after the other: `x` is `[N, >= in]`, of which the first layer uses the first `in` columns; the result is `[N, out]` of the
/// last layer. A row of the result depends on its own token alone, bit for bit.
pub fn chain(x: &Var, layers: &[Layer]) -> Result<Var> {
    check_chain(x, layers)?;
    #[cfg(not(feature = "cuda"))]
    return fused_chain::chain(x, layers);
    #[cfg(feature = "cuda")]
    return composed::chain(x, layers);
}

/// `x W^T + b`; `w` is `[out, in]`, `bias` `[1, out]`. Gradients of constants are not computed.
pub fn linear(x: &Var, w: &Var, bias: Option<&Var>) -> Result<Var> {
    if x.shape().1 != w.shape().1 {
        return Err(TensorError::shape(
            "linear",
            format!("{} input columns", w.shape().1),
            x.shape().1.to_string(),
        ));
    }
    let tables = bias.map(|b| RowTable { table: b.clone(), index: None }).into_iter().collect();
    chain(x, &[Layer { weight: w.clone(), tables, activation: Activation::Identity, film: None }])
}

/// Column blocks of `x` with the given widths, which must add up to the columns of `x`.
pub fn split_cols(x: &Var, widths: &[usize]) -> Result<Vec<Var>> {
    if widths.iter().sum::<usize>() != x.shape().1 {
        return Err(TensorError::shape(
            "split_cols",
            format!("widths that add up to {}", x.shape().1),
            format!("{widths:?}"),
        ));
    }
    #[cfg(not(feature = "cuda"))]
    return fused::split_cols(x, widths);
    #[cfg(feature = "cuda")]
    return composed::split_cols(x, widths);
}

/// One matrix `[K, width]` from `K >= 1` matrices of one row each: a table from rows that are tensors of their own.
pub fn stack_rows(rows: &[Var]) -> Result<Var> {
    let Some(first) = rows.first() else {
        return Err(TensorError::shape("stack_rows", "at least one row", "none"));
    };
    let width = first.shape().1;
    if let Some(bad) = rows.iter().find(|r| r.shape() != &(1, width)) {
        return Err(TensorError::shape(
            "stack_rows",
            format!("rows of shape [1, {width}]"),
            format!("{:?}", bad.shape()),
        ));
    }
    #[cfg(not(feature = "cuda"))]
    return fused::stack_rows(rows, width);
    #[cfg(feature = "cuda")]
    return composed::stack_rows(rows);
}

/// The result of [`affine_coupling`].
#[derive(Clone, Debug)]
pub struct AffineTail {
    /// `[x_a, x_b * exp(s) + t]`, `[N, D]`.
    pub y: Var,
    /// `sum of s` per token: the log-determinant of the coupling.
    pub log_det: VarVec,
    /// The log-scale `s = scale * tanh(s_raw)`, `[N, D_b]`.
    pub log_scale: Var,
}

/// An affine coupling: `x = [x_a, x_b]` is `[N, D]`, the chain of `layers` maps the first columns of `x_a` to `[s_raw, t]`, `[N, 2 D_b]`,
/// `s = scale * tanh(s_raw)` and `y_b = x_b * exp(s) + t`. `scale` is clamp times warm-up; at 0 the coupling is additive.
/// (Dinh, Sohl-Dickstein & Bengio 2017; the clamp after Ardizzone et al. 2019.)
pub fn affine_coupling(x: &Var, layers: &[Layer], scale: f32) -> Result<AffineTail> {
    let d = x.shape().1;
    let outputs = check_chain(x, layers)?;
    let inputs = layers.first().map_or(0, |l| l.weight.shape().1);
    if outputs % 2 != 0 || inputs + outputs / 2 > d {
        return Err(TensorError::shape(
            "affine_coupling",
            format!("2 * D_b outputs and at most {d} - D_b inputs"),
            format!("{outputs} outputs and {inputs} inputs"),
        ));
    }
    #[cfg(not(feature = "cuda"))]
    return fused_chain::affine_coupling(x, layers, scale);
    #[cfg(feature = "cuda")]
    return composed::affine_coupling(x, layers, scale);
}

/// The affine part of [`affine_coupling`] alone, under the output `raw`, `[N, 2 D_b]`, of a subnet that is more than a chain of layers.
/// The caller answers for `raw` depending on `x_a` alone.
pub fn affine_tail(x: &Var, raw: &Var, scale: f32) -> Result<AffineTail> {
    let ((n, d), (rows, outputs)) = (*x.shape(), *raw.shape());
    if rows != n || outputs % 2 != 0 || outputs == 0 || outputs / 2 > d {
        let wanted = format!("[{n}, 2 * D_b] with D_b at most {d}");
        return Err(TensorError::shape("affine_tail", wanted, format!("{:?}", raw.shape())));
    }
    #[cfg(not(feature = "cuda"))]
    return fused_chain::affine_tail(x, raw, scale);
    #[cfg(feature = "cuda")]
    return composed::affine_tail(x, raw, scale);
}

/// `y[:, j] = x[:, order[j]]`; `order` is a permutation of the columns.
pub fn permute_cols(x: &Var, order: &Index) -> Result<Var> {
    let d = x.shape().1;
    let mut seen = vec![false; d];
    for i in order.iter() {
        match seen.get_mut(*i as usize) {
            Some(s) if !*s => *s = true,
            _ => return Err(TensorError::Index { op: "permute_cols", index: *i as usize, len: d }),
        }
    }
    if order.len() != d {
        return Err(TensorError::shape("permute_cols", format!("{d} indices"), order.len().to_string()));
    }
    #[cfg(not(feature = "cuda"))]
    return fused::permute_cols(x, order);
    #[cfg(feature = "cuda")]
    return composed::permute_cols(x, order);
}

/// The sum of squares of each row, `[N]`.
pub fn square_sum(x: &Var) -> Result<VarVec> {
    #[cfg(not(feature = "cuda"))]
    return fused::square_sum(&raw::row_major(x)?);
    #[cfg(feature = "cuda")]
    return composed::square_sum(x);
}

/// The mean of all squares.
pub fn mean_square(x: &Var) -> Result<Scalar> {
    #[cfg(not(feature = "cuda"))]
    return fused::mean_square(&raw::row_major(x)?);
    #[cfg(feature = "cuda")]
    return composed::mean_square(x);
}

/// `mean over classes and dims of (std - 1)^2`, std within the class, divided by n (not n - 1). Classes with fewer than two
/// tokens are left out; with none left the penalty is 0. Where a std is 0 its gradient is taken as 0.
pub fn within_class_std_penalty(z: &Var, class: &Index, classes: usize) -> Result<Scalar> {
    if class.len() != z.shape().0 {
        return Err(TensorError::shape(
            "within_class_std_penalty",
            format!("{} classes", z.shape().0),
            class.len().to_string(),
        ));
    }
    if let Some(c) = class.iter().find(|c| **c as usize >= classes) {
        return Err(TensorError::Index { op: "within_class_std_penalty", index: *c as usize, len: classes });
    }
    #[cfg(not(feature = "cuda"))]
    return fused::within_class_std_penalty(z, class, classes);
    #[cfg(feature = "cuda")]
    return composed::within_class_std_penalty(z, class, classes);
}

/// `w / sigma` with `sigma = u^T w v` (`u`: `[1, out]`, `v`: `[1, in]`, constants); with `cap` only where `sigma > 1`.
pub fn spectral_scale(w: &Var, u: &Mat, v: &Mat, cap: bool) -> Result<Var> {
    let (o, i) = *w.shape();
    if u.shape() != &(1, o) || v.shape() != &(1, i) {
        return Err(TensorError::shape(
            "spectral_scale",
            format!("[1, {o}] and [1, {i}]"),
            format!("{:?} and {:?}", u.shape(), v.shape()),
        ));
    }
    #[cfg(not(feature = "cuda"))]
    return fused::spectral_scale(w, u, v, cap);
    #[cfg(feature = "cuda")]
    return composed::spectral_scale(w, u, v, cap);
}

/// `u^T W v` in f64 with `W` row-major.
pub(crate) fn bilinear_form(w: &[f32], u: &[f32], v: &[f32]) -> f32 {
    let s: f64 = w.chunks_exact(v.len().max(1)).zip(u).map(|(row, ui)| f64::from(*ui) * dot(row, v)).sum();
    s as f32
}

/// `a . b` in f64.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f64 {
    #[cfg(not(feature = "cuda"))]
    return kernels::dot(a, b);
    #[cfg(feature = "cuda")]
    return a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
}

/// `sum += factor * row`.
pub(crate) fn add_scaled(sum: &mut [f64], row: &[f32], factor: f64) {
    #[inline(always)]
    fn add(sum: &mut [f64], row: &[f32], factor: f64) {
        sum.iter_mut().zip(row).for_each(|(s, r)| *s += factor * f64::from(*r));
    }
    #[cfg(not(feature = "cuda"))]
    kernels::simd(
        #[inline(always)]
        || add(sum, row, factor),
    );
    #[cfg(feature = "cuda")]
    add(sum, row, factor);
}

/// Runs `read` on the values of a matrix, without a copy on the CPU.
pub(crate) fn with_values<R>(m: &Mat, read: impl FnOnce(&[f32]) -> R) -> R {
    #[cfg(not(feature = "cuda"))]
    if let Ok(values) = raw::slice(m) {
        return read(values);
    }
    read(&m.as_vec())
}
