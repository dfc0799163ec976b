//! Finished runs by protocol and data.

use crate::collect::Collected;
use crate::plan::PlannedRun;
use ccnf_core::Result;
use ccnf_engine::{FinishedRun, StageEvaluation};

/// A finished run in its place of the grid, with its evaluations.
pub(crate) struct Entry<'a> {
    pub(crate) planned: &'a PlannedRun,
    pub(crate) run: &'a FinishedRun,
    pub(crate) evaluations: Vec<StageEvaluation>,
}

/// The runs of a table.
pub(crate) struct Group<'a> {
    pub(crate) name: String,
    pub(crate) entries: Vec<Entry<'a>>,
}

/// The finished runs by protocol and data.
pub(crate) fn groups(collected: &Collected) -> Result<Vec<Group<'_>>> {
    let mut groups: Vec<Group<'_>> = vec![];
    for (planned, run) in collected.finished() {
        let evaluations = (0..run.stages()).map(|s| run.evaluation(s)).collect::<Result<Vec<_>>>()?;
        let key = |r: &FinishedRun| (r.provenance().protocol.clone(), r.provenance().data.clone());
        let entry = Entry { planned, run, evaluations };
        match groups.iter_mut().find(|g| key(g.entries[0].run) == key(run)) {
            Some(group) => group.entries.push(entry),
            None => groups.push(Group { name: planned.cell.column(), entries: vec![entry] }),
        }
    }
    Ok(groups)
}
