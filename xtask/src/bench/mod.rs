//! Benches against peers. Ours and the peers' work take turns, so that what else the machine does hits all of them.
//!
//! A bench is one file with a `pub(crate) const BENCH: Bench`; [`BENCHES`] names them all.

mod encode;
mod gemm;
mod machine;
mod peer;
mod problem;
mod report;
mod score;
mod stats;
mod targets;
mod train_step;
mod turns;

use crate::Result;
use clap::Args;
use std::path::PathBuf;
use turns::Turns;

/// Threads of every side.
pub(crate) const THREADS: usize = 2;

/// One entry of `cargo xtask bench`.
pub(crate) struct Bench {
    /// What it is called on the command line, one name per variant: `train_step.d112`.
    names: &'static [&'static str],
    /// Runs one variant.
    run: fn(&str, &Settings) -> Result<Outcome>,
}

/// All benches, in the order of the report.
const BENCHES: &[Bench] = &[train_step::BENCH, encode::BENCH, score::BENCH];

/// How to measure.
pub(crate) struct Settings {
    /// Counted turns per bench.
    pub(crate) rounds: usize,
    /// Measure only this project: no Python.
    pub(crate) alone: bool,
}

/// What one bench gave.
pub(crate) struct Outcome {
    /// `train_step.d112`.
    pub(crate) name: String,
    /// What all sides do, for the table.
    pub(crate) work: String,
    /// The sides' times.
    pub(crate) turns: Turns,
    /// Further values by key, for the JSON map: `train_step.d112.ours_peak_mib`.
    pub(crate) values: Vec<(String, f64)>,
    /// Lines for docs/performance.md below the tables: the roofline, the profile, what to bear in mind.
    pub(crate) notes: Vec<String>,
}

/// Options of `bench`.
#[derive(Args)]
pub(crate) struct Options {
    /// The benches to run; left out: all. `--list` shows them.
    names: Vec<String>,
    /// Shows the names of the benches.
    #[arg(long)]
    list: bool,
    /// Writes the results as one flat JSON map.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Counted turns per bench.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Measures only this project: needs no Python.
    #[arg(long)]
    alone: bool,
    /// Prints only: leaves docs/performance.md as it is (as does a run of some benches only).
    #[arg(long)]
    no_doc: bool,
}

/// Runs the benches.
pub(crate) fn run(options: &Options) -> Result<()> {
    let known = || BENCHES.iter().flat_map(|b| b.names.iter().map(move |n| (*n, b)));
    if options.list {
        known().for_each(|(name, _)| println!("{name}"));
        return Ok(());
    }
    rayon::ThreadPoolBuilder::new().num_threads(THREADS).build_global()?;
    let settings = Settings { rounds: options.rounds as usize, alone: options.alone };
    let unknown = options.names.iter().find(|n| known().all(|(k, _)| !selects(n, k)));
    if let Some(name) = unknown {
        let names: Vec<&str> = known().map(|(k, _)| k).collect();
        return Err(format!("no bench `{name}`; there are {}", names.join(", ")).into());
    }
    let wanted = |name: &str| options.names.is_empty() || options.names.iter().any(|n| selects(n, name));
    let mut outcomes = Vec::new();
    for (name, bench) in known().filter(|(name, _)| wanted(name)) {
        let outcome = (bench.run)(name, &settings).map_err(|e| format!("bench {name}: {e}"))?;
        println!("{}", report::line(&outcome));
        outcomes.push(outcome);
    }
    let values = report::values(&outcomes);
    println!("\n{}", targets::table(&values));
    if let Some(file) = &options.json {
        std::fs::write(file, report::json(&values)?)?;
    }
    if options.names.is_empty() && !options.alone && !options.no_doc {
        let file = peer::root().join("docs/performance.md");
        let measured = report::markdown(&outcomes, &settings)?;
        std::fs::write(&file, report::updated(&std::fs::read_to_string(&file)?, &measured)?)?;
        println!("wrote docs/performance.md");
    }
    Ok(())
}

/// `train_step` selects all of `train_step.*`.
fn selects(given: &str, name: &str) -> bool {
    name == given || name.strip_prefix(given).is_some_and(|rest| rest.starts_with('.'))
}
