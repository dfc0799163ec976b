//! The spline coupling against its composed twin, finite differences, and a plain f64 implementation of the published formulas.
#![cfg(not(feature = "cuda"))]

mod common;

use ccnf_tensor::ops::{self, MIN_SIZE, MIN_SLOPE, Spline, SplineTail, composed};
use ccnf_tensor::{Mat, Scalar, Streams, TensorError, constant, gradients, mat, tracked};
use common::{check, check_twin, close, normal, weigh};
use dfdx::prelude::*;

const SPLINES: [Spline; 3] =
    [Spline { bins: 2, bound: 1.5 }, Spline { bins: 4, bound: 3.0 }, Spline { bins: 8, bound: 2.0 }];

/// Tokens, some of whose values lie outside of the interval, and raw parameters.
fn leaves(spline: &Spline, n: usize, d: usize, changed: usize) -> (Mat, Mat) {
    let x = Streams::new(3).normal("tokens", n * d).iter().map(|v| 1.3 * v).collect();
    (mat(x, n, d).unwrap(), normal("raw", n, spline.parameters() * changed))
}

fn objective(t: SplineTail) -> Scalar {
    weigh(&t.y, "y") + (t.log_det.square().sum::<Rank0, _>() + weigh(&t.log_slope, "slope"))
}

#[test]
fn a_spline_coupling_equals_its_twin() {
    for spline in SPLINES {
        // The value alone: the slope has a kink at every knot, which spoils finite differences.
        let (x, raw) = leaves(&spline, 6, 5, 2);
        check(
            &[&x, &raw],
            |v| Ok(weigh(&ops::spline_coupling(&v[0], &v[1], &spline)?.y, "y")),
            |v| Ok(weigh(&composed::spline_coupling(&v[0], &v[1], &spline, 2)?.y, "y")),
        );
        // all outputs, several blocks of rows, all dims changed
        let (x, raw) = leaves(&spline, 300, 3, 3);
        // bins that are not too narrow for f32 to agree to 1e-5
        let raw = mat(raw.as_vec().iter().map(|v| 0.5 * v).collect(), 300, 3 * spline.parameters()).unwrap();
        check_twin(
            &[&x, &raw],
            |v| Ok(objective(ops::spline_coupling(&v[0], &v[1], &spline)?)),
            |v| Ok(objective(composed::spline_coupling(&v[0], &v[1], &spline, 3)?)),
        );
    }
}

/// `y` and `ln dy/dx` by the formulas of Durkan et al. (2019), equations 4 and 5, in f64.
fn published(spline: &Spline, raw: &[f64], x: f64) -> (f64, f64) {
    let (k, b) = (spline.bins, f64::from(spline.bound));
    if x.abs() > b {
        return (x, 0.0);
    }
    let knots = |raw: &[f64]| -> Vec<f64> {
        let total: f64 = raw.iter().map(|v| v.exp()).sum();
        let size = |v: &f64| f64::from(MIN_SIZE) + (1.0 - k as f64 * f64::from(MIN_SIZE)) * v.exp() / total;
        let mut at = vec![-b];
        raw.iter().for_each(|v| at.push(at[at.len() - 1] + 2.0 * b * size(v)));
        at
    };
    let (xs, ys) = (knots(&raw[..k]), knots(&raw[k..2 * k]));
    let shift = ((1.0 - f64::from(MIN_SLOPE)).exp() - 1.0).ln();
    let mut slopes = vec![1.0];
    slopes.extend(raw[2 * k..].iter().map(|v| f64::from(MIN_SLOPE) + (v + shift).exp().ln_1p()));
    slopes.push(1.0);
    let i = (0..k).find(|i| x < xs[i + 1]).unwrap_or(k - 1);
    let (xi, s) = ((x - xs[i]) / (xs[i + 1] - xs[i]), (ys[i + 1] - ys[i]) / (xs[i + 1] - xs[i]));
    let (d0, d1) = (slopes[i], slopes[i + 1]);
    let denominator = s + (d1 + d0 - 2.0 * s) * xi * (1.0 - xi);
    let y = ys[i] + (ys[i + 1] - ys[i]) * (s * xi * xi + d0 * xi * (1.0 - xi)) / denominator;
    let numerator = d1 * xi * xi + 2.0 * s * xi * (1.0 - xi) + d0 * (1.0 - xi).powi(2);
    (y, (s * s * numerator / denominator.powi(2)).ln())
}

