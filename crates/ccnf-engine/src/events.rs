//! The log of training steps: one JSON line per step.

use ccnf_core::{Error, Result, StepReport, read_file, write_atomic};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

#[derive(Serialize, Deserialize)]
struct Event {
    stage: usize,
    step: u64,
    #[serde(flatten)]
    values: StepReport,
}

/// Appends to `events.jsonl`.
pub(crate) struct Events {
    path: PathBuf,
    file: File,
}

impl Events {
    /// Opens the log and drops everything from (`stage`, `step`) on, which a resumed run will write again.
    pub(crate) fn resume(path: &Path, stage: usize, step: u64) -> Result<Self> {
        if path.exists() {
            let text = String::from_utf8_lossy(&read_file(path)?).into_owned();
            let kept: String = text
                .lines()
                .filter(|l| serde_json::from_str::<Event>(l).is_ok_and(|e| (e.stage, e.step) < (stage, step)))
                .flat_map(|l| [l, "\n"])
                .collect();
            write_atomic(path, kept.as_bytes())?;
        }
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .map_err(|e| Error::io("open", path, e))?;
        Ok(Events { path: path.to_owned(), file })
    }

    /// Appends one step.
    pub(crate) fn write(&mut self, stage: usize, step: u64, values: &StepReport) -> Result<()> {
        let event = Event { stage, step, values: values.clone() };
        let line = serde_json::to_string(&event).unwrap_or_default() + "\n";
        self.file.write_all(line.as_bytes()).map_err(|e| Error::io("write", &self.path, e))
    }
}
