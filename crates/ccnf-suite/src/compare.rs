//! A suite from its plan to the last run on this machine.

use crate::collect::{Collected, State, collect, state};
use crate::execute::{Local, Watch};
use crate::folder::SuiteFolder;
use crate::plan::{Plan, PlannedRun, Planner};
use ccnf_core::Result;
use std::collections::BTreeSet;

/// Plans the suite and writes its manifest; `folder` must be claimed.
pub fn plan(planner: &Planner<'_>, folder: &SuiteFolder) -> Result<Plan> {
    let plan = planner.plan()?;
    folder.write(planner.spec, &plan)?;
    Ok(plan)
}

/// The runs of a plan that have to be carried out, each once: not the finished ones, and not those whose folder cannot be used, in which
/// nothing is overwritten.
pub fn open_runs<'a>(plan: &'a Plan, folder: &SuiteFolder) -> Vec<&'a PlannedRun> {
    let mut seen = BTreeSet::new();
    let open = |r: &&PlannedRun| !matches!(state(folder, r), State::Finished(_) | State::Unusable(_));
    plan.runs.iter().filter(|r| seen.insert(&r.id)).filter(open).collect()
}

/// Carries out all runs on this machine: first those that can start, then those that waited for them. `watch` is made for every such wave
/// from the plan and the runs to come. A run that fails is not tried again before the next call.
pub fn compare<W: Watch>(
    planner: &Planner<'_>,
    folder: &SuiteFolder,
    local: &Local,
    mut watch: impl FnMut(&Plan, &[&PlannedRun]) -> W,
) -> Result<Collected> {
    let mut tried: BTreeSet<String> = BTreeSet::new();
    loop {
        let plan = plan(planner, folder)?;
        let mut todo = open_runs(&plan, folder);
        todo.retain(|r| !tried.contains(&r.id));
        if todo.is_empty() {
            return collect(folder);
        }
        local.execute(folder, &todo, &watch(&plan, &todo))?;
        tried.extend(todo.iter().map(|r| r.id.clone()));
    }
}