/// All of a token's published values; parameter `p` of dim `j` is `raw[p * changed + j]`.
fn published_token(spline: &Spline, x: &[f64], raw: &[f64]) -> Vec<(f64, f64)> {
    let of = |j: usize| -> Vec<f64> { raw.iter().skip(j).step_by(x.len()).copied().collect() };
    x.iter().enumerate().map(|(j, x)| published(spline, &of(j), *x)).collect()
}

#[test]
fn values_and_gradients_are_those_of_the_published_formulas_in_f64() {
    for spline in SPLINES {
        let (n, d, changed) = (40, 5, 3);
        let (x, raw) = leaves(&spline, n, d, changed);
        let (_, out, mut grads) = gradients(|| {
            let t = ops::spline_coupling(&tracked(&x), &tracked(&raw), &spline)?;
            let values = (t.y.as_vec(), t.log_det.as_vec(), t.log_slope.as_vec());
            Ok::<_, TensorError>((weigh(&t.y, "y") + weigh(&t.log_slope, "slope"), values))
        })
        .unwrap();
        let (gx, graw) = (grads.of(&x).unwrap(), grads.of(&raw).unwrap());
        let (wy, ws) = (normal("y", n, d).as_vec(), normal("slope", n, changed).as_vec());
        let f64s = |m: &Mat| m.as_vec().iter().map(|v| f64::from(*v)).collect::<Vec<_>>();
        let (x, raw, width) = (f64s(&x), f64s(&raw), spline.parameters() * changed);
        let mut inside = 0;
        for row in 0..n {
            let xb = &x[row * d + d - changed..(row + 1) * d];
            let raw = &raw[row * width..(row + 1) * width];
            inside += xb.iter().filter(|v| v.abs() < f64::from(spline.bound)).count();
            let expected = published_token(&spline, xb, raw);
            let (y, slope): (Vec<f32>, Vec<f32>) =
                expected.iter().map(|(y, l)| (*y as f32, *l as f32)).unzip();
            close(&out.0[row * d + d - changed..(row + 1) * d], &y, 1e-6, "y");
            let slopes = &out.2[row * changed..(row + 1) * changed];
            slopes.iter().zip(&slope).for_each(|(a, b)| assert!((a - b).abs() < 3e-5, "log-slope {a}, {b}"));
            assert!((out.1[row] - slope.iter().sum::<f32>()).abs() < 1e-5, "log-det");
            let objective = |x: &[f64], raw: &[f64]| -> f64 {
                let all = published_token(&spline, x, raw);
                let weight = |j: usize| (wy[row * d + d - changed + j], ws[row * changed + j]);
                let part =
                    |(j, v): (usize, (f64, f64))| f64::from(weight(j).0) * v.0 + f64::from(weight(j).1) * v.1;
                all.into_iter().enumerate().map(part).sum()
            };
            let slope_of = |values: &[f64], i: usize, of: &dyn Fn(&[f64]) -> f64| {
                let moved = |by: f64| {
                    let mut values = values.to_vec();
                    values[i] += by;
                    of(&values)
                };
                (moved(1e-6) - moved(-1e-6)) / 2e-6
            };
            for j in 0..changed {
                let expected = slope_of(xb, j, &|x| objective(x, raw)) as f32;
                let own = gx[row * d + d - changed + j];
                assert!((own - expected).abs() < 1e-4 * expected.abs().max(1.0), "x: {own}, {expected}");
            }
            for (p, own) in graw[row * width..(row + 1) * width].iter().enumerate() {
                let expected = slope_of(raw, p, &|raw| objective(xb, raw)) as f32;
                assert!(
                    (own - expected).abs() < 1e-4 * expected.abs().max(1.0),
                    "raw {p}: {own}, {expected}"
                );
            }
        }
        assert!(inside > n && inside < n * changed, "{inside} of {} values inside", n * changed);
    }
}

