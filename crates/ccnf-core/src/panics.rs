//! Panics in components as errors that say where.
//!
//! A component should return errors. One that panics all the same must not take a run with it without a word: [`catch`] turns the panic into an
//! [`Error`] with its message and place, and with the run-time plugin that it happened in, when a loader has said how to find that
//! ([`attribute_by`]).

use crate::error::{Error, ErrorKind, Result};
use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::ThreadId;

/// Says which run-time plugin the calling thread is executing, if any: its name, version and file.
pub type Attribution = fn() -> Option<String>;

/// A panic that was caught.
#[derive(Debug, Default)]
pub struct Caught {
    /// What it said.
    pub message: String,
    /// `file:line:column` of the panic; `None` where no hook has seen it (a payload that was passed on).
    pub place: Option<String>,
    /// The run-time plugin in which it happened.
    pub plugin: Option<String>,
    /// The call stack, where `RUST_BACKTRACE` asks for one.
    pub stack: Option<String>,
}

type Hook = Box<dyn Fn(&PanicHookInfo<'_>) + Send + Sync>;

static ATTRIBUTION: OnceLock<Attribution> = OnceLock::new();
/// Panics within calls and their threads, until the last call ends.
static NOTED: Mutex<Vec<(ThreadId, Caught)>> = Mutex::new(vec![]);
/// Calls of [`caught`] in progress, and the hook that was there before the first.
static CALLS: Mutex<(usize, Option<Arc<Hook>>)> = Mutex::new((0, None));

thread_local! {
    /// How many calls of [`caught`] this thread is in.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// Tells how to find the plugin that a panicking thread is in; only the first call counts.
pub fn attribute_by(attribution: Attribution) {
    let _ = ATTRIBUTION.set(attribution);
}

/// Runs `work`; a panic in it, also on a thread of a pool that it waits for, becomes an error of the kind
/// [`Contract`](ErrorKind::Contract) that says what was `doing` (as in "while training").
pub fn catch<T>(doing: impl FnOnce() -> String, work: impl FnOnce() -> Result<T>) -> Result<T> {
    caught(work).unwrap_or_else(|panic| Err(panic.into_error(&doing())))
}

/// Runs `work` and catches its panic, of which nothing is printed.
///
/// The panic hook belongs to the whole process. The one that is set here keeps quiet about panics of the threads that run `work`, and of
/// threads without a name: rayon's, and those that a component starts. The panics of others (the threads of a test harness and the main
/// thread have names) go to the hook that was there before, too. It is put back when the last of all calls in progress ends.
pub fn caught<T>(work: impl FnOnce() -> T) -> std::result::Result<T, Caught> {
    enter();
    DEPTH.set(DEPTH.get() + 1);
    let done = panic::catch_unwind(AssertUnwindSafe(work));
    DEPTH.set(DEPTH.get() - 1);
    let answer = done.map_err(|payload| {
        let caught = noted(text(&*payload));
        // The destructor of another payload is the component's code, and may panic itself.
        if !payload.is::<String>() && !payload.is::<&str>() {
            std::mem::forget(payload);
        }
        caught
    });
    leave();
    answer
}

/// What was noted of a panic with this message: the last one of this thread, else of another one, whose panic arrives by `resume_unwind`,
/// which tells no hook.
fn noted(message: String) -> Caught {
    let (mut noted, own) = (lock(&NOTED), std::thread::current().id());
    let last = |of_own: bool| noted.iter().rposition(|(t, c)| c.message == message && (!of_own || *t == own));
    let mut caught = match last(true).or_else(|| last(false)) {
        Some(place) => noted.remove(place).1,
        None => Caught { message, ..Caught::default() },
    };
    // What a thread says that has waited for another one is not why that one panicked.
    let waited = caught.message == "a scoped thread panicked" || caught.message.ends_with("Any { .. }");
    if waited && let Some((_, cause)) = noted.iter().rfind(|(t, _)| *t != own) {
        caught.message += &format!("; that thread: {}", cause.told());
    }
    caught
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn enter() {
    let mut calls = lock(&CALLS);
    // A thread that is panicking may not change hooks.
    if calls.0 == 0 && !std::thread::panicking() {
        let before = Arc::new(panic::take_hook());
        calls.1 = Some(before.clone());
        panic::set_hook(Box::new(move |info| note(info, &before)));
    }
    calls.0 += 1;
}

fn leave() {
    let mut calls = lock(&CALLS);
    calls.0 -= 1;
    if calls.0 > 0 || std::thread::panicking() {
        return;
    }
    if let Some(before) = calls.1.take() {
        // With our hook goes the other owner of the one before.
        drop(panic::take_hook());
        if let Some(before) = Arc::into_inner(before) {
            panic::set_hook(before);
        }
    }
    lock(&NOTED).clear();
}

fn note(info: &PanicHookInfo<'_>, before: &Hook) {
    let thread = std::thread::current();
    // Noted all the same: whoever waits for that thread may pass its panic on.
    if DEPTH.get() == 0 && thread.name().is_some() {
        before(info);
    }
    let stack = Backtrace::capture();
    let caught = Caught {
        message: text(info.payload()),
        place: info.location().map(ToString::to_string),
        plugin: ATTRIBUTION.get().and_then(|find| find()),
        stack: (stack.status() == BacktraceStatus::Captured).then(|| shortened(&stack.to_string())),
    };
    // The process ends here: nobody will ask for what was noted.
    if LAST_WORDS.contains(&caught.message.as_str()) {
        let noted = lock(&NOTED);
        for (_, earlier) in noted.iter().filter(|(t, _)| *t == thread.id()) {
            eprintln!("a panic before this one: {}", earlier.told());
        }
        eprintln!("a panic that cannot be caught: {}", caught.told());
        return;
    }
    let mut noted = lock(&NOTED);
    // A component may catch its own panics, however many.
    if noted.len() == MOST {
        noted.remove(0);
    }
    noted.push((thread.id(), caught));
}

/// So many panics are remembered, the last ones.
const MOST: usize = 64;

/// What the standard library says of a panic that ends the process.
const LAST_WORDS: [&str; 2] =
    ["panic in a destructor during cleanup", "panic in a function that cannot unwind"];

/// A call stack without the frames of the panic itself and of what caught it.
fn shortened(stack: &str) -> String {
    let lines: Vec<&str> = stack.lines().collect();
    let is_frame = |line: &&str| !line.trim_start().starts_with("at ");
    let begin = lines.iter().position(|l| l.contains("rust_begin_unwind")).map_or(0, |i| i + 1);
    let begin = begin + lines[begin..].iter().position(is_frame).unwrap_or(0);
    let end = lines[begin..].iter().position(|l| l.contains("catch_unwind") || l.contains("do_call"));
    lines[begin..end.map_or(lines.len(), |n| begin + n)].join("\n")
}

/// What a panic says.
fn text(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("a panic whose message is no text")
        .to_owned()
}

impl Caught {
    /// Message, place and plugin in a line.
    fn told(&self) -> String {
        let place = self.place.as_ref().map(|p| format!(" at {p}")).unwrap_or_default();
        let plugin = self.plugin.as_ref().map(|p| format!(" in the plugin {p}")).unwrap_or_default();
        format!("{}{place}{plugin}", self.message)
    }

    fn into_error(self, doing: &str) -> Error {
        let (who, help) = match self.plugin {
            Some(plugin) => (
                format!("the plugin {plugin}"),
                "a bug of the plugin: `ccnf plugin check` may say more; what finished before is kept",
            ),
            None => (
                "a component".to_owned(),
                "a bug of the component or of this program: RUST_BACKTRACE=1 shows the stack; what finished before is kept",
            ),
        };
        let stack = self.stack.map(|s| format!("\n{}", s.trim_end())).unwrap_or_default();
        let message = format!("{who} panicked while {doing}: {}{stack}", self.message);
        let e = Error::new(ErrorKind::Contract, message).help(help);
        match self.place {
            Some(place) => e.at(format!("source {place}")),
            None => e,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_with_its_place() {
        let e = catch::<()>(|| "building".into(), || panic!("no {}", "width")).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Contract);
        assert!(e.message().starts_with("a component panicked while building: no width"), "{e}");
        assert!(e.places()[0].contains("panics.rs:"), "{e}");
        let e = catch::<()>(String::new, || std::panic::resume_unwind(Box::new("raised again"))).unwrap_err();
        assert!(e.message().contains("raised again") && e.places().is_empty(), "{e}");
    }

    #[test]
    fn results_and_errors_pass_and_calls_may_be_nested() {
        assert_eq!(catch(String::new, || Ok(3)).unwrap(), 3);
        let e = catch::<()>(String::new, || Err(Error::new(ErrorKind::Usage, "as it was"))).unwrap_err();
        assert_eq!((e.kind(), e.message()), (ErrorKind::Usage, "as it was"));
        let inner = || catch::<()>(|| "inside".into(), || panic!("deep"));
        let e = catch::<()>(|| "outside".into(), inner).unwrap_err();
        assert!(e.message().contains("while inside: deep"), "{e}");
        let e = catch::<()>(|| "outside".into(), || inner().map_err(|_| panic!("later"))).unwrap_err();
        assert!(e.message().contains("while outside: later"), "{e}");
    }

    #[test]
    fn a_panic_on_another_thread_that_is_waited_for_is_found() {
        let e = catch::<()>(String::new, || {
            std::thread::spawn(|| panic!("elsewhere"))
                .join()
                .unwrap_or_else(|p| std::panic::resume_unwind(p));
            Ok(())
        })
        .unwrap_err();
        assert!(e.message().contains("elsewhere") && e.places()[0].contains("panics.rs:"), "{e}");
    }

    #[test]
    fn a_payload_is_not_trusted_and_memory_of_panics_is_bounded() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("in the payload's destructor");
            }
        }
        let e = catch::<()>(String::new, || std::panic::panic_any(Bomb)).unwrap_err();
        assert!(e.message().contains("a panic whose message is no text"), "{e}");
        let e = catch::<()>(String::new, || {
            (0..3 * MOST).for_each(|_| drop(panic::catch_unwind(|| panic!("its own"))));
            assert!(lock(&NOTED).len() <= MOST);
            std::thread::Builder::new()
                .name("named".into())
                .spawn(|| panic!("of a named thread"))
                .unwrap()
                .join()
                .unwrap_or_else(|p| std::panic::resume_unwind(p));
            Ok(())
        })
        .unwrap_err();
        assert!(e.message().contains("of a named thread") && e.places()[0].contains("panics.rs:"), "{e}");
    }

    #[test]
    fn a_panic_of_a_scoped_thread_is_told_with_its_cause() {
        let e = catch::<()>(String::new, || {
            std::thread::scope(|s| {
                s.spawn(|| panic!("the cause"));
            });
            Ok(())
        })
        .unwrap_err();
        let said = e.message();
        assert!(
            said.contains("a scoped thread panicked; that thread: the cause at ")
                && said.contains("panics.rs:"),
            "{e}"
        );
        let e = catch::<()>(String::new, || {
            std::thread::spawn(|| panic!("another cause")).join().unwrap();
            Ok(())
        })
        .unwrap_err();
        assert!(e.message().contains("; that thread: another cause at "), "{e}");
    }

    #[test]
    fn a_call_stack_starts_at_the_panic_and_ends_where_it_is_caught() {
        let stack = "   0: note\n             at ./panics.rs:92:17\n   1: __rustc::rust_begin_unwind\n             at /rustc/panicking.rs:689:5\n   \
                     2: core::panicking::panic_fmt\n   3: mine::forward\n             at ./mine.rs:5:9\n   4: std::panicking::do_call\n   5: main";
        let kept = "   2: core::panicking::panic_fmt\n   3: mine::forward\n             at ./mine.rs:5:9";
        assert_eq!(shortened(stack), kept);
        assert_eq!(shortened("   0: other"), "   0: other");
        assert_eq!(shortened(""), "");
    }
}
