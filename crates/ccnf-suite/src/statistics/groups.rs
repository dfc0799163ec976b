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
    columns: Vec<String>,
    pub(crate) entries: Vec<Entry<'a>>,
}

/// The finished runs by protocol and data.
pub(crate) fn groups(collected: &Collected) -> Result<Vec<Group<'_>>> {
    let mut groups: Vec<Group<'_>> = vec![];
    for (planned, run) in collected.finished() {
        let evaluations = (0..run.stages()).map(|s| run.evaluation(s)).collect::<Result<Vec<_>>>()?;
        let key = |r: &FinishedRun| (r.provenance().protocol.clone(), r.provenance().data.clone());
        let (column, entry) = (planned.cell.column(), Entry { planned, run, evaluations });
        match groups.iter_mut().find(|g| key(g.entries[0].run) == key(run)) {
            Some(group) => group.add(column, entry),
            None => groups.push(Group { name: column.clone(), columns: vec![column], entries: vec![entry] }),
        }
    }
    name(&mut groups);
    Ok(groups)
}

impl<'a> Group<'a> {
    /// A run that stands in two places of the grid, such as one under two names of a protocol, is one run of its model.
    fn add(&mut self, column: String, entry: Entry<'a>) {
        if !self.columns.contains(&column) {
            self.columns.push(column);
        }
        let same = |e: &Entry<'_>| {
            e.planned.id == entry.planned.id && e.planned.cell.model == entry.planned.cell.model
        };
        if !self.entries.iter().any(same) {
            self.entries.push(entry);
        }
    }
}

/// Names that tell the groups apart: all names of the grid's columns in a group, and the data where two groups share them.
fn name(groups: &mut [Group<'_>]) {
    for g in groups.iter_mut() {
        g.name = g.columns.join(" = ");
    }
    let names: Vec<String> = groups.iter().map(|g| g.name.clone()).collect();
    for g in groups.iter_mut().filter(|g| names.iter().filter(|n| **n == g.name).count() > 1) {
        let p = g.entries[0].run.provenance();
        g.name += &format!(
            " (protocol {}, data {})",
            p.protocol.get(..6).unwrap_or(""),
            p.data.get(..6).unwrap_or("")
        );
    }
}
