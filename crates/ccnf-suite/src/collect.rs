//! What has become of the runs of a suite.

use crate::folder::SuiteFolder;
use crate::plan::{PlannedRun, WaitingRun};
use crate::spec::SuiteSpec;
use ccnf_core::Result;
use ccnf_engine::{FinishedRun, Provenance};
use rayon::prelude::*;
use std::fmt;

/// What has become of a run.
#[derive(Debug, Clone)]
pub enum State {
    /// It has finished, and its files are what it wrote.
    Finished(Box<FinishedRun>),
    /// It failed, with this message.
    Failed(String),
    /// It was begun and is not finished: it runs elsewhere, or was killed.
    Unfinished,
    /// It was not begun.
    NotStarted,
    /// Its folder is not what a run of this version and this plan wrote: it is left out, and nothing is overwritten.
    Unusable(String),
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            State::Finished(_) => f.write_str("finished"),
            State::Failed(why) => write!(f, "failed: {why}"),
            State::Unfinished => f.write_str("not finished"),
            State::NotStarted => f.write_str("not started"),
            State::Unusable(why) => write!(f, "left out: {why}"),
        }
    }
}

/// The runs of a suite with their states, in the order of the plan.
#[derive(Debug, Clone)]
pub struct Collected {
    /// The suite.
    pub spec: SuiteSpec,
    /// Every planned run.
    pub runs: Vec<(PlannedRun, State)>,
    /// Those that cannot start yet.
    pub waiting: Vec<WaitingRun>,
}

/// Looks at every run of the suite in `folder`, and at every file that tables are made from.
pub fn collect(folder: &SuiteFolder) -> Result<Collected> {
    let manifest = folder.manifest()?;
    let verified = |r: PlannedRun| {
        let state = match state(folder, &r) {
            State::Finished(run) => match run.verify() {
                Ok(()) => State::Finished(run),
                Err(e) => State::Unusable(e.to_string()),
            },
            other => other,
        };
        (r, state)
    };
    let runs = manifest.plan.runs.into_par_iter().map(verified).collect();
    Ok(Collected { spec: manifest.spec, runs, waiting: manifest.plan.waiting })
}

/// What has become of a planned run.
pub fn state(folder: &SuiteFolder, run: &PlannedRun) -> State {
    let path = folder.run(&run.id);
    match FinishedRun::open(&path) {
        Err(e) => State::Unusable(e.to_string()),
        Ok(Some(found)) => {
            let without_data = Provenance { data: String::new(), ..found.provenance().clone() };
            if found.id() != run.id || without_data != run.provenance {
                let found = format!("`{}` holds another run than its name says", path.display());
                return State::Unusable(format!("{found}; remove the folder and run the suite again"));
            }
            State::Finished(Box::new(found))
        }
        Ok(None) => match std::fs::read_to_string(folder.error(&run.id)) {
            Ok(why) => State::Failed(why),
            Err(_) if path.exists() => State::Unfinished,
            Err(_) => State::NotStarted,
        },
    }
}

impl Collected {
    /// The finished runs.
    pub fn finished(&self) -> impl Iterator<Item = (&PlannedRun, &FinishedRun)> {
        self.runs.iter().filter_map(|(run, state)| match state {
            State::Finished(f) => Some((run, f.as_ref())),
            _ => None,
        })
    }

    /// The runs that are not there, with the reason.
    pub fn missing(&self) -> impl Iterator<Item = (String, String)> {
        let runs = self.runs.iter().filter(|(_, s)| !matches!(s, State::Finished(_)));
        let waiting = self
            .waiting
            .iter()
            .map(|w| (w.cell.to_string(), format!("waits for a finished run of {}", w.waits_for)));
        runs.map(|(r, s)| (r.cell.to_string(), s.to_string())).chain(waiting)
    }
}
