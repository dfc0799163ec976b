//! One component's checks with an answer instead of a panic.

use super::{Extra, KINDS, contracts, entry};
use ccnf::core::did_you_mean;
use ccnf::core::panics::{Caught, caught};

/// Runs all checks of the registered component `name` of `kind` (`coupling`, `encoder`, …), for programs such as `ccnf plugin check`.
///
/// The error is the message of the first check that fails: the component, the check, what was found, and the contract of its kind. A panic
/// of the component is such a failure, with its place, also in a thread of rayon; with `RUST_BACKTRACE=1` its call stack is part of the
/// message. Nothing is printed about it meanwhile (a thread that the component itself starts must have no name for that), other threads'
/// panics are reported as ever, and the panic hook is put back afterwards. Several threads may check at once.
///
/// ```
/// use ccnf_testkit::conformance::{Extra, check};
/// let e = check("cupling", "swish", &Extra::default()).unwrap_err();
/// assert!(e.starts_with("no kind of component is called `cupling` (did you mean `coupling`?)"), "{e}");
/// ```
pub fn check(kind: &str, name: &str, extra: &Extra) -> Result<(), String> {
    let hint = |from: &[&str], name: &str| {
        let near = did_you_mean(name, from.iter().copied());
        near.map(|n| format!(" (did you mean `{n}`?)")).unwrap_or_default()
    };
    let Some(of) = KINDS.iter().find(|k| k.kind == kind) else {
        let kinds = KINDS.map(|k| k.kind);
        let near = hint(&kinds, kind);
        return Err(format!(
            "no kind of component is called `{kind}`{near}; there are: {}",
            kinds.join(", ")
        ));
    };
    let names = (of.names)();
    if !names.contains(&name) {
        let (near, names) =
            (hint(&names, name), if names.is_empty() { "none".into() } else { names.join(", ") });
        return Err(format!("{kind} `{name}`: not registered{near}; there are: {names}"));
    }
    let parts = [
        ("its description and config", of.entry, contracts::ENTRY),
        ("its first check", of.checks, contracts::of(kind)),
    ];
    for (part, run, contract) in parts {
        entry::begin(format!("{kind} `{name}`: {part}"));
        if let Err(panic) = caught(|| run(name, extra)) {
            return Err(report(kind, name, of.name, panic, contract));
        }
    }
    Ok(())
}

fn report(kind: &str, name: &str, of: &str, panic: Caught, contract: &str) -> String {
    let start = format!("{kind} `{name}`: ");
    // What the suite finds it says under the component's name, in `assert_eq!` behind the macro's own words; the rest is the component's
    // own panic.
    let own = match panic.message.find(&start) {
        Some(0) => Some(0),
        Some(i) if panic.message.starts_with("assertion `left ") => Some(i),
        _ => None,
    };
    let found = match own {
        Some(i) => panic.message[i..].to_owned(),
        None => {
            let place = panic.place.map(|p| format!(" at {p}")).unwrap_or_default();
            let stack = panic.stack.map(|s| format!("\n{}", s.trim_end())).unwrap_or_default();
            let during = entry::doing();
            format!("{during}: a panic{place}, where an error was due at most: {}{stack}", panic.message)
        }
    };
    format!("{found}\n  contract: {contract}\n  in full: the documentation of `ccnf::prelude::{of}`")
}
