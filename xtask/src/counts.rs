//! Executed instructions of a few pieces of work, against a committed baseline: a regression shows also on a noisy machine.
//!
//! The work is `crates/ccnf-tensor/examples/instructions.rs`, built as the tests are (profile `dev`, where that crate is optimised) and run
//! under callgrind. Counts depend on the compiler and on the vector instructions that callgrind's processor offers, so a baseline
//! of others is not compared.

use crate::bench::root;
use crate::{Result, cargo};
use clap::Args;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The pieces of work.
const WORK: [&str; 3] = ["training-step", "rows-step", "scoring"];
/// A count that grows by more than this share fails.
const LIMIT: f64 = 0.05;
/// The committed counts.
const BASELINE: &str = "benches/instruction-counts.json";

/// Options of `counts`.
#[derive(Args)]
pub(crate) struct Options {
    /// Writes the counts to benches/instruction-counts.json instead of comparing with it.
    #[arg(long)]
    update: bool,
}

/// What was counted, and under which conditions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Counts {
    /// `rustc 1.95.0 (59807616e 2026-04-14)`.
    rustc: String,
    /// The vector instructions that the work used, as `pulp` calls them: `V3` is AVX2 with FMA.
    vectors: String,
    /// Instructions of one piece of work, by name.
    instructions: BTreeMap<String, u64>,
}

/// What a comparison says.
#[derive(Debug, PartialEq)]
enum Verdict {
    /// Not comparable, and why.
    Skipped(String),
    /// One line per piece of work, and whether none has grown beyond the limit.
    Compared { lines: Vec<String>, passed: bool },
}

/// Counts, and compares or writes.
pub(crate) fn run(options: &Options) -> Result<()> {
    let file = root().join(BASELINE);
    let now = count()?;
    if options.update {
        std::fs::write(&file, serde_json::to_string_pretty(&now)? + "\n")?;
        println!("wrote {BASELINE}: {:?}", now.instructions);
        return Ok(());
    }
    let text =
        std::fs::read_to_string(&file).map_err(|e| format!("{BASELINE}: {e}; write it with --update"))?;
    let baseline: Counts = serde_json::from_str(&text).map_err(|e| format!("{BASELINE}: {e}"))?;
    match compare(&baseline, &now) {
        Verdict::Skipped(why) => println!("SKIPPED instruction counts: {why}"),
        Verdict::Compared { lines, passed } => {
            lines.iter().for_each(|line| println!("{line}"));
            if !passed {
                return Err(format!(
                    "more than {:.0} % more instructions than {BASELINE}. `callgrind_annotate target/counts/WORK.2` shows where; when \
                     the work is worth it, run `cargo xtask counts --update` and say why in the commit",
                    LIMIT * 100.0
                )
                .into());
            }
        }
    }
    Ok(())
}

/// Compares counts with a baseline. A piece of work that only one of them has does not pass: the check would silently shrink.
fn compare(baseline: &Counts, now: &Counts) -> Verdict {
    for (what, then, now) in
        [("compiler", &baseline.rustc, &now.rustc), ("vector instructions", &baseline.vectors, &now.vectors)]
    {
        if then != now {
            return Verdict::Skipped(format!(
                "the {what} of {BASELINE} is `{then}`, here `{now}`; `cargo xtask counts --update` makes a new baseline"
            ));
        }
    }
    let names: std::collections::BTreeSet<&String> =
        baseline.instructions.keys().chain(now.instructions.keys()).collect();
    let (mut lines, mut passed) = (vec![], true);
    for name in names {
        let (line, ok) = match (baseline.instructions.get(name), now.instructions.get(name)) {
            (Some(then), Some(now)) => {
                let change = *now as f64 / (*then).max(1) as f64 - 1.0;
                let (word, ok) = match change {
                    c if c > LIMIT => ("REGRESSION", false),
                    c if c < -LIMIT => ("better; keep it with `cargo xtask counts --update`", true),
                    _ => ("unchanged within the limit", true),
                };
                (format!("{name}: {then} -> {now} instructions, {:+.2} %: {word}", 100.0 * change), ok)
            }
            (then, _) => {
                let place = if then.is_some() { "the work" } else { BASELINE };
                (format!("{name}: MISSING in {place}"), false)
            }
        };
        lines.push(line);
        passed &= ok;
    }
    Verdict::Compared { lines, passed }
}

