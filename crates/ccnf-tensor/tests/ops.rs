//! Every own operation against its composed twin and against finite differences.
#![cfg(not(feature = "cuda"))]

use ccnf_tensor::ops::{self, Activation, Dense, Film, Index, RowTable, composed};
use ccnf_tensor::{Mat, Result, Scalar, Streams, Var, constant, gradients, mat, tracked};
use dfdx::prelude::*;
use std::sync::Arc;

fn normal(name: &str, rows: usize, cols: usize) -> Mat {
    mat(Streams::new(11).normal(name, rows * cols), rows, cols).unwrap()
}

fn index(n: usize, rows: u32) -> Index {
    (0..n as u32).map(|i| (i * 7 + i / 3) % rows).collect::<Vec<_>>().into()
}

/// `sum(v * weights)`: a scalar objective with a dense gradient.
fn weigh(v: &Var, name: &str) -> Scalar {
    let (r, c) = *v.shape();
    (v.clone() * constant(&normal(name, r, c))).sum()
}

fn close(a: &[f32], b: &[f32], tolerance: f32, what: &str) {
    assert_eq!(a.len(), b.len(), "{what}: lengths");
    let scale = b.iter().fold(0f32, |m, v| m.max(v.abs())).max(1e-6);
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        assert!((a - b).abs() <= tolerance * scale, "{what}[{i}]: {a} against {b} (scale {scale})");
    }
}

/// Values and gradients of `own` and `twin` agree to 1e-5 of the largest value, and the gradient agrees with finite
/// differences to 1e-4.
fn check(leaves: &[&Mat], own: impl Fn(&[Var]) -> Result<Scalar>, twin: impl Fn(&[Var]) -> Result<Scalar>) {
    let run = |f: &dyn Fn(&[Var]) -> Result<Scalar>| {
        let (value, (), mut g) = gradients(|| {
            Ok::<_, ccnf_tensor::TensorError>((
                f(&leaves.iter().map(|l| tracked(l)).collect::<Vec<_>>())?,
                (),
            ))
        })
        .unwrap();
        (value, leaves.iter().map(|l| g.of(l).unwrap()).collect::<Vec<_>>())
    };
    let (value, grads) = run(&own);
    let (twin_value, twin_grads) = run(&twin);
    close(&[value], &[twin_value], 1e-5, "value");
    for (k, (a, b)) in grads.iter().zip(&twin_grads).enumerate() {
        close(a, b, 1e-5, &format!("gradient of leaf {k} against the twin"));
    }
    for (k, grad) in grads.iter().enumerate() {
        let mut errors: Vec<f64> =
            (0..5).map(|seed| finite_difference_error(leaves, k, grad, seed, &own)).collect();
        errors.sort_by(f64::total_cmp);
        assert!(
            errors[2] < 1e-4,
            "leaf {k}: finite differences are off by {errors:?} of the gradient's size"
        );
    }
}

/// The error of the gradient along a random direction, relative to the gradient's size. Fourth-order differences; a kink of
/// ReLU inside the stencil spoils one step size or direction, not all.
fn finite_difference_error(
    leaves: &[&Mat],
    k: usize,
    grad: &[f32],
    seed: u64,
    f: &impl Fn(&[Var]) -> Result<Scalar>,
) -> f64 {
    let direction: Vec<f32> = Streams::new(seed).normal(&format!("direction {k}"), grad.len());
    let along = |e: f32| -> f64 {
        let moved: Vec<f32> = leaves[k].as_vec().iter().zip(&direction).map(|(v, d)| v + e * d).collect();
        let (r, c) = *leaves[k].shape();
        let moved = mat(moved, r, c).unwrap();
        let vars: Vec<Var> =
            leaves.iter().enumerate().map(|(j, l)| constant(if j == k { &moved } else { l })).collect();
        f64::from(f(&vars).unwrap().as_vec()[0])
    };
    let expected: f64 = grad.iter().zip(&direction).map(|(g, d)| f64::from(*g) * f64::from(*d)).sum();
    let length = |v: &[f32]| v.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
    let scale = length(grad) * length(&direction) + 1e-3;
    [4e-3f32, 1e-2, 2e-2]
        .into_iter()
        .map(|e| (8.0 * (along(e) - along(-e)) - (along(2.0 * e) - along(-2.0 * e))) / (12.0 * f64::from(e)))
        .map(|fd| (fd - expected).abs() / scale)
        .fold(f64::MAX, f64::min)
}

fn tables(v: &[Var], n: usize) -> Vec<RowTable> {
    vec![
        RowTable { table: v[2].clone(), index: None },
        RowTable { table: v[3].clone(), index: Some(index(n, 3)) },
    ]
}

#[test]
fn dense_equals_its_twin_in_every_form() {
    let (n, a, h) = (7, 4, 5);
    let x = normal("x", n, a + 3);
    let leaves = [&x, &normal("w", h, a), &normal("b", 1, h), &normal("t", 3, h), &normal("f", 2, 2 * h)];
    for activation in [Activation::Identity, Activation::Relu] {
        for film in [None, Some(false), Some(true)] {
            let run = |v: &[Var], own: bool| {
                let tables = tables(v, n);
                let film = film.map(|before_activation| Film {
                    rows: RowTable { table: v[4].clone(), index: Some(index(n, 2)) },
                    before_activation,
                });
                let layer = Dense { x: &v[0], w: &v[1], tables: &tables, activation, film: film.as_ref() };
                let y = if own { ops::dense(&layer)? } else { composed::dense(&layer, (n, a, h))? };
                Ok(weigh(&y, "objective"))
            };
            check(&leaves, |v| run(v, true), |v| run(v, false));
        }
    }
}

