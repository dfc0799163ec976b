//! The likelihood is that of the Gaussian it should be.

use crate::common::*;
use approx::assert_relative_eq;
use ccnf::prelude::*;
use serde_json::json;

/// `ln N(x; mean, S)` in f64 by Gaussian elimination, an independent way to the same number.
fn log_normal(x: &[f64], mean: &[f64], covariance: &[Vec<f64>]) -> f64 {
    let d = x.len();
    let difference: Vec<f64> = x.iter().zip(mean).map(|(a, b)| a - b).collect();
    let mut m: Vec<Vec<f64>> = covariance
        .iter()
        .zip(&difference)
        .map(|(row, r)| row.iter().copied().chain([*r]).collect())
        .collect();
    let mut log_det = 0.0;
    for k in 0..d {
        log_det += m[k][k].ln();
        let (pivot, below) = m[k..].split_first_mut().unwrap();
        for row in below {
            let f = row[k] / pivot[k];
            row.iter_mut().zip(pivot.iter()).skip(k).for_each(|(v, p)| *v -= f * p);
        }
    }
    let mut solved = vec![0.0; d];
    for i in (0..d).rev() {
        let known: f64 = (i + 1..d).map(|j| m[i][j] * solved[j]).sum();
        solved[i] = (m[i][d] - known) / m[i][i];
    }
    let squares: f64 = difference.iter().zip(&solved).map(|(a, b)| a * b).sum();
    -0.5 * (squares + log_det + d as f64 * std::f64::consts::TAU.ln())
}

/// The scorer is `S = -l`; the constant of the standardisation, `-sum ln std`, is not part of `l`.
fn log_density(d: &dyn Detector, images: &Images) -> Vec<f64> {
    let std = d.params().into_iter().find(|p| p.name() == "level0.standard.std").unwrap().to_vec();
    let constant: f64 = std.iter().map(|s| f64::from(*s).ln()).sum();
    scores(d, images, "a").concat().iter().map(|s| -f64::from(*s) - constant).collect()
}

fn tokens(images: &Images, dim: usize) -> Vec<Vec<f64>> {
    let token = |t: &[f32]| t.iter().map(|v| f64::from(*v)).collect();
    images.iter().flat_map(|i| i.level(0).unwrap().chunks(dim).map(token).collect::<Vec<_>>()).collect()
}

#[test]
fn samples_of_a_known_gaussian_give_its_density() {
    let (dim, offset) = (5, 2.0);
    let levels = [level(8, 8, dim)];
    let mut d = detector(json!({ "mode": "pooled", "shrinkage": 0.0 }), &levels);
    train(&mut *d, &view(0, &levels, &[("a", &images("a", 400, &levels, offset))]), TrainScope::All).unwrap();
    // The covariance of `images`: A A^T.
    let a = |i: usize, j: usize| match (i, j) {
        (i, j) if i == j => 1.0 + i as f64 / 2.0,
        (_, 0) => 0.5,
        _ => 0.0,
    };
    let covariance: Vec<Vec<f64>> =
        (0..dim).map(|i| (0..dim).map(|j| (0..dim).map(|k| a(i, k) * a(j, k)).sum()).collect()).collect();
    let test = images("test", 3, &levels, offset);
    let mean = vec![f64::from(offset); dim];
    for (l, x) in log_density(&*d, &test).iter().zip(tokens(&test, dim)) {
        // 25,600 tokens: the covariance is known to about 1 %.
        assert_relative_eq!(*l, log_normal(&x, &mean, &covariance), max_relative = 0.03, epsilon = 0.05);
    }
}

#[test]
fn the_likelihood_is_exactly_that_of_the_sample_moments() {
    let dim = 11;
    let levels = [level(3, 4, dim)];
    let own = images("a", 9, &levels, -1.0);
    let mut d = detector(json!({ "mode": "pooled", "shrinkage": 0.0 }), &levels);
    train(&mut *d, &view(0, &levels, &[("a", &own)]), TrainScope::All).unwrap();
    let all = tokens(&own, dim);
    let n = all.len() as f64;
    let mean: Vec<f64> = (0..dim).map(|j| all.iter().map(|x| x[j]).sum::<f64>() / n).collect();
    let product =
        |i: usize, j: usize| all.iter().map(|x| (x[i] - mean[i]) * (x[j] - mean[j])).sum::<f64>() / n;
    let covariance: Vec<Vec<f64>> = (0..dim).map(|i| (0..dim).map(|j| product(i, j)).collect()).collect();
    for (l, x) in log_density(&*d, &own).iter().zip(&all) {
        assert_relative_eq!(*l, log_normal(x, &mean, &covariance), max_relative = 1e-5, epsilon = 1e-4);
    }
}

#[test]
fn the_standardisation_of_the_first_stage_stays() {
    let levels = [level(2, 2, 3)];
    let mut d = detector(json!({}), &levels);
    train(&mut *d, &view(0, &levels, &[("a", &images("a", 6, &levels, 0.0))]), TrainScope::All).unwrap();
    let input = |d: &dyn Detector| -> Vec<Vec<f32>> {
        d.params().into_iter().filter(|p| *p.owner() == Owner::Shared).map(Param::to_vec).collect()
    };
    let before = input(&*d);
    assert_eq!(before.len(), 2);
    train(&mut *d, &view(1, &levels, &[("b", &images("b", 6, &levels, 50.0))]), TrainScope::All).unwrap();
    assert_eq!(input(&*d), before);
}

#[test]
fn one_region_is_the_pooled_covariance_of_the_position_means() {
    let levels = [level(6, 5, 4)];
    let own = images("a", 12, &levels, 0.0);
    let fitted = |keys| {
        let mut d = detector(keys, &levels);
        train(&mut *d, &view(0, &levels, &[("a", &own)]), TrainScope::All).unwrap();
        scores(&*d, &own, "a").concat()
    };
    let one = fitted(json!({ "mode": "region", "region_grid": 1 }));
    let pooled = fitted(json!({ "mode": "position-mean" }));
    for (a, b) in one.iter().zip(&pooled) {
        assert_relative_eq!(*a, *b, max_relative = 1e-6);
    }
    // On one position per level all position means are the class mean.
    let levels = [level(1, 1, 4)];
    let own = images("a", 40, &levels, 0.0);
    for mode in MODES {
        let mut d = detector(json!({ "mode": mode, "shrinkage": 0.1 }), &levels);
        train(&mut *d, &view(0, &levels, &[("a", &own)]), TrainScope::All).unwrap();
        let mut p = detector(json!({ "mode": "pooled", "shrinkage": 0.1 }), &levels);
        train(&mut *p, &view(0, &levels, &[("a", &own)]), TrainScope::All).unwrap();
        for (a, b) in scores(&*d, &own, "a").concat().iter().zip(scores(&*p, &own, "a").concat()) {
            assert_relative_eq!(*a, b, max_relative = 1e-6);
        }
    }
}
