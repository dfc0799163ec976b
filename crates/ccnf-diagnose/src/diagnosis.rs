//! The diagnosis of several runs.

use crate::drift::{Drift, drift};
use crate::freeze::{Freeze, Measured, freeze, measure};
use crate::functional::{FunctionalChange, StageView, functional};
use crate::latents::{LatentMap, latent_maps};
use crate::options::{Analysis, Options};
use crate::part::{Part, unless};
use crate::swap::{SwapTest, swap_test};
use crate::tokens::{fixed_latents, normal_images};
use ccnf_core::{Probe, Result, ResultExt, Snapshot, TensorPlace};
use ccnf_engine::{ClassEntry, Observer, Reopened};
use ccnf_tensor::{Owner, Role};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What [`diagnose`] found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Diagnosis {
    /// `ccnf-diagnosis/1`.
    pub format: String,
    /// The settings.
    pub options: Options,
    /// Run by run.
    pub runs: Vec<RunDiagnosis>,
}

/// What was found about one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunDiagnosis {
    /// The shortest end of the folder's path that no other run has.
    pub name: String,
    /// The folder.
    pub folder: PathBuf,
    /// The run's id.
    pub run: String,
    /// The kind of detector.
    pub detector: String,
    /// Number of stages.
    pub stages: usize,
    /// The classes and their stages.
    pub classes: Vec<ClassEntry>,
    /// Change of tensors.
    pub drift: Part<Drift>,
    /// Change of latents and class weights.
    pub functional: Part<Vec<FunctionalChange>>,
    /// The swap test.
    pub swap: Part<SwapTest>,
    /// Entropies over the classes.
    pub freeze: Part<Freeze>,
    /// Separation of the classes in the latents.
    pub latents: Part<Vec<LatentMap>>,
}

const ONE_STAGE: &str = "the run has one stage, so nothing comes before or after";
const NOT_ASKED: &str = "not asked for";

/// Looks into finished runs. Nothing is written to their folders.
///
/// Costs one forward pass of all test images of the first classes per stage, and about a dozen for the swap test.
///
/// # Errors
/// For folders that hold no finished run, runs whose images or checkpoints are gone or changed, and options out of range.
pub fn diagnose(runs: &[PathBuf], options: &Options, observer: &dyn Observer) -> Result<Diagnosis> {
    options.check()?;
    let names = names(runs);
    let one = |(folder, name): (&PathBuf, String)| {
        diagnose_run(folder, name, options, observer).at(|| format!("run `{}`", folder.display()))
    };
    let runs = runs.iter().zip(names).map(one).collect::<Result<_>>()?;
    Ok(Diagnosis { format: "ccnf-diagnosis/1".into(), options: options.clone(), runs })
}

/// The shortest ends of the paths that tell them apart; whole paths where nothing does.
fn names(runs: &[PathBuf]) -> Vec<String> {
    let end = |path: &Path, parts: usize| {
        let all: Vec<_> = path.components().map(|c| c.as_os_str().to_string_lossy().into_owned()).collect();
        all[all.len().saturating_sub(parts)..].join("/")
    };
    let longest = runs.iter().map(|p| p.components().count()).max().unwrap_or(0);
    for parts in 1..=longest {
        let all: Vec<String> = runs.iter().map(|p| end(p, parts)).collect();
        if (1..all.len()).all(|i| !all[..i].contains(&all[i])) {
            return all;
        }
    }
    runs.iter().map(|p| p.display().to_string()).collect()
}

/// What is seen while the states are passed through once.
#[derive(Default)]
struct Seen {
    views: Vec<StageView>,
    entropies: Vec<Vec<Measured>>,
}

