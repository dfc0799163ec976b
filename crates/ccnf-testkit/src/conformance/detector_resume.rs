//! Checkpoints of a detector:
//!
//! * a snapshot loaded into a detector built with another seed gives the same tensors and maps bit for bit;
//! * a stage interrupted at any checkpoint and continued in a fresh detector ends with the bits of the undisturbed one, and so
//!   does a run that is continued between two stages;
//! * the same seed twice gives the same bits.

use super::common::{Must, same_bits, unchanged};
use super::detector_bench::*;
use super::entry::Case;
use ccnf::core::{PlainUpdate, hashes, restore, snapshot};
use ccnf::prelude::*;
use std::collections::BTreeMap;

/// Compares with `d`, which has been through both stages undisturbed.
pub(super) fn check(case: &Case<dyn Detector>, d: &dyn Detector) {
    loads(case, d);
    let at = case.at("continued between two stages");
    let first = snapshot(&*after_first(case, 7));
    let mut again = case.build(&spec());
    load(&mut *again, &first, &at);
    train(&mut *again, &view(1), TrainScope::NewClasses).must(&at);
    same(&*again, d, 1, &at);
    interrupted(case, 0, None, d);
    interrupted(case, 1, Some(&first), d);
}

/// Loads a snapshot whose description went through JSON, as a checkpoint's does.
fn load(d: &mut dyn Detector, snapshot: &Snapshot, at: &str) {
    let meta = serde_json::from_str(&snapshot.meta.to_string()).expect("JSON that was just written");
    restore(d, &Snapshot { tensors: snapshot.tensors.clone(), meta }).must(at);
}

fn same(a: &dyn Detector, b: &dyn Detector, stage: usize, at: &str) {
    assert_eq!(a.classes(), b.classes(), "{at}: classes");
    unchanged(&hashes(b), &hashes(a), at);
    assert_eq!(hashes(a).len(), hashes(b).len(), "{at}: number of tensors");
    same_bits(&all_maps(a, stage, at), &all_maps(b, stage, at), &format!("{at}, maps"));
}

fn loads(case: &Case<dyn Detector>, d: &dyn Detector) {
    let at = case.at("snapshot and restore");
    let taken = snapshot(d);
    let mut fresh = case.build(&spec_of(8));
    load(&mut *fresh, &taken, &at);
    same(&*fresh, d, 1, &at);
    assert!(snapshot(&*fresh) == taken, "{at}: a snapshot of the restored detector is another");
    let routes = |d: &dyn Detector| -> Vec<String> {
        let images: Vec<_> = classes(1).into_iter().flat_map(held_out).collect();
        let scores = d.score(&refs(&images), ScoreRequest { given: Some("bolt"), routed: true }).must(&at);
        scores.into_iter().map(|s| s.routed_class).collect()
    };
    assert_eq!(routes(&*fresh), routes(d), "{at}: routed classes");
    // Over a detector that has learnt other things in the meantime.
    load(&mut *fresh, &taken, &at);
    same(&*fresh, d, 1, &format!("{at}, a second time"));
}

struct Checkpoint {
    step: u64,
    model: Snapshot,
    optimizer: BTreeMap<String, StoredTensor>,
}

/// Interrupts `stage` at its start, after one step and in the middle, and continues in a fresh detector each time. `before` is the
/// state after the stage before, `d` the detector after both stages.
fn interrupted(case: &Case<dyn Detector>, stage: usize, before: Option<&Snapshot>, d: &dyn Detector) {
    let at = case.at(format!("stage {stage} with checkpoints"));
    let scope = if stage == 0 { TrainScope::All } else { TrainScope::NewClasses };
    let view = view(stage);
    let mut undisturbed = case.build(&spec());
    before.into_iter().for_each(|b| load(&mut *undisturbed, b, &at));
    undisturbed.begin_stage(&view, scope).must(&at);
    let mut taken = vec![];
    let steps = undisturbed.steps(stage);
    for step in 0..=steps {
        if [0, 1, steps / 2].contains(&step) {
            let optimizer = undisturbed.optimizer_state().must(&at);
            taken.push(Checkpoint { step, model: snapshot(&*undisturbed), optimizer });
        }
        if step < steps {
            undisturbed.step(&view, step, &mut PlainUpdate).must(&at);
        }
    }
    undisturbed.end_stage(&view).must(&at);
    if stage == 1 {
        // The same seed and the same data, and snapshots that were only taken.
        same(&*undisturbed, d, 1, &case.at("trained twice, once with checkpoints"));
    }
    for c in taken {
        let at = case.at(format!("stage {stage} continued at step {} of {steps}", c.step));
        let mut resumed = case.build(&spec());
        load(&mut *resumed, &c.model, &at);
        resumed.resume_stage(&view, scope).must(&at);
        resumed.restore_optimizer(&c.optimizer).must(&at);
        continue_from(&mut *resumed, &view, c.step).must(&at);
        same(&*resumed, &*undisturbed, stage, &at);
    }
}
