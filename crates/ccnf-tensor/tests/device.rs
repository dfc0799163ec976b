//! What has to hold on every device: values against sums written out in f64, gradients against finite differences, the optimiser
//! and the spectral norm against their formulas. On the CPU the operations run fused, with the feature `cuda` composed; nothing here
//! asks which. Compiled for both, run on a GPU by `tools/cuda-smoke`.

use ccnf_tensor::ops::{self, Index, composed};
use ccnf_tensor::*;
use dfdx::prelude::*;

fn values(name: &str, n: usize) -> Vec<f32> {
    Streams::new(29).normal(name, n)
}

fn normal(name: &str, rows: usize, cols: usize) -> Mat {
    mat(values(name, rows * cols), rows, cols).unwrap()
}

fn weight(name: &str, rows: usize, cols: usize) -> Param {
    Param::weight(name, Owner::Shared, values(name, rows * cols), rows, cols).unwrap()
}

/// `sum(v * weights)`: a scalar objective with a dense gradient.
fn weigh(v: &Var, name: &str) -> Scalar {
    let (r, c) = *v.shape();
    (v.clone() * constant(&normal(name, r, c))).sum()
}

/// Equal to `tolerance` of the largest value.
fn close(a: &[f32], b: &[f64], tolerance: f64, what: &str) {
    assert_eq!(a.len(), b.len(), "{what}: lengths");
    let scale = b.iter().fold(1e-6f64, |m, v| m.max(v.abs()));
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        assert!(
            (f64::from(*a) - b).abs() <= tolerance * scale,
            "{what}[{i}]: {a}, expected {b} (scale {scale})"
        );
    }
}

fn wide(v: &[f32]) -> Vec<f64> {
    v.iter().map(|v| f64::from(*v)).collect()
}

fn gradients_of(leaves: &[&Mat], f: &dyn Fn(&[Var]) -> Result<Scalar>) -> Vec<Vec<f32>> {
    let run = || Ok::<_, TensorError>((f(&leaves.iter().map(|l| tracked(l)).collect::<Vec<_>>())?, ()));
    let (_, (), mut g) = gradients(run).unwrap();
    leaves.iter().map(|l| g.of(l).unwrap()).collect()
}

/// The gradient of every leaf against fourth-order differences along random directions, to 1e-4 of its size. The median of five
/// directions counts, each at its best step: rounding spoils single ones.
fn finite_differences_agree(what: &str, leaves: &[&Mat], f: &dyn Fn(&[Var]) -> Result<Scalar>) {
    for (k, gradient) in gradients_of(leaves, f).iter().enumerate() {
        let mut errors: Vec<f64> = (0..5)
            .map(|seed| {
                let direction = Streams::new(seed).normal(&format!("direction {k}"), gradient.len());
                let along = |e: f32| -> f64 {
                    let (r, c) = *leaves[k].shape();
                    let moved = leaves[k].as_vec().iter().zip(&direction).map(|(v, d)| v + e * d).collect();
                    let moved = mat(moved, r, c).unwrap();
                    let at = |(j, l): (usize, &&Mat)| constant(if j == k { &moved } else { l });
                    f64::from(f(&leaves.iter().enumerate().map(at).collect::<Vec<_>>()).unwrap().as_vec()[0])
                };
                let length = |v: &[f32]| wide(v).iter().map(|g| g * g).sum::<f64>().sqrt();
                let expected: f64 = wide(gradient).iter().zip(wide(&direction)).map(|(g, d)| g * d).sum();
                let scale = length(gradient) * length(&direction) + 1e-3;
                [4e-3f32, 1e-2, 2e-2]
                    .map(|e| {
                        (8.0 * (along(e) - along(-e)) - along(2.0 * e) + along(-2.0 * e))
                            / (12.0 * f64::from(e))
                    })
                    .map(|difference| (difference - expected).abs() / scale)
                    .into_iter()
                    .fold(f64::MAX, f64::min)
            })
            .collect();
        errors.sort_by(f64::total_cmp);
        assert!(
            errors[2] < 1e-4,
            "{what}, leaf {k}: finite differences are off by {errors:?} of the gradient's size"
        );
    }
}

