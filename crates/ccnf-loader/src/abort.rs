//! What is said when the process has to end at once.
//!
//! A failed allocation, a stack overflow and a panic within a panic abort a Rust program; no code can catch them. What code can do is to end
//! with an error of the documented form and exit code in the place of a signal, and to say which plugins were there.
#![allow(unsafe_code)]

use crate::load::Plugin;
use ccnf::prelude::{Error, ErrorKind};
use std::sync::atomic::{AtomicPtr, Ordering};

/// The error as text and its exit code; made beforehand, since nothing may be allocated then.
static LAST: AtomicPtr<(String, libc::c_int)> = AtomicPtr::new(std::ptr::null_mut());

/// From now on an abort of this process prints an error and ends with its exit code.
pub fn explain_aborts() {
    naming(&[]);
    // SAFETY: `sigaction` is a C structure of integers, an optional function and a set of signals, for which zeros are valid (an empty set).
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = explain as extern "C" fn(libc::c_int) as libc::sighandler_t;
    action.sa_flags = libc::SA_RESETHAND;
    // SAFETY: `action` is initialised, and its handler does only what is allowed in one: see there.
    unsafe { libc::sigaction(libc::SIGABRT, &action, std::ptr::null_mut()) };
}

/// The error of an abort names these plugins.
pub(crate) fn naming(plugins: &[Plugin]) {
    let e = error(plugins);
    let last = (format!("error[{}]: {e}\n", e.code()), e.exit_code().into());
    // The older one stays: a handler on another thread may be reading it.
    LAST.store(Box::into_raw(Box::new(last)), Ordering::Release);
}

fn error(plugins: &[Plugin]) -> Error {
    let e = Error::new(
        ErrorKind::Aborted,
        "the process had to end at once; the lines above say why, such as memory that it did not get",
    );
    let e = plugins.iter().fold(e, |e, p| {
        e.at(format!("a process with the plugin `{}` {} ({})", p.name, p.version, p.path.display()))
    });
    e.help(match plugins {
        [] => "ask for less in the configuration; what finished before is kept, and the same command goes on from there",
        _ => "ask for less in the configuration, or see what `ccnf plugin check` says; what finished before is kept, and the same command goes on from there",
    })
}

extern "C" fn explain(_: libc::c_int) {
    // SAFETY: the pointer is null or came from `Box::into_raw`, and what it points at is neither changed nor freed.
    let Some((text, code)) = (unsafe { LAST.load(Ordering::Acquire).as_ref() }) else { return };
    // SAFETY: both are allowed in a signal handler; `text` is alive. Nothing here allocates, locks or unwinds.
    unsafe {
        libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), text.len());
        libc::_exit(*code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    const AS_CHILD: &str = "CCNF_TEST_ABORTS";

    /// A test program without this variable starts itself with it, and looks at how that ends.
    #[test]
    fn an_abort_is_an_error_with_an_exit_code_that_names_the_plugins() {
        if std::env::var_os(AS_CHILD).is_some() {
            explain_aborts();
            naming(&[Plugin {
                name: "mine".into(),
                version: "0.3.0".into(),
                path: "libmine.so".into(),
                sha256: String::new(),
                components: vec![],
            }]);
            let all_of_it = std::hint::black_box(1 << 60);
            std::hint::black_box(Vec::<u8>::with_capacity(all_of_it));
            return;
        }
        let name = std::thread::current().name().expect("the name of the test").to_owned();
        let mut again = Command::new(std::env::current_exe().unwrap());
        let ended = again.args(["--exact", &name, "--nocapture"]).env(AS_CHILD, "1").output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(70), "{said}");
        for part in [
            "memory allocation of 1152921504606846976 bytes failed",
            "error[C0015]: ",
            "`mine` 0.3.0 (libmine.so)",
            "help: ",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
}
