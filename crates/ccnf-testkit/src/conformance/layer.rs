//! Class-private layers, on small maps with correlations within and across tokens:
//!
//! * the inverse of a forward is the identity, and the other way round; the map is not the identity for a class with structure;
//! * the log-determinant is that of a numeric Jacobian of the whole map, and is added to what is there;
//! * a map has the same bits alone and in company;
//! * fitting a class leaves every older tensor bit for bit, all that is new belongs to it, and what it becomes does not depend on
//!   the other classes;
//! * a class fitted anew is as if it had been fitted once; an empty layer has the same settings;
//! * one image is enough for a fit, a constant channel is no problem, values that are not finite are;
//! * maps 10 and 100 times as large as those of the class give finite values, forward and inverse, or an error of kind `NonFinite`;
//! * unknown classes, known ones that are added, maps of another size and fits without maps are refused;
//! * a snapshot brings everything back, whatever number of images it was fitted on.

use super::common::{Must, close, finite, finite_or_refused, listed, refused, same_bits, unchanged};
use super::entry::Case;
use ccnf::core::hashes;
use ccnf::prelude::*;

/// Images of a class.
const IMAGES: usize = 14;
const INVERSE_TOLERANCE: f64 = 1e-3;
const LOG_DET_TOLERANCE: f64 = 2e-3;

fn level() -> LevelSpec {
    LevelSpec { name: "fine".into(), height: 3, width: 4, channels: 3 }
}

pub(super) fn spec() -> LayerSpec {
    LayerSpec { scope: "level0.layer0".into(), level: level(), streams: Streams::new(1) }
}

pub(super) fn check(case: &Case<dyn ClassLayer>) {
    large(case);
    inverse(case);
    log_det(case);
    company(case);
    growth(case);
    again(case);
    small_fits(case);
    refusals(case);
    loads(case);
}

/// Image number `number` of a class: correlated channels, a variance that depends on the position, and a pattern over the whole map.
fn map(class: &str, number: usize) -> Vec<f32> {
    let s = Streams::new(9);
    let (level, d) = (level(), level().channels);
    let mean = s.normal(&format!("{class}.mean"), level.len());
    let mix = s.normal(&format!("{class}.mix"), d * d);
    let pattern = s.normal(&format!("{class}.pattern"), level.len());
    let noise = s.normal(&format!("{class}.{number}"), level.len() + 1);
    let code = 2.0 * noise[level.len()];
    (0..level.len())
        .map(|i| {
            let (token, channel) = (i / d, i % d);
            let mixed: f32 = (0..d).map(|j| mix[channel * d + j] * noise[token * d + j]).sum();
            mean[i] + (0.3 + 0.05 * token as f32) * (mixed + 0.3 * noise[i]) + code * pattern[i]
        })
        .collect()
}

fn maps(class: &str, images: usize) -> Vec<Vec<f32>> {
    (0..images).map(|i| map(class, i)).collect()
}

fn fit(layer: &mut dyn ClassLayer, class: &str, images: usize, at: &str) {
    let maps = maps(class, images);
    layer.fit(class, &maps.iter().map(Vec::as_slice).collect::<Vec<_>>()).must(at);
}

fn fitted(case: &Case<dyn ClassLayer>, classes: &[&str]) -> Box<dyn ClassLayer> {
    let at = case.at("fit");
    let mut layer = case.build(&spec());
    for class in classes {
        layer.add(class).must(&at);
        fit(&mut *layer, class, IMAGES, &at);
    }
    layer
}

/// The maps after the layer, and the log-determinants.
fn forward(layer: &dyn ClassLayer, class: usize, maps: &[Vec<f32>], at: &str) -> (Vec<f32>, Vec<f32>) {
    let (mut out, mut log_det) = (maps.concat(), vec![0.0; maps.len() * level().tokens()]);
    layer.forward(class, &mut out, &mut log_det).must(at);
    finite(&out, at);
    finite(&log_det, at);
    (out, log_det)
}

/// Images that were not fitted.
fn held_out(class: &str) -> Vec<Vec<f32>> {
    (100..103).map(|i| map(class, i)).collect()
}

fn large(case: &Case<dyn ClassLayer>) {
    let layer = fitted(case, &["a"]);
    for factor in [10.0f32, 100.0] {
        let at = case.at(format!("maps {factor} times as large"));
        let x: Vec<f32> = held_out("a").concat().iter().map(|v| v * factor).collect();
        let (mut y, mut log_det) = (x.clone(), vec![0.0; x.len() / level().channels]);
        let forward = layer.forward(0, &mut y, &mut log_det);
        finite_or_refused(forward.map(|()| [y, log_det].concat()), &format!("{at}, forward"));
        let mut back = x;
        let inverse = layer.inverse(0, &mut back);
        finite_or_refused(inverse.map(|()| back), &format!("{at}, inverse"));
    }
}