#[test]
fn linear_equals_the_sum_written_out() {
    let (n, i, o) = (37, 19, 23);
    let (x, w, b) = (values("x", n * i), values("w", o * i), values("b", o));
    let expected: Vec<f64> = (0..n * o)
        .map(|k| {
            let (row, col) = (&x[k / o * i..][..i], &w[k % o * i..][..i]);
            f64::from(b[k % o]) + wide(row).iter().zip(wide(col)).map(|(a, b)| a * b).sum::<f64>()
        })
        .collect();
    let [x, w, b] = [mat(x, n, i), mat(w, o, i), mat(b, 1, o)].map(|m| constant(&m.unwrap()));
    close(&ops::linear(&x, &w, Some(&b)).unwrap().as_vec(), &expected, 1e-5, "linear");
}

#[test]
fn columns_and_rows_are_moved_bit_for_bit() {
    let (n, d) = (300, 6);
    let x = values("x", n * d);
    let var = constant(&mat(x.clone(), n, d).unwrap());
    let part = |from: usize, width: usize| -> Vec<f32> {
        x.chunks(d).flat_map(|row| row[from..from + width].to_vec()).collect()
    };
    for split in [ops::split_cols(&var, &[1, 3, 2]).unwrap(), composed::split_cols(&var, &[1, 3, 2]).unwrap()]
    {
        assert_eq!(
            split.iter().map(|p| p.as_vec()).collect::<Vec<_>>(),
            [part(0, 1), part(1, 3), part(4, 2)]
        );
    }
    let order: Index = vec![3, 0, 5, 1, 2, 4].into();
    let permuted: Vec<f32> =
        x.chunks(d).flat_map(|row| order.iter().map(|j| row[*j as usize]).collect::<Vec<_>>()).collect();
    assert_eq!(ops::permute_cols(&var, &order).unwrap().as_vec(), permuted);
    let rows: Vec<Var> = x.chunks(d).take(5).map(|r| constant(&mat(r.to_vec(), 1, d).unwrap())).collect();
    assert_eq!(ops::stack_rows(&rows).unwrap().as_vec(), x[..5 * d]);
}

/// Rows of 300 columns need several thread blocks on a GPU.
#[test]
fn sums_of_squares_equal_the_sums_written_out() {
    for (n, d) in [(7, 300), (300, 7), (1, 1)] {
        let x = values("x", n * d);
        let var = constant(&mat(x.clone(), n, d).unwrap());
        let rows: Vec<f64> = x.chunks(d).map(|r| wide(r).iter().map(|v| v * v).sum()).collect();
        close(&ops::square_sum(&var).unwrap().as_vec(), &rows, 1e-5, "square_sum");
        let mean = rows.iter().sum::<f64>() / (n * d) as f64;
        close(&ops::mean_square(&var).unwrap().as_vec(), &[mean], 1e-5, "mean_square");
    }
}

#[test]
fn within_class_std_penalty_equals_its_formula() {
    let (n, d, classes) = (60, 5, 4);
    let z = values("z", n * d);
    // Class 3 has one token and class 2 none: both are left out.
    let class: Vec<u32> = (0..n).map(|i| if i == 0 { 3 } else { (i % 2) as u32 }).collect();
    let (mut sum, mut used) = (0.0, 0.0);
    for c in 0..2u32 {
        let own: Vec<&[f32]> =
            z.chunks(d).zip(&class).filter(|(_, k)| **k == c).map(|(row, _)| row).collect();
        for j in 0..d {
            let column: Vec<f64> = own.iter().map(|row| f64::from(row[j])).collect();
            let mean = column.iter().sum::<f64>() / column.len() as f64;
            let variance = column.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / column.len() as f64;
            sum += (variance.sqrt() - 1.0).powi(2);
            used += 1.0;
        }
    }
    let z = constant(&mat(z, n, d).unwrap());
    let penalty = ops::within_class_std_penalty(&z, &class.into(), classes).unwrap();
    close(&penalty.as_vec(), &[sum / used], 1e-5, "penalty");
}

