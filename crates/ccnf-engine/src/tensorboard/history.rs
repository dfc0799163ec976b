//! What the event files of a run have to hold, made of the other files of its folder.

use super::proto::{Event, Value};
use super::scalars;
use crate::events::{EVENTS, read_steps};
use crate::finished::{StageFile, stage_file};
use crate::folder::read_json;
use ccnf_core::{Error, Result, StepReport, read_file};
use std::path::{Path, PathBuf};

/// How far a stage with so many training steps moves the global step. One without training (statistics in closed form) moves it by one:
/// two evaluations never meet at one step.
pub(crate) fn ticks(steps: u64) -> i64 {
    i64::try_from(steps).unwrap_or(i64::MAX).max(1)
}

/// The event of a training step, from 0, of a stage that begins after global step `start`. The first step of a run is global step 1: the
/// number of steps made.
pub(crate) fn train_event(start: i64, stage: usize, step: u64, values: &StepReport) -> Event {
    let global = start.saturating_add(ticks(step.saturating_add(1)));
    Event::summary(global, scalars::of_step(stage, values))
}

/// Hands out all events of a run in the order in which a run writes them, each with the global step at which that happens, which never
/// falls:
///
/// - the configuration as text, at 0;
/// - of every stage the training steps; its evaluation by global step (`eval`), and by stage (`tasks`: the rows of the R matrices);
/// - of a run whose training has ended, one picture per class and kind, and the summary as text.
pub(super) fn replay(run: &Path, put: &mut dyn FnMut(i64, Event) -> Result<()>) -> Result<()> {
    if let Some(config) = text(&run.join("config.toml"))? {
        put(0, Event::summary(0, vec![Value::text("config", format!("```toml\n{config}```\n"))]))?;
    }
    let log = run.join(EVENTS);
    let mut rows = read_steps(&log)?.peekable();
    let mut global = 0;
    for stage in 0.. {
        let mut steps = 0;
        while let Some(row) = rows.next_if(|r| r.as_ref().map_or(true, |r| r.stage == stage)) {
            let row = row?;
            let event = train_event(global, stage, row.step, &row.values);
            put(event.step, event)?;
            steps = row.step.saturating_add(1);
        }
        let Some(StageFile { evaluation, .. }) = read_json(&run.join(stage_file(stage)))? else {
            break;
        };
        global = global.saturating_add(ticks(steps));
        put(global, Event::summary(global, scalars::of_evaluation("eval", &evaluation)))?;
        let tasks = scalars::of_evaluation("tasks", &evaluation);
        put(global, Event::summary(i64::try_from(stage).unwrap_or(i64::MAX), tasks))?;
    }
    for picture in pictures(&run.join("overlays"))? {
        put(global, Event::summary(global, vec![picture]))?;
    }
    if let Some(summary) = text(&run.join("summary.md"))? {
        put(global, Event::summary(global, vec![Value::text("summary", summary)]))?;
    }
    Ok(())
}

fn text(path: &Path) -> Result<Option<String>> {
    Ok(path.exists().then(|| read_file(path)).transpose()?.map(|t| String::from_utf8_lossy(&t).into_owned()))
}

/// The first picture of every class and kind, `overlays/CLASS/KIND`; all of them would double the folder.
fn pictures(overlays: &Path) -> Result<Vec<Value>> {
    let mut out = Vec::new();
    for class in entries(overlays)?.iter().filter(|p| p.is_dir()) {
        let name = |p: &Path| p.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for file in entries(class)? {
            let first = ["best", "missed", "false-alarm"]
                .into_iter()
                .find(|kind| name(&file).starts_with(&format!("{kind}-1-")));
            if let Some(kind) = first {
                out.extend(Value::png(format!("overlays/{}/{kind}", name(class)), read_file(&file)?));
            }
        }
    }
    Ok(out)
}

/// What is in a folder, sorted; nothing where there is none.
pub(super) fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let list = match std::fs::read_dir(folder) {
        Ok(list) => list,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io("list", folder, e)),
    };
    let mut out = list
        .map(|e| e.map(|e| e.path()).map_err(|e| Error::io("list", folder, e)))
        .collect::<Result<Vec<_>>>()?;
    out.sort();
    Ok(out)
}
