//! Every own operation against its composed twin and against finite differences.
#![cfg(not(feature = "cuda"))]

mod common;

use ccnf_tensor::ops::{self, Activation, AffineTail, Film, Index, Layer, RowTable, composed};
use ccnf_tensor::{Mat, Scalar, Var, constant, gradients, mat, tracked};
use common::{check, check_twin, normal, weigh};
use dfdx::prelude::*;
use std::sync::Arc;

fn index(n: usize, rows: u32) -> Index {
    (0..n as u32).map(|i| (i * 7 + i / 3) % rows).collect::<Vec<_>>().into()
}

/// A layer with a bias, a class table and, if wanted, FiLM; `v` are weight, bias, table, modulation.
fn layer(v: &[Var], n: usize, activation: Activation, film: Option<bool>) -> Layer {
    let tables = vec![
        RowTable { table: v[1].clone(), index: None },
        RowTable { table: v[2].clone(), index: Some(index(n, 3)) },
    ];
    let film = film.map(|before_activation| Film {
        rows: RowTable { table: v[3].clone(), index: Some(index(n, 2)) },
        before_activation,
    });
    Layer { weight: v[0].clone(), tables, activation, film }
}

/// Leaves for one [`layer`].
fn layer_leaves(name: &str, inp: usize, out: usize) -> [Mat; 4] {
    let leaf = |what: &str, rows, cols| normal(&format!("{name}.{what}"), rows, cols);
    [leaf("w", out, inp), leaf("b", 1, out), leaf("t", 3, out), leaf("f", 2, 2 * out)]
}

#[test]
fn a_layer_equals_its_twin_in_every_form() {
    let (n, a, h) = (7, 4, 5);
    let x = normal("x", n, a + 3);
    let own_leaves = layer_leaves("l", a, h);
    let leaves: Vec<&Mat> = std::iter::once(&x).chain(&own_leaves).collect();
    for activation in [Activation::Identity, Activation::Relu] {
        for film in [None, Some(false), Some(true)] {
            let run = |v: &[Var], own: bool| {
                let layers = [layer(&v[1..], n, activation, film)];
                let y = if own { ops::chain(&v[0], &layers)? } else { composed::chain(&v[0], &layers)? };
                Ok(weigh(&y, "objective"))
            };
            check(&leaves, |v| run(v, true), |v| run(v, false));
        }
    }
}

/// A subnet with two hidden layers.
fn subnet_with(v: &[Var], n: usize, activation: Activation, film: Option<bool>) -> Vec<Layer> {
    vec![
        layer(&v[0..4], n, activation, film),
        layer(&v[4..8], n, activation, film),
        layer(&v[8..12], n, Activation::Identity, None),
    ]
}

fn subnet(v: &[Var], n: usize, film: Option<bool>) -> Vec<Layer> {
    subnet_with(v, n, Activation::Relu, film)
}

fn subnet_leaves(inp: usize, h: usize, out: usize) -> Vec<Mat> {
    [layer_leaves("0", inp, h), layer_leaves("1", h, h), layer_leaves("2", h, out)].concat()
}

#[test]
fn a_chain_over_several_segments_equals_its_twin() {
    // 1030 tokens are three segments and many chunks, none of which divides them
    for n in [13, 1030] {
        let (x, own_leaves) = (normal("x", n, 4), subnet_leaves(3, 9, 5));
        let leaves: Vec<&Mat> = std::iter::once(&x).chain(&own_leaves).collect();
        for film in [None, Some(false), Some(true)] {
            let run = |v: &[Var], own: bool| {
                let layers = subnet(&v[1..], n, film);
                let y = if own { ops::chain(&v[0], &layers)? } else { composed::chain(&v[0], &layers)? };
                Ok(weigh(&y, "objective"))
            };
            check_twin(&leaves, |v| run(v, true), |v| run(v, false));
        }
    }
}