fn inverse(case: &Case<dyn ClassLayer>) {
    let at = case.at("inverse");
    let layer = fitted(case, &["a", "b"]);
    for (class, name) in ["a", "b"].into_iter().enumerate() {
        let x = held_out(name);
        let (mut y, _) = forward(&*layer, class, &x, &at);
        assert!(
            y.iter().zip(&x.concat()).any(|(y, x)| (y - x).abs() > 0.05),
            "{at}: the layer changes nothing"
        );
        layer.inverse(class, &mut y).must(&at);
        close(&y, &x.concat(), INVERSE_TOLERANCE, &format!("{at} of a forward"));
        let mut back = x.concat();
        layer.inverse(class, &mut back).must(&at);
        let len = level().len();
        let (y, _) = forward(&*layer, class, &back.chunks(len).map(<[f32]>::to_vec).collect::<Vec<_>>(), &at);
        close(&y, &x.concat(), INVERSE_TOLERANCE, &format!("{at}, then forward"));
    }
}

fn log_det(case: &Case<dyn ClassLayer>) {
    let at = case.at("log-determinant");
    let layer = fitted(case, &["a"]);
    let (x, n) = (map("a", 100), level().len());
    let (_, found) = forward(&*layer, 0, std::slice::from_ref(&x), &at);
    // Central differences with a large step: layers may be linear, and f32 rounding matters more than curvature.
    let h = 0.25f32;
    let column = |i: usize| -> Vec<f64> {
        let moved = |by: f32| {
            let mut x = x.clone();
            x[i] += by;
            forward(&*layer, 0, &[x], &at).0
        };
        moved(h).iter().zip(moved(-h)).map(|(a, b)| f64::from(a - b) / f64::from(2.0 * h)).collect()
    };
    let numeric = crate::log_abs_det((0..n).map(column).collect());
    let sum: f64 = found.iter().map(|v| f64::from(*v)).sum();
    let error = (sum - numeric).abs();
    assert!(
        error <= LOG_DET_TOLERANCE * n as f64,
        "{at}: {sum}, the numeric Jacobian has {numeric}, off by {error:e}"
    );
    let mut more = vec![1.5; found.len()];
    layer.forward(0, &mut x.clone(), &mut more).must(&at);
    let expected: Vec<f32> = found.iter().map(|v| v + 1.5).collect();
    close(&more, &expected, 1e-6, &format!("{at}: is not added to what is there"));
}

fn company(case: &Case<dyn ClassLayer>) {
    let at = case.at("a map alone and in company");
    let layer = fitted(case, &["a", "b"]);
    let (x, len) = ([held_out("a"), held_out("b")].concat(), level().len());
    let (together, parts) = forward(&*layer, 1, &x, &at);
    let mut back = together.clone();
    layer.inverse(1, &mut back).must(&at);
    for (i, map) in x.iter().enumerate() {
        let (alone, part) = forward(&*layer, 1, std::slice::from_ref(map), &at);
        same_bits(&alone, &together[i * len..(i + 1) * len], &at);
        same_bits(&part, &parts[i * part.len()..(i + 1) * part.len()], &format!("{at}: log-determinant"));
        let mut again = alone;
        layer.inverse(1, &mut again).must(&at);
        same_bits(&again, &back[i * len..(i + 1) * len], &format!("{at}: inverse"));
    }
    let (none, _) = forward(&*layer, 0, &[], &at);
    assert!(none.is_empty(), "{at}: no map");
}

fn growth(case: &Case<dyn ClassLayer>) {
    let at = case.at("another class");
    let mut layer = fitted(case, &["a"]);
    let (older, before) = (listed(&mut *layer, &at), forward(&*layer, 0, &held_out("a"), &at));
    assert!(!older.is_empty(), "{at}: a class has no tensor");
    layer.add("b").must(&at);
    fit(&mut *layer, "b", IMAGES - 5, &at);
    let after = listed(&mut *layer, &at);
    unchanged(&older, &after, &at);
    assert_eq!(layer.classes(), ["a", "b"], "{at}: classes");
    for (class, name, owner) in after.iter().map(|t| (older.contains(t), &t.0, &t.1)) {
        let expected = if class { "a" } else { "b" };
        assert_eq!(*owner, Owner::Class(expected.into()), "{at}: the owner of `{name}`");
    }
    let now = forward(&*layer, 0, &held_out("a"), &at);
    same_bits(&now.0, &before.0, &format!("{at}: maps of the first class"));
    same_bits(&now.1, &before.1, &format!("{at}: log-determinants of the first class"));
    let mut alone = case.build(&spec());
    alone.add("b").must(&at);
    fit(&mut *alone, "b", IMAGES - 5, &at);
    let (with, without) =
        (forward(&*layer, 1, &held_out("b"), &at), forward(&*alone, 0, &held_out("b"), &at));
    same_bits(&with.0, &without.0, &format!("{at}: fitted after others and alone"));
}

