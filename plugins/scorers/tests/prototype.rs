//! The router `prototype`: distances by hand, what stays when classes are added, and what it is as a shortlist.

use approx::assert_relative_eq;
use ccnf::core::{Config, build, hashes};
use ccnf::prelude::*;
use ccnf_plugin_scorers as _;
use serde_json::{Value, json};
use std::sync::Arc;

const DIM: usize = 5;

fn levels() -> Vec<LevelSpec> {
    let level =
        |name: &str, side, channels| LevelSpec { name: name.into(), height: side, width: side, channels };
    vec![level("fine", 2, 3), level("coarse", 1, 2)]
}

fn router(keys: Value) -> Result<Box<dyn Router>> {
    let mut table = json!({ "kind": "prototype" });
    table.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    let root = Config::from_json("test", &json!({ "router": table }))?.root()?;
    build::<dyn Router>(&root.child("router"), &RouterSpec { levels: levels() })
}

/// An image whose mean vector is `v`: the tokens of the fine level lie around it.
fn image(v: &[f64; DIM]) -> Arc<dyn ImageFeatures> {
    let offsets = [-0.5, 0.5, -0.25, 0.25];
    let fine = offsets.iter().flat_map(|o| v[..3].iter().map(move |x| (x + o) as f32)).collect();
    Arc::new(vec![fine, v[3..].iter().map(|x| *x as f32).collect::<Vec<f32>>()])
}

/// Multiples of 1/64, so that means in f32 and f64 are exact.
fn vectors(class: &str, offset: f64, n: usize) -> Vec<[f64; DIM]> {
    let noise = Streams::new(3).normal(class, n * DIM);
    let value = |x: f32, j: usize| (64.0 * (f64::from(x) * (1.0 + j as f64) + offset)).round() / 64.0;
    noise.chunks_exact(DIM).map(|r| std::array::from_fn(|j| value(r[j], j) + value(r[0], 0))).collect()
}

fn view(stage: usize, classes: &[(&str, &[[f64; DIM]])]) -> TrainView {
    let class = |(name, vs): &(&str, &[[f64; DIM]])| TrainClass::new(*name, vs.iter().map(image).collect());
    TrainView::new(stage, levels(), classes.iter().map(class).collect())
}

fn names(n: usize) -> Vec<String> {
    ["a", "b", "c"][..n].iter().map(|s| (*s).to_owned()).collect()
}

fn route(r: &dyn Router, classes: &[String], image: &dyn ImageFeatures) -> Result<usize> {
    let log_likelihood = vec![None; classes.len()];
    r.route(&RouteInput { classes, log_likelihood: &log_likelihood, given: None, features: image })
}

/// `C^-1 r` by Gaussian elimination.
fn solve(mut c: Vec<Vec<f64>>, mut r: Vec<f64>) -> Vec<f64> {
    let n = r.len();
    for i in 0..n {
        for k in i + 1..n {
            let f = c[k][i] / c[i][i];
            (i..n).for_each(|j| c[k][j] -= f * c[i][j]);
            r[k] -= f * r[i];
        }
    }
    for i in (0..n).rev() {
        let rest: f64 = (i + 1..n).map(|j| c[i][j] * r[j]).sum();
        r[i] = (r[i] - rest) / c[i][i];
    }
    r
}

fn mean(vs: &[[f64; DIM]]) -> [f64; DIM] {
    std::array::from_fn(|j| vs.iter().map(|v| v[j]).sum::<f64>() / vs.len() as f64)
}

#[test]
fn the_distance_is_that_of_the_shrunk_within_class_covariance() {
    let (a, b) = (vectors("a", 0.0, 9), vectors("b", 3.0, 7));
    let mut r = router(json!({ "shrinkage": 0.3 })).unwrap();
    r.observe(&view(0, &[("a", &a), ("b", &b)])).unwrap();
    let mut c = vec![vec![0.0; DIM]; DIM];
    for (vs, m) in [(&a, mean(&a)), (&b, mean(&b))] {
        for v in vs {
            (0..DIM * DIM).for_each(|k| {
                c[k / DIM][k % DIM] += (v[k / DIM] - m[k / DIM]) * (v[k % DIM] - m[k % DIM]) / 16.0;
            });
        }
    }
    (0..DIM * DIM).filter(|k| k / DIM != k % DIM).for_each(|k| c[k / DIM][k % DIM] *= 0.7);
    // |p_a - p_b|^2 of the stored prototypes is the squared distance of the means.
    let stored: Vec<Vec<f32>> = r.params()[2..].iter().map(|p| p.to_vec()).collect();
    let found: f64 = stored[0].iter().zip(&stored[1]).map(|(a, b)| f64::from(a - b).powi(2)).sum();
    let delta: Vec<f64> = mean(&a).iter().zip(mean(&b)).map(|(a, b)| a - b).collect();
    let expected: f64 = delta.iter().zip(solve(c, delta.clone())).map(|(a, b)| a * b).sum();
    assert_relative_eq!(found, expected, max_relative = 1e-4);
}

