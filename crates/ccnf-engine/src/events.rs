//! The log of training steps: one JSON line per step in `events.jsonl`, and the same in the event files of TensorBoard.

use crate::folder::RunFolder;
use crate::tensorboard;
use ccnf_core::{Error, Result, StepReport, read_file, write_atomic};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

/// The file with the log.
pub(crate) const EVENTS: &str = "events.jsonl";

#[derive(Serialize)]
struct Line<'a> {
    stage: usize,
    step: u64,
    #[serde(flatten)]
    values: &'a StepReport,
}

/// One step of the log.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(from = "RawStep")]
pub(crate) struct LoggedStep {
    pub(crate) stage: usize,
    pub(crate) step: u64,
    pub(crate) values: StepReport,
}

/// JSON has no NaN: a value that was none is null in the file.
#[derive(Deserialize)]
struct RawStep {
    stage: usize,
    step: u64,
    #[serde(flatten)]
    values: BTreeMap<String, Option<f64>>,
}

impl From<RawStep> for LoggedStep {
    fn from(r: RawStep) -> Self {
        let values = r.values.into_iter().map(|(k, v)| (k, v.unwrap_or(f64::NAN))).collect();
        LoggedStep { stage: r.stage, step: r.step, values }
    }
}

/// The steps of a log, in order; a line that was cut is left out. None where there is no log.
pub(crate) fn read_steps(path: &Path) -> Result<impl Iterator<Item = Result<LoggedStep>>> {
    let file = match File::open(path) {
        Ok(f) => Some(BufReader::new(f)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
        Err(e) => return Err(Error::io("read", path, e)),
    };
    let lines = file.into_iter().flat_map(|f| f.split(b'\n'));
    Ok(lines.filter_map(|line| match line {
        Ok(line) => serde_json::from_slice(&line).ok().map(Ok),
        Err(e) => Some(Err(Error::io("read", path, e))),
    }))
}

/// The loss of a step over all levels; `None` for a detector without losses.
pub(crate) fn total_loss(values: &StepReport) -> Option<f64> {
    values.iter().filter(|(k, _)| k.ends_with(".loss")).map(|(_, v)| *v).reduce(|a, b| a + b)
}

/// Appends to the log.
pub(crate) struct Events {
    path: PathBuf,
    file: File,
    board: tensorboard::Writer,
    /// The global step before the stage's first.
    start: i64,
}

impl Events {
    /// Opens the log of a run and drops everything from (`stage`, `step`) on, which a resumed run will write again.
    pub(crate) fn resume(folder: &RunFolder, stage: usize, step: u64) -> Result<Self> {
        let path = folder.file(EVENTS);
        let mut steps: BTreeMap<usize, u64> = BTreeMap::new();
        if path.exists() {
            let text = read_file(&path)?;
            let mut kept = Vec::with_capacity(text.len());
            for line in text.split_inclusive(|b| *b == b'\n').filter(|l| l.ends_with(b"\n")) {
                let Ok(s) = serde_json::from_slice::<LoggedStep>(line) else { continue };
                if (s.stage, s.step) < (stage, step) {
                    kept.extend_from_slice(line);
                    steps.insert(s.stage, s.step.saturating_add(1));
                }
            }
            if kept.len() < text.len() {
                write_atomic(&path, &kept)?;
            }
        }
        let start = (0..stage)
            .map(|s| tensorboard::ticks(steps.get(&s).copied().unwrap_or(0)))
            .fold(0, i64::saturating_add);
        let board = tensorboard::open(folder)?;
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(|e| Error::io("open", &path, e))?;
        Ok(Events { path, file, board, start })
    }

    /// Appends one step.
    pub(crate) fn write(&mut self, stage: usize, step: u64, values: &StepReport) -> Result<()> {
        let line = serde_json::to_string(&Line { stage, step, values }).unwrap_or_default() + "\n";
        self.file.write_all(line.as_bytes()).map_err(|e| Error::io("write", &self.path, e))?;
        self.board.append(tensorboard::train_event(self.start, stage, step, values))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(dir: &Path) -> RunFolder {
        RunFolder::open(&dir.join("run"), "id").unwrap().0
    }

    fn values(loss: f64) -> StepReport {
        [("level0.loss".to_owned(), loss), ("level1.loss".to_owned(), 1.0)].into()
    }

    fn logged(f: &RunFolder) -> Vec<LoggedStep> {
        read_steps(&f.file(EVENTS)).unwrap().map(|s| s.unwrap()).collect()
    }

    #[test]
    fn a_log_cut_in_the_middle_of_a_line_goes_on_as_if_it_never_had_been() {
        let dir = tempfile::tempdir().unwrap();
        let f = folder(dir.path());
        let write = |stage, first, steps: u64| {
            let mut events = Events::resume(&f, stage, first).unwrap();
            (first..steps).for_each(|s| events.write(stage, s, &values(s as f64 / 3.0)).unwrap());
        };
        write(0, 0, 4);
        write(1, 0, 3);
        let whole = std::fs::read(f.file(EVENTS)).unwrap();
        assert_eq!(logged(&f).len(), 7);
        assert_eq!(logged(&f)[2], LoggedStep { stage: 0, step: 2, values: values(2.0 / 3.0) });
        for cut in (0..whole.len()).step_by(7) {
            std::fs::write(f.file(EVENTS), &whole[..cut]).unwrap();
            let there = logged(&f).len() as u64;
            // The last line may be whole but for its end.
            let there = there.min(whole[..cut].iter().filter(|b| **b == b'\n').count() as u64);
            if there < 4 {
                write(0, there, 4);
            }
            write(1, there.saturating_sub(4), 3);
            assert_eq!(std::fs::read(f.file(EVENTS)).unwrap(), whole, "cut at {cut}");
        }
    }

    #[test]
    fn steps_after_the_one_that_is_resumed_are_dropped_and_one_without_a_number_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let f = folder(dir.path());
        let mut events = Events::resume(&f, 0, 0).unwrap();
        for (step, loss) in [(0, f64::NAN), (1, 2.0), (2, 3.0)] {
            events.write(0, step, &values(loss)).unwrap();
        }
        drop(events);
        Events::resume(&f, 0, 2).unwrap();
        let kept = logged(&f);
        assert_eq!(kept.iter().map(|s| s.step).collect::<Vec<_>>(), [0, 1]);
        assert!(kept[0].values["level0.loss"].is_nan());
        assert_eq!(total_loss(&kept[1].values), Some(3.0));
        assert_eq!(total_loss(&StepReport::new()), None);
    }
}
