//! Detectors, on five small synthetic classes in two stages:
//!
//! * without a class, scoring is an error; an unknown class is a usage error that names it;
//! * the first stage trains everything and the second, after `freeze_shared`, new classes only: every older tensor and, where
//!   the detector promises it, every map of an older class stays bit for bit; all that is new belongs to the new classes;
//! * freezing itself changes no map;
//! * classes are listed in the order in which they were learnt; maps have their level's shape and are finite;
//! * an image's maps are the same alone, in company, among 70 and in another order, and whatever other classes are evaluated beside its own;
//! * the route of an image is the same whether its class is given or not, alone and in company;
//! * shifted features score higher than normal ones;
//! * features that are short or not finite, and classes without images, are errors;
//! * strategies take part in steps (`detector_rules.rs`);
//! * the same seed gives the same bits; checkpoints bring everything back (`detector_resume.rs`);
//! * those that let their inside be seen tell the truth about it (`probe.rs`).

use super::common::{Must, finite, listed, refused, same_bits, unchanged};
use super::detector_bench::*;
use super::entry::Case;
use super::{detector_resume, detector_rules, probe};
use ccnf::core::hashes;
use ccnf::prelude::*;
use std::sync::Arc;

pub(super) fn spec() -> DetectorSpec {
    super::detector_bench::spec()
}

pub(super) fn check(case: &Case<dyn Detector>) {
    before_any_class(case);
    let d = two_stages(case);
    shapes(case, &*d);
    batches(case, &*d);
    many_images(case, &*d);
    foreign(case, &*d);
    unusable_images(case, &*d);
    unusable_training(case);
    unfrozen(case);
    detector_rules::check(case);
    detector_resume::check(case, &*d);
    probe::check(case);
}

fn before_any_class(case: &Case<dyn Detector>) {
    let at = case.at("scoring before any class");
    let d = case.build(&spec());
    assert!(d.classes().is_empty(), "{at}: knows {:?}", d.classes());
    let image = image("bolt", 0, 0.0);
    for (given, routed) in [(Some("bolt"), false), (None, true), (Some("bolt"), true)] {
        refused(d.score(&[image.as_ref()], ScoreRequest { given, routed }), &at);
    }
}

/// Trains two stages and checks what must stay; returns the detector.
fn two_stages(case: &Case<dyn Detector>) -> Box<dyn Detector> {
    let at = case.at("first stage");
    let mut d = case.build(&spec());
    d.begin_stage(&view(0), TrainScope::All).must(&at);
    let start = hashes(&*d);
    let steps = d.steps(0);
    continue_from(&mut *d, &view(0), 0).must(&at);
    if steps > 0 {
        assert!(d.trainable() > 0, "{at}: nothing is trainable");
        assert!(
            start.iter().any(|t| t.1 == Owner::Shared && !hashes(&*d).contains(t)),
            "{at}: no shared tensor has moved"
        );
    }
    let maps = all_maps(&*d, 0, &at);
    d.freeze_shared().must(&at);
    same_bits(&all_maps(&*d, 0, &at), &maps, &case.at("maps before and after freeze_shared"));

    let at = case.at("second stage, new classes only");
    let older = listed(&mut *d, &at);
    d.begin_stage(&view(1), TrainScope::NewClasses).must(&at);
    let start = hashes(&*d);
    continue_from(&mut *d, &view(1), 0).must(&at);
    let after = listed(&mut *d, &at);
    unchanged(&older, &after, &at);
    let new: Vec<_> = after.iter().filter(|t| !older.contains(t)).collect();
    for class in ["pcb", "granite"] {
        assert!(new.iter().any(|t| t.1 == Owner::Class(class.into())), "{at}: `{class}` has no tensor");
    }
    for (name, owner, _) in &new {
        let fresh = matches!(owner, Owner::Class(c) if c == "pcb" || c == "granite");
        assert!(fresh, "{at}: the new tensor `{name}` is owned by {owner}");
    }
    let learns = d.steps(1) == 0 || start.iter().any(|t| !after.contains(t));
    assert!(learns, "{at}: no tensor of the new classes has moved");
    if d.keeps_old_scores() {
        same_bits(&all_maps(&*d, 0, &at), &maps, &case.at("maps of old classes after the second stage"));
    }
    assert_eq!(d.classes(), classes(1), "{}", case.at("classes in the order of learning"));
    d
}