#[test]
fn images_go_to_the_nearest_class_and_ties_to_the_first() {
    let (a, b, c) = (vectors("a", 0.0, 9), vectors("b", 6.0, 7), vectors("c", -9.0, 4));
    let mut r = router(json!({})).unwrap();
    r.observe(&view(0, &[("a", &a), ("b", &b)])).unwrap();
    r.observe(&view(1, &[("c", &c)])).unwrap();
    let known = names(3);
    for (k, vs) in [&a, &b, &c].into_iter().enumerate() {
        assert_eq!(route(&*r, &known, image(&mean(vs)).as_ref()).unwrap(), k);
    }
    let order = r.ranking().unwrap().rank(&known, image(&mean(&c)).as_ref()).unwrap();
    assert_eq!(order, [2, 0, 1]);
    let twice = ["b".to_owned(), "a".to_owned(), "a".to_owned()];
    assert_eq!(route(&*r, &twice, image(&mean(&a)).as_ref()).unwrap(), 1);
}

#[test]
fn later_stages_add_a_prototype_and_change_no_bit() {
    let (a, b, c) = (vectors("a", 0.0, 9), vectors("b", 3.0, 7), vectors("c", -4.0, 5));
    let mut r = router(json!({})).unwrap();
    r.observe(&view(0, &[("a", &a), ("b", &b)])).unwrap();
    let before = hashes(&*r);
    r.observe(&view(1, &[("c", &c)])).unwrap();
    let after = hashes(&*r);
    assert_eq!(after[..before.len()], before[..]);
    let new = &after[before.len()..];
    assert_eq!(new.len(), 1);
    assert_eq!((new[0].0.as_str(), &new[0].1), ("router.prototype.c", &Owner::Class("c".into())));
}

#[test]
fn channels_may_be_scaled() {
    let scaled = |vs: &[[f64; DIM]]| -> Vec<[f64; DIM]> {
        vs.iter().map(|v| std::array::from_fn(|j| v[j] * [1.0, 64.0, 1.0, 0.125, 8.0][j])).collect()
    };
    let (a, b) = (vectors("a", 0.0, 9), vectors("b", 1.0, 7));
    let (mut plain, mut other) = (router(json!({})).unwrap(), router(json!({})).unwrap());
    plain.observe(&view(0, &[("a", &a), ("b", &b)])).unwrap();
    other.observe(&view(0, &[("a", &scaled(&a)), ("b", &scaled(&b))])).unwrap();
    for v in a.iter().chain(&b) {
        let by = route(&*plain, &names(2), image(v).as_ref()).unwrap();
        assert_eq!(route(&*other, &names(2), image(&scaled(&[*v])[0]).as_ref()).unwrap(), by);
    }
}

#[test]
fn one_image_per_class_and_constant_channels_still_route() {
    let (a, b) = ([[1.0, 2.0, 3.0, 4.0, 5.0]], [[1.0, 2.0, 4.0, 4.0, 5.0]]);
    let mut r = router(json!({})).unwrap();
    r.observe(&view(0, &[("a", &a), ("b", &b)])).unwrap();
    let near_b = [1.0, 2.5, 3.75, 4.0, 5.0];
    assert_eq!(route(&*r, &names(2), image(&near_b).as_ref()).unwrap(), 1);
    let mut alone = router(json!({})).unwrap();
    alone.observe(&view(0, &[("a", &a)])).unwrap();
    assert_eq!(route(&*alone, &names(1), image(&near_b).as_ref()).unwrap(), 0);
}

#[test]
fn wrong_values_and_features_are_errors() {
    let e = router(json!({ "shrinkage": 0 })).err().unwrap();
    assert!(e.kind() == ErrorKind::Config && e.to_string().contains("router.shrinkage"), "{e}");
    let a = vectors("a", 0.0, 3);
    let mut r = router(json!({})).unwrap();
    r.observe(&view(0, &[("a", &a)])).unwrap();
    let kind = |image: Vec<Vec<f32>>, classes: usize| route(&*r, &names(classes), &image).unwrap_err().kind();
    assert_eq!(kind(vec![vec![0.0; 11], vec![0.0; 2]], 1), ErrorKind::Encoder);
    assert_eq!(kind(vec![vec![f32::NAN; 12], vec![0.0; 2]], 1), ErrorKind::NonFinite);
    assert_eq!(kind(vec![vec![0.0; 12], vec![0.0; 2]], 2), ErrorKind::Contract);
}
