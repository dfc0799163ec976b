//! The inside of a detector, for those that let it be seen:
//!
//! * every tensor has a place with a level that is there; a name that is nobody's has one too;
//! * latents and likelihoods have their shapes, are finite, and have the same bits twice, alone, in company and after a snapshot;
//! * looking changes no tensor; an unknown class and a level that is not there are errors;
//! * there is one likelihood per known class, in their order, and class weights sum to 1;
//! * the likelihoods are those of `negative_log_likelihood`;
//! * noise on the mixture or on another class leaves latents bit for bit, noise on the flow does not;
//! * a state with the flow of one stage and the classes of another can be loaded and scores.

use super::common::{Must, finite, refused, same_bits};
use super::detector_bench::*;
use super::entry::Case;
use ccnf::core::{Probe, TensorGroup, TokenClasses, TokenLatents, hashes, restore, snapshot};
use ccnf::prelude::*;
use std::sync::Arc;

/// A detector after two stages that train everything, and what it was after the first.
fn tuned(case: &Case<dyn Detector>) -> (Box<dyn Detector>, Snapshot) {
    let at = case.at("two stages that train everything");
    let mut d = case.build(&spec());
    train(&mut *d, &view(0), TrainScope::All).must(&at);
    let first = snapshot(&*d);
    train(&mut *d, &view(1), TrainScope::All).must(&at);
    (d, first)
}

pub(super) fn check(case: &Case<dyn Detector>) {
    let (d, first) = tuned(case);
    let Some(probe) = d.probe() else { return };
    let before = hashes(&*d);
    places(case, &*d, probe);
    shapes(case, probe);
    company(case, probe);
    refusals(case, probe);
    likelihoods(case, &*d, probe);
    assert_eq!(hashes(&*d), before, "{}", case.at("looking inside has changed a tensor"));
    loads(case, &*d);
    independence(case, &*d);
    swaps(case, &*d, &first);
}

fn latents(probe: &dyn Probe, images: &[Arc<dyn ImageFeatures>], class: &str, at: &str) -> Vec<TokenLatents> {
    let levels = spec().levels.len();
    (0..levels).flat_map(|l| probe.latents(&refs(images), class, l).must(at)).collect()
}

fn bits(latents: &[TokenLatents]) -> Vec<f32> {
    latents.iter().flat_map(|l| [l.z.as_slice(), &l.log_det].concat()).collect()
}

fn says(probe: &dyn Probe, images: &[Arc<dyn ImageFeatures>], at: &str) -> Vec<f32> {
    let flat = |t: TokenClasses| {
        [t.log_likelihood.concat(), t.entropy_logits.map(|l| l.concat()).unwrap_or_default()].concat()
    };
    let levels = spec().levels.len();
    (0..levels).flat_map(|l| probe.token_classes(&refs(images), l).must(at)).flat_map(flat).collect()
}

fn places(case: &Case<dyn Detector>, d: &dyn Detector, probe: &dyn Probe) {
    let at = case.at("places of tensors");
    let levels = spec().levels.len();
    for p in d.params() {
        let place = probe.place(p.name(), p.owner());
        assert!(place.level.is_none_or(|l| l < levels), "{at}: `{}` is at {place:?}", p.name());
        let shared = *p.owner() == Owner::Shared;
        assert!(
            place.group == TensorGroup::Other || shared == (place.group == TensorGroup::Flow),
            "{at}: `{}` of {} is in the group {}",
            p.name(),
            p.owner(),
            place.group
        );
    }
    for name in ["", "nobody.s", "level9.block99.lin0.weight"] {
        probe.place(name, &Owner::Shared);
        probe.place(name, &Owner::Class("nobody".into()));
    }
}