/// Counts every piece of work.
fn count() -> Result<Counts> {
    let program = build()?;
    let folder = root().join("target/counts");
    std::fs::create_dir_all(&folder)?;
    let mut counts = Counts { rustc: compiler()?, vectors: String::new(), instructions: BTreeMap::new() };
    for work in WORK {
        let (once, vectors) = callgrind(&program, work, 1, &folder)?;
        let (twice, _) = callgrind(&program, work, 2, &folder)?;
        let one = twice.checked_sub(once).filter(|n| *n > 0);
        counts.instructions.insert(work.into(), one.ok_or(format!("{work} twice took less than once"))?);
        counts.vectors = vectors;
    }
    Ok(counts)
}

/// Builds the example. `--workspace`: the dependencies have the features that the tests build them with, so nothing is built twice.
/// Not incremental, as in continuous integration: that changes how the code is cut and inlined.
fn build() -> Result<PathBuf> {
    let arguments = ["--workspace", "--example", "instructions"];
    cargo::build(&root(), &arguments, "instructions", &[("CARGO_INCREMENTAL", "0")])
}

/// The compiler that `cargo` uses.
fn compiler() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("--version").current_dir(root()).output()?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// Instructions of a whole run of the program, and the vector instructions that it used.
fn callgrind(program: &Path, work: &str, times: usize, folder: &Path) -> Result<(u64, String)> {
    let profile = folder.join(format!("{work}.{times}"));
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet"])
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(program)
        .args([work, &times.to_string()])
        .output()
        .map_err(|e| format!("valgrind: {e}; install it (Debian: apt-get install valgrind)"))?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        return Err(
            format!("`instructions {work} {times}` under valgrind: {}\n{message}", output.status).into()
        );
    }
    let vectors = String::from_utf8(output.stdout)?.trim().to_owned();
    Ok((total(&std::fs::read_to_string(profile)?)?, vectors))
}

/// The number of instructions in callgrind's profile.
fn total(profile: &str) -> Result<u64> {
    let line = profile.lines().find_map(|line| line.strip_prefix("totals:"));
    Ok(line.ok_or("callgrind's profile has no totals")?.trim().parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(instructions: &[(&str, u64)]) -> Counts {
        Counts {
            rustc: "rustc 1".into(),
            vectors: "V3".into(),
            instructions: instructions.iter().map(|(k, v)| ((*k).to_owned(), *v)).collect(),
        }
    }

    /// Lines and verdict of a change of `scoring`; the other work stays.
    fn change(from: u64, to: u64) -> (Vec<String>, bool) {
        let others = ("rows-step", 500);
        match compare(&counts(&[others, ("scoring", from)]), &counts(&[others, ("scoring", to)])) {
            Verdict::Compared { lines, passed } => (lines, passed),
            skipped => panic!("{skipped:?}"),
        }
    }

    #[test]
    fn four_percent_more_instructions_pass_and_six_fail() {
        assert!(change(1_000_000, 1_040_000).1);
        let (lines, passed) = change(1_000_000, 1_060_000);
        assert!(!passed);
        assert!(lines[0].contains("+0.00 %") && lines[0].contains("unchanged"), "{lines:?}");
        assert!(lines[1].contains("+6.00 %") && lines[1].contains("REGRESSION"), "{lines:?}");
    }

    #[test]
    fn an_improvement_passes_and_asks_to_be_kept() {
        let (lines, passed) = change(1_000_000, 900_000);
        assert!(passed && lines[1].contains("--update"), "{lines:?}");
    }

    #[test]
    fn counts_of_another_compiler_or_processor_are_not_compared() {
        let base = counts(&[("scoring", 1)]);
        let others = [
            Counts { rustc: "rustc 2".into(), ..counts(&[("scoring", 9)]) },
            Counts { vectors: "V4".into(), ..counts(&[("scoring", 9)]) },
        ];
        for other in others {
            assert!(matches!(compare(&base, &other), Verdict::Skipped(_)), "{other:?}");
        }
    }

    #[test]
    fn work_without_a_counterpart_fails() {
        let (one, two) = (counts(&[("scoring", 1)]), counts(&[("scoring", 1), ("rows-step", 1)]));
        for (a, b) in [(&one, &two), (&two, &one)] {
            assert!(matches!(compare(a, b), Verdict::Compared { passed: false, .. }));
        }
    }

    #[test]
    fn the_committed_baseline_has_every_piece_of_work() {
        let text = std::fs::read_to_string(root().join(BASELINE)).unwrap();
        let baseline: Counts = serde_json::from_str(&text).unwrap();
        assert!(WORK.iter().all(|w| baseline.instructions.get(*w).is_some_and(|n| *n > 0)), "{baseline:?}");
        assert_eq!(baseline.instructions.len(), WORK.len());
    }

    #[test]
    fn the_total_is_read_from_a_profile() {
        assert_eq!(total("events: Ir\nfn=(1)\n1 5\ntotals: 1234\n").unwrap(), 1234);
        assert!(total("events: Ir\n").is_err());
    }
}
