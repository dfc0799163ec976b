//! The command line of ccnf. A program of one's own with more plugins linked in names their crates and calls [`main`]; that is what
//! `ccnf plugin bundle` makes.

mod args;
mod commands;
mod exit;
mod progress;
mod watch;

// Without a name the linker would drop the plugins and what they register.
use ccnf_bundle as _;
use ccnf_core::panics::catch;
use ccnf_core::{Result, ResultExt};
use ccnf_loader::PluginSource;
use clap::Parser;
use std::process::ExitCode;

/// The program: reads the command line, carries the command out, shows errors; gives the exit code.
pub fn main() -> ExitCode {
    #[cfg(unix)]
    ccnf_loader::explain_ends();
    let cli = args::Cli::parse();
    working(true);
    let done = exit::start_logging(&cli.global)
        .and_then(|()| if cli.command.uses_plugins() { plugins(&cli.global) } else { Ok(()) })
        .and_then(|()| {
            in_pool(|| catch(|| "carrying out the command".to_owned(), || commands::dispatch(cli)))
        });
    let code = match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => exit::report(&e),
    };
    working(false);
    code
}

/// Whether an `exit` that some component calls would leave work undone.
fn working(on: bool) {
    #[cfg(unix)]
    ccnf_loader::working(on);
}

/// Loads the plugins of the command line and of the environment.
fn plugins(global: &args::Global) -> Result<()> {
    let named: Vec<_> = global.plugin.iter().cloned().map(PluginSource::File).collect();
    ccnf_loader::load_common(&named).at(|| "--plugin".to_owned())?;
    ccnf_loader::load_common(&ccnf_loader::from_environment())
        .at(|| "the environment variable CCNF_PLUGINS".to_owned())
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
