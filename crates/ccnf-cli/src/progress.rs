//! Progress bars on a terminal; nothing elsewhere.

use ccnf_engine::Observer;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::sync::Mutex;

/// One bar for the current piece of work.
pub(crate) struct Bars {
    current: Mutex<Option<ProgressBar>>,
}

impl Bars {
    pub(crate) fn new() -> Self {
        Bars { current: Mutex::new(None) }
    }

    fn with(&self, f: impl FnOnce(&mut Option<ProgressBar>)) {
        f(&mut self.current.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    }
}

impl Observer for Bars {
    fn start(&self, what: &str, total: u64) {
        tracing::info!(total, "{what}");
        // indicatif hides itself where standard error is not a terminal.
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template(
            "{prefix:28} {bar:30} {pos:>6}/{len} {elapsed:>4} left {eta:>4}  {msg}",
        ) {
            bar.set_style(style);
        }
        bar.set_prefix(what.to_owned());
        self.with(|c| *c = Some(bar));
    }

    fn advance(&self, done: u64, note: &str) {
        self.with(|c| {
            if let Some(bar) = c {
                bar.set_position(done);
                if !note.is_empty() {
                    bar.set_message(note.to_owned());
                }
            }
        });
    }

    fn finish(&self) {
        self.with(|c| {
            if let Some(bar) = c.take() {
                bar.finish();
            }
        });
    }
}