fn shapes(case: &Case<dyn Detector>, probe: &dyn Probe) {
    let at = case.at("latents and likelihoods");
    let images = held_out("pine");
    for (level, spec) in spec().levels.iter().enumerate() {
        let latents = probe.latents(&refs(&images), "pine", level).must(&at);
        assert_eq!(latents.len(), images.len(), "{at}: one answer per image");
        for l in &latents {
            assert!(l.dim > 0 && l.rows() > 0, "{at}: {} latents of {} dims", l.rows(), l.dim);
            assert_eq!(l.z.len(), l.rows() * l.dim, "{at}: whole latents");
            assert_eq!(l.log_det.len(), spec.tokens(), "{at}: a log-determinant per token");
            finite(&bits(std::slice::from_ref(l)), &at);
        }
        for t in probe.token_classes(&refs(&images), level).must(&at) {
            for by_class in [Some(&t.log_likelihood), t.entropy_logits.as_ref()].into_iter().flatten() {
                assert_eq!(by_class.len(), classes(1).len(), "{at}: one row per known class");
                for values in by_class {
                    assert_eq!(values.len(), spec.tokens(), "{at}: one value per token");
                    finite(values, &at);
                }
            }
        }
        if let Some(log) = probe.log_class_weights(level).must(&at) {
            assert_eq!(log.len(), classes(1).len(), "{at}: one weight per known class");
            let sum: f64 = log.iter().map(|l| f64::from(*l).exp()).sum();
            assert!((sum - 1.0).abs() < 1e-5, "{at}: the class weights sum to {sum}");
        }
    }
    assert!(probe.latents(&[], "pine", 0).must(&at).is_empty(), "{at}: latents of no image");
    assert!(probe.token_classes(&[], 0).must(&at).is_empty(), "{at}: likelihoods of no image");
}

fn company(case: &Case<dyn Detector>, probe: &dyn Probe) {
    let at = case.at("images alone and in company");
    let images: Vec<_> = held_out("bolt").into_iter().chain(held_out("pcb")).collect();
    for level in 0..spec().levels.len() {
        let together = probe.latents(&refs(&images), "bolt", level).must(&at);
        let said = probe.token_classes(&refs(&images), level).must(&at);
        for (i, image) in images.iter().enumerate() {
            let alone = probe.latents(&[image.as_ref()], "bolt", level).must(&at);
            same_bits(&bits(&alone), &bits(&together[i..=i]), &format!("{at}: latents of image {i}"));
            let alone = probe.token_classes(&[image.as_ref()], level).must(&at);
            assert_eq!(alone[0], said[i], "{at}: likelihoods of image {i}");
        }
    }
}

fn refusals(case: &Case<dyn Detector>, probe: &dyn Probe) {
    let at = case.at("an unknown class, a level that is not there");
    let images = held_out("pine");
    let e = refused(probe.latents(&refs(&images), "grannite", 0), &at);
    assert!(e.kind() == ErrorKind::Usage && e.to_string().contains("grannite"), "{at}: {e}");
    let missing = spec().levels.len();
    refused(probe.latents(&refs(&images), "pine", missing), &at);
    refused(probe.token_classes(&refs(&images), missing), &at);
    let weights = probe.log_class_weights(missing);
    assert!(!matches!(weights, Ok(Some(_))), "{at}: class weights of a level that is not there");
}

/// What the scores are made of.
fn likelihoods(case: &Case<dyn Detector>, d: &dyn Detector, probe: &dyn Probe) {
    let at = case.at("likelihoods against those of the model");
    for (number, class) in classes(1).into_iter().enumerate() {
        let images = held_out(class);
        let Some(model) = d.negative_log_likelihood(&refs(&images), class).must(&at) else { return };
        for (level, _) in spec().levels.iter().enumerate() {
            let said = probe.token_classes(&refs(&images), level).must(&at);
            let latents = probe.latents(&refs(&images), class, level).must(&at);
            for (i, t) in said.iter().enumerate() {
                let sum: f64 = t.log_likelihood[number].iter().map(|v| f64::from(*v)).sum();
                // A model may see fewer channels than the level has: its dims are those of its latents.
                let mine = -sum / latents[i].z.len() as f64;
                let theirs = model[i][level];
                assert!(
                    (mine - theirs).abs() <= 1e-5 * theirs.abs().max(1.0),
                    "{at}: image {i} of `{class}` has {mine}, the model says {theirs}"
                );
            }
        }
    }
}

