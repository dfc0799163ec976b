//! The binary `ccnf`.

mod args;
mod commands;
mod exit;
mod progress;
mod watch;

// Without a name the linker would drop the plugins and what they register.
use ccnf_bundle as _;
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = args::Cli::parse();
    if let Err(e) = exit::start_logging(&cli.global) {
        return exit::report(&e);
    }
    match in_pool(|| commands::dispatch(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => exit::report(&e),
    }
}

/// Runs `work` on a thread of the pool: parallel work that starts there needs no other thread to be woken and waited for, which is
/// some 2 % of a training step. The threads get the stack of a main thread.
fn in_pool<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    const STACK: usize = 8 << 20;
    match rayon::ThreadPoolBuilder::new().stack_size(STACK).build() {
        Ok(pool) => pool.install(work),
        Err(_) => work(),
    }
}