#[test]
fn gradients_agree_with_finite_differences() {
    let (n, d) = (9, 6);
    let [x, w, b, row] = [(n, d), (4, d), (1, 4), (1, d)].map(|(r, c)| normal(&format!("{r} {c}"), r, c));
    let order: Index = vec![3, 0, 5, 1, 2, 4].into();
    let class: Index = vec![0, 0, 2, 0, 2, 1, 2, 2, 0].into();
    let (u, v) = (normal("u", 1, 4), normal("v", 1, d));
    let split = |p: Vec<Var>| Ok(weigh(&p[0], "0") + weigh(&p[1].clone().square(), "1"));
    let stack = |s: Var| Ok(weigh(&s.square(), "o"));
    type Case<'a> = (&'a str, Vec<&'a Mat>, Box<dyn Fn(&[Var]) -> Result<Scalar> + 'a>);
    let cases: Vec<Case<'_>> = vec![
        (
            "linear",
            vec![&x, &w, &b],
            Box::new(|l| Ok(weigh(&ops::linear(&l[0], &l[1], Some(&l[2]))?.square(), "o"))),
        ),
        ("split_cols", vec![&x], Box::new(|l| split(ops::split_cols(&l[0], &[2, 4])?))),
        ("composed split_cols", vec![&x], Box::new(|l| split(composed::split_cols(&l[0], &[2, 4])?))),
        ("stack_rows", vec![&row], Box::new(|l| stack(ops::stack_rows(&[l[0].clone(), l[0].clone()])?))),
        (
            "composed stack_rows",
            vec![&row],
            Box::new(|l| stack(composed::stack_rows(&[l[0].clone(), l[0].clone()])?)),
        ),
        ("permute_cols", vec![&x], Box::new(|l| stack(ops::permute_cols(&l[0], &order)?))),
        ("composed permute_cols", vec![&x], Box::new(|l| stack(composed::permute_cols(&l[0], &order)?))),
        ("square_sum", vec![&x], Box::new(|l| Ok(ops::square_sum(&l[0])?.square().mean()))),
        ("composed square_sum", vec![&x], Box::new(|l| Ok(composed::square_sum(&l[0])?.square().mean()))),
        ("mean_square", vec![&x], Box::new(|l| ops::mean_square(&l[0]))),
        ("composed mean_square", vec![&x], Box::new(|l| composed::mean_square(&l[0]))),
        ("std penalty", vec![&x], Box::new(|l| ops::within_class_std_penalty(&l[0], &class, 4))),
        (
            "composed std penalty",
            vec![&x],
            Box::new(|l| composed::within_class_std_penalty(&l[0], &class, 4)),
        ),
        ("spectral_scale", vec![&w], Box::new(|l| stack(ops::spectral_scale(&l[0], &u, &v, false)?))),
        (
            "composed spectral_scale",
            vec![&w],
            Box::new(|l| stack(composed::spectral_scale(&l[0], &u, &v, false)?)),
        ),
    ];
    for (name, leaves, f) in &cases {
        finite_differences_agree(name, leaves, f);
    }
}

#[test]
fn constants_get_no_gradient() {
    let (x, w) = (normal("x", 3, 2), normal("w", 4, 2));
    let run = || Ok::<_, TensorError>((weigh(&ops::linear(&tracked(&x), &constant(&w), None)?, "o"), ()));
    let (_, (), mut g) = gradients(run).unwrap();
    assert!(g.of(&w).unwrap().iter().all(|v| *v == 0.0));
    assert!(g.of(&x).unwrap().iter().any(|v| *v != 0.0));
}

