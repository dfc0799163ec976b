//! What a run tells the process that started it: JSON lines.

use ccnf_engine::Observer;
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How far a run is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The piece of work.
    pub what: String,
    /// Its units that are done.
    pub done: u64,
    /// Its units.
    pub total: u64,
    /// The class, or the loss.
    #[serde(default)]
    pub note: String,
}

/// Lines are at least this far apart.
const PAUSE: Duration = Duration::from_millis(200);

/// Writes progress as JSON lines.
pub struct JsonLines<W: Write> {
    state: Mutex<(W, Progress, Option<Instant>)>,
}

impl<W: Write> JsonLines<W> {
    /// Writes to `out`.
    pub fn new(out: W) -> Self {
        JsonLines { state: Mutex::new((out, Progress::default(), None)) }
    }

    fn say(&self, now: bool, change: impl FnOnce(&mut Progress)) {
        let (out, progress, last) = &mut *self.state.lock().unwrap_or_else(PoisonError::into_inner);
        change(progress);
        if !now && last.is_some_and(|l| l.elapsed() < PAUSE) {
            return;
        }
        *last = Some(Instant::now());
        // Nobody listening is no reason to stop.
        let _ =
            serde_json::to_string(progress).map(|line| writeln!(out, "{line}").and_then(|()| out.flush()));
    }
}

impl<W: Write + Send> Observer for JsonLines<W> {
    fn start(&self, what: &str, total: u64) {
        self.say(true, |p| *p = Progress { what: what.to_owned(), total, ..Progress::default() });
    }

    fn advance(&self, done: u64, note: &str) {
        self.say(false, |p| {
            p.done = done;
            note.clone_into(&mut p.note);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_progress_and_they_do_not_come_too_often() {
        let lines = JsonLines::new(Vec::new());
        lines.start("stage 1: training", 1000);
        (0..1000).for_each(|i| lines.advance(i, "loss 1.5"));
        lines.start("stage 1: scoring", 4);
        let text = String::from_utf8(lines.state.into_inner().unwrap().0).unwrap();
        let read: Vec<Progress> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(
            read[0],
            Progress { what: "stage 1: training".into(), total: 1000, ..Progress::default() }
        );
        assert_eq!(read.last().unwrap().what, "stage 1: scoring");
        assert!(read.len() < 20, "{} lines", read.len());
    }
}
