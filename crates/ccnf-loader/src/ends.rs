//! What is said when the process ends before its work is done.
//!
//! A failed allocation, a stack overflow and a panic within a panic abort a Rust program, and any code may call `exit`; nothing can catch that.
//! What can be done is to end with an error of the documented form and exit code, which says which plugins were there, in the place of a signal
//! or, worse, of success.
#![allow(unsafe_code)]

use crate::load::Plugin;
use ccnf::prelude::{Error, ErrorKind};
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

/// The errors as text, made beforehand, since nothing may be allocated then; and their exit code.
struct Last {
    abort: String,
    exit: String,
    code: libc::c_int,
}

static LAST: AtomicPtr<Last> = AtomicPtr::new(std::ptr::null_mut());
static WORKING: AtomicBool = AtomicBool::new(false);

/// From now on an abort of this process, and an `exit` while it is [`working`], print an error and end with its exit code.
pub fn explain_ends() {
    naming(&[]);
    // SAFETY: `sigaction` is a C structure of integers, an optional function and a set of signals, for which zeros are valid (an empty set).
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = aborted as extern "C" fn(libc::c_int) as libc::sighandler_t;
    action.sa_flags = libc::SA_RESETHAND;
    // SAFETY: `action` is initialised, and its handler does only what is allowed in one: see `end`.
    unsafe { libc::sigaction(libc::SIGABRT, &action, std::ptr::null_mut()) };
    // SAFETY: `exited` may be called at any time, and is never unloaded: it is part of the program or of a library that it is linked to.
    unsafe { libc::atexit(exited) };
}

/// Whether an `exit` would leave work undone.
pub fn working(on: bool) {
    WORKING.store(on, Ordering::SeqCst);
}

/// The errors name these plugins.
pub(crate) fn naming(plugins: &[Plugin]) {
    let text = |found: &str| {
        let e = error(found, plugins);
        format!("error[{}]: {e}\n", e.code())
    };
    let last = Last {
        abort: text(
            "the process had to end at once; the lines above say why, such as memory that it did not get",
        ),
        exit: text("something called `exit` before the work was done"),
        code: error("", plugins).exit_code().into(),
    };
    // The older one stays: a handler on another thread may be reading it.
    LAST.store(Box::into_raw(Box::new(last)), Ordering::Release);
}

fn error(found: &str, plugins: &[Plugin]) -> Error {
    let e = plugins.iter().fold(Error::new(ErrorKind::Aborted, found), |e, p| {
        e.at(format!("a process with the plugin `{}` {} ({})", p.name, p.version, p.path.display()))
    });
    e.help(match plugins {
        [] => "ask for less in the configuration; what finished before is kept, and the same command goes on from there",
        _ => "ask for less in the configuration, or see what `ccnf plugin check` says; what finished before is kept, and the same command goes on from there",
    })
}

extern "C" fn aborted(_: libc::c_int) {
    end(|last| &last.abort);
}

extern "C" fn exited() {
    if WORKING.load(Ordering::SeqCst) {
        end(|last| &last.exit);
    }
}

/// Prints the text and ends the process. May be called in a signal handler: nothing here allocates, locks or unwinds.
fn end(text: impl Fn(&Last) -> &String) {
    // SAFETY: the pointer is null or came from `Box::into_raw`, and what it points at is neither changed nor freed.
    let Some(last) = (unsafe { LAST.load(Ordering::Acquire).as_ref() }) else { return };
    let text = text(last);
    // SAFETY: both are allowed in a signal handler; `text` is alive.
    unsafe {
        libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), text.len());
        libc::_exit(last.code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    const AS_CHILD: &str = "CCNF_TEST_ENDS";

    /// A test program without the variable starts itself with it, and gives how that ended. With it `last` is the last thing that it does.
    fn ended(last: impl Fn()) -> Option<(Option<i32>, String)> {
        if std::env::var_os(AS_CHILD).is_some() {
            explain_ends();
            naming(&[Plugin {
                name: "mine".into(),
                version: "0.3.0".into(),
                path: "libmine.so".into(),
                sha256: String::new(),
                components: vec![],
            }]);
            last();
            return None;
        }
        let name = std::thread::current().name().expect("the name of the test").to_owned();
        let mut again = Command::new(std::env::current_exe().unwrap());
        let ended = again.args(["--exact", &name, "--nocapture"]).env(AS_CHILD, "1").output().unwrap();
        Some((ended.status.code(), String::from_utf8_lossy(&ended.stderr).into_owned()))
    }

    #[test]
    fn an_abort_is_an_error_with_an_exit_code_that_names_the_plugins() {
        let all_of_it = std::hint::black_box(1 << 60);
        let last = || drop(std::hint::black_box(Vec::<u8>::with_capacity(all_of_it)));
        let Some((code, said)) = ended(last) else { return };
        assert_eq!(code, Some(70), "{said}");
        for part in [
            "memory allocation of 1152921504606846976 bytes failed",
            "error[C0015]: the process had to end",
            "`mine` 0.3.0 (libmine.so)",
            "help: ",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }

    #[test]
    fn an_exit_is_success_only_when_the_work_is_done() {
        let last = || {
            working(true);
            std::process::exit(0);
        };
        let Some((code, said)) = ended(last) else { return };
        assert_eq!(code, Some(70), "{said}");
        assert!(
            said.contains("error[C0015]: something called `exit`") && said.contains("`mine` 0.3.0"),
            "{said}"
        );
    }

    #[test]
    fn an_exit_after_the_work_is_what_it_says() {
        let last = || {
            working(true);
            working(false);
            std::process::exit(3);
        };
        let Some((code, said)) = ended(last) else { return };
        assert!(code == Some(3) && !said.contains("C0015"), "{said}");
    }
}
