//! Progress of a suite: bars on a terminal, a line per finished run elsewhere.

use ccnf_suite::{Plan, PlannedRun, Progress, Watch};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Watches one wave of runs.
pub(crate) struct Board {
    bars: MultiProgress,
    all: ProgressBar,
    state: Mutex<State>,
    jobs: usize,
    terminal: bool,
}

struct State {
    active: BTreeMap<String, (ProgressBar, Instant)>,
    /// Models of the runs to come.
    open: Vec<String>,
    took: BTreeMap<String, Vec<f64>>,
    done: usize,
    failed: usize,
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

impl Board {
    pub(crate) fn new(plan: &Plan, todo: &[&PlannedRun], jobs: usize) -> Self {
        let bars = MultiProgress::new();
        let all = bars.add(ProgressBar::new(todo.len() as u64));
        all.set_style(style("{bar:30} {pos}/{len} runs, {elapsed} gone{msg}"));
        all.enable_steady_tick(Duration::from_secs(1));
        let terminal = std::io::stderr().is_terminal();
        let board = Board {
            bars,
            all,
            jobs,
            terminal,
            state: Mutex::new(State {
                active: BTreeMap::new(),
                open: todo.iter().map(|r| r.cell.model.clone()).collect(),
                took: BTreeMap::new(),
                done: 0,
                failed: 0,
            }),
        };
        let ids: BTreeSet<&String> = plan.runs.iter().map(|r| &r.id).collect();
        let (before, waiting) = (ids.len() - todo.len(), plan.waiting.len());
        let mut text = match todo.len() {
            1 => "1 run to go".to_owned(),
            n => format!("{n} runs to go, {jobs} at a time"),
        };
        if before > 0 {
            text += &format!("; {before} are there already");
        }
        if waiting > 0 {
            text += &format!("; {waiting} wait for others");
        }
        board.say(&text);
        board
    }

    fn say(&self, text: &str) {
        if self.terminal {
            let _ = self.bars.println(text);
        } else {
            eprintln!("{text}");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Seconds that are left: the mean time of a model's runs for every open one, of all runs where its model has not finished one.
    fn left(&self, jobs: usize) -> Option<f64> {
        let mean = |v: &Vec<f64>| v.iter().sum::<f64>() / v.len() as f64;
        let all: Vec<f64> = self.took.values().map(mean).collect();
        let overall = (!all.is_empty()).then(|| all.iter().sum::<f64>() / all.len() as f64)?;
        let total: f64 = self.open.iter().map(|m| self.took.get(m).map_or(overall, mean)).sum();
        let gone: f64 = self.active.values().map(|(_, since)| since.elapsed().as_secs_f64()).sum();
        Some((total - gone).max(0.0) / jobs.min(self.open.len()).max(1) as f64)
    }
}

/// `40 s`, `12 min`, `2.5 h`.
pub(crate) fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 90.0 => format!("{s:.0} s"),
        s if s < 5400.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

impl Watch for Board {
    fn started(&self, run: &PlannedRun) {
        let bar = self.bars.add(ProgressBar::new(1));
        bar.set_style(style("  {prefix:44} {bar:20} {msg}"));
        bar.set_prefix(run.cell.to_string());
        self.state().active.insert(run.id.clone(), (bar, Instant::now()));
    }

    fn progress(&self, run: &PlannedRun, progress: &Progress) {
        if let Some((bar, _)) = self.state().active.get(&run.id) {
            bar.set_length(progress.total.max(1));
            bar.set_position(progress.done);
            bar.set_message(format!("{} {}", progress.what, progress.note));
        }
    }

    fn ended(&self, run: &PlannedRun, took: Duration, outcome: Result<(), String>) {
        let mut s = self.state();
        if let Some((bar, _)) = s.active.remove(&run.id) {
            bar.finish_and_clear();
        }
        if let Some(at) = s.open.iter().position(|m| *m == run.cell.model) {
            s.open.remove(at);
        }
        s.done += 1;
        let seconds = took.as_secs_f64();
        let what = match &outcome {
            Ok(()) => {
                s.took.entry(run.cell.model.clone()).or_default().push(seconds);
                format!("finished after {}", duration(seconds))
            }
            Err(why) => {
                s.failed += 1;
                format!("FAILED after {}: {why}", duration(seconds))
            }
        };
        let left = match s.left(self.jobs) {
            Some(left) if !s.open.is_empty() => format!(", about {} left", duration(left)),
            _ => String::new(),
        };
        let failed = if s.failed > 0 { format!(", {} failed", s.failed) } else { String::new() };
        self.all.set_position(s.done as u64);
        self.all.set_message(format!("{left}{failed}"));
        let (done, total) = (s.done, s.done + s.open.len());
        drop(s);
        self.say(&format!("[{done}/{total}] {}: {what}{}", run.cell, if self.terminal { "" } else { &left }));
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        self.all.finish_and_clear();
    }
}
