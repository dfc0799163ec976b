//! Logging, error reports, exit codes.

use crate::args::Global;
use ccnf_core::{Error, ErrorKind};
use std::io::Read;
use std::process::ExitCode;

/// Starts logging to standard error.
pub(crate) fn start_logging(global: &Global) -> Result<(), Error> {
    let filter = tracing_subscriber::EnvFilter::try_new(&global.log).map_err(|e| {
        Error::new(ErrorKind::Usage, format!("`--log {}` is not a log filter: {e}", global.log))
            .help("use error, warn, info, debug or trace")
    })?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if global.log_json {
        log.json().init()
    } else {
        log.init()
    }
    Ok(())
}

/// Shows the error and gives its exit code. A closed pipe is success: the reader had enough.
pub(crate) fn report(e: &Error) -> ExitCode {
    if broken_pipe(e) {
        return ExitCode::SUCCESS;
    }
    #[derive(Debug)]
    struct Shown<'a>(&'a Error);
    impl std::fmt::Display for Shown<'_> {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(&printable(self.0.message()))?;
            for place in self.0.places() {
                write!(f, "\n  at {}", printable(place))?;
            }
            Ok(())
        }
    }
    impl std::error::Error for Shown<'_> {}
    impl miette::Diagnostic for Shown<'_> {
        fn code<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
            Some(Box::new(self.0.code()))
        }
        fn help<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
            self.0.advice().map(|h| Box::new(printable(h)) as _)
        }
    }
    let mut text = String::new();
    let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    if !terminal || miette::GraphicalReportHandler::new().render_report(&mut text, &Shown(e)).is_err() {
        text = format!("error[{}]: {}", e.code(), printable(&e.to_string()));
    }
    eprintln!("{}", text.trim_end());
    ExitCode::from(e.exit_code())
}

/// Without characters that would do something to a terminal: errors quote files and what plugins say.
fn printable(text: &str) -> String {
    let harmful = |c: char| {
        (c.is_control() && c != '\n') || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if harmful(c) { c.escape_unicode().to_string() } else { c.to_string() }).collect()
}

/// The exit code of a process that was started by one that is gone: that of an interrupt.
const ORPHANED: i32 = 130;

/// Ends this process when its standard input ends, which comes when the program that started it is gone, however it went.
pub(crate) fn end_when_orphaned() {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        crate::working(false);
        std::process::exit(ORPHANED);
    });
}

fn broken_pipe(e: &Error) -> bool {
    let io = std::error::Error::source(e).and_then(|s| s.downcast_ref::<std::io::Error>());
    io.is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Writes to standard output.
pub(crate) fn print(text: &str) -> Result<(), Error> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|e| Error::io("write to", std::path::Path::new("standard output"), e))
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn what_would_command_a_terminal_is_shown_as_text() {
        assert_eq!(printable("no `\u{1b}[2J`\n  at key `ä`"), "no `\\u{1b}[2J`\n  at key `ä`");
        assert_eq!(printable("\u{202e}left\0"), "\\u{202e}left\\u{0}");
    }
}
