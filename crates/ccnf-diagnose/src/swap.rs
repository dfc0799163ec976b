//! The swap test: the classes of the first stage, scored by models put together from the states after the first and the last stage.

use crate::Options;
use crate::part::Part;
use crate::refit::Source;
use crate::variants::{Difference, Scored, Variant};
use crate::verdict::{self, Cause, Contrasts};
use ccnf_core::{Error, ErrorKind, Probe, Result, Snapshot, TensorGroup, TensorPlace};
use ccnf_engine::{Observer, Reopened};
use ccnf_tensor::Streams;
use ccnf_tensor::rand::Rng;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The swap test of a run. Scored with the class given, fused and measured as the run did it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SwapTest {
    /// The last stage, from 0: T.
    pub last: usize,
    /// What the class part of the model is made of: `mixture`, `rows`, …
    pub class_part: String,
    /// Tensors of the flow and of the class part that both states have.
    pub tensors: (usize, usize),
    /// Tensors outside flow and class part, such as statistics of maps, that differ between the states. They are those of the last state
    /// in every variant.
    pub rest_changed: Vec<String>,
    /// What the run recorded for the classes: after the first and after the last stage.
    pub recorded: Vec<Variant>,
    /// The models.
    pub variants: Vec<Variant>,
    /// Contrasts between them.
    pub differences: Vec<Difference>,
    /// Why there is no refit, where there is none.
    pub no_refit: Option<String>,
    /// Which part causes the loss.
    pub cause: Cause,
    /// The same in words, and what the refit says.
    pub verdict: String,
}

impl SwapTest {
    /// The verdict, and what has to be known beside it.
    pub fn remarks(&self) -> Vec<String> {
        let mut out = vec![self.verdict.clone()];
        if let Some(one) = self.rest_changed.first() {
            let n = self.rest_changed.len();
            out.push(format!(
                "{n} tensors outside flow and {} differ between the two states, such as `{one}`; every model has those of T.",
                self.class_part
            ));
        }
        out.extend(self.no_refit.iter().map(|reason| format!("There is no refit: {reason}.")));
        out
    }
}

/// What is put together from the two states.
struct Plan {
    class_part: String,
    tensors: (usize, usize),
    rest_changed: Vec<String>,
    /// The parts of the class part; each is put back alone where there are several.
    parts: Vec<String>,
    /// Models by name: the four combinations of flow and class part (`TT`, `T0`, `0T`, `00`), then the parts. Each with the tensors that it
    /// takes from the first state and that differ there.
    models: Vec<(String, BTreeSet<String>)>,
}

impl Plan {
    /// Fails with the reason where there is nothing to swap.
    fn new(probe: &dyn Probe, first: &Snapshot, last: &Snapshot) -> Result<Plan, String> {
        let in_both = first
            .tensors
            .iter()
            .filter(|(name, t)| last.tensors.get(*name).is_some_and(|l| l.shape == t.shape));
        let places: Vec<(&String, TensorPlace)> =
            in_both.map(|(name, t)| (name, probe.place(name, &t.owner))).collect();
        let of_class = |p: &TensorPlace| p.group.is_of_a_class();
        let of_flow = |p: &TensorPlace| p.group == TensorGroup::Flow;
        let count = |which: &dyn Fn(&TensorPlace) -> bool| places.iter().filter(|(_, p)| which(p)).count();
        let tensors = (count(&of_flow), count(&of_class));
        if tensors.0 == 0 || tensors.1 == 0 {
            let lacking = if tensors.0 == 0 { "flow" } else { "tensors of classes" };
            return Err(format!("the model has no {lacking}, so there is nothing to swap"));
        }
        let class_places = || places.iter().map(|(_, p)| p).filter(|p| of_class(p));
        let groups: BTreeSet<TensorGroup> = class_places().map(|p| p.group).collect();
        let class_part = groups.iter().map(TensorGroup::to_string).collect::<Vec<_>>().join(" and ");
        let mut parts: BTreeSet<&str> = class_places().map(|p| p.part.as_str()).collect();
        if parts.len() == 1 {
            parts.clear();
        }
        let changed = |which: &dyn Fn(&TensorPlace) -> bool| -> BTreeSet<String> {
            let chosen = places.iter().filter(|(_, p)| which(p)).map(|(name, _)| *name);
            chosen.filter(|name| first.tensors.get(*name) != last.tensors.get(*name)).cloned().collect()
        };
        let name = |flow: &str, class: &str| format!("flow {flow} + {class_part} {class}");
        let mut models = vec![
            (name("T", "T"), BTreeSet::new()),
            (name("T", "0"), changed(&of_class)),
            (name("0", "T"), changed(&of_flow)),
            (name("0", "0"), changed(&|p| of_class(p) || of_flow(p))),
        ];
        models.extend(parts.iter().map(|part| {
            (format!("only {part} of 0, the rest T"), changed(&|p| of_class(p) && p.part == *part))
        }));
        let rest_changed = changed(&|p| !of_class(p) && !of_flow(p)).into_iter().collect();
        let parts = parts.into_iter().map(str::to_owned).collect();
        Ok(Plan { class_part, tensors, rest_changed, parts, models })
    }
}

