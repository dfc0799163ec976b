//! The line in a component's file that tests it.

use crate::conformance::{Extra, check};
use serde_json::Value;
use std::path::Path;

/// Tests that a component keeps the contract of its kind: a test with its default config, and one with each further config.
///
/// ```
/// # // Without the component's definition: what follows are tests of this file.
/// ccnf_testkit::conformance!(Coupling, "swish");
/// ```
///
/// The kind is written as in `register_component!`: `Dataset`, `Encoder`, `Detector`, `ClassLayer`, `Coupling`, `Conditioner`,
/// `Regularizer`, `Scorer`, `Router` or `Strategy`. At most 16 configs follow, each the JSON of the keys that differ from the defaults:
///
/// ```
/// ccnf_testkit::conformance!(Coupling, "swish", { "hidden": 9 }, { "hidden": 4, "clamp": 0.3 });
/// ```
///
/// A component that needs files gets them from a function that writes them into a fresh folder, which is removed afterwards, and returns the
/// keys that lead there; the keys of a config come on top. An encoder of stored features finds ones for
/// [`encoder_image_ids`](crate::conformance::encoder_image_ids) in this way; other encoders are given images and need none.
///
/// ```
/// use ccnf_testkit::serde_json::{Value, json};
/// use std::path::Path;
///
/// fn images(folder: &Path) -> Value {
///     // … write some …
///     json!({ "path": folder })
/// }
/// ccnf_testkit::conformance!(Dataset, "ok-ng", with images, { "masks": false });
/// ```
///
/// The tests are a module called by the kind (`coupling_conforms`), so that a second component of the same kind in one file needs a name of
/// its own: `conformance!(mod second: Coupling, "mish");`. A crate with `ccnf-testkit` among its `dev-dependencies`, where it belongs, writes
/// `#[cfg(test)]` above the line. A test that fails says what was checked, what was found, and what the contract is; one for a kind that
/// does not exist does not compile:
///
/// ```compile_fail
/// ccnf_testkit::conformance!(Cupling, "swish");
/// ```
#[macro_export]
macro_rules! conformance {
    (@tests $module:ident $kind:literal $name:literal [$($setup:expr)?] $($config:tt)*) => {
        // A function may be called as a module is.
        #[cfg(test)]
        fn $module(_folder: &::std::path::Path) -> $crate::serde_json::Value {
            let setup: &[fn(&::std::path::Path) -> $crate::serde_json::Value] = &[$($setup)?];
            setup.first().map_or_else(|| $crate::serde_json::json!({}), |write| write(_folder))
        }
        #[cfg(test)]
        mod $module {
            use super::$module as given;

            #[test]
            fn with_its_defaults() {
                $crate::conforms($kind, $name, given, $crate::serde_json::json!({}));
            }

            $crate::conformance!(@configs $kind $name [
                with_config_1 with_config_2 with_config_3 with_config_4 with_config_5 with_config_6 with_config_7 with_config_8
                with_config_9 with_config_10 with_config_11 with_config_12 with_config_13 with_config_14 with_config_15
                with_config_16
            ] $($config)*);
        }
    };

    (@configs $kind:literal $name:literal [$($left:ident)*]) => {};
    (@configs $kind:literal $name:literal [$test:ident $($left:ident)*] $config:tt $($more:tt)*) => {
        #[test]
        fn $test() {
            $crate::conforms($kind, $name, given, $crate::serde_json::json!($config));
        }
        $crate::conformance!(@configs $kind $name [$($left)*] $($more)*);
    };
    (@configs $kind:literal $name:literal [] $($config:tt)*) => {
        compile_error!("conformance!: more than 16 configs; test the others from a test of your own, with ccnf_testkit::conformance::check");
    };

    (@kind $module:ident $kind:literal, $name:literal, with $setup:expr $(, { $($keys:tt)* })* $(,)?) => {
        $crate::conformance!(@tests $module $kind $name [$setup] $({ $($keys)* })*);
    };
    (@kind $module:ident $kind:literal, $name:literal $(, { $($keys:tt)* })* $(,)?) => {
        $crate::conformance!(@tests $module $kind $name [] $({ $($keys)* })*);
    };
    (@kind $($other:tt)*) => {
        compile_error!(
            "conformance!: expected a kind, a name in quotes and configs in braces: conformance!(Coupling, \"swish\", { \"hidden\": 9 });"
        );
    };

    (@named $module:ident Dataset $($rest:tt)*) => { $crate::conformance!(@kind $module "dataset" $($rest)*); };
    (@named $module:ident Encoder $($rest:tt)*) => { $crate::conformance!(@kind $module "encoder" $($rest)*); };
    (@named $module:ident Detector $($rest:tt)*) => { $crate::conformance!(@kind $module "detector" $($rest)*); };
    (@named $module:ident ClassLayer $($rest:tt)*) => { $crate::conformance!(@kind $module "layer" $($rest)*); };
    (@named $module:ident Coupling $($rest:tt)*) => { $crate::conformance!(@kind $module "coupling" $($rest)*); };
    (@named $module:ident Conditioner $($rest:tt)*) => { $crate::conformance!(@kind $module "conditioner" $($rest)*); };
    (@named $module:ident Regularizer $($rest:tt)*) => { $crate::conformance!(@kind $module "regularizer" $($rest)*); };
    (@named $module:ident Scorer $($rest:tt)*) => { $crate::conformance!(@kind $module "scorer" $($rest)*); };
    (@named $module:ident Router $($rest:tt)*) => { $crate::conformance!(@kind $module "router" $($rest)*); };
    (@named $module:ident Strategy $($rest:tt)*) => { $crate::conformance!(@kind $module "strategy" $($rest)*); };
    (@named $module:ident $($other:tt)*) => {
        compile_error!(
            "conformance!: no such kind of component; there are: Dataset, Encoder, Detector, ClassLayer, Coupling, Conditioner, Regularizer, \
             Scorer, Router, Strategy"
        );
    };

    (mod $module:ident: $($rest:tt)*) => { $crate::conformance!(@named $module $($rest)*); };
    (Dataset $($rest:tt)*) => { $crate::conformance!(@named dataset_conforms Dataset $($rest)*); };
    (Encoder $($rest:tt)*) => { $crate::conformance!(@named encoder_conforms Encoder $($rest)*); };
    (Detector $($rest:tt)*) => { $crate::conformance!(@named detector_conforms Detector $($rest)*); };
    (ClassLayer $($rest:tt)*) => { $crate::conformance!(@named layer_conforms ClassLayer $($rest)*); };
    (Coupling $($rest:tt)*) => { $crate::conformance!(@named coupling_conforms Coupling $($rest)*); };
    (Conditioner $($rest:tt)*) => { $crate::conformance!(@named conditioner_conforms Conditioner $($rest)*); };
    (Regularizer $($rest:tt)*) => { $crate::conformance!(@named regularizer_conforms Regularizer $($rest)*); };
    (Scorer $($rest:tt)*) => { $crate::conformance!(@named scorer_conforms Scorer $($rest)*); };
    (Router $($rest:tt)*) => { $crate::conformance!(@named router_conforms Router $($rest)*); };
    (Strategy $($rest:tt)*) => { $crate::conformance!(@named strategy_conforms Strategy $($rest)*); };
    ($($other:tt)*) => { $crate::conformance!(@named unknown $($other)*); };
}

/// What a test of [`conformance!`](crate::conformance!) does: checks the component with the keys that `given` returns for a fresh folder and,
/// over them, those of `config`.
#[doc(hidden)]
#[track_caller]
pub fn conforms(kind: &str, name: &str, given: fn(&Path) -> Value, config: Value) {
    let folder =
        tempfile::tempdir().unwrap_or_else(|e| panic!("no folder for the files of {kind} `{name}`: {e}"));
    let extra = Extra::default().with(kind, name, given(folder.path())).with(kind, name, config.clone());
    if let Err(found) = check(kind, name, &extra) {
        panic!("{found}\n  config: {config}");
    }
}
