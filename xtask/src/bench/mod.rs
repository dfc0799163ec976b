//! Benches against peers. Ours and the peer's work take turns, so that what else the machine does hits both.

mod encode;
mod machine;
mod peer;
mod problem;
mod report;
mod stats;
mod train_step;

use crate::Result;
use clap::Args;
use machine::Watch;
use peer::Peer;
use stats::Samples;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Threads of either side.
const THREADS: usize = 2;
/// Turns that are not counted.
const WARM_UP: usize = 3;
/// Idle time after each turn, so that threads that wait by spinning have gone to sleep.
const PAUSE: Duration = Duration::from_millis(20);

/// Cores that other processes may use during a turn that counts: 10 % of those that the turn uses.
const QUIET: f64 = 0.2;
/// After so many times the wanted turns disturbed, a bench gives up.
const MOST_DISTURBED: usize = 20;

/// Options of `bench`.
#[derive(Args)]
pub(crate) struct Options {
    /// train_step.d64, train_step.d112, train_step.d272, encode; left out: train_step.d112 and encode.
    names: Vec<String>,
    /// Writes the results as one flat JSON map.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Writes the results to docs/performance.md.
    #[arg(long)]
    doc: bool,
    /// Counted turns per bench.
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Measures only this project: needs no Python.
    #[arg(long)]
    alone: bool,
}

/// What one bench gave.
struct Outcome {
    /// `train_step.d112`.
    name: String,
    /// What both sides do, for the table.
    work: String,
    /// Short key of the peer: `torch_eager`.
    peer_key: &'static str,
    /// The peer with its version.
    peer: String,
    turns: Turns,
    /// Further values by key.
    extra: Vec<(String, f64)>,
}

/// Runs the benches.
pub(crate) fn run(options: &Options) -> Result<()> {
    rayon::ThreadPoolBuilder::new().num_threads(THREADS).build_global()?;
    let names = match options.names.as_slice() {
        [] => vec!["train_step.d112".to_owned(), "encode".to_owned()],
        given => given.to_vec(),
    };
    let rounds = options.rounds as usize;
    let mut outcomes = Vec::new();
    for name in &names {
        let outcome = match name.strip_prefix("train_step.d").map(str::parse) {
            Some(Ok(dim)) => train_step::run(dim, rounds, options.alone)?,
            None if name == "encode" => encode::run(rounds, options.alone)?,
            _ => {
                return Err(
                    format!("no bench `{name}`; there are train_step.d64, .d112, .d272 and encode").into()
                );
            }
        };
        println!("{}", report::line(&outcome));
        outcomes.push(outcome);
    }
    let gemm = train_step::gemm_gflops()?;
    println!("gemm: {gemm:.0} GFLOP/s");
    if let Some(file) = &options.json {
        std::fs::write(file, report::json(&outcomes, gemm)?)?;
    }
    if options.doc {
        std::fs::write(peer::root().join("docs/performance.md"), report::markdown(&outcomes, gemm, rounds)?)?;
    }
    Ok(())
}

/// Turns of both sides that count.
#[derive(Default)]
struct Turns {
    ours: Samples,
    theirs: Samples,
    /// Turns left out because others used the machine.
    disturbed: usize,
}

/// Lets ours and the peer take turns; `check` sees the results of both of one turn.
///
/// A turn in which other processes used more than [`QUIET`] cores does not count. The rule is the same for both sides and looks
/// at the system's accounts, never at the time that the turn took.
fn interleave<T>(
    rounds: usize,
    mut peer: Option<&mut Peer>,
    mut ours: impl FnMut() -> Result<T>,
    mut check: impl FnMut(usize, &T, Option<&peer::Reply>) -> Result<()>,
) -> Result<Turns> {
    let mut turns = Turns::default();
    for round in 0.. {
        let watch = Watch::start(std::process::id());
        let start = Instant::now();
        let value = ours()?;
        let seconds = start.elapsed().as_secs_f64();
        let others = watch.others();
        std::thread::sleep(PAUSE);
        let reply = match peer.as_deref_mut() {
            None => None,
            Some(peer) => {
                let watch = Watch::start(peer.id());
                Some((peer.step()?, watch.others()))
            }
        };
        std::thread::sleep(PAUSE);
        check(round, &value, reply.as_ref().map(|r| &r.0))?;
        if round < WARM_UP {
            continue;
        }
        let quiet = |others: Option<f64>| others.is_none_or(|o| o <= QUIET);
        if quiet(others) && reply.as_ref().is_none_or(|r| quiet(r.1)) {
            turns.ours.push(seconds);
            reply.iter().for_each(|r| turns.theirs.push(r.0.seconds));
        } else {
            turns.disturbed += 1;
        }
        if turns.ours.len() >= rounds {
            break;
        }
        if turns.disturbed > MOST_DISTURBED * rounds {
            return Err(format!(
                "the machine is too busy: {} of {rounds} undisturbed turns after {} disturbed ones",
                turns.ours.len(),
                turns.disturbed
            )
            .into());
        }
    }
    Ok(turns)
}