#[test]
fn an_affine_coupling_equals_its_twin_for_odd_and_even_widths() {
    for (n, d) in [(5, 4), (700, 5), (1, 2)] {
        let (kept, changed) = (d - d / 2, d / 2);
        let (x, own_leaves) = (normal("x", n, d), subnet_leaves(kept, 7, 2 * changed));
        let leaves: Vec<&Mat> = std::iter::once(&x).chain(&own_leaves).collect();
        for (scale, film) in [(0.0, None), (0.35, Some(false)), (0.7, Some(true))] {
            let run = |v: &[Var], activation: Activation, own: bool| {
                let layers = subnet_with(&v[1..], n, activation, film);
                let t = if own {
                    ops::affine_coupling(&v[0], &layers, scale)?
                } else {
                    composed::affine_coupling(&v[0], &layers, scale)?
                };
                Ok(weigh(&t.y, "o") + (t.log_det.square().sum::<Rank0, _>() + weigh(&t.log_scale, "s")))
            };
            let relu = Activation::Relu;
            check_twin(&leaves, |v| run(v, relu, true), |v| run(v, relu, false));
            if n < 10 {
                // without kinks, for the finite differences; those of ReLU stand in the test of one layer
                let smooth = Activation::Identity;
                check(&leaves, |v| run(v, smooth, true), |v| run(v, smooth, false));
            }
        }
    }
}

#[test]
fn an_affine_tail_equals_its_twin_and_the_coupling_that_contains_it() {
    for (n, d, changed) in [(5, 4, 2), (300, 5, 2), (3, 3, 3)] {
        let (x, raw) = (normal("x", n, d), normal("raw", n, 2 * changed));
        for scale in [0.0, 0.7] {
            let objective = |t: AffineTail| {
                weigh(&t.y, "y") + (t.log_det.square().sum::<Rank0, _>() * 3.0 + weigh(&t.log_scale, "s"))
            };
            let own = |v: &[Var]| Ok(objective(ops::affine_tail(&v[0], &v[1], scale)?));
            let twin = |v: &[Var]| Ok(objective(composed::affine_tail(&v[0], &v[1], scale)?));
            if n < 10 { check(&[&x, &raw], own, twin) } else { drop(check_twin(&[&x, &raw], own, twin)) }
        }
    }
    let (x, v) = (constant(&normal("x", 9, 6)), subnet_leaves(3, 5, 6));
    let layers = subnet(&v.iter().map(constant).collect::<Vec<_>>(), 9, None);
    let whole = ops::affine_coupling(&x, &layers, 0.7).unwrap();
    let tail = ops::affine_tail(&x, &ops::chain(&x, &layers).unwrap(), 0.7).unwrap();
    assert_eq!(tail.y.as_vec(), whole.y.as_vec());
    assert_eq!(tail.log_det.as_vec(), whole.log_det.as_vec());
}

/// The gradients that a chain gives when only the leaves with `on` are trained equal those when all are.
#[test]
fn constants_get_no_gradient_and_change_no_other() {
    let n = 40;
    let (x, own_leaves) = (normal("x", n, 6), subnet_leaves(3, 8, 6));
    let leaves: Vec<&Mat> = std::iter::once(&x).chain(&own_leaves).collect();
    let run = |on: &dyn Fn(usize) -> bool| {
        let (_, (), mut g) = gradients(|| {
            let v: Vec<Var> = leaves
                .iter()
                .enumerate()
                .map(|(k, l)| if on(k) { tracked(l) } else { constant(l) })
                .collect();
            let t = ops::affine_coupling(&v[0], &subnet(&v[1..], n, Some(false)), 0.7)?;
            let objective = weigh(&t.y, "o") + t.log_det.square().sum::<Rank0, _>();
            Ok::<_, ccnf_tensor::TensorError>((objective, ()))
        })
        .unwrap();
        leaves.iter().map(|l| g.of(l).unwrap()).collect::<Vec<_>>()
    };
    let all = run(&|_| true);
    // each leaf alone; the modulation of the last layer (12) is not used
    for k in 0..12 {
        let alone = run(&|j| j == k);
        assert!(all[k].iter().any(|v| *v != 0.0), "leaf {k} has no gradient");
        assert_eq!(alone[k], all[k], "leaf {k} alone");
        let others = alone.iter().enumerate().filter(|(j, _)| *j != k);
        assert!(others.flat_map(|(_, g)| g).all(|v| *v == 0.0), "a constant got a gradient beside leaf {k}");
    }
}

