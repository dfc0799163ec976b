//! The tables of docs/results.md: runs every method on the real images with several seeds, and writes what came out.

mod finished;
mod methods;
mod table;

use crate::bench::root;
use crate::document::updated;
use crate::{Result, cargo};
use clap::Args;
use finished::Finished;
use methods::Method;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;
use table::Runs;

/// The first seed; the others follow it.
const SEED: u64 = 7;
const DOC: &str = "docs/results.md";
/// Where the written part of docs/results.md begins and ends; the rest is written by hand.
const MARKS: [&str; 2] = ["<!-- measured by `cargo xtask results` -->\n", "<!-- /measured -->"];

/// Options of `results`.
#[derive(Args)]
pub(crate) struct Options {
    /// The real images in MVTec layout [default: $CCNF_DATA, else ../shared/data/realad]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where runs are kept; those that have finished are not repeated
    #[arg(long, value_name = "DIR", default_value = "runs/results")]
    runs: PathBuf,
    /// Seeds of every method that has one
    #[arg(long, default_value_t = 3)]
    seeds: u64,
    /// Only these methods are run; the tables show all that have been
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// Runs nothing: makes the tables from what there is
    #[arg(long)]
    tables: bool,
    /// The program to run [default: built from this source]
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
}

/// Runs the methods and writes the tables.
pub(crate) fn run(options: &Options) -> Result<()> {
    let runs = root().join(&options.runs);
    if let Some(name) = options.only.iter().find(|n| !methods::all().any(|m| m.name == n.as_str())) {
        let known: Vec<&str> = methods::all().map(|m| m.name).collect();
        return Err(format!("there is no method `{name}`; there are: {}", known.join(", ")).into());
    }
    let mut failed = vec![];
    if !options.tables {
        let data = data(options)?;
        let program = match &options.program {
            Some(program) => fs::canonicalize(program).map_err(|e| format!("{}: {e}", program.display()))?,
            None => cargo::build(&root(), &["--release", "--package", "ccnf-cli"], "ccnf", &[])?,
        };
        failed = measure(options, &program, &data, &runs)?;
        if !failed.is_empty() {
            eprintln!("{} runs failed; they are missing in the tables", failed.len());
        }
    }
    let mut all = Runs::new();
    for method in methods::all() {
        // A folder may hold the finished run of an earlier config, over which no other is started.
        let folders = (0..options.seeds).map(|i| folder(&runs, method, SEED + i));
        let found = folders.filter(|f| !failed.contains(f)).map(|f| Finished::read(&f));
        let found = found.collect::<Result<Vec<_>>>()?.into_iter().flatten();
        all.insert(method.name, found.collect());
    }
    // The tables take seconds; the document is read after them, lest an edit made meanwhile be lost.
    let (doc, tables) = (root().join(DOC), table::markdown(&all)?);
    fs::write(&doc, updated(DOC, &fs::read_to_string(&doc)?, MARKS, &tables)?)?;
    println!("wrote {DOC}");
    Ok(())
}

fn data(options: &Options) -> Result<PathBuf> {
    let variable = || std::env::var_os("CCNF_DATA").filter(|v| !v.is_empty()).map(PathBuf::from);
    let data = options.data.clone().or_else(variable).unwrap_or_else(|| root().join("../shared/data/realad"));
    fs::canonicalize(&data)
        .map_err(|e| format!("the real images, {}: {e}; --data names them", data.display()).into())
}

fn folder(runs: &Path, method: &Method, seed: u64) -> PathBuf {
    runs.join(method.name).join(format!("seed{seed}"))
}

/// All first seeds come first, so that an interrupted measurement has seen every method. Returns the folders of the runs that failed.
fn measure(options: &Options, program: &Path, data: &Path, runs: &Path) -> Result<Vec<PathBuf>> {
    let wanted = |m: &&Method| options.only.is_empty() || options.only.iter().any(|n| n == m.name);
    let mut failed = vec![];
    for i in 0..options.seeds {
        for method in methods::all().filter(wanted).filter(|m| i == 0 || m.seeded) {
            let out = folder(runs, method, SEED + i);
            let start = Instant::now();
            let finished = one(program, data, method, SEED + i, &out)?;
            let name = format!("{} seed {}", method.name, SEED + i);
            match finished {
                true => eprintln!("{name}: finished after {:.0} s", start.elapsed().as_secs_f64()),
                false => {
                    eprintln!("{name}: FAILED, see {}", out.with_extension("log").display());
                    failed.push(out);
                }
            }
        }
    }
    Ok(failed)
}

/// One run, or its continuation; what it prints is kept beside its folder.
fn one(program: &Path, data: &Path, method: &Method, seed: u64, out: &Path) -> Result<bool> {
    fs::create_dir_all(out.parent().ok_or("the folder of runs has no parent")?)?;
    let log = fs::File::create(out.with_extension("log"))?;
    let mut command = Command::new(program);
    command.arg("run").arg(root().join(format!("configs/models/{}.toml", method.model)));
    let mut path = std::ffi::OsString::from("dataset.path=");
    path.push(data);
    command.args(["--set", "dataset.kind=mvtec", "--set"]).arg(path);
    command.args(["--set", "protocol.preset=realad", "--set", &format!("seed={seed}")]);
    method.set.iter().for_each(|s| {
        command.args(["--set", s]);
    });
    command.arg("--out").arg(out).stdout(log.try_clone()?).stderr(log);
    Ok(command.current_dir(root()).status()?.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_a_place_for_the_tables() {
        let document = fs::read_to_string(root().join(DOC)).unwrap();
        assert!(updated(DOC, &document, MARKS, "").is_ok());
    }
}
