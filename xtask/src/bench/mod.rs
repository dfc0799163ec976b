//! Benches against peers. Ours and the peers' work take turns, so that what else the machine does hits all of them.
//!
//! A bench is one file with a `pub(crate) const BENCH: Bench`; [`BENCHES`] names them all.

mod cuda;
mod encode;
mod gemm;
mod hgad_step;
mod machine;
mod metrics;
mod peer;
mod plugin;
mod problem;
mod report;
mod run;
mod score;
mod stats;
mod targets;
mod tensors;
mod train_step;
mod turns;

pub(crate) use peer::root;

use crate::Result;
use crate::document::updated;
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
const BENCHES: &[Bench] = &[
    train_step::BENCH,
    hgad_step::BENCH,
    score::BENCH,
    encode::BENCH,
    metrics::BENCH,
    run::BENCH,
    plugin::BENCH,
];

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

impl Outcome {
    /// Sets its keys apart from those of the CPU.
    fn on_gpu(&mut self) {
        self.name.insert_str(0, "cuda.");
        self.values.iter_mut().for_each(|(key, _)| key.insert_str(0, "cuda."));
    }
}

/// Options of `bench`.
#[derive(Args)]
#[command(after_help = "Environment:
  CCNF_DATA          the real images of run.realad; default: ../shared/data/realad
  CCNF_BENCH_BEFORE  a program of the commit that run.realad compares with; default: built under target/bench/before")]
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
    /// Runs what computes with tensors on the GPU, PyTorch included, and prints only; keys begin with `cuda.`.
    #[arg(long)]
    cuda: bool,
    /// Prints only: leaves docs/performance.md as it is (as does a run of some benches only).
    #[arg(long)]
    no_doc: bool,
}

/// Runs the benches.
pub(crate) fn run(options: &Options) -> Result<()> {
    if options.list {
        known().for_each(|(name, _)| println!("{name}"));
        return Ok(());
    }
    if options.cuda && !cuda::BUILT {
        return cuda::start_anew();
    }
    // As the program does: on a thread of the pool.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(THREADS).build()?;
    pool.install(|| measure(options).map_err(|e| e.to_string())).map_err(Into::into)
}

/// Every name with its bench.
fn known() -> impl Iterator<Item = (&'static str, &'static Bench)> {
    BENCHES.iter().flat_map(|b| b.names.iter().map(move |n| (*n, b)))
}

fn measure(options: &Options) -> Result<()> {
    let settings = Settings { rounds: options.rounds as usize, alone: options.alone };
    let unknown = options.names.iter().find(|n| known().all(|(k, _)| !selects(n, k)));
    if let Some(name) = unknown {
        let names: Vec<&str> = known().map(|(k, _)| k).collect();
        return Err(format!("no bench `{name}`; there are {}", names.join(", ")).into());
    }
    let wanted = |name: &str| options.names.is_empty() || options.names.iter().any(|n| selects(n, name));
    let mut outcomes = Vec::new();
    for (name, bench) in known().filter(|(name, _)| wanted(name) && cuda::in_this_build(name)) {
        let mut outcome = (bench.run)(name, &settings).map_err(|e| format!("bench {name}: {e}"))?;
        if cuda::BUILT {
            outcome.on_gpu();
        }
        println!("{}", report::line(&outcome));
        outcomes.push(outcome);
    }
    let values = report::values(&outcomes);
    if !cuda::BUILT {
        println!("\n{}", targets::table(&values));
    }
    if let Some(file) = &options.json {
        std::fs::write(file, report::json(&values)?)?;
    }
    if options.names.is_empty() && !options.alone && !options.no_doc && !cuda::BUILT {
        let file = peer::root().join("docs/performance.md");
        let measured = report::markdown(&outcomes, &settings)?;
        let document = std::fs::read_to_string(&file)?;
        std::fs::write(&file, updated("docs/performance.md", &document, report::MARKS, &measured)?)?;
        println!("wrote docs/performance.md");
    }
    Ok(())
}

/// `train_step` selects all of `train_step.*`.
fn selects(given: &str, name: &str) -> bool {
    name == given || name.strip_prefix(given).is_some_and(|rest| rest.starts_with('.'))
}
