//! The panic hook while components are checked. One test, since the hook belongs to the whole process.

use ccnf::prelude::*;
use ccnf_testkit::conformance::{Extra, check};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::panic;
use std::sync::{Barrier, Mutex};

/// No keys.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct NoKeys {}

/// Makes a stage of every task when `first` has been done.
struct Stages {
    first: fn(),
}

impl UpdateRule for Stages {}

impl Strategy for Stages {
    fn stages(&self, tasks: &[Vec<String>]) -> Vec<Stage> {
        (self.first)();
        tasks.iter().map(|t| Stage { classes: t.clone(), scope: TrainScope::All }).collect()
    }
}

macro_rules! strategies {
    ($($name:literal $first:expr;)*) => { $(
        ccnf::register_component!(
            Strategy,
            $name,
            NoKeys,
            |_, _: &Build<'_, _>| Ok::<_, Error>(Stages { first: $first }),
            "for this test"
        );
    )* };
}

static MEETING: Barrier = Barrier::new(2);

strategies! {
    "quiet" || {};
    "loud" || panic!("loud in its own thread");
    "loud-in-rayon" || (0..64).into_par_iter().for_each(|i| assert!(i < 40, "loud in rayon"));
    "loud-in-a-thread" || {
        let Err(panic) = std::thread::spawn(|| panic!("loud in a thread")).join();
        panic::resume_unwind(panic);
    };
    "waits" || {
        MEETING.wait();
        MEETING.wait();
        panic!("has waited");
    };
}

static HEARD: Mutex<Vec<String>> = Mutex::new(vec![]);

fn heard() -> Vec<String> {
    std::mem::take(&mut *HEARD.lock().unwrap())
}

/// A panic in a thread with this name.
fn panics(name: &str) {
    let thread = std::thread::Builder::new().name(name.into()).spawn(|| panic!("of another"));
    assert!(thread.unwrap().join().is_err());
}

#[test]
fn the_hook_keeps_quiet_about_the_component_alone_and_is_put_back() {
    let printing = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        HEARD.lock().unwrap().push(info.payload_as_str().unwrap_or_default().to_owned());
        printing(info);
    }));
    let found = |name: &str| check("strategy", name, &Extra::default());

    found("quiet").unwrap();
    for (name, message) in [
        ("loud", "loud in its own thread"),
        ("loud-in-rayon", "loud in rayon"),
        ("loud-in-a-thread", "loud in a thread"),
    ] {
        let e = found(name).unwrap_err();
        let start = format!("strategy `{name}`: stages of tasks with [1] classes: a panic at {}:", file!());
        assert!(e.starts_with(&start) && e.contains(message), "{e}");
    }
    // Many at once, in the workers of rayon as in the command line program.
    let all: Vec<_> = (0..24).into_par_iter().map(|i| found(["quiet", "loud-in-rayon"][i % 2])).collect();
    for (i, found) in all.into_iter().enumerate() {
        match found {
            Ok(()) => assert!(i % 2 == 0, "number {i} passes"),
            Err(e) => {
                assert!(i % 2 == 1 && e.contains(&format!("a panic at {}:", file!())), "number {i}: {e}")
            }
        }
    }
    assert_eq!(heard(), [""; 0]);

    panics("somebody");
    assert_eq!(heard(), ["of another"], "the hook is not the one before");

    // Somebody else's panic in the middle of a check.
    std::thread::scope(|s| {
        let check = s.spawn(|| found("waits"));
        MEETING.wait();
        panics("somebody");
        found("loud").unwrap_err();
        panics("somebody");
        MEETING.wait();
        let e = check.join().unwrap().unwrap_err();
        assert!(e.contains("has waited"), "{e}");
    });
    assert_eq!(heard(), ["of another", "of another"], "another thread is not heard, or the component is");
    panics("somebody");
    assert_eq!(heard(), ["of another"], "the hook is not the one before");
    let _ = panic::take_hook();
}
