//! The verdict on one component as a value.

use ccnf_testkit::conformance::{Extra, check};
use serde_json::json;

fn found(kind: &str, name: &str) -> String {
    check(kind, name, &Extra::default()).expect_err("a component that breaks its contract")
}

#[test]
fn what_keeps_its_contract_passes() {
    let extra = Extra::default().with("coupling", "honest", json!({ "start": 0.4 }));
    check("coupling", "honest", &Extra::default()).unwrap();
    check("coupling", "honest", &extra).unwrap();
}

#[test]
fn a_failure_names_component_check_numbers_and_contract() {
    let e = found("coupling", "wrong-log-det");
    for part in [
        "coupling `wrong-log-det`: log-determinant, past warm-up (D = 2, seed 1): off by ",
        "from the numeric Jacobian, allowed 1e-3",
        "\n  contract: ",
        "`log_det` is ln |det dy/dx| per row, in nats",
        "\n  in full: the documentation of `ccnf::prelude::Coupling`",
    ] {
        assert!(e.contains(part), "`{part}` is not in: {e}");
    }
}

#[test]
fn what_the_suite_finds_unequal_is_no_panic_of_the_component() {
    let e = found("strategy", "forgetful");
    let start = "strategy `forgetful`: stages of tasks with [1, 1, 1] classes: not every class exactly once\n  left: [";
    assert!(e.starts_with(start) && e.contains("\n  contract: the stages cover every class"), "{e}");
    assert!(!e.contains("panic") && !e.contains("assertion"), "{e}");
    // The component's own is one.
    let e = found("strategy", "asserts");
    let start = "strategy `asserts`: stages of tasks with [1] classes: a panic at crates/ccnf-testkit/tests/suite/rejects.rs:";
    assert!(e.starts_with(start) && e.contains("assertion `left == right` failed: too few tasks"), "{e}");
}

#[test]
fn what_every_kind_promises_fails_with_that_contract() {
    let e = found("strategy", "lenient");
    assert!(e.starts_with("strategy `lenient`: takes the unknown key"), "{e}");
    assert!(e.contains("contract: the name is kebab-case and unique"), "{e}");
}

#[test]
fn a_panic_is_a_failure_with_place_and_check() {
    let e = found("strategy", "no-default");
    let start = "strategy `no-default`: its description and config: a panic at crates/ccnf-testkit/tests/suite/rejects.rs:";
    assert!(e.starts_with(start) && e.contains("nothing by default"), "{e}");
    // What builds components turns their panics into errors.
    let e = found("coupling", "panics-in-build");
    let start = "coupling `panics-in-build`: builds: a component panicked while building the coupling `panics-in-build` of the crate `ccnf-testkit`: too wide for me";
    assert!(
        e.starts_with(start) && e.contains("at source crates/ccnf-testkit/tests/suite/scaling.rs:"),
        "{e}"
    );
    for (name, during, message) in [
        ("panics-in-forward", "inverse, past warm-up (D = 2, class rows, seed 2)", "index out of bounds"),
        ("panics-in-backward", "gradients (D = 2, seed 1)", "no way back"),
    ] {
        let e = found("coupling", name);
        let start =
            format!("coupling `{name}`: {during}: a panic at crates/ccnf-testkit/tests/suite/scaling.rs:");
        assert!(e.starts_with(&start), "{e}");
        assert!(e.contains(message) && e.contains("\n  contract: "), "{e}");
        // Nothing of a panic is left in the thread: no recording of gradients, no wrong name of the check.
        check("coupling", "honest", &Extra::default()).unwrap();
        assert_eq!(found("coupling", name).lines().next(), e.lines().next());
    }
}

#[test]
fn a_name_that_is_not_there_gets_a_guess() {
    let e = found("coupling", "honst");
    assert!(e.starts_with("coupling `honst`: not registered (did you mean `honest`?); there are: "), "{e}");
    assert_eq!(found("conditioner", "any"), "conditioner `any`: not registered; there are: none");
    assert!(found("coupling kind", "honest").contains("dataset, encoder, detector, layer, coupling"));
}
