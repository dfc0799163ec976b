//! Private parts of a coupling's classes:
//!
//! * a coupling that has none refuses to grow;
//! * growing leaves every other tensor bit for bit, what is new belongs to the class, a second time is refused;
//! * a part starts as what the shared block computes;
//! * what is done to the part of one class changes neither the shared block nor another class.

use super::common::{Must, close, listed, perturb, refused, same_bits, unchanged};
use super::coupling_bench::{Bench, OWNERS, Out, Setup};
use super::entry::Case;
use ccnf::core::hashes;
use ccnf::prelude::{Coupling, Owner, Streams};

const START_TOLERANCE: f64 = 1e-6;

pub(super) fn check(case: &Case<dyn Coupling>) {
    let setup = Setup { dim: 5, class: true, position: true, film: false, private: false, seed: 77 };
    let mut bench = Bench::new(case, setup);
    if !bench.coupling.has_private() {
        refused(bench.coupling.grow("a"), &case.at("growing without private parts"));
        return;
    }
    let at = case.at("growing a private part");
    let shared = bench.forward(&at);
    for class in OWNERS {
        let before = listed(&mut *bench.coupling, &at);
        bench.coupling.grow(class).must(&at);
        let after = listed(&mut *bench.coupling, &at);
        unchanged(&before, &after, &at);
        let mut new = after.iter().filter(|t| !before.contains(t)).peekable();
        assert!(new.peek().is_some(), "{at}: class `{class}` has no tensor");
        for (name, owner, _) in new {
            assert_eq!(*owner, Owner::Class(class.into()), "{at}: `{name}` of class `{class}`");
        }
    }
    let before = hashes(&*bench.coupling);
    refused(bench.coupling.grow("a"), &case.at("growing twice"));
    assert_eq!(hashes(&*bench.coupling), before, "{at}: what was refused has left traces");
    same(&bench.forward(&at), &shared, &format!("{at}, the shared block"));
    let start = under_b(&mut bench, &at);
    for (a, b) in [(&start.y, &shared.y), (&start.log_det, &shared.log_det)] {
        close(a, b, START_TOLERANCE, &format!("{at}, the start of the part"));
    }
    let at = case.at("training a private part");
    let only = |bench: &mut Bench, class: &str| {
        let owner = Owner::Class(class.into());
        bench.coupling.params_mut().into_iter().for_each(|p| p.set_trainable(*p.owner() == owner));
        perturb(&mut *bench.coupling, &Streams::new(78), 0.3, &at);
    };
    only(&mut bench, "a");
    same(&under_b(&mut bench, &at), &start, &format!("{at}, class `b` when `a` changes"));
    only(&mut bench, "b");
    assert_ne!(under_b(&mut bench, &at).y, start.y, "{at}: it changes nothing");
    same(&bench.forward(&at), &shared, &format!("{at}, the shared block"));
}

/// The forward under the last owner's part.
fn under_b(bench: &mut Bench, at: &str) -> Out {
    bench.setup.private = true;
    let out = bench.forward(at);
    bench.setup.private = false;
    out
}

fn same(a: &Out, b: &Out, at: &str) {
    same_bits(&a.y, &b.y, &format!("{at}, y"));
    same_bits(&a.log_det, &b.log_det, &format!("{at}, log_det"));
}