#[test]
fn scaling_the_gradient_of_one_leaf_leaves_the_others() {
    let (a, b) = (normal("a", 3, 4), normal("b", 3, 4));
    let run = || Ok::<_, TensorError>((weigh(&(tracked(&a).square() + tracked(&b).square()), "o"), ()));
    let (_, (), mut g) = gradients(run).unwrap();
    let before = (g.of(&a).unwrap(), g.of(&b).unwrap());
    g.scale(&a, 0.25).unwrap();
    assert_eq!(g.of(&a).unwrap(), before.0.iter().map(|v| v * 0.25).collect::<Vec<_>>());
    assert_eq!(g.of(&b).unwrap(), before.1);
    let squares = wide(&before.1).iter().map(|v| v * v).sum::<f64>();
    assert!((g.sum_of_squares(&b).unwrap() - squares).abs() <= 1e-6 * squares);
}

/// One step on `sum((w - 1)^2 * weights)` with weights that give a different gradient everywhere.
fn adam_step(adam: &mut Adam, w: &mut Param) -> (f64, Vec<f32>) {
    let run = || Ok::<_, TensorError>((weigh(&(w.var() - 1.0).square(), "curvature"), ()));
    let (_, (), mut g) = gradients(run).unwrap();
    let gradient = g.of(w.value()).unwrap();
    (adam.step(&mut [w], &mut g, 0.05).unwrap(), gradient)
}

/// AdamW with clipping, written out in f64: Kingma & Ba 2015, Loshchilov & Hutter 2019.
#[test]
fn adam_follows_its_formula() {
    let settings = AdamSettings { betas: [0.9, 0.99], eps: 1e-8, weight_decay: 0.1, clip: Some(1.5) };
    let (mut adam, mut w) = (Adam::new(settings), weight("w", 7, 5));
    let (mut m, mut v) = (vec![0.0; 35], vec![0.0; 35]);
    for t in 1..=6 {
        let mut p = wide(&w.to_vec());
        let (norm, gradient) = adam_step(&mut adam, &mut w);
        let g = wide(&gradient);
        let expected = g.iter().map(|g| g * g).sum::<f64>().sqrt();
        assert!((norm - expected).abs() < 1e-5 * expected, "norm {norm}, expected {expected}");
        assert!(norm > 1.5, "step {t} does not clip");
        for i in 0..35 {
            let g = g[i] * 1.5 / (norm + 1e-6);
            m[i] = 0.9 * m[i] + 0.1 * g;
            v[i] = 0.99 * v[i] + 0.01 * g * g;
            let direction =
                (m[i] / (1.0 - 0.9f64.powi(t))) / ((v[i] / (1.0 - 0.99f64.powi(t))).sqrt() + 1e-8);
            p[i] -= 0.05 * direction + 0.05 * 0.1 * p[i];
        }
        close(&w.to_vec(), &p, 1e-5, &format!("step {t}"));
    }
    let stored = adam.moments(&[&w]).unwrap();
    close(&stored[0].first, &m, 1e-5, "first moment");
    close(&stored[0].second, &v, 1e-5, "second moment");
}

#[test]
fn a_restored_optimiser_continues_bit_for_bit() {
    let (mut adam, mut w) = (Adam::new(AdamSettings::default()), weight("w", 4, 3));
    (0..3).for_each(|_| drop(adam_step(&mut adam, &mut w)));
    let stored = adam.moments(&[&w]).unwrap();
    let mut copy = weight("w", 4, 3);
    copy.set(w.to_vec()).unwrap();
    assert_eq!(copy.hash(), w.hash());
    let mut resumed = Adam::new(AdamSettings::default());
    let answer = |_: &str| Some((stored[0].first.clone(), stored[0].second.clone()));
    resumed.restore(&[&copy], adam.steps(), answer).unwrap();
    (0..3).for_each(|_| drop(adam_step(&mut adam, &mut w)));
    (0..3).for_each(|_| drop(adam_step(&mut resumed, &mut copy)));
    assert_eq!(copy.to_vec(), w.to_vec());
    let mut fresh = Adam::new(AdamSettings::default());
    let mut without = weight("w", 4, 3);
    without.set(w.to_vec()).unwrap();
    adam_step(&mut fresh, &mut without);
    adam_step(&mut adam, &mut w);
    assert_ne!(without.to_vec(), w.to_vec(), "the moments make no difference: this test sees nothing");
}