/// A fresh detector in the state `state`.
fn restored(case: &Case<dyn Detector>, state: &Snapshot, at: &str) -> Box<dyn Detector> {
    let mut d = case.build(&spec());
    restore(&mut *d, state).must(at);
    d
}

fn inside<'a>(d: &'a dyn Detector, at: &str) -> &'a dyn Probe {
    d.probe().unwrap_or_else(|| panic!("{at}: the probe is gone"))
}

fn loads(case: &Case<dyn Detector>, d: &dyn Detector) {
    let at = case.at("the inside after a snapshot");
    let again = restored(case, &snapshot(d), &at);
    let images = held_out("granite");
    let both = [d, &*again].map(|d| inside(d, &at));
    let [a, b] = both.map(|p| bits(&latents(p, &images, "granite", &at)));
    same_bits(&a, &b, &at);
    let [a, b] = both.map(|p| says(p, &images, &at));
    same_bits(&a, &b, &at);
}

/// `d` with noise on the tensors for which `which` is true; how many there are.
fn disturbed(
    case: &Case<dyn Detector>,
    d: &dyn Detector,
    at: &str,
    which: &dyn Fn(TensorGroup, &Owner) -> bool,
) -> (Box<dyn Detector>, usize) {
    let (mut state, probe) = (snapshot(d), inside(d, at));
    let mut n = 0;
    let weights: Vec<&str> =
        d.params().into_iter().filter(|p| p.role() == Role::Weight).map(|p| p.name()).collect();
    for (name, tensor) in &mut state.tensors {
        let group = probe.place(name, &tensor.owner).group;
        if which(group, &tensor.owner) && weights.contains(&name.as_str()) {
            let noise = Streams::new(5).normal(name, tensor.values.len());
            tensor.values.iter_mut().zip(noise).for_each(|(v, e)| *v += 0.05 * e);
            n += 1;
        }
    }
    (restored(case, &state, at), n)
}

fn independence(case: &Case<dyn Detector>, d: &dyn Detector) {
    let images = held_out("bolt");
    let at = case.at("what latents depend on");
    let z = |d: &dyn Detector| bits(&latents(inside(d, &at), &images, "bolt", &at));
    let before = z(d);
    let others = |g: TensorGroup, o: &Owner| {
        g == TensorGroup::Mixture || g.is_of_a_class() && *o != Owner::Class("bolt".into())
    };
    let (other, _) = disturbed(case, d, &at, &others);
    same_bits(&z(&*other), &before, &format!("{at}: noise on the mixture and on other classes"));
    let (other, n) = disturbed(case, d, &at, &|g, _| g == TensorGroup::Flow);
    assert!(n == 0 || z(&*other) != before, "{at}: noise on {n} tensors of the flow changes nothing");
}

fn swaps(case: &Case<dyn Detector>, d: &dyn Detector, first: &Snapshot) {
    let at = case.at("a state with the flow of one stage and the classes of another");
    let (last, probe) = (snapshot(d), inside(d, &at));
    for flow in [true, false] {
        let mut state = last.clone();
        for (name, tensor) in &first.tensors {
            let group = probe.place(name, &tensor.owner).group;
            let chosen = if flow { group == TensorGroup::Flow } else { group.is_of_a_class() };
            if chosen && last.tensors.get(name).is_some_and(|l| l.shape == tensor.shape) {
                state.tensors.insert(name.clone(), tensor.clone());
            }
        }
        let mixed = restored(case, &state, &at);
        given_maps(&*mixed, &held_out("bolt"), "bolt", &at).iter().for_each(|m| finite(m, &at));
        // The latents of the flow that was put in.
        if flow {
            let alone = restored(case, first, &at);
            let of_flow_alone = d.params().iter().all(|p| {
                let group = probe.place(p.name(), p.owner()).group;
                !matches!(group, TensorGroup::Rows | TensorGroup::Layers)
            });
            if of_flow_alone {
                let z = |d: &dyn Detector| bits(&latents(inside(d, &at), &held_out("bolt"), "bolt", &at));
                same_bits(&z(&*mixed), &z(&*alone), &at);
            }
        }
    }
}