#[test]
fn dense_skips_the_gradients_of_constants() {
    let (x, w) = (normal("x", 3, 2), normal("w", 4, 2));
    let (_, (), mut g) = gradients(|| {
        Ok::<_, ccnf_tensor::TensorError>((weigh(&ops::linear(&tracked(&x), &constant(&w), None)?, "o"), ()))
    })
    .unwrap();
    assert!(g.of(&w).unwrap().iter().all(|v| *v == 0.0));
    assert!(g.of(&x).unwrap().iter().any(|v| *v != 0.0));
}

#[test]
fn affine_tail_equals_its_twin_for_odd_and_even_widths() {
    for (n, d) in [(5, 4), (300, 5), (1, 2)] {
        let leaves = [&normal("x", n, d), &normal("r", n, 2 * (d / 2))];
        for scale in [0.0, 0.35, 0.7] {
            let run = |v: &[Var], own: bool| {
                let t = if own {
                    ops::affine_tail(&v[0], &v[1], scale)?
                } else {
                    composed::affine_tail(&v[0], &v[1], scale)?
                };
                Ok(weigh(&t.y, "o") + (t.log_det.square().sum::<Rank0, _>() + weigh(&t.log_scale, "s")))
            };
            check(&leaves, |v| run(v, true), |v| run(v, false));
        }
    }
}

#[test]
fn affine_tail_at_scale_zero_is_additive() {
    let (x, r) = (normal("x", 4, 6), normal("r", 4, 6));
    let t = ops::affine_tail(&constant(&x), &constant(&r), 0.0).unwrap();
    assert!(t.log_det.as_vec().iter().all(|v| *v == 0.0));
}

#[test]
fn gradients_of_a_part_of_the_outputs_alone_are_right() {
    let leaves = [&normal("x", 6, 4), &normal("r", 6, 4)];
    let log_det = |v: &[Var], own: bool| {
        let t = if own {
            ops::affine_tail(&v[0], &v[1], 0.7)?
        } else {
            composed::affine_tail(&v[0], &v[1], 0.7)?
        };
        Ok(t.log_det.square().sum::<Rank0, _>())
    };
    check(&leaves, |v| log_det(v, true), |v| log_det(v, false));
}

#[test]
fn split_permute_and_sums_equal_their_twins() {
    let x = normal("x", 5, 6);
    let split = |p: Vec<Var>| Ok(weigh(&p[0], "0") + weigh(&p[1], "1") + weigh(&p[2].clone().square(), "2"));
    check(
        &[&x],
        |v| split(ops::split_cols(&v[0], &[1, 3, 2])?),
        |v| split(composed::split_cols(&v[0], &[1, 3, 2])?),
    );
    let (r, q) = (normal("r", 1, 3), normal("q", 1, 3));
    check(
        &[&r, &q],
        |v| Ok(weigh(&ops::stack_rows(&[v[0].clone(), v[1].clone(), v[0].clone()])?, "o")),
        |v| Ok(weigh(&composed::stack_rows(&[v[0].clone(), v[1].clone(), v[0].clone()])?, "o")),
    );
    let order: Index = vec![3, 0, 5, 1, 2, 4].into();
    check(
        &[&x],
        |v| Ok(weigh(&ops::permute_cols(&v[0], &order)?, "o")),
        |v| Ok(weigh(&composed::permute_cols(&v[0], &order)?, "o")),
    );
    check(
        &[&x],
        |v| Ok(ops::square_sum(&v[0])?.square().sum()),
        |v| Ok(composed::square_sum(&v[0])?.square().sum()),
    );
    check(&[&x], |v| ops::mean_square(&v[0]), |v| composed::mean_square(&v[0]));
}

#[test]
fn within_class_std_penalty_equals_its_twin_and_leaves_single_tokens_out() {
    let z = normal("z", 9, 4);
    let class: Index = vec![0, 0, 2, 0, 2, 1, 2, 2, 0].into();
    check(
        &[&z],
        |v| ops::within_class_std_penalty(&v[0], &class, 4),
        |v| composed::within_class_std_penalty(&v[0], &class, 4),
    );
    let lonely: Index = vec![0; 1].into();
    let one = ops::within_class_std_penalty(&constant(&normal("z", 1, 3)), &lonely, 2).unwrap();
    assert_eq!(one.as_vec(), vec![0.0]);
}

#[test]
fn spectral_scale_equals_its_twin() {
    let (u, v0) = (normal("u", 1, 4), normal("v", 1, 3));
    for (w, cap) in [(normal("w", 4, 3), false), (normal("w", 4, 3), true)] {
        check(
            &[&w],
            |v| Ok(weigh(&ops::spectral_scale(&v[0], &u, &v0, cap)?, "o")),
            |v| Ok(weigh(&composed::spectral_scale(&v[0], &u, &v0, cap)?, "o")),
        );
    }
}

#[test]
fn wrong_shapes_and_indices_are_errors() {
    let (x, w) = (constant(&normal("x", 3, 2)), constant(&normal("w", 4, 5)));
    assert!(ops::linear(&x, &w, None).is_err());
    assert!(ops::split_cols(&x, &[1, 2]).is_err());
    assert!(ops::affine_tail(&x, &w, 1.0).is_err());
    let bad: Index = vec![0, 0].into();
    assert!(ops::permute_cols(&x, &bad).is_err());
    let table = RowTable { table: constant(&normal("t", 2, 4)), index: Some(Arc::from(vec![0u32, 9, 0])) };
    let w = constant(&normal("w", 4, 2));
    let layer = Dense { x: &x, w: &w, tables: &[table], activation: Activation::Relu, film: None };
    assert!(ops::dense(&layer).unwrap_err().to_string().contains("index 9"));
}
