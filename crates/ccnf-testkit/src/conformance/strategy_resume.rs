//! A strategy leads a small detector (`strategy_bench.rs`) through all stages, as the engine does (called by `strategy.rs`):
//!
//! * gradients stay finite, and so does the state;
//! * what is rehearsed belongs to earlier stages, and says so;
//! * the same config gives the same bits twice: what is rehearsed, gradients, tensors, penalties, the state in the end;
//! * so does a run that goes on, with a fresh strategy and a fresh detector, from the state in the middle or at the end of any stage;
//! * a state comes out as it was put in, also over a strategy that has seen everything;
//! * one that promises no forgetting leaves all tensors of earlier stages bit for bit.
//!
//! A strategy whose `fits` refuses the small detector with a usage error is not led anywhere.

use super::common::{Must, finite, same_bits, unchanged};
use super::entry::Case;
use super::strategy::spec;
use super::strategy_bench::{STEPS, Small, Watched, view};
use ccnf::core::{hashes, restore, snapshot};
use ccnf::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// Where a run can go on.
struct Kept {
    stage: usize,
    /// The next step; `None` before the stage has begun.
    step: Option<u64>,
    model: Snapshot,
    state: Snapshot,
}

/// What happened in a run, by where it did.
type Trace = BTreeMap<String, Vec<f32>>;

pub(super) fn check(case: &Case<dyn Strategy>) {
    let at = case.at("a small detector in four tasks");
    let tasks = [vec!["d", "b"], vec!["c"], vec!["a"], vec!["e"]];
    let tasks: Vec<Vec<String>> = tasks.iter().map(|t| t.iter().map(|c| (*c).to_owned()).collect()).collect();
    let mut first = case.build(&spec());
    let stages = first.stages(&tasks);
    match first.fits(&stages, &Small::new()) {
        Err(e) if e.kind() == ErrorKind::Usage => {
            println!("{}", case.at(format!("is not led through stages, since it refuses the detector: {e}")));
            return;
        }
        fits => fits.must(&at),
    }
    let (whole, kept) = run(&mut *first, &mut Small::new(), &stages, None, &at);
    let end = state(&*first, &at);
    let mut second = case.build(&spec());
    let (again, _) = run(&mut *second, &mut Small::new(), &stages, None, &at);
    alike(&again, &whole, &format!("{at}, the same run again"));
    assert!(state(&*second, &at) == end, "{at}, the same run again: another state in the end");
    for k in kept {
        let within = k.step.map(|s| format!("step {s} of ")).unwrap_or_default();
        let at = case.at(format!("resumed at {within}stage {}", k.stage));
        let mut fresh = case.build(&spec());
        put_back(&mut *fresh, &k.state, &at);
        let mut detector = Small::new();
        restore(&mut detector, &k.model).must(&at);
        let (rest, _) = run(&mut *fresh, &mut detector, &stages, Some(&k), &at);
        alike(&rest, &whole, &at);
        assert!(state(&*fresh, &at) == end, "{at}: another state in the end");
        put_back(&mut *second, &k.state, &format!("{at}, over a strategy that was used"));
    }
}

fn put_back(strategy: &mut dyn Strategy, kept: &Snapshot, at: &str) {
    strategy.restore(kept).must(at);
    assert!(strategy.state().must(at) == *kept, "{at}: the state is another one after putting it back");
}

fn state(strategy: &dyn Strategy, at: &str) -> Snapshot {
    let state = strategy.state().must(at);
    state.tensors.iter().for_each(|(name, t)| finite(&t.values, &format!("{at}: `{name}` of the state")));
    state
}

/// Fails unless what happened in `some` is what happened at the same places of `all`.
fn alike(some: &Trace, all: &Trace, at: &str) {
    for (place, values) in some {
        match all.get(place) {
            Some(expected) => same_bits(values, expected, &format!("{at}: {place}")),
            None => panic!("{at}: {place}, which the undisturbed run does not have"),
        }
    }
}

/// Leads `detector` through the stages, or through what is left of them, and keeps what can be resumed.
fn run(
    strategy: &mut dyn Strategy,
    detector: &mut Small,
    stages: &[Stage],
    from: Option<&Kept>,
    at: &str,
) -> (Trace, Vec<Kept>) {
    let (mut trace, mut kept) = (Trace::new(), vec![]);
    let (first, mut middle) = from.map_or((0, None), |k| (k.stage, k.step));
    for (number, stage) in stages.iter().enumerate().skip(first) {
        // Resumed in its middle, the stage's own classes are there already.
        let own = |owner: &Owner| matches!(owner, Owner::Class(c) if stage.classes.contains(c));
        let older: Vec<_> = hashes(&*detector).into_iter().filter(|t| !own(&t.1)).collect();
        let own = view(number, stage);
        let rehearsed = strategy.rehearsal(&own).must(at);
        check_rehearsed(&rehearsed, &stages[..number], &format!("{at}: rehearsed in stage {number}"));
        for (k, class) in rehearsed.iter().enumerate() {
            let images = (0..class.len()).flat_map(|i| class.image(i, 0).must(at).to_vec()).collect();
            trace.insert(format!("stage {number}, rehearsed class {k}, `{}`", class.name()), images);
        }
        let view = own.with(rehearsed);
        match middle {
            Some(_) => detector.resume_stage(&view, stage.scope).must(at),
            None => detector.begin_stage(&view, stage.scope).must(at),
        }
        strategy.begin_stage(number, detector).must(at);
        for step in middle.take().unwrap_or(0)..STEPS {
            if step == STEPS / 2 {
                let (model, state) = (snapshot(detector), state(strategy, at));
                kept.push(Kept { stage: number, step: Some(step), model, state });
            }
            let here = format!("stage {number}, step {step}");
            let of_step = format!("{at}: {here}");
            let mut watched = Watched { strategy: &mut *strategy, gradients: vec![], at: &of_step };
            detector.step(&view, step, &mut watched).must(&of_step);
            trace.insert(format!("{here}, gradients"), watched.gradients);
            let penalty = strategy.penalty().map(|p| p as f32);
            trace.insert(format!("{here}, penalty"), penalty.into_iter().collect());
            trace.insert(format!("{here}, tensors"), values(detector));
        }
        detector.end_stage(&view).must(at);
        strategy.end_stage(&view, detector).must(at);
        trace.insert(format!("stage {number}, tensors in the end"), values(detector));
        if number > 0 && strategy.promises_no_forgetting() {
            let at = format!("{at}: it promises no forgetting, and in stage {number}");
            unchanged(&older, &hashes(&*detector), &at);
        }
        let (model, state) = (snapshot(detector), state(strategy, at));
        kept.push(Kept { stage: number + 1, step: None, model, state });
    }
    (trace, kept)
}

fn values(detector: &Small) -> Vec<f32> {
    detector.params().iter().flat_map(|p| p.to_vec()).collect()
}

fn check_rehearsed(rehearsed: &[TrainClass], earlier: &[Stage], at: &str) {
    let known: BTreeSet<&str> = earlier.iter().flat_map(|s| &s.classes).map(String::as_str).collect();
    for class in rehearsed {
        let name = class.name();
        assert!(class.is_rehearsed(), "{at}: `{name}`, which does not say that it is rehearsed");
        assert!(known.contains(name), "{at}: `{name}`, which is of no earlier stage");
    }
}
