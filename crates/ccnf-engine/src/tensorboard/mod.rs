//! Event files for TensorBoard.
//!
//! They hold nothing of their own: `history` makes every event of the other files of the run's folder, `events.jsonl` and
//! `evaluations/` before all. A run writes each step into both as it goes; whenever it opens the event files (before a stage, after an
//! evaluation, at the end), they are compared with the history, cut where they differ and completed. So a run that was killed, one of a
//! version that wrote none, and [`export_tensorboard`] come to the same events by the same way; only wall-clock times differ.

mod files;
mod history;
mod proto;
mod record;
mod scalars;
#[cfg(test)]
mod tests;

use crate::folder::{RunFolder, outside_of_run};
use ccnf_core::{Error, ErrorKind, Result};
pub(crate) use files::Writer;
use files::{EventFiles, Found};
pub(crate) use history::{ticks, train_event};
use std::path::Path;

/// The folder of the event files in the run's.
const FOLDER: &str = "tensorboard";

/// Writes the event files of a run folder into `out`, which is made if need be: the curves of every training step and evaluation, the
/// configuration and the summary as text, and pictures. They are those that the run itself writes, also for a run of a version that wrote
/// none. Event files of an earlier export there are completed; other files are left alone. The run's folder is only read.
pub fn export_tensorboard(run: &Path, out: &Path) -> Result<()> {
    if !run.join("run.json").exists() {
        let found = format!("`{}` is not a run folder: it has no run.json", run.display());
        return Err(Error::new(ErrorKind::Usage, found).help("give the folder that `ccnf run` printed"));
    }
    outside_of_run(run, out)?;
    synchronise(run, out).map(drop)
}

/// Brings the event files of a run up to its other files: after an evaluation, and at the end.
pub(crate) fn update(folder: &RunFolder) -> Result<()> {
    open(folder).map(drop)
}

/// The same, and goes on from there.
pub(crate) fn open(folder: &RunFolder) -> Result<Writer> {
    synchronise(folder.path(), &folder.file(FOLDER))
}

/// Compares the event files in `out` with the history of `run`, cuts and completes them, and goes on after them.
fn synchronise(run: &Path, out: &Path) -> Result<Writer> {
    let mut files = EventFiles::read(out)?;
    let (mut writer, mut last) = (None, None);
    history::replay(run, &mut |global, event| {
        let writer = match &mut writer {
            Some(w) => w,
            none => {
                let found = files.next()?;
                if matches!(&found, Found::Event(e) if *e == event) {
                    files.keep();
                    last = Some(global);
                    return Ok(());
                }
                none.insert(files.go_on(last, &found)?)
            }
        };
        writer.append(event)
    })?;
    match writer {
        Some(w) => Ok(w),
        None => {
            let found = files.next()?;
            files.go_on(last, &found)
        }
    }
}