fn diagnose_run(
    folder: &Path,
    name: String,
    options: &Options,
    observer: &dyn Observer,
) -> Result<RunDiagnosis> {
    let mut run = Reopened::open(folder, &options.sets)?;
    let stages = run.stages();
    let states =
        (0..stages).map(|s| run.checkpoint(s).map(|c| c.model)).collect::<Result<Vec<Snapshot>>>()?;
    let detector = detector_kind(&run);
    let classes = run.metrics().classes.clone();
    let first: Vec<String> = classes.iter().filter(|c| c.stage == 0).map(|c| c.name.clone()).collect();
    let no_probe = match run.detector().probe() {
        Some(_) => None,
        None => Some(format!(
            "the detector `{detector}` has no probe: no latents and no class likelihoods are known"
        )),
    };
    let many = stages > 1;
    let undefined = |analysis: Analysis, needs_stages: bool, needs_probe: bool| {
        if !options.wants(analysis) {
            return Some(NOT_ASKED.to_owned());
        }
        let one_stage = (needs_stages && !many).then(|| ONE_STAGE.to_owned());
        one_stage.or_else(|| no_probe.clone().filter(|_| needs_probe))
    };
    let no_functional = undefined(Analysis::Drift, true, true);
    let no_freeze = undefined(Analysis::Freeze, true, true);
    let no_latents = undefined(Analysis::Latents, false, true);

    let follow = no_functional.is_none() || no_latents.is_none();
    let seen = look(&mut run, &states, &first, (follow, no_freeze.is_none()), options, observer)?;
    let drift = unless(undefined(Analysis::Drift, true, false), || {
        states.last().map_or(Ok(()), |last| run.load(last))?;
        Ok(drift_of(&run, &states))
    })?;
    let functional = unless(no_functional, || Ok(functional(&seen.views)))?;
    let latents = unless(no_latents, || latent_maps(&seen.views, &classes, options, observer))?;
    let freeze = unless(no_freeze, || Ok(freeze(&seen.entropies, &run, &first)))?;
    let swap = match (undefined(Analysis::Swap, true, true), states.as_slice()) {
        (None, [start, .., end]) => swap_test(&mut run, (start, end), &first, options, observer)?,
        (reason, _) => Part::Undefined(reason.unwrap_or_else(|| ONE_STAGE.into())),
    };
    Ok(RunDiagnosis {
        name,
        folder: folder.to_owned(),
        run: run.metrics().run.clone(),
        detector,
        stages,
        classes,
        drift,
        functional,
        swap,
        freeze,
        latents,
    })
}

fn detector_kind(run: &Reopened) -> String {
    let resolved = run.assembly().config.resolved_json();
    resolved["detector"]["kind"].as_str().unwrap_or("unknown").to_owned()
}

/// Passes through the states once, in order.
fn look(
    run: &mut Reopened,
    states: &[Snapshot],
    first: &[String],
    (follow, entropies): (bool, bool),
    options: &Options,
    observer: &dyn Observer,
) -> Result<Seen> {
    let mut seen = Seen::default();
    if !follow && !entropies {
        return Ok(seen);
    }
    observer.start("states", states.len() as u64);
    let mut normal: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (stage, state) in states.iter().enumerate() {
        run.load(state)?;
        let known = run.detector().classes();
        for class in known.iter().filter(|_| follow) {
            if !normal.contains_key(class) {
                normal.insert(class.clone(), normal_images(run, class)?);
            }
        }
        let Some(probe) = run.detector().probe() else { break };
        if follow {
            seen.views.push(view(run, probe, &known, &normal, options)?);
        }
        if entropies {
            seen.entropies.push(measure(run, probe, first)?);
        }
        observer.advance(stage as u64 + 1, &format!("stage {}", stage + 1));
    }
    observer.finish();
    Ok(seen)
}

fn view(
    run: &Reopened,
    probe: &dyn Probe,
    known: &[String],
    normal: &BTreeMap<String, Vec<usize>>,
    options: &Options,
) -> Result<StageView> {
    let mut latents = BTreeMap::new();
    for class in known {
        let normal = normal.get(class).map_or(&[][..], Vec::as_slice);
        latents.insert(class.clone(), fixed_latents(run, class, normal, options)?);
    }
    let levels = run.assembly().encoder.levels().len();
    let log_weights = (0..levels).map(|l| probe.log_class_weights(l)).collect::<Result<_>>()?;
    Ok(StageView { latents, classes: known.to_vec(), log_weights })
}

/// The drift of tensors; `run` is in the last state.
fn drift_of(run: &Reopened, states: &[Snapshot]) -> Drift {
    let roles: BTreeMap<String, Role> =
        run.detector().params().into_iter().map(|p| (p.name().to_owned(), p.role())).collect();
    let place = |name: &str, owner: &Owner| match run.detector().probe() {
        Some(probe) => probe.place(name, owner),
        None => TensorPlace::of(name, owner),
    };
    drift(states, &place, &|name| roles.get(name).copied().unwrap_or(Role::Weight))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_shortest_ends_that_differ() {
        let of = |paths: &[&str]| names(&paths.iter().map(PathBuf::from).collect::<Vec<_>>());
        assert_eq!(of(&["runs/a/seed7", "runs/b/seed7"]), ["a/seed7", "b/seed7"]);
        assert_eq!(of(&["x/a", "y/b"]), ["a", "b"]);
        assert_eq!(of(&["only"]), ["only"]);
        assert_eq!(of(&["same", "same"]), ["same", "same"]);
        assert_eq!(of(&["seed7", "b/seed7"]), ["seed7", "b/seed7"]);
    }
}
