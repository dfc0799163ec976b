//! Runs as processes of this machine.

use crate::folder::SuiteFolder;
use crate::plan::PlannedRun;
use crate::progress::Progress;
use ccnf_core::{Error, ErrorKind, Result};
use ccnf_engine::FinishedRun;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Sees the runs come and go; called from several threads.
pub trait Watch: Sync {
    /// A run starts.
    fn started(&self, run: &PlannedRun);
    /// A run got further.
    fn progress(&self, run: &PlannedRun, progress: &Progress);
    /// A run ended, well or with a message.
    fn ended(&self, run: &PlannedRun, took: Duration, outcome: Result<(), String>);
}

/// Processes of this machine.
#[derive(Debug, Clone)]
pub struct Local {
    /// The program, which has the command `run-one`.
    pub program: PathBuf,
    /// Runs at a time.
    pub jobs: usize,
    /// Threads of each.
    pub threads: usize,
}

impl Local {
    /// Carries out `runs`, each in a process of its own that ends when this one does. A run that fails is reported and does not stop the
    /// others. Runs of the first seed come in the given order; the others as soon as it is known which models take longest, those first, so
    /// that no processor waits for a long run at the end.
    pub fn execute(&self, folder: &SuiteFolder, runs: &[&PlannedRun], watch: &dyn Watch) -> Result<()> {
        let logs = folder.file("logs");
        std::fs::create_dir_all(&logs).map_err(|e| Error::io("create", &logs, e))?;
        let queue = Mutex::new(Queue { waiting: runs.to_vec(), took: BTreeMap::new() });
        let lock = || queue.lock().unwrap_or_else(PoisonError::into_inner);
        std::thread::scope(|scope| {
            for _ in 0..self.jobs.clamp(1, runs.len().max(1)) {
                scope.spawn(|| {
                    loop {
                        // Two statements: the lock is not held while the run goes.
                        let next = lock().next();
                        let Some(run) = next else { break };
                        watch.started(run);
                        let start = Instant::now();
                        let outcome = self.one(folder, run, watch).unwrap_or_else(|e| Err(e.to_string()));
                        if outcome.is_ok() {
                            lock().took.insert(run.cell.model.clone(), start.elapsed());
                        }
                        watch.ended(run, start.elapsed(), outcome);
                    }
                });
            }
        });
        Ok(())
    }

    /// One run; the inner error is why it failed.
    fn one(&self, folder: &SuiteFolder, run: &PlannedRun, watch: &dyn Watch) -> Result<Result<(), String>> {
        let log = folder.log(&run.id);
        let file = File::create(&log).map_err(|e| Error::io("create", &log, e))?;
        let mut command = Command::new(&self.program);
        command.args(["run-one", &run.id, "--progress", "--suite"]).arg(folder.path());
        command.env("RAYON_NUM_THREADS", self.threads.to_string());
        // The child reads its input to the end, which comes when this process is gone, however it went.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(file);
        let mut child = command.spawn().map_err(|e| Error::io("start", &self.program, e))?;
        let _alive = child.stdin.take();
        for line in
            child.stdout.take().into_iter().flat_map(|out| BufReader::new(out).lines()).map_while(|l| l.ok())
        {
            if let Ok(progress) = serde_json::from_str(&line) {
                watch.progress(run, &progress);
            }
        }
        let status = child.wait().map_err(|e| Error::io("wait for", &self.program, e))?;
        if status.success() {
            let result = FinishedRun::open(&folder.run(&run.id))?;
            return Ok(result
                .map(drop)
                .ok_or_else(|| "ended without an error and without a result".to_owned()));
        }
        let why = std::fs::read_to_string(folder.error(&run.id)).ok().or_else(|| {
            let said = std::fs::read_to_string(&log).ok()?;
            said.lines().rev().find(|l| !l.trim().is_empty()).map(str::to_owned)
        });
        Ok(Err(why.unwrap_or_else(|| format!("ended with {status}"))))
    }
}

struct Queue<'a> {
    waiting: Vec<&'a PlannedRun>,
    /// Seconds of the last run of each model.
    took: BTreeMap<String, Duration>,
}

impl<'a> Queue<'a> {
    fn next(&mut self) -> Option<&'a PlannedRun> {
        let longest = |i: &usize| self.took.get(&self.waiting[*i].cell.model).copied();
        let known = self.waiting.iter().all(|r| self.took.contains_key(&r.cell.model));
        let at = if known { (0..self.waiting.len()).rev().max_by_key(longest)? } else { 0 };
        (at < self.waiting.len()).then(|| self.waiting.remove(at))
    }
}

/// How many runs of `threads` threads this machine takes at a time: one per `threads` processors, as far as 2 GiB of memory are there for
/// each.
pub fn default_jobs(threads: usize) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let free = std::fs::read_to_string("/proc/meminfo").ok().and_then(|t| {
        let line = t.lines().find(|l| l.starts_with("MemAvailable:"))?;
        line.split_whitespace().nth(1)?.parse::<usize>().ok()
    });
    (cores / threads.max(1)).min(free.map_or(usize::MAX, |kib| kib >> 21)).max(1)
}

/// The program that is running now, to start it again.
pub fn this_program() -> Result<PathBuf> {
    std::env::current_exe()
        .map_err(|e| Error::new(ErrorKind::Io, format!("cannot find the running program: {e}")))
}