fn again(case: &Case<dyn ClassLayer>) {
    let at = case.at("fitted anew");
    let layer = fitted(case, &["a"]);
    let mut other = layer.empty();
    assert!(other.classes().is_empty() && other.params().is_empty(), "{at}: an empty layer knows classes");
    other.add("a").must(&at);
    fit(&mut *other, "a", IMAGES / 2, &at);
    fit(&mut *other, "a", IMAGES, &at);
    assert_eq!(hashes(&*other), hashes(&*layer), "{at}: other tensors than fitted once");
    let (one, two) = (forward(&*layer, 0, &held_out("a"), &at), forward(&*other, 0, &held_out("a"), &at));
    same_bits(&two.0, &one.0, &at);
}

fn small_fits(case: &Case<dyn ClassLayer>) {
    for images in [1, 2, 3, 5] {
        let at = case.at(format!("a fit on {images} images"));
        let mut layer = case.build(&spec());
        layer.add("a").must(&at);
        fit(&mut *layer, "a", images, &at);
        let x = held_out("a");
        let (mut y, _) = forward(&*layer, 0, &x, &at);
        layer.inverse(0, &mut y).must(&at);
        close(&y, &x.concat(), 10.0 * INVERSE_TOLERANCE, &at);
    }
    let at = case.at("a constant channel");
    let mut layer = case.build(&spec());
    layer.add("a").must(&at);
    let constant: Vec<Vec<f32>> = maps("a", IMAGES)
        .into_iter()
        .map(|m| m.iter().enumerate().map(|(i, v)| if i % 3 == 1 { 0.0 } else { *v }).collect())
        .collect();
    layer.fit("a", &constant.iter().map(Vec::as_slice).collect::<Vec<_>>()).must(&at);
    forward(&*layer, 0, &constant, &at);
    let at = case.at("values that are not finite");
    for bad in [f32::NAN, f32::INFINITY] {
        let mut map = map("a", 0);
        map[5] = bad;
        let e = refused(layer.fit("a", &[&map, &map]), &at);
        assert_eq!(e.kind(), ErrorKind::NonFinite, "{at}: {e}");
    }
}

fn refusals(case: &Case<dyn ClassLayer>) {
    let at = case.at("refusals");
    let mut layer = fitted(case, &["a"]);
    let before = hashes(&*layer);
    let good = map("a", 0);
    let (mut x, mut log_det) = (good.clone(), vec![0.0; level().tokens()]);
    refused(layer.add("a"), &format!("{at}: a class that is known"));
    refused(layer.fit("b", &[&good]), &format!("{at}: fitting a class that was not added"));
    refused(layer.fit("a", &[]), &format!("{at}: a fit without maps"));
    refused(layer.fit("a", &[&good, &good[1..]]), &format!("{at}: fitting a map that is too short"));
    refused(layer.forward(1, &mut x, &mut log_det), &format!("{at}: an unknown class"));
    refused(layer.inverse(1, &mut x), &format!("{at}: an unknown class, inverse"));
    refused(layer.forward(0, &mut x[1..], &mut log_det), &format!("{at}: a map that is too short"));
    refused(layer.forward(0, &mut x, &mut log_det[1..]), &format!("{at}: too few log-determinants"));
    refused(layer.inverse(0, &mut x[1..]), &format!("{at}: a map that is too short, inverse"));
    assert_eq!(hashes(&*layer), before, "{at}: what was refused has left traces");
}

fn loads(case: &Case<dyn ClassLayer>) {
    let at = case.at("snapshot");
    let mut layer = fitted(case, &["a"]);
    layer.add("b").must(&at);
    fit(&mut *layer, "b", 2, &at);
    let mut again = case.build(&spec());
    ["a", "b"].iter().for_each(|c| again.add(c).must(&at));
    // Whatever was prepared for use before loading must not survive it.
    fit(&mut *again, "a", 4, &at);
    forward(&*again, 0, &held_out("b"), &at);
    Snapshot::of(&*layer, serde_json::Value::Null).restore_into(&mut *again).must(&at);
    assert_eq!(hashes(&*again), hashes(&*layer), "{at}: other tensors");
    for (class, name) in ["a", "b"].into_iter().enumerate() {
        let (found, expected) =
            (forward(&*again, class, &held_out(name), &at), forward(&*layer, class, &held_out(name), &at));
        same_bits(&found.0, &expected.0, &at);
        same_bits(&found.1, &expected.1, &at);
    }
}
