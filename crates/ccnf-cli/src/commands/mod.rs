//! One file per command.

mod compare;
mod data;
mod diagnose;
mod diff;
mod eval;
mod lists;
mod plugin;
mod plugin_check;
mod predict;
mod run;

use crate::args::{Cli, Command, ConfigArgs};
use ccnf_core::{Config, Result};
use clap::CommandFactory;

/// The configuration of a run without a file.
const QUICKSTART: &str = include_str!("../../../../configs/quickstart.toml");

pub(crate) fn dispatch(cli: Cli) -> Result<()> {
    match cli.command {
        Command::Run(a) => run::run(&a),
        Command::Compare(a) => compare::compare(&a),
        Command::RunOne(a) => compare::run_one(&a),
        Command::Collect(a) => compare::collect(&a),
        Command::Report(a) => compare::report(&a),
        Command::Diagnose(a) => diagnose::diagnose(&a),
        Command::Diff(a) => diff::diff(&a),
        Command::Eval(a) => eval::eval(&a),
        Command::Predict(a) => predict::predict(&a),
        Command::List(a) => lists::list(&a),
        Command::Describe(a) => lists::describe(&a),
        Command::Check(a) => run::check(&a),
        Command::Schema(a) => lists::schema(&a),
        Command::Data(a) => data::data(&a),
        Command::Plugin(a) => plugin::plugin(&a),
        Command::Completions { shell } => {
            let mut out = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "ccnf", &mut out);
            crate::exit::print(&String::from_utf8_lossy(&out))
        }
    }
}

fn compose(args: &ConfigArgs) -> Result<Config> {
    ccnf_engine::compose_for_run(&args.config, &args.set, QUICKSTART)
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}

use ccnf_core::serde;
