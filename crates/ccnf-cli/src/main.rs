//! The binary `ccnf`.

mod args;
mod commands;
mod exit;
mod progress;

// Without a name the linker would drop the plugins and what they register.
use ccnf_bundle as _;
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = args::Cli::parse();
    if let Err(e) = exit::start_logging(&cli.global) {
        return exit::report(&e);
    }
    match commands::dispatch(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => exit::report(&e),
    }
}