#[test]
fn a_token_of_a_coupling_does_not_depend_on_its_company() {
    let n = 600;
    let (x, own_leaves) = (normal("x", n, 6), subnet_leaves(3, 20, 6));
    let run = |rows: std::ops::Range<usize>| {
        let part = mat(x.as_vec()[rows.start * 6..rows.end * 6].to_vec(), rows.len(), 6).unwrap();
        let v: Vec<Var> = own_leaves.iter().map(constant).collect();
        let mut layers = subnet(&v, n, Some(false));
        let tables =
            layers.iter_mut().flat_map(|l| l.tables.iter_mut().chain(l.film.as_mut().map(|f| &mut f.rows)));
        for table in tables {
            table.index = table.index.as_ref().map(|i| i[rows.clone()].into());
        }
        let t = ops::affine_coupling(&constant(&part), &layers, 0.7).unwrap();
        (t.y.as_vec(), t.log_det.as_vec())
    };
    let (y, log_det) = run(0..n);
    for rows in [0..1, 17..24, 513..600] {
        let (own, own_log_det) = run(rows.clone());
        assert_eq!(own, y[rows.start * 6..rows.end * 6]);
        assert_eq!(own_log_det, log_det[rows]);
    }
}

#[test]
fn a_coupling_at_scale_zero_is_additive() {
    let v: Vec<Var> = subnet_leaves(3, 4, 6).iter().map(constant).collect();
    let t = ops::affine_coupling(&constant(&normal("x", 4, 6)), &subnet(&v, 4, None), 0.0).unwrap();
    assert!(t.log_det.as_vec().iter().all(|v| *v == 0.0));
}

#[test]
fn gradients_of_a_part_of_the_outputs_alone_are_right() {
    let (x, own_leaves) = (normal("x", 6, 4), subnet_leaves(2, 5, 4));
    let leaves: Vec<&Mat> = std::iter::once(&x).chain(&own_leaves).collect();
    let objectives: [&dyn Fn(AffineTail) -> Scalar; 2] =
        [&|t| t.log_det.square().sum::<Rank0, _>(), &|t| weigh(&t.log_scale, "s")];
    for objective in objectives {
        let layers = |v: &[Var]| subnet_with(&v[1..], 6, Activation::Identity, None);
        check(
            &leaves,
            |v| Ok(objective(ops::affine_coupling(&v[0], &layers(v), 0.7)?)),
            |v| Ok(objective(composed::affine_coupling(&v[0], &layers(v), 0.7)?)),
        );
    }
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
fn squares_of_a_broadcast_matrix_equal_their_twins() {
    let w = normal("w", 1, 1);
    let wide =
        |v: &[Var]| -> Var { v[0].clone().mean::<Rank0, _>().broadcast_like::<_, Axes2<0, 1>>(&(5, 3)) };
    check(&[&w], |v| ops::mean_square(&wide(v)), |v| composed::mean_square(&wide(v)));
    check(
        &[&w],
        |v| Ok(ops::square_sum(&wide(v))?.square().sum()),
        |v| Ok(composed::square_sum(&wide(v))?.square().sum()),
    );
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
    let bad: Index = vec![0, 0].into();
    assert!(ops::permute_cols(&x, &bad).is_err());
    let plain = |rows, cols| Layer {
        weight: constant(&normal("w", rows, cols)),
        tables: vec![],
        activation: Activation::Relu,
        film: None,
    };
    assert!(ops::chain(&x, &[]).is_err());
    assert!(ops::chain(&x, &[plain(4, 2), plain(3, 5)]).is_err());
    // the subnet sees a dim that it changes; an odd number of outputs
    assert!(ops::affine_coupling(&x, &[plain(2, 2)], 1.0).is_err());
    assert!(ops::affine_coupling(&x, &[plain(1, 1)], 1.0).is_err());
    let mut layer = plain(4, 2);
    let table = constant(&normal("t", 2, 4));
    layer.tables.push(RowTable { table, index: Some(Arc::from(vec![0u32, 9, 0])) });
    assert!(ops::chain(&x, &[layer]).unwrap_err().to_string().contains("index 9"));
}
