//! Panics that are caught and reported, not printed.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;

type Hook = Box<dyn Fn(&PanicHookInfo<'_>) + Send + Sync>;

/// A panic that was caught.
pub(super) struct Caught {
    /// What it said.
    pub(super) message: String,
    /// `file:line:column` of the panic; `None` where the hook has not seen it (a payload that was passed on).
    pub(super) place: Option<String>,
    /// The call stack, where `RUST_BACKTRACE` asks for one.
    pub(super) stack: Option<String>,
}

thread_local! {
    /// How many calls of [`caught`] this thread is in.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// Panics within calls and their threads, until the last call ends.
static NOTED: Mutex<Vec<(ThreadId, Caught)>> = Mutex::new(vec![]);

/// Calls of [`caught`] in progress, and the hook that was there before the first.
static CALLS: Mutex<(usize, Option<Arc<Hook>>)> = Mutex::new((0, None));

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `work` and catches its panic, of which nothing is printed.
///
/// The panic hook belongs to the whole process. The one that is set here keeps quiet about panics of the threads that run `work`, and of
/// threads without a name: rayon's, and those that a component starts. The panics of others (the threads of a test harness and the main
/// thread have names) go to the hook that was there before. It is put back when the last of all calls in progress ends.
pub(super) fn caught(work: impl FnOnce()) -> Result<(), Caught> {
    enter();
    DEPTH.set(DEPTH.get() + 1);
    let done = panic::catch_unwind(AssertUnwindSafe(work));
    DEPTH.set(DEPTH.get() - 1);
    let answer = done.map_err(|payload| noted(text(&*payload)));
    leave();
    answer
}

/// What was noted of a panic with this message: the last one of this thread, else of another one, whose panic arrives by `resume_unwind`,
/// which tells no hook.
fn noted(message: String) -> Caught {
    let (mut noted, own) = (lock(&NOTED), std::thread::current().id());
    let last = |of_own: bool| noted.iter().rposition(|(t, c)| c.message == message && (!of_own || *t == own));
    match last(true).or_else(|| last(false)) {
        Some(place) => noted.swap_remove(place).1,
        None => Caught { message, place: None, stack: None },
    }
}

fn enter() {
    let mut calls = lock(&CALLS);
    if calls.0 == 0 {
        let before = Arc::new(panic::take_hook());
        calls.1 = Some(before.clone());
        panic::set_hook(Box::new(move |info| note(info, &before)));
    }
    calls.0 += 1;
}

fn leave() {
    let mut calls = lock(&CALLS);
    calls.0 -= 1;
    if calls.0 > 0 {
        return;
    }
    // With our hook goes the other owner of the one before.
    drop(panic::take_hook());
    if let Some(before) = calls.1.take().and_then(Arc::into_inner) {
        panic::set_hook(before);
    }
    lock(&NOTED).clear();
}

fn note(info: &PanicHookInfo<'_>, before: &Hook) {
    let thread = std::thread::current();
    if DEPTH.get() == 0 && thread.name().is_some() {
        return before(info);
    }
    let stack = Backtrace::capture();
    let caught = Caught {
        message: text(info.payload()),
        place: info.location().map(ToString::to_string),
        stack: (stack.status() == BacktraceStatus::Captured).then(|| shortened(&stack.to_string())),
    };
    lock(&NOTED).push((thread.id(), caught));
}

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

#[cfg(test)]
mod tests {
    use super::shortened;

    #[test]
    fn a_call_stack_starts_at_the_panic_and_ends_where_it_is_caught() {
        let stack = "   0: note\n             at ./quiet.rs:92:17\n   1: __rustc::rust_begin_unwind\n             at /rustc/panicking.rs:689:5\n   \
                     2: core::panicking::panic_fmt\n   3: mine::forward\n             at ./mine.rs:5:9\n   4: std::panicking::do_call\n   5: main";
        let kept = "   2: core::panicking::panic_fmt\n   3: mine::forward\n             at ./mine.rs:5:9";
        assert_eq!(shortened(stack), kept);
        assert_eq!(shortened("   0: other"), "   0: other");
        assert_eq!(shortened(""), "");
    }
}
