//! Runs as shell commands, for GNU parallel and other engines.

use super::slurm::quoted;
use crate::folder::SuiteFolder;
use crate::plan::PlannedRun;
use std::path::Path;

/// One shell command per run; each may be started on any machine that sees the folder, and again after it was killed.
pub fn commands(program: &Path, threads: usize, folder: &SuiteFolder, runs: &[&PlannedRun]) -> String {
    let command = |r: &&PlannedRun| {
        format!(
            "RAYON_NUM_THREADS={threads} {} run-one {} --suite {}\n",
            quoted(program),
            r.id,
            quoted(folder.path())
        )
    };
    runs.iter().map(command).collect()
}