#[test]
fn raw_parameters_of_zero_are_the_identity_to_the_last_bit() {
    for spline in SPLINES {
        let mut values = Streams::new(1).normal("x", 4000).iter().map(|v| 2.0 * v).collect::<Vec<f32>>();
        values[..6].copy_from_slice(&[spline.bound, -spline.bound, 0.0, -0.0, 1e30, f32::MIN]);
        let (x, raw) = (mat(values.clone(), 1000, 4).unwrap(), vec![0.0; 1000 * 2 * spline.parameters()]);
        let raw = mat(raw, 1000, 2 * spline.parameters()).unwrap();
        let t = ops::spline_coupling(&constant(&x), &constant(&raw), &spline).unwrap();
        assert_eq!(t.y.as_vec(), values);
        assert!(t.log_det.as_vec().iter().chain(&t.log_slope.as_vec()).all(|v| *v == 0.0));
    }
}

#[test]
fn the_inverse_gives_back_what_went_in() {
    for spline in SPLINES {
        let (x, raw) = leaves(&spline, 500, 4, 3);
        let t = ops::spline_coupling(&constant(&x), &constant(&raw), &spline).unwrap();
        let y = mat(t.y.as_vec(), 500, 4).unwrap();
        let back = ops::spline_inverse(&y, &raw, &spline).unwrap().as_vec();
        let (x, slopes) = (x.as_vec(), t.log_slope.as_vec());
        for (i, (a, b)) in back.iter().zip(&x).enumerate() {
            // what a rounding of y is in x
            let slope = if i % 4 == 0 { 1.0 } else { slopes[i / 4 * 3 + i % 4 - 1].exp().min(1.0) };
            assert!((a - b).abs() * slope < 1e-6 * b.abs().max(1.0), "{a} is not {b}, slope {slope}");
        }
    }
}

#[test]
fn a_nan_stays_visible() {
    let spline = SPLINES[1];
    let (x, raw) = leaves(&spline, 1, 2, 1);
    let with_nan = |m: &Mat, i: usize| {
        let mut values = m.as_vec();
        values[i] = f32::NAN;
        constant(&mat(values, m.shape().0, m.shape().1).unwrap())
    };
    let y = ops::spline_coupling(&with_nan(&x, 1), &constant(&raw), &spline).unwrap().y.as_vec();
    assert!(y[1].is_nan());
    for p in 0..2 * spline.bins {
        let t = ops::spline_coupling(&constant(&x), &with_nan(&raw, p), &spline).unwrap();
        assert!(t.y.as_vec()[1].is_nan() && t.log_det.as_vec()[0].is_nan(), "parameter {p}");
    }
}

#[test]
fn wrong_shapes_and_settings_are_errors() {
    let x = constant(&normal("x", 3, 4));
    let raw = |columns: usize| constant(&normal("raw", 3, columns));
    let four = Spline { bins: 4, bound: 3.0 };
    assert!(ops::spline_coupling(&x, &raw(22), &four).is_ok());
    for columns in [0, 10, 23, 55] {
        assert!(ops::spline_coupling(&x, &raw(columns), &four).is_err(), "{columns} columns");
    }
    for (bins, bound) in [(1, 1.0), (65, 1.0), (4, 0.0), (4, f32::NAN), (4, f32::INFINITY)] {
        let spline = Spline { bins, bound };
        assert!(ops::spline_coupling(&x, &raw(3 * bins - 1), &spline).is_err(), "{spline:?}");
    }
}
