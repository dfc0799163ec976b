//! One run of a suite: what every executor starts, on any machine, as often as it likes.

use crate::folder::SuiteFolder;
use ccnf_core::{Config, Error, ErrorKind, Result, write_atomic};
use ccnf_engine::{Assembly, Observer, Outcome};
use std::time::{Duration, Instant};

/// How long a run waits for a killed process to let go of its folder.
const PATIENCE: Duration = Duration::from_secs(5);

/// Carries the run `id` of a suite through, or goes on with it; a finished run is only read. Why it failed is kept in `logs/ID.error`.
///
/// Fails where the manifest has no such run, and where the images, the encoder or the program are not what the plan was made with: the
/// id that follows from them is then another one.
pub fn run_one(folder: &SuiteFolder, id: &str, observer: &dyn Observer) -> Result<Outcome> {
    let note = folder.error(id);
    let _ = std::fs::remove_file(&note);
    let outcome = carry(folder, id, observer);
    if let Err(e) = &outcome
        && e.kind() != ErrorKind::Locked
    {
        write_atomic(&note, e.to_string().as_bytes())?;
    }
    outcome
}

fn carry(folder: &SuiteFolder, id: &str, observer: &dyn Observer) -> Result<Outcome> {
    let run = folder.planned(id)?.ok_or_else(|| {
        Error::new(ErrorKind::Usage, format!("the suite in `{}` has no run `{id}`", folder.path().display()))
            .help("its runs.jsonl names them all")
    })?;
    let started = Instant::now();
    loop {
        let assembly = Assembly::new(&Config::from_json("the suite's manifest", &run.config)?)?;
        let now = assembly.id();
        if now != id {
            let found = format!(
                "run `{id}` is `{now}` now: the images, the encoder or the program changed since the suite was planned"
            );
            return Err(Error::new(ErrorKind::Checkpoint, found).help(
                "run `ccnf compare` with the suite's file again: it plans anew and keeps finished runs",
            ));
        }
        match ccnf_engine::run(assembly, Some(&folder.run(id)), observer) {
            Err(e) if e.kind() == ErrorKind::Locked && started.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(200));
            }
            outcome => return outcome,
        }
    }
}
