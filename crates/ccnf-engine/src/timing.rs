//! Seconds per stage, kept apart from the results, which repeat bit for bit.

use crate::folder::RunFolder;
use ccnf_core::Result;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Instant;

/// Seconds of the process that finished a stage.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct StageTiming {
    /// Wall-clock seconds of training, encoding included.
    pub training_seconds: f64,
    /// Wall-clock seconds of scoring.
    pub scoring_seconds: f64,
    /// Processor seconds of training over all threads: what other work on the machine does not lengthen. Known on Linux.
    #[serde(default)]
    pub training_cpu_seconds: Option<f64>,
    /// The same of scoring.
    #[serde(default)]
    pub scoring_cpu_seconds: Option<f64>,
}

/// A clock that shows wall-clock and processor seconds.
pub(crate) struct Clock {
    wall: Instant,
    cpu: Option<f64>,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Clock { wall: Instant::now(), cpu: process_seconds() }
    }

    /// Seconds since the start, and the start of the next lap.
    pub(crate) fn lap(&mut self) -> (f64, Option<f64>) {
        let now = Clock::start();
        let cpu = now.cpu.zip(self.cpu).map(|(now, before)| now - before);
        let wall = (now.wall - self.wall).as_secs_f64();
        *self = now;
        (wall, cpu)
    }
}

/// User and system time of this process: fields 14 and 15 of proc(5)'s stat, in the 1/100 s that Linux always reports them in.
fn process_seconds() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is a name in brackets that may hold spaces.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |i: usize| fields.get(i)?.parse::<u64>().ok();
    Some((ticks(11)? + ticks(12)?) as f64 / 100.0)
}

const FILE: &str = "timing.json";

/// Adds a stage to the run's timing.
pub(crate) fn write_timing(folder: &RunFolder, stage: usize, timing: StageTiming) -> Result<()> {
    let mut all: BTreeMap<usize, StageTiming> = folder.read_json(FILE)?.unwrap_or_default();
    all.insert(stage, timing);
    folder.write_json(FILE, &all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn processor_time_grows_with_work_and_not_with_sleep() {
        let mut clock = Clock::start();
        std::thread::sleep(std::time::Duration::from_millis(300));
        let asleep = clock.lap().1.unwrap();
        let mut sum = 0u64;
        while clock.cpu.map_or(0.0, |c| process_seconds().unwrap() - c) < 0.1 {
            (0..1000u64).for_each(|i| sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(i)));
        }
        let (wall, busy) = clock.lap();
        assert!(asleep < 0.2 && busy.unwrap() >= 0.09 && wall > 0.0, "{asleep} {busy:?} {wall}");
    }
}
