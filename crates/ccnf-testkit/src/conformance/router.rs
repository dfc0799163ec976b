//! Routers:
//!
//! * the answer is one of the known classes, and the same twice;
//! * where likelihoods decide, ties go to the first;
//! * one that cannot do without the class given says so in a usage error.

use super::common::{Must, listed};
use super::detector_bench::{image, view};
use super::entry::Case;
use ccnf::prelude::*;

pub(super) fn spec() -> RouterSpec {
    RouterSpec {}
}

pub(super) fn check(case: &Case<dyn Router>) {
    let at = case.at("route");
    let built = || {
        let mut r = case.build(&spec());
        (0..2).for_each(|stage| r.observe(&view(stage)).must(&case.at("observe")));
        r
    };
    let mut r = built();
    listed(&mut *r, &case.at("tensors"));
    let again = built();
    let classes: Vec<String> = (0..2)
        .flat_map(|s| view(s).classes().iter().map(|c| c.name().to_owned()).collect::<Vec<_>>())
        .collect();
    for k in 0..50usize {
        let features = image(&classes[k % classes.len()], 100 + k, 0.0);
        let log_likelihood = Streams::new(k as u64).normal("route", classes.len());
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
                assert_eq!(r.route(&input).must(&at), route, "{at}: another class the second time");
                assert_eq!(again.route(&input).must(&at), route, "{at}: another class when built again");
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

fn ties(case: &Case<dyn Router>, r: &dyn Router, classes: &[String]) {
    let at = case.at("ties");
    let features = image(&classes[0], 100, 0.0);
    for first in 0..classes.len() {
        // The classes before `first` are less likely, the others alike.
        let log_likelihood: Vec<f32> =
            (0..classes.len()).map(|c| if c < first { -5.0 } else { -1.0 }).collect();
        let input =
            RouteInput { classes, log_likelihood: &log_likelihood, given: None, features: features.as_ref() };
        assert_eq!(r.route(&input).must(&at), first, "{at}: log-likelihoods {log_likelihood:?}");
    }
}
