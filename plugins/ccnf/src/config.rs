//! Config of the detector.

use crate::init::RowInitConfig;
use ccnf::prelude::*;
use serde::{Deserialize, Serialize};

/// What stands between two blocks, so that the halves change roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Mixing {
    /// A fixed random rotation (Haar), log-det 0.
    Rotation,
    /// A fixed random permutation of the dims.
    Permutation,
    /// Nothing, for a coupling that mixes the dims itself, such as `all-in-one`.
    None,
}

/// Config of the `ccnf` detector.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CcnfConfig {
    /// Coupling blocks per level.
    pub blocks: usize,
    /// Width of the position code that enters every subnet; a multiple of 4, 0: none.
    pub position: usize,
    /// What stands between two blocks.
    pub mixing: Mixing,
    /// How the row of a class of a later stage starts.
    pub init: RowInitConfig,
    /// The coupling of every block.
    pub coupling: Component,
    /// How the class enters.
    pub conditioner: Component,
    /// Penalties beside the negative log-likelihood.
    pub regularizers: Vec<Component>,
    /// From likelihoods to token scores.
    pub scorer: Component,
    /// Chooses the class of a test image for `routed` scores.
    pub router: Component,
}

impl Default for CcnfConfig {
    fn default() -> Self {
        CcnfConfig {
            blocks: 8,
            position: 64,
            mixing: Mixing::Rotation,
            init: RowInitConfig::Best,
            coupling: Component::of("affine"),
            conditioner: Component::of("embedding"),
            regularizers: vec![
                Component::of("log-det"),
                Component::of("balance"),
                Component::of("latent-variance"),
                Component::of("scale"),
            ],
            scorer: Component::of("likelihood"),
            router: Component::of("likelihood"),
        }
    }
}
