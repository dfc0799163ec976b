//! `ccnf compare`, `ccnf run-one`, `ccnf collect`, `ccnf report`.

use crate::args::{CollectArgs, CompareArgs, Executor, ReportArgs, RunOneArgs};
use crate::exit::print;
use crate::progress::Bars;
use crate::watch::Board;
use ccnf_core::{Error, ErrorKind, Result};
use ccnf_engine::Observer;
use ccnf_suite::{
    Collected, JsonLines, Local, Planner, ReportOptions, Slurm, SuiteFolder, SuiteSpec, default_jobs, state,
    this_program, write_report,
};
use std::path::{Path, PathBuf};

/// The suite that runs without a file.
const QUICKSTART: &str = include_str!("../../../../configs/suites/quickstart.toml");

pub(crate) fn compare(args: &CompareArgs) -> Result<()> {
    let (spec, base) = match &args.suite {
        None => (SuiteSpec::parse(QUICKSTART, "built-in quickstart")?, PathBuf::new()),
        Some(path) => (SuiteSpec::read(path)?, path.parent().unwrap_or(Path::new("")).to_owned()),
    };
    let out = args.out.clone().unwrap_or_else(|| Path::new("suites").join(&spec.name));
    let folder = SuiteFolder::at(&out);
    let planner = Planner { spec: &spec, base: &base, sets: &args.set, runs: &folder.runs() };
    if args.plan {
        return show_plan(&planner, &folder);
    }
    if args.jobs == Some(0) {
        return Err(Error::new(ErrorKind::Usage, "`--jobs 0` runs nothing").help("give 1 or more"));
    }
    let _lock = folder.claim(&spec)?;
    if args.executor != Executor::Local {
        return hand_over(args, &planner, &folder);
    }
    let jobs = args.jobs.unwrap_or_else(|| default_jobs(spec.threads));
    let local = Local { program: this_program()?, jobs, threads: spec.threads };
    let collected =
        ccnf_suite::compare(&planner, &folder, &local, |plan, todo| Board::new(plan, todo, jobs))?;
    finish(&folder, &collected)
}

/// Leaves the open runs to Slurm, or to whoever reads the commands.
fn hand_over(args: &CompareArgs, planner: &Planner<'_>, folder: &SuiteFolder) -> Result<()> {
    let plan = ccnf_suite::plan(planner, folder)?;
    let open = ccnf_suite::open_runs(&plan, folder);
    let (program, threads) = (this_program()?, planner.spec.threads);
    if args.executor == Executor::List {
        return print(&ccnf_suite::commands(&program, threads, folder, &open));
    }
    let slurm = Slurm { program, threads, at_a_time: args.jobs, options: args.sbatch.clone() };
    let submission = slurm.submit(folder, &open)?;
    let mut text = String::new();
    for array in &submission.arrays {
        text += &format!("submitted job array {} with {} runs\n", array.job, array.runs.len());
    }
    if submission.queued > 0 {
        text += &format!("{} runs are in the queue already\n", submission.queued);
    }
    if open.is_empty() {
        text += "no run is open\n";
    }
    if !plan.waiting.is_empty() {
        text += &format!(
            "{} runs wait for others: give the same command again when those have finished\n",
            plan.waiting.len()
        );
    }
    let folder = folder.path().display();
    print(&format!("{text}tables and report when runs have finished: ccnf collect {folder}\n"))
}

/// Writes tables and report; prints leader board, answer, what is missing, and where to look.
fn finish(folder: &SuiteFolder, collected: &Collected) -> Result<()> {
    let (results, boards) = write_report(collected, folder, ReportOptions::default())?;
    let mut text = format!("{}look at: {}\n", boards, folder.file("report.html").display());
    for m in &results.missing {
        text += &format!("in no table: {}: {}\n", m.run, m.reason);
    }
    print(&text)?;
    match results.missing.len() {
        0 => Ok(()),
        n => Err(Error::new(ErrorKind::Checkpoint, format!("{n} runs of the suite are in no table"))
            .help("the same command tries failed and unfinished ones again; why each is missing stands above and in the report")),
    }
}

fn show_plan(planner: &Planner<'_>, folder: &SuiteFolder) -> Result<()> {
    let plan = planner.plan()?;
    let mut text = match plan.runs.len() + plan.waiting.len() {
        1 => format!("1 run into {}\n", folder.path().display()),
        n => format!("{n} runs into {}\n", folder.path().display()),
    };
    for run in &plan.runs {
        text += &format!("{}  {}: {}\n", run.id, run.cell, state(folder, run));
    }
    for run in &plan.waiting {
        text += &format!("{:16}  {}: waits for a finished run of {}\n", "", run.cell, run.waits_for);
    }
    print(&text)
}

pub(crate) fn run_one(args: &RunOneArgs) -> Result<()> {
    let folder = SuiteFolder::at(&args.suite);
    let observer: Box<dyn Observer> = match args.progress {
        true => Box::new(JsonLines::new(std::io::stdout())),
        false => Box::new(Bars::new()),
    };
    if args.progress {
        // Ends like a kill, which a run survives at any moment.
        crate::exit::end_when_orphaned();
    }
    let outcome = ccnf_suite::run_one(&folder, &args.id, observer.as_ref())?;
    if args.progress {
        return Ok(());
    }
    let state = if outcome.already_finished { "was finished before" } else { "finished" };
    print(&format!("{state}: {}\n", outcome.folder.display()))
}

pub(crate) fn collect(args: &CollectArgs) -> Result<()> {
    let folder = SuiteFolder::at(&args.suite);
    let collected = ccnf_suite::collect(&folder)?;
    let mut text = String::new();
    for (run, state) in &collected.runs {
        text += &format!("{}  {}: {state}\n", run.id, run.cell);
    }
    print(&text)?;
    finish(&folder, &collected)
}

pub(crate) fn report(args: &ReportArgs) -> Result<()> {
    let collected = ccnf_suite::collect(&SuiteFolder::at(&args.suite))?;
    let out = SuiteFolder::at(args.out.as_ref().unwrap_or(&args.suite));
    if args.out.is_some() {
        out.takes_report(&collected.spec)?;
    }
    write_report(&collected, &out, ReportOptions { pictures: !args.no_pictures })?;
    if let Some(logs) = &args.tensorboard {
        for (planned, run) in collected.finished() {
            let cell = &planned.cell;
            let to = logs.join(cell.column()).join(&cell.model).join(format!("seed{}", cell.seed));
            ccnf_engine::export_tensorboard(run.path(), &to)?;
        }
    }
    print(&format!(
        "wrote {}, report.md, report.tex, results.json and tables as CSV beside it\n",
        out.file("report.html").display()
    ))
}
