//! Twins of the operations on whole maps.

use super::columns;
use crate::ops::maps::{Grid, neighbours};
use crate::{Result, TensorError, Var, constant, device, mat};
use dfdx::prelude::*;

/// Rows `index` of `x`.
fn rows(x: &Var, index: Vec<usize>) -> Result<Var> {
    let n = index.len();
    let index = device().try_tensor_from_vec(index, (n,)).map_err(|e| TensorError::device("gather", e))?;
    Ok(x.clone().gather::<(usize, usize), _>(index))
}

/// [`depthwise`](crate::ops::depthwise): for every place of the window the neighbours there, times a mask for those outside of the map.
pub fn depthwise(x: &Var, weight: &Var, grid: Grid) -> Result<Var> {
    let (n, c) = *x.shape();
    let tokens = grid.tokens();
    let mut y = x.clone();
    for place in 0..9 {
        let (mut index, mut mask): (Vec<usize>, _) = ((0..n).collect(), vec![0.0; n * c]);
        for (cell, other, _) in neighbours(grid).filter(|(.., k)| *k == place) {
            for first in (0..n).step_by(tokens) {
                index[first + cell] = first + other;
                mask[(first + cell) * c..(first + cell + 1) * c].fill(1.0);
            }
        }
        let there = rows(x, index)? * constant(&mat(mask, n, c)?);
        y = y + there * rows(weight, vec![place; n])?;
    }
    Ok(y)
}

/// The fine cells at place `k` of all patches.
fn patch_cells(grid: Grid, n: usize, k: usize) -> Vec<usize> {
    let (tokens, patches) = (grid.tokens(), grid.tokens() / 4);
    (0..n / 4).map(|i| i / patches * tokens + grid.patch(i % patches)[k]).collect()
}

/// The four combinations of a Haar step.
fn haar_sums([a, b, c, d]: [Var; 4]) -> [Var; 4] {
    let (plus, minus) = (a.clone() + b.clone(), a - b);
    let (lower_plus, lower_minus) = (c.clone() + d.clone(), c - d);
    [
        (plus.clone() + lower_plus.clone()) * 0.5,
        (minus.clone() + lower_minus.clone()) * 0.5,
        (plus - lower_plus) * 0.5,
        (minus - lower_minus) * 0.5,
    ]
}

/// [`haar`](crate::ops::haar).
pub fn haar(x: &Var, grid: Grid) -> Result<Var> {
    let n = x.shape().0;
    let cells = |k: usize| rows(x, patch_cells(grid, n, k));
    let [a, b, c, d] = haar_sums([cells(0)?, cells(1)?, cells(2)?, cells(3)?]);
    Ok(((a, b).concat_along(Axis::<1>), (c, d).concat_along(Axis::<1>)).concat_along(Axis::<1>))
}

/// [`haar_inverse`](crate::ops::haar_inverse).
pub fn haar_inverse(y: &Var, grid: Grid) -> Result<Var> {
    let (m, d) = (y.shape().0, y.shape().1 / 4);
    let part = |k: usize| columns(y, k * d, d);
    let [a, b, c, e] = haar_sums([part(0)?, part(1)?, part(2)?, part(3)?]);
    let all = ((a, b).concat_along(Axis::<0>), (c, e).concat_along(Axis::<0>)).concat_along(Axis::<0>);
    let mut order = vec![0; 4 * m];
    for k in 0..4 {
        patch_cells(grid, 4 * m, k).into_iter().enumerate().for_each(|(i, cell)| order[cell] = k * m + i);
    }
    rows(&all, order)
}
