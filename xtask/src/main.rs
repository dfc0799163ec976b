//! Tasks of the developers: `cargo xtask bench [NAME…]`, `cargo xtask counts`, `cargo xtask gap`.

mod bench;
mod cargo;
mod counts;
mod document;
mod gap;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Any failure of a task; it is only shown.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Tasks of the developers")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Measures this project against PyTorch and ONNX Runtime on this machine.
    Bench(bench::Options),
    /// Counts the instructions of a few pieces of work under valgrind and compares them with benches/instruction-counts.json.
    Counts(counts::Options),
    /// Prints how much of what new classes need their rows cannot say, from three run folders (docs/runs.md).
    Gap(gap::Options),
}

fn main() -> ExitCode {
    let done = match Args::parse().task {
        Task::Bench(options) => bench::run(&options),
        Task::Counts(options) => counts::run(&options),
        Task::Gap(options) => gap::run(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::FAILURE
        }
    }
}
