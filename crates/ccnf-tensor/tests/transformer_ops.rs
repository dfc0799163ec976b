//! Attention, layer normalisation, GELU and dropout against their composed twins and against finite differences.
#![cfg(not(feature = "cuda"))]

mod common;

use ccnf_tensor::ops::{self, AttentionSplit, Dropout, Index, composed};
use ccnf_tensor::{Var, constant, gradients, mat, tracked};
use common::{check, close, normal, weigh};

#[test]
fn attention_equals_its_twin_for_all_splits_with_and_without_dropout() {
    for (groups, heads, queries, keys, head) in
        [(1, 1, 3, 3, 2), (2, 3, 5, 5, 4), (3, 2, 2, 9, 3), (2, 1, 17, 4, 8)]
    {
        let split = AttentionSplit { groups, heads };
        let d = heads * head;
        let q = normal("q", groups * queries, d);
        let (k, v) = (normal("k", groups * keys, d), normal("v", groups * keys, d));
        for dropout in [None, Some(Dropout { rate: 0.3, seed: 5 })] {
            check(
                &[&q, &k, &v],
                |x| Ok(weigh(&ops::attention(&x[0], &x[1], &x[2], split, dropout)?, "objective")),
                |x| Ok(weigh(&composed::attention(&x[0], &x[1], &x[2], split, dropout)?, "objective")),
            );
        }
    }
}

#[test]
fn one_tensor_may_be_query_key_and_value() {
    let x = normal("x", 6, 4);
    let split = AttentionSplit { groups: 2, heads: 2 };
    check(
        &[&x],
        |x| Ok(weigh(&ops::attention(&x[0], &x[0], &x[0], split, None)?, "objective")),
        |x| Ok(weigh(&composed::attention(&x[0], &x[0], &x[0], split, None)?, "objective")),
    );
}

#[test]
fn constants_of_an_attention_get_no_gradient() {
    let (q, k, v) = (normal("q", 4, 4), normal("k", 4, 4), normal("v", 4, 4));
    let split = AttentionSplit { groups: 1, heads: 2 };
    let (_, (), mut g) = gradients(|| {
        let y = ops::attention(&constant(&q), &tracked(&k), &constant(&v), split, None)?;
        Ok::<_, ccnf_tensor::TensorError>((weigh(&y, "objective"), ()))
    })
    .unwrap();
    assert!(g.of(&k).unwrap().iter().any(|g| *g != 0.0));
    assert!(g.of(&q).unwrap().iter().chain(&g.of(&v).unwrap()).all(|g| *g == 0.0));
}

#[test]
fn a_group_of_an_attention_does_not_depend_on_its_company() {
    let (rows, d) = (5, 8);
    let x = normal("x", 3 * rows, d);
    let all = ops::attention(
        &constant(&x),
        &constant(&x),
        &constant(&x),
        AttentionSplit { groups: 3, heads: 2 },
        None,
    )
    .unwrap()
    .as_vec();
    for g in 0..3 {
        let part = g * rows * d..(g + 1) * rows * d;
        let own = constant(&mat(x.as_vec()[part.clone()].to_vec(), rows, d).unwrap());
        let alone =
            ops::attention(&own, &own, &own, AttentionSplit { groups: 1, heads: 2 }, None).unwrap().as_vec();
        assert_eq!(alone, all[part]);
    }
}

#[test]
fn equal_keys_average_the_values() {
    let v = normal("v", 4, 3);
    let same = constant(&mat(vec![0.7; 12], 4, 3).unwrap());
    let y =
        ops::attention(&same, &same, &constant(&v), AttentionSplit { groups: 1, heads: 1 }, None).unwrap();
    let values = v.as_vec();
    let mean: Vec<f32> = (0..3).map(|j| (0..4).map(|i| values[i * 3 + j]).sum::<f32>() / 4.0).collect();
    y.as_vec().chunks(3).for_each(|row| close(row, &mean, 1e-6, "row"));
}

#[test]
fn a_nan_in_a_score_is_not_hidden() {
    let mut q = normal("q", 2, 2).as_vec();
    q[0] = f32::NAN;
    let x = constant(&normal("x", 2, 2));
    let q = constant(&mat(q, 2, 2).unwrap());
    let y = ops::attention(&q, &x, &x, AttentionSplit { groups: 1, heads: 1 }, None).unwrap().as_vec();
    assert!(y[0].is_nan() && y[1].is_nan() && y[2].is_finite());
}

#[test]
fn layer_norm_equals_its_twin_over_several_blocks_of_rows() {
    let (gamma, beta) = (normal("gamma", 1, 5), normal("beta", 1, 5));
    for n in [1, 3, 300] {
        let x = normal("x", n, 5);
        let f = |own: bool| {
            move |x: &[Var]| {
                let norm = if own { ops::layer_norm } else { composed::layer_norm };
                Ok(weigh(&norm(&x[0], &x[1], &x[2], 1e-5)?, "objective"))
            }
        };
        check(&[&x, &gamma, &beta], f(true), f(false));
    }
}

#[test]
fn gathered_rows_equal_their_twin_and_may_repeat() {
    let table = normal("table", 3, 4);
    let index: Index = vec![2, 0, 2, 2, 0].into();
    check(
        &[&table],
        |x| Ok(weigh(&ops::gather_rows(&x[0], &index)?, "objective")),
        |x| Ok(weigh(&composed::gather_rows(&x[0], &index)?, "objective")),
    );
    assert!(ops::gather_rows(&constant(&table), &vec![0, 3].into()).is_err());
}

#[test]
fn gelu_and_dropout_equal_their_twins() {
    let x = normal("x", 7, 5);
    check(
        &[&x],
        |x| Ok(weigh(&ops::gelu(&x[0])?, "objective")),
        |x| Ok(weigh(&composed::gelu(&x[0])?, "objective")),
    );
    let dropout = Dropout { rate: 0.4, seed: 9 };
    check(
        &[&x],
        |x| Ok(weigh(&ops::dropout(&x[0], dropout)?, "objective")),
        |x| Ok(weigh(&composed::dropout(&x[0], dropout)?, "objective")),
    );
}

#[test]
fn gelu_has_its_known_values() {
    let x = constant(&mat(vec![0.0, 1.0, -1.0, 3.0], 1, 4).unwrap());
    close(&ops::gelu(&x).unwrap().as_vec(), &[0.0, 0.841_344_7, -0.158_655_3, 2.995_950_3], 1e-6, "gelu");
}

#[test]
fn shapes_that_do_not_fit_are_errors() {
    let x = constant(&normal("x", 6, 4));
    let split = |groups, heads| AttentionSplit { groups, heads };
    for bad in [split(4, 2), split(0, 2), split(2, 3), split(2, 0)] {
        assert!(ops::attention(&x, &x, &x, bad, None).is_err());
    }
    let narrow = constant(&normal("narrow", 6, 2));
    assert!(ops::attention(&x, &narrow, &x, split(2, 2), None).is_err());
    assert!(ops::attention(&x, &narrow, &narrow, split(2, 2), None).is_err());
    let gamma = constant(&normal("gamma", 1, 3));
    assert!(ops::layer_norm(&x, &gamma, &gamma, 1e-5).is_err());
    for rate in [1.0, -0.1, f32::NAN] {
        let dropout = Dropout { rate, seed: 1 };
        assert!(ops::dropout(&x, dropout).is_err());
        assert!(ops::attention(&x, &x, &x, split(2, 2), Some(dropout)).is_err());
    }
}
