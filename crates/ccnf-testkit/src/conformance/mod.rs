//! The conformance suite: what every registered component must do, whatever crate it comes from.
//!
//! A plugin crate has one line per component, [`conformance!`](crate::conformance!), or calls the suite from a test, by name or for all
//! that is linked:
//!
//! ```no_run
//! use ccnf_testkit::conformance::{self, Extra};
//! // use my_plugin as _;   // so that the linker keeps it
//! conformance::coupling("affine", &Extra::default());
//! conformance::run_all(&Extra::default().with("dataset", "mvtec", serde_json::json!({ "path": "data" })));
//! ```
//!
//! A check panics with the component, the check and the numbers; [`check()`] gives the message instead. Components are built from their
//! defaults and the keys of [`Extra`]; to check a component under several configurations, call its function once for each.
//!
//! | kind | file with the list of its checks |
//! |---|---|
//! | every kind | `entry.rs`: name, description, example, schema, unknown keys; `sizes.rs`: numbers too large |
//! | coupling | `coupling.rs`: inverse, log-determinant, state, baking; `coupling_gradients.rs`, `coupling_inputs.rs`, `coupling_private.rs` |
//! | layer, conditioner, regularizer, scorer, router, encoder, dataset | the file of that name |
//! | strategy | `strategy.rs`: stages; `strategy_resume.rs`: a small detector, from the start and resumed |
//! | detector | `detector.rs`: freezing, scores; `detector_resume.rs`: checkpoints; `probe.rs`: the inside |

mod check;
mod common;
mod conditioner;
mod contracts;
mod coupling;
mod coupling_bench;
mod coupling_gradients;
mod coupling_inputs;
mod coupling_private;
mod dataset;
mod detector;
mod detector_bench;
mod detector_resume;
mod detector_rules;
mod encoder;
mod entry;
mod layer;
mod probe;
mod regularizer;
mod router;
mod scorer;
mod sizes;
mod strategy;
mod strategy_bench;
mod strategy_resume;

use ccnf::core::{ComponentKind, entries};
use ccnf::prelude::{
    ClassLayer, Conditioner, Coupling, Dataset, Detector, Encoder, Regularizer, Router, Scorer, Strategy,
};
use entry::Case;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

pub use check::check;
pub use encoder::image_ids as encoder_image_ids;

/// Config keys for components that cannot be built from their defaults (a path), or that are to be checked with other ones.
///
/// ```
/// use ccnf_testkit::conformance::Extra;
/// let extra = Extra::default().with("detector", "ccnf", serde_json::json!({ "blocks": 2 }));
/// assert_eq!(extra.keys("detector", "ccnf")["blocks"], 2);
/// assert!(extra.keys("detector", "mahalanobis").is_empty());
/// ```
#[derive(Debug, Clone, Default)]
pub struct Extra(BTreeMap<(String, String), Map<String, Value>>);

impl Extra {
    /// Adds `keys`, a JSON object, for the component `name` of `kind`.
    pub fn with(mut self, kind: &str, name: &str, keys: Value) -> Self {
        let Value::Object(keys) = keys else {
            panic!("the keys of {kind} `{name}` are not an object: {keys}")
        };
        self.0.entry((kind.to_owned(), name.to_owned())).or_default().extend(keys);
        self
    }

    /// The keys of the component `name` of `kind`; empty where none were given.
    pub fn keys(&self, kind: &str, name: &str) -> Map<String, Value> {
        self.0.get(&(kind.to_owned(), name.to_owned())).cloned().unwrap_or_default()
    }
}

fn names<K: ComponentKind + ?Sized>() -> Vec<&'static str> {
    entries::<K>().into_iter().map(|e| e.name).collect()
}

/// A kind of component and what checks one of them by name.
struct Kind {
    /// The name in configs.
    kind: &'static str,
    /// The name of the trait.
    name: &'static str,
    names: fn() -> Vec<&'static str>,
    /// The checks that are the same for every kind.
    entry: fn(&str, &Extra),
    /// Those of this kind.
    checks: fn(&str, &Extra),
}

macro_rules! kinds {
    ($($kind:ident, $every:ident, $trait:ident;)*) => {
        const KINDS: [Kind; [$(stringify!($kind)),*].len()] = [ $( Kind {
            kind: <dyn $trait as ComponentKind>::NAME,
            name: stringify!($trait),
            names: names::<dyn $trait>,
            entry: |name, extra| Case::<dyn $trait>::find(name, extra).check_entry(&$kind::spec()),
            checks: |name, extra| $kind::check(&Case::find(name, extra)),
        } ),* ];

        $(
            #[doc = concat!("Checks the ", stringify!($kind), " called `name`.")]
            pub fn $kind(name: &str, extra: &Extra) {
                let case = Case::<dyn $trait>::find(name, extra);
                case.check_entry(&$kind::spec());
                $kind::check(&case);
            }

            #[doc = concat!("Checks every registered ", stringify!($kind), ".")]
            pub fn $every(extra: &Extra) {
                names::<dyn $trait>().into_iter().for_each(|name| $kind(name, extra));
            }
        )*

        /// Checks every registered component of every kind.
        pub fn run_all(extra: &Extra) {
            $( $every(extra); )*
        }
    };
}

kinds! {
    dataset, datasets, Dataset;
    encoder, encoders, Encoder;
    detector, detectors, Detector;
    layer, layers, ClassLayer;
    coupling, couplings, Coupling;
    conditioner, conditioners, Conditioner;
    regularizer, regularizers, Regularizer;
    scorer, scorers, Scorer;
    router, routers, Router;
    strategy, strategies, Strategy;
}