/// The test on `run`, whose states after the first and the last stage are given; `classes` are those of the first stage. The detector is
/// left in some state.
pub(crate) fn swap_test(
    run: &mut Reopened,
    (first, last): (&Snapshot, &Snapshot),
    classes: &[String],
    options: &Options,
    observer: &dyn Observer,
) -> Result<Part<SwapTest>> {
    run.load(last)?;
    let Some(probe) = run.detector().probe() else {
        return Ok(Part::Undefined("the detector has no probe that says which tensors are its flow".into()));
    };
    let plan = match Plan::new(probe, first, last) {
        Err(reason) => return Ok(Part::Undefined(reason)),
        Ok(plan) => plan,
    };
    let (found, refits) = score(run, (first, last), &plan, classes, options, observer)?;
    let no_refit = refits.iter().find_map(|r| r.reason().map(str::to_owned));
    let refits: Vec<&Scored> = refits.iter().filter_map(Part::found).collect();
    let (cause, verdict, differences) = compare(&plan, &found, &refits, options)?;
    let last = run.stages() - 1;
    Ok(Part::Found(SwapTest {
        last,
        recorded: [0, last].map(|stage| Variant::recorded(run, stage, classes)).to_vec(),
        variants: found.iter().chain(refits).map(|s| s.variant.clone()).collect(),
        differences,
        class_part: plan.class_part,
        tensors: plan.tensors,
        rest_changed: plan.rest_changed,
        no_refit,
        cause,
        verdict,
    }))
}

/// The classes under all models of the plan, and the refits: on the last flow, on the first, without any.
fn score(
    run: &mut Reopened,
    (first, last): (&Snapshot, &Snapshot),
    plan: &Plan,
    classes: &[String],
    options: &Options,
    observer: &dyn Observer,
) -> Result<(Vec<Scored>, Vec<Part<Scored>>)> {
    observer.start("swap test", plan.models.len() as u64 + 1);
    let (mut found, mut refits): (Vec<Scored>, _) = (Vec::new(), Vec::new());
    for (i, (name, from_first)) in plan.models.iter().enumerate() {
        let mut state = last.clone();
        let chosen = from_first.iter().filter_map(|name| first.tensors.get_key_value(name));
        state.tensors.extend(chosen.map(|(name, tensor)| (name.clone(), tensor.clone())));
        run.load(&state)?;
        // Where nothing has changed between the states, swapping it makes the same model.
        found.push(match plan.models[..i].iter().position(|(_, s)| s == from_first) {
            Some(same) => found[same].named(name),
            None => Scored::of(run, name, classes)?,
        });
        for (_, name) in
            [(0, "flow T + Gaussian"), (3, "flow 0 + Gaussian")].iter().filter(|(at, _)| *at == i)
        {
            refits.push(Scored::refitted(run, name, classes, Source::Latents, options)?);
        }
        observer.advance(i as u64 + 1, name);
    }
    refits.push(Scored::refitted(run, "no flow + Gaussian", classes, Source::Features, options)?);
    observer.advance(plan.models.len() as u64 + 1, "no flow + Gaussian");
    observer.finish();
    Ok((found, refits))
}

/// The contrasts between the models and what they say.
fn compare(
    plan: &Plan,
    found: &[Scored],
    refits: &[&Scored],
    options: &Options,
) -> Result<(Cause, String, Vec<Difference>)> {
    let [tt, t0, ot, oo, parts @ ..] = found else {
        return Err(Error::new(ErrorKind::Contract, "two parts have four combinations"));
    };
    let mut rng = Streams::new(options.seed).stream("diagnose.swap", 0);
    let mut differ =
        |name: &str, a: &Scored, b: &Scored| a.minus(b, name, options.draws, |n| rng.gen_range(0..n));
    let class_part = &plan.class_part;
    let mut all = vec![
        differ("loss", oo, tt)?,
        differ("last flow alone", oo, t0)?,
        differ(&format!("last {class_part} alone"), oo, ot)?,
        differ("first flow back", ot, tt)?,
        differ(&format!("first {class_part} back"), t0, tt)?,
    ];
    let contrasts = Contrasts {
        loss: &all[0],
        flow_alone: &all[1],
        class_alone: &all[2],
        flow_back: &all[3],
        class_back: &all[4],
    };
    let (cause, mut verdict) = verdict::cause(&contrasts, class_part);
    for (scored, part) in parts.iter().zip(&plan.parts) {
        all.push(differ(&format!("only first {part} back"), scored, tt)?);
    }
    if let [last, first, identity] = refits {
        let recovered = differ("refit on last flow", last, tt)?;
        let control = differ("refit: last flow - none", last, identity)?;
        verdict = format!("{verdict} {}", verdict::refit(&recovered, &control, cause));
        all.extend([recovered, control, differ("refit: first flow - none", first, identity)?]);
    }
    Ok((cause, verdict, all))
}