#[test]
fn moments_of_the_wrong_size_are_refused() {
    let w = weight("w", 4, 3);
    let mut adam = Adam::new(AdamSettings::default());
    assert!(adam.restore(&[&w], 1, |_| Some((vec![0.0; 12], vec![0.0; 11]))).is_err());
    assert!(adam.restore(&[&w], 1, |_| None).is_err());
}

#[test]
fn a_gradient_that_is_not_finite_is_an_error_that_names_the_parameter() {
    let (mut good, mut bad) = (weight("good", 1, 2), weight("bad", 1, 2));
    bad.set(vec![1.0, f32::NAN]).unwrap();
    let run = || Ok::<_, TensorError>(((good.var().square() + bad.var().square()).sum(), ()));
    let (_, (), mut g) = gradients(run).unwrap();
    let error = Adam::new(AdamSettings::default()).step(&mut [&mut good, &mut bad], &mut g, 0.1).unwrap_err();
    assert!(error.to_string().contains("`bad`"), "{error}");
}

/// Singular values 3 and 0.5 by construction.
#[test]
fn spectral_norm_finds_the_largest_singular_value_and_bakes_what_it_computes() {
    let (c, s) = (0.6f32, 0.8f32);
    let values = vec![3.0 * c, -0.5 * s, 3.0 * s, 0.5 * c];
    let w = || Param::weight("w.weight", Owner::Shared, values.clone(), 2, 2).unwrap();
    for mode in [SpectralMode::Literal, SpectralMode::Cap] {
        let mut weight = w();
        let mut norm = SpectralNorm::new(&weight, mode, &Streams::new(3)).unwrap();
        norm.iterate(&weight).unwrap();
        assert!((norm.sigma(weight.value()) - 3.0).abs() < 1e-4, "sigma {}", norm.sigma(weight.value()));
        let effective = norm.effective(&weight).unwrap().as_vec();
        close(&effective, &values.iter().map(|v| f64::from(*v) / 3.0).collect::<Vec<_>>(), 1e-4, "W / sigma");
        norm.bake(&mut weight).unwrap();
        assert_eq!(weight.to_vec(), effective);
        assert_eq!(norm.effective(&weight).unwrap().as_vec(), effective);
    }
    let mut small = w();
    small.set(values.iter().map(|v| v / 6.0).collect()).unwrap();
    let cap = SpectralNorm::new(&small, SpectralMode::Cap, &Streams::new(3)).unwrap();
    assert_eq!(cap.effective(&small).unwrap().as_vec(), small.to_vec());
}

#[test]
fn wrong_shapes_and_indices_are_errors() {
    let (x, w) = (constant(&normal("x", 3, 2)), constant(&normal("w", 4, 5)));
    assert!(matches!(ops::linear(&x, &w, None), Err(TensorError::Shape { .. })));
    assert!(matches!(ops::split_cols(&x, &[1, 2]), Err(TensorError::Shape { .. })));
    assert!(matches!(ops::stack_rows(&[]), Err(TensorError::Shape { .. })));
    assert!(matches!(ops::permute_cols(&x, &vec![0, 0].into()), Err(TensorError::Index { .. })));
    let class: Index = vec![0, 1, 9].into();
    assert!(matches!(ops::within_class_std_penalty(&x, &class, 2), Err(TensorError::Index { .. })));
    assert!(matches!(mat(vec![0.0; 5], 2, 3), Err(TensorError::Shape { .. })));
}