fn shapes(case: &Case<dyn Detector>, d: &dyn Detector) {
    let at = case.at("maps");
    let before = hashes(d);
    let images: Vec<_> = classes(1).into_iter().flat_map(|c| held_out(c).into_iter().take(1)).collect();
    for (given, routed) in [(Some("pine"), false), (Some("granite"), true), (None, true)] {
        let scores = match d.score(&refs(&images), ScoreRequest { given, routed }) {
            // A router may need the class.
            Err(e) if given.is_none() && e.kind() == ErrorKind::Usage => continue,
            scores => scores.must(&at),
        };
        assert_eq!(scores.len(), images.len(), "{at}: {} answers for {} images", scores.len(), images.len());
        for s in scores {
            assert_eq!(s.given.is_empty(), given.is_none(), "{at}: `given` maps for {given:?}");
            assert_eq!(s.routed.is_empty(), !routed, "{at}: `routed` maps, asked for: {routed}");
            assert_eq!(s.routed_class.is_empty(), !routed, "{at}: a routed class, asked for: {routed}");
            assert!(
                !routed || classes(1).contains(&s.routed_class.as_str()),
                "{at}: routed to `{}`",
                s.routed_class
            );
            for maps in [&s.given, &s.routed].into_iter().filter(|m| !m.is_empty()) {
                let shapes: Vec<_> = maps.iter().map(|m| (m.height, m.width, m.data.len())).collect();
                assert_eq!(shapes, [(6, 6, 36), (4, 4, 16)], "{at}: shapes of the levels");
                maps.iter().for_each(|m| finite(&m.data, &at));
            }
        }
    }
    assert!(
        d.score(&[], ScoreRequest { given: Some("pine"), routed: true }).must(&at).is_empty(),
        "{at}: maps of no image"
    );
    let e = refused(
        d.score(&refs(&images), ScoreRequest { given: Some("grannite"), routed: false }),
        &case.at("an unknown class"),
    );
    assert_eq!(e.kind(), ErrorKind::Usage, "{}", case.at(format!("an unknown class: {e}")));
    assert!(e.to_string().contains("grannite"), "{}", case.at(format!("an unknown class is not named: {e}")));
    assert_eq!(hashes(d), before, "{at}: scoring has changed a tensor");
}

/// More images at once than 64.
fn many_images(case: &Case<dyn Detector>, d: &dyn Detector) {
    let at = case.at("70 images at once");
    let images: Vec<_> = (500..570).map(|i| image("pine", i, 0.0)).collect();
    let together = given_maps(d, &images, "pine", &at);
    assert_eq!(together.len(), images.len(), "{at}: answers");
    for n in [0, 1, 63, 64, 65, 69] {
        let alone = given_maps(d, &images[n..=n], "pine", &at);
        same_bits(&alone[0], &together[n], &format!("{at}: image {n}, alone"));
    }
}

fn batches(case: &Case<dyn Detector>, d: &dyn Detector) {
    for class in ["bolt", "granite"] {
        // More than any batch is likely to hold, of several classes.
        let images: Vec<_> =
            held_out(class).into_iter().chain(held_out("pine")).chain(held_out("pcb")).collect();
        let at = case.at(format!("images under `{class}`"));
        let together = given_maps(d, &images, class, &at);
        for (i, image) in images.iter().enumerate() {
            let alone = given_maps(d, std::slice::from_ref(image), class, &at);
            same_bits(&alone[0], &together[i], &format!("{at}: image {i} alone and among {}", images.len()));
        }
        let mut reversed: Vec<_> = images.clone();
        reversed.reverse();
        let mut maps = given_maps(d, &reversed, class, &at);
        maps.reverse();
        same_bits(&maps.concat(), &together.concat(), &format!("{at}: in another order"));
        routes(case, d, &images, class, &together);
    }
}

