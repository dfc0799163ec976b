//! The twin of the spline coupling.

use super::columns;
use crate::ops::spline::{MIN_SIZE, SLOPE_OFFSET, Spline, SplineTail};
use crate::{Result, Var, constant, mat, softplus};
use dfdx::prelude::*;

/// [`spline_coupling`](crate::ops::spline_coupling) with `db` changed dims: every bin is evaluated, and that of the value taken by a 0/1 mask.
pub fn spline_coupling(x: &Var, raw: &Var, spline: &Spline, db: usize) -> Result<SplineTail> {
    let ((n, d), bins, bound) = (*x.shape(), spline.bins, spline.bound);
    let (xa, xb) = (columns(x, 0, d - db)?, columns(x, d - db, db)?);
    let parameter = |p: usize| columns(raw, p * db, db);
    let values = xb.as_vec();
    let mask = |keep: &dyn Fn(usize, f32) -> bool| -> Result<Var> {
        let values = values.iter().enumerate().map(|(i, v)| if keep(i, *v) { 1.0 } else { 0.0 });
        Ok(constant(&mat(values.collect(), n, db)?))
    };
    let sizes = |from: usize| -> Result<Vec<Var>> {
        let all = (from..from + bins).map(parameter).collect::<Result<Vec<_>>>()?;
        let raw: Vec<Vec<f32>> = all.iter().map(|v| v.as_vec()).collect();
        let largest = (0..n * db).map(|i| raw.iter().fold(f32::NEG_INFINITY, |m, r| m.max(r[i])));
        let largest = constant(&mat(largest.collect(), n, db)?);
        let all: Vec<Var> = all.into_iter().map(|v| (v - largest.clone()).exp()).collect();
        let zero = constant(&mat(vec![0.0; n * db], n, db)?);
        let total = all.iter().fold(zero, |sum, e| sum + e.clone());
        let share = 1.0 - bins as f32 * MIN_SIZE;
        Ok(all.into_iter().map(|e| (e / total.clone() * share + MIN_SIZE) * (2.0 * bound)).collect())
    };
    let (widths, heights) = (sizes(0)?, sizes(bins)?);
    let one = constant(&mat(vec![1.0; n * db], n, db)?);
    let offset = constant(&mat(vec![SLOPE_OFFSET; n * db], n, db)?);
    let slope = |knot: usize| -> Result<Var> {
        if knot == 0 || knot == bins {
            return Ok(one.clone());
        }
        let inner = parameter(2 * bins + knot - 1)? + SLOPE_OFFSET;
        Ok(softplus(inner) - softplus(offset.clone()) + 1.0)
    };
    // Ends of the bins, and which of them a value lies in.
    let start = constant(&mat(vec![-bound; n * db], n, db)?);
    let (mut left, mut low) = (vec![start.clone()], vec![start]);
    for k in 1..bins {
        left.push(left[k - 1].clone() + widths[k - 1].clone());
        low.push(low[k - 1].clone() + heights[k - 1].clone());
    }
    let ends: Vec<Vec<f32>> = left.iter().map(|v| v.as_vec()).collect();
    let bin = |i: usize, v: f32| {
        // A value outside is looked up as 0, and its result left out.
        let v = if v.abs() <= bound { v } else { 0.0 };
        (0..bins).rev().find(|k| *k == 0 || v >= ends[*k][i]).unwrap_or(0)
    };
    let masks = (0..bins).map(|k| mask(&|i, v| bin(i, v) == k)).collect::<Result<Vec<_>>>()?;
    let chosen = |of: &dyn Fn(usize) -> Result<Var>| -> Result<Var> {
        let mut sum = of(0)? * masks[0].clone();
        for (k, mask) in masks.iter().enumerate().skip(1) {
            sum = sum + of(k)? * mask.clone();
        }
        Ok(sum)
    };
    let (x_k, y_k) = (chosen(&|k| Ok(left[k].clone()))?, chosen(&|k| Ok(low[k].clone()))?);
    let (w, h) = (chosen(&|k| Ok(widths[k].clone()))?, chosen(&|k| Ok(heights[k].clone()))?);
    let (p, q) = (chosen(&slope)?, chosen(&|k| slope(k + 1))?);
    let inside = mask(&|_, v| v >= -bound && v <= bound)?;
    let outside = mask(&|_, v| !(v >= -bound && v <= bound))?;
    let t = (xb.clone() * inside.clone() - x_k) / w.clone();
    let s = h.clone() / w;
    let back = one.clone() - t.clone();
    let u = t.clone() * back.clone();
    let e = s.clone() + (p.clone() + q.clone() - s.clone() * 2.0) * u.clone();
    let inner = y_k + h * (s.clone() * t.clone().square() + p.clone() * u.clone()) / e.clone();
    let y = inner * inside.clone() + xb * outside;
    let n = q * t.square() + s.clone() * u * 2.0 + p * back.square();
    let log_slope = (s.square() * n / e.square()).ln() * inside;
    let log_det = log_slope.clone().sum::<(usize,), Axis<1>>();
    Ok(SplineTail { y: (xa, y).concat_along(Axis::<1>), log_det, log_slope })
}
