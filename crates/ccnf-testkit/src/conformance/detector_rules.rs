//! How a detector lets a strategy take part (called by `detector.rs`):
//!
//! * a rule that skips updates sees a gradient of every trainable tensor's optimiser, and no trainable tensor changes;
//! * without skipping, a rule is asked before and told after every update;
//! * a detector that takes a teacher stays near it, reports the distance as `distillation`, and at weight 0 trains as without;
//! * classes that are rehearsed are trained on beside the new ones without being learnt anew; what a closed form made of all their
//!   images stays bit for bit.

use super::common::{Must, same_bits, unchanged};
use super::detector_bench::*;
use super::entry::Case;
use ccnf::core::{PlainUpdate, hashes, snapshot};
use ccnf::prelude::*;
use std::collections::BTreeSet;

/// Notes what it is asked.
struct Watch {
    answer: Update,
    seen: BTreeSet<String>,
    largest: f32,
    before: usize,
    after: usize,
}

impl Watch {
    fn new(answer: Update) -> Watch {
        Watch { answer, seen: BTreeSet::new(), largest: 0.0, before: 0, after: 0 }
    }
}

impl UpdateRule for Watch {
    fn gradients(&mut self, params: &[&mut Param], grads: &mut Grads) -> Result<Update> {
        self.before += 1;
        for p in params.iter().filter(|p| p.is_trainable()) {
            self.seen.insert(p.name().to_owned());
            self.largest = grads.of(p.value())?.iter().fold(self.largest, |m, g| m.max(g.abs()));
        }
        Ok(self.answer)
    }
    fn updated(&mut self, _: &[&mut Param]) -> Result<()> {
        self.after += 1;
        Ok(())
    }
}

pub(super) fn check(case: &Case<dyn Detector>) {
    if case.build(&spec()).steps(0) > 0 {
        skips(case);
        distils(case);
    }
    rehearses(case);
}

/// The trainable tensors with their values.
fn trainable(d: &dyn Detector) -> Vec<(String, Vec<f32>)> {
    d.params().iter().filter(|p| p.is_trainable()).map(|p| (p.name().to_owned(), p.to_vec())).collect()
}

fn skips(case: &Case<dyn Detector>) {
    let at = case.at("a rule that skips the update");
    let mut d = case.build(&spec());
    d.begin_stage(&view(0), TrainScope::All).must(&at);
    let before = trainable(&*d);
    let mut rule = Watch::new(Update::Skip);
    d.step(&view(0), 0, &mut rule).must(&at);
    assert!(trainable(&*d) == before, "{at}: a trainable tensor has changed");
    let names: BTreeSet<String> = before.into_iter().map(|t| t.0).collect();
    assert_eq!(rule.seen, names, "{at}: the parameters it was shown are not the trainable ones");
    assert!(rule.largest > 0.0, "{at}: all gradients are zero");
    assert_eq!(rule.after, 0, "{at}: told of an update that was skipped");

    let at = case.at("a rule that watches");
    let mut rule = Watch::new(Update::Make);
    d.step(&view(0), 0, &mut rule).must(&at);
    assert_eq!(rule.after, rule.before, "{at}: told of {} updates, asked for {}", rule.after, rule.before);
}

/// Trains the second stage under a teacher of this weight: the distances to the teacher that the first and the last step report, and the
/// maps of an old class in the end. `None`: there are no outputs to distil.
fn taught(case: &Case<dyn Detector>, weight: Option<f32>, at: &str) -> Option<([f64; 2], Vec<f32>)> {
    let mut d = case.build(&spec());
    train(&mut *d, &view(0), TrainScope::All).must(at);
    let teacher = snapshot(&*d);
    d.begin_stage(&view(1), TrainScope::All).must(at);
    match d.distil(weight.map(|weight| Distillation { teacher, weight })) {
        Err(e) if e.kind() == ErrorKind::Usage => return None,
        set => set.must(at),
    }
    let distance = |d: &mut dyn Detector, step: u64| -> f64 {
        let report = d.step(&view(1), step, &mut PlainUpdate).must(at);
        report.iter().filter(|(name, _)| name.ends_with("distillation")).map(|(_, v)| v).sum()
    };
    let (first, steps) = (distance(&mut *d, 0), d.steps(1));
    for step in 1..steps - 1 {
        distance(&mut *d, step);
    }
    let last = distance(&mut *d, steps - 1);
    d.end_stage(&view(1)).must(at);
    Some(([first, last], given_maps(&*d, &held_out("bolt"), "bolt", at).concat()))
}

fn distils(case: &Case<dyn Detector>) {
    let at = case.at("distillation");
    let (built, taught_once) = (case.build(&spec()), taught(case, Some(0.0), &at));
    let Some((free, unheld)) = taught_once else {
        assert!(
            !built.distils() || built.steps(1) == 0,
            "{at}: it says that it distils, and refuses a teacher"
        );
        return;
    };
    assert!(built.distils(), "{at}: it takes a teacher, and says that it does not distil");
    let Some((_, without)) = taught(case, None, &at) else { panic!("{at}: no teacher is refused") };
    same_bits(&unheld, &without, &format!("{at}, a teacher of weight 0"));
    let held = taught(case, Some(100.0), &at).map_or([f64::NAN; 2], |t| t.0);
    // Near 0, not 0: a step may begin with a power iteration, which the teacher does not make.
    assert!(held[0] < 0.5 * free[1], "{at}: it starts at {} from itself and ends at {}", held[0], free[1]);
    assert!(
        held[1] < 0.5 * free[1],
        "{at}: it ends at {} from its teacher, and at {} unheld",
        held[1],
        free[1]
    );
}

fn rehearses(case: &Case<dyn Detector>) {
    let at = case.at("a stage with a rehearsed class");
    let mut d = case.build(&spec());
    train(&mut *d, &view(0), TrainScope::All).must(&at);
    let older = hashes(&*d);
    let kept = view(0).classes()[0].images()[..2].to_vec();
    let second = view(1).with(vec![TrainClass::rehearsed("bolt", kept)]);
    train(&mut *d, &second, TrainScope::All).must(&at);
    assert_eq!(d.classes(), classes(1), "{at}: the classes");
    if d.steps(1) == 0 {
        unchanged(&older, &hashes(&*d), &at);
    }
    super::common::finite(&all_maps(&*d, 1, &at), &at);
}