/// Routing evaluates other classes: that must change nothing, and nothing else must change it.
fn routes(
    case: &Case<dyn Detector>,
    d: &dyn Detector,
    images: &[Arc<dyn ImageFeatures>],
    class: &str,
    maps: &[Vec<f32>],
) {
    let at = case.at(format!("routing images under `{class}`"));
    let flat = |maps: &[LevelMap]| -> Vec<f32> { maps.iter().flat_map(|m| m.data.clone()).collect() };
    let both = d.score(&refs(images), ScoreRequest { given: Some(class), routed: true }).must(&at);
    let free = match d.score(&refs(images), ScoreRequest { given: None, routed: true }) {
        // A router may need the class.
        Err(e) if e.kind() == ErrorKind::Usage => return,
        scores => scores.must(&at),
    };
    for (i, (both, free)) in both.iter().zip(&free).enumerate() {
        same_bits(&flat(&both.given), &maps[i], &format!("{at}: image {i} with other classes evaluated"));
        assert_eq!(both.routed_class, free.routed_class, "{at}: image {i} with the class given");
        same_bits(&flat(&both.routed), &flat(&free.routed), &format!("{at}: image {i}, routed"));
        let alone = d.score(&[images[i].as_ref()], ScoreRequest { given: None, routed: true }).must(&at);
        assert_eq!(alone[0].routed_class, free.routed_class, "{at}: image {i} alone");
        same_bits(&flat(&alone[0].routed), &flat(&free.routed), &format!("{at}: image {i} alone, routed"));
        let own = given_maps(d, std::slice::from_ref(&images[i]), &free.routed_class, &at);
        same_bits(&flat(&free.routed), &own[0], &format!("{at}: image {i}, routed and given"));
    }
    let compared = d.routes_without_shortlist(&refs(images)).must(&at);
    let known = |c: &String| classes(1).contains(&c.as_str());
    assert!(
        compared.is_none_or(|c| c.len() == images.len() && c.iter().all(known)),
        "{at}: routes without the shortlist are not one known class per image"
    );
}

fn foreign(case: &Case<dyn Detector>, d: &dyn Detector) {
    for class in classes(1) {
        let at = case.at(format!("foreign images under `{class}`"));
        let normal = mean(&given_maps(d, &held_out(class), class, &at));
        let shifted: Vec<_> = (500..506).map(|i| image(class, i, 6.0)).collect();
        let foreign = mean(&given_maps(d, &shifted, class, &at));
        assert!(foreign > normal, "{at}: a mean score of {foreign}, normal images have {normal}");
    }
}

/// One image whose values are changed.
fn broken(change: impl Fn(&mut Vec<f32>)) -> Arc<dyn ImageFeatures> {
    let good = image("bolt", 3, 0.0);
    let mut values = [0, 1].map(|l| good.level(l).must("made features").to_vec()).to_vec();
    values.iter_mut().for_each(&change);
    Arc::new(values)
}

fn unusable_images(case: &Case<dyn Detector>, d: &dyn Detector) {
    let request = ScoreRequest { given: Some("bolt"), routed: true };
    let nan = broken(|v| v[5] = f32::NAN);
    let e = refused(d.score(&[nan.as_ref()], request), &case.at("scoring an image with a NaN"));
    assert_eq!(e.kind(), ErrorKind::NonFinite, "{}", case.at(format!("scoring an image with a NaN: {e}")));
    for (what, image) in [("short", broken(|v| v.truncate(20))), ("long", broken(|v| v.extend([0.0; 24])))] {
        refused(
            d.score(&[image.as_ref()], request),
            &case.at(format!("scoring an image whose features are too {what}")),
        );
    }
}

fn unusable_training(case: &Case<dyn Detector>) {
    let good = || (0..4).map(|i| image("bolt", i, 0.0)).collect::<Vec<_>>();
    let with = |change: fn(&mut Vec<f32>)| good().into_iter().chain([broken(change)]).collect::<Vec<_>>();
    let nan = with(|v| v.iter_mut().for_each(|x| *x = f32::NAN));
    let short = with(|v| v.truncate(20));
    for (what, images) in
        [("without images", vec![]), ("with NaN features", nan), ("with short features", short)]
    {
        let at = case.at(format!("training on a class {what}"));
        let view = view_of(0, vec![TrainClass::new("pine", good()), TrainClass::new("bolt", images)]);
        let mut d = case.build(&spec());
        refused(train(&mut *d, &view, TrainScope::All), &at);
    }
}

/// Fine-tuning: a second stage that trains everything.
fn unfrozen(case: &Case<dyn Detector>) {
    let at = case.at("a second stage that trains everything");
    let mut d = case.build(&spec());
    train(&mut *d, &view(0), TrainScope::All).must(&at);
    train(&mut *d, &view(1), TrainScope::All).must(&at);
    assert_eq!(d.classes(), classes(1), "{at}: classes");
    finite(&all_maps(&*d, 1, &at), &at);
}
