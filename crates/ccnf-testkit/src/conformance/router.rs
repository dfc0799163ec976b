//! Routers:
//!
//! * the answer is one of the known classes, and the same twice; with likelihoods it is a class that has one;
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
    let at = case.at("route");
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
        let given = (k % 2 == 0).then_some(k % classes.len());
        let input = RouteInput {
            classes: &classes,
            log_likelihood: &log_likelihood,
            given,
            features: features.as_ref(),
        };
        match r.route(&input) {
            Ok(route) => {
                assert!(route < classes.len(), "{at}: class {route} of {}", classes.len());
                let evaluated = !r.needs_likelihoods() || log_likelihood[route].is_some();
                assert!(evaluated, "{at}: class {route}, which has no likelihood");
                assert_eq!(r.route(&input).must(&at), route, "{at}: another class the second time");
                assert_eq!(again.route(&input).must(&at), route, "{at}: another class after a snapshot");
                ranking(case, &*r, &input, route);
            }
            Err(e) => {
                assert!(given.is_none(), "{at}: fails with the class given: {e}");
                assert_eq!(e.kind(), ErrorKind::Usage, "{at}: {e}");
            }
        }
    }
    if r.needs_likelihoods() {
        ties(case, &*r, &classes);
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
