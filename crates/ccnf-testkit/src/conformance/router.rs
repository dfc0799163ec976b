//! Routers:
//!
//! * the answer is one of the known classes, and the same twice; with likelihoods it is a class that has one, also where only two have;
//! * one that has an answer without the class given has the same whatever class is given;
//! * where likelihoods decide, ties go to the first;
//! * one that cannot do without the class given says so in a usage error;
//! * a ranking lists every class once, and a router that has one and needs no likelihoods takes its first class;
//! * a later stage leaves all tensors bit for bit and adds only tensors that belong to its classes;
//! * a snapshot brings everything back.

use super::common::{Must, listed, unchanged};
use super::detector_bench::{self, image, view};
use super::entry::Case;
use ccnf::prelude::*;

pub(super) fn spec() -> RouterSpec {
    RouterSpec { levels: detector_bench::spec().levels }
}

pub(super) fn check(case: &Case<dyn Router>) {
    let mut r = case.build(&spec());
    r.observe(&view(0)).must(&case.at("observe"));
    let first = listed(&mut *r, &case.at("tensors"));
    r.observe(&view(1)).must(&case.at("observe"));
    let both = listed(&mut *r, &case.at("tensors"));
    let at_growth = case.at("a second stage");
    unchanged(&first, &both, &at_growth);
    for (name, owner, _) in both.iter().filter(|t| !first.contains(t)) {
        let new = detector_bench::classes(1)[detector_bench::classes(0).len()..]
            .iter()
            .any(|c| *owner == Owner::Class((*c).into()));
        assert!(new, "{at_growth}: the new tensor `{name}` is owned by {owner}");
    }
    let classes: Vec<String> = detector_bench::classes(1).into_iter().map(str::to_owned).collect();
    let again = restored(case, &*r, &classes);
    let at = case.at("route");
    for k in 0..50usize {
        let features = image(&classes[k % classes.len()], 100 + k, 0.0);
        let candidates = match r.shortlist() {
            Some(s) => s.classes(&classes, features.as_ref()).must(&at),
            None => (0..classes.len()).collect(),
        };
        let mut log_likelihood = vec![None; classes.len()];
        let values = Streams::new(k as u64).normal("route", classes.len());
        if r.needs_likelihoods() {
            candidates.iter().for_each(|c| log_likelihood[*c] = Some(values[*c]));
        }
        let input = RouteInput {
            classes: &classes,
            log_likelihood: &log_likelihood,
            given: None,
            features: features.as_ref(),
        };
        route(case, [&*r, &*again], &input);
    }
    if r.needs_likelihoods() {
        ties(case, &*r, &classes);
        few_likelihoods(case, &*r, &classes);
    }
}

/// The routes of one image without a class given and with each, by a router and by one with the same tensors.
fn route(case: &Case<dyn Router>, [r, again]: [&dyn Router; 2], free: &RouteInput<'_>) {
    let at = case.at("route");
    let classes = free.classes.len();
    let decided = match r.route(free) {
        Err(e) => {
            assert_eq!(e.kind(), ErrorKind::Usage, "{at}: without a class given: {e}");
            None
        }
        Ok(route) => Some(route),
    };
    for given in std::iter::once(None).chain((0..classes).map(Some)) {
        if decided.is_none() && given.is_none() {
            continue;
        }
        let input = RouteInput { given, ..*free };
        let route = match r.route(&input) {
            Err(e) => panic!("{at}: with class {given:?} given: {e}"),
            Ok(route) => route,
        };
        assert!(route < classes, "{at}: class {route} of {classes}");
        let evaluated = !r.needs_likelihoods() || input.log_likelihood[route].is_some();
        assert!(evaluated, "{at}: class {route}, which has no likelihood");
        if let Some(free) = decided {
            let peeks = format!("{at}: class {free}, and class {route} where class {given:?} is given");
            assert!(free == route, "{peeks}");
        }
        assert_eq!(r.route(&input).must(&at), route, "{at}: another class the second time");
        assert_eq!(again.route(&input).must(&at), route, "{at}: another class after a snapshot");
        ranking(case, r, &input, route);
    }
}

/// As behind a shortlist: all likelihoods but two are missing.
fn few_likelihoods(case: &Case<dyn Router>, r: &dyn Router, classes: &[String]) {
    let features = image(&classes[0], 100, 0.0);
    for (a, b) in (0..classes.len()).flat_map(|b| (0..b).map(move |a| (a, b))) {
        let at = case.at(format!("likelihoods of the classes {a} and {b} alone"));
        let mut log_likelihood = vec![None; classes.len()];
        (log_likelihood[a], log_likelihood[b]) = (Some(-2.0), Some(-3.0));
        let given = None;
        let input =
            RouteInput { classes, log_likelihood: &log_likelihood, given, features: features.as_ref() };
        match r.route(&input) {
            Err(e) => assert_eq!(e.kind(), ErrorKind::Usage, "{at}: {e}"),
            Ok(route) => assert!(route == a || route == b, "{at}: class {route}, which has none"),
        }
    }
}

/// A fresh router with the tensors of `r`.
fn restored(case: &Case<dyn Router>, r: &dyn Router, classes: &[String]) -> Box<dyn Router> {
    let at = case.at("snapshot");
    let snapshot = Snapshot::of(r, serde_json::Value::Null);
    let mut again = case.build(&spec());
    again.prepare(classes).must(&at);
    snapshot.restore_into(&mut *again).must(&at);
    assert_eq!(Snapshot::of(&*again, serde_json::Value::Null), snapshot, "{at}: other tensors");
    again
}

fn ranking(case: &Case<dyn Router>, r: &dyn Router, input: &RouteInput<'_>, route: usize) {
    let at = case.at("ranking");
    let Some(ranking) = r.ranking() else { return };
    let ranked = ranking.rank(input.classes, input.features).must(&at);
    let mut sorted = ranked.clone();
    sorted.sort_unstable();
    let every: Vec<usize> = (0..input.classes.len()).collect();
    assert_eq!(sorted, every, "{at}: not every class once: {ranked:?}");
    assert!(
        r.needs_likelihoods() || ranked[0] == route,
        "{at}: routes to class {route}, ranks {} first",
        ranked[0]
    );
}

fn ties(case: &Case<dyn Router>, r: &dyn Router, classes: &[String]) {
    let at = case.at("ties");
    let features = image(&classes[0], 100, 0.0);
    for first in 0..classes.len() {
        // The classes before `first` are less likely, the others alike.
        let log_likelihood: Vec<Option<f32>> =
            (0..classes.len()).map(|c| Some(if c < first { -5.0 } else { -1.0 })).collect();
        let input =
            RouteInput { classes, log_likelihood: &log_likelihood, given: None, features: features.as_ref() };
        assert_eq!(r.route(&input).must(&at), first, "{at}: log-likelihoods {log_likelihood:?}");
    }
}
