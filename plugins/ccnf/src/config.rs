//! Config of the detector.

use crate::defects::DefectsConfig;
use crate::first_task::FirstTaskConfig;
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

/// How fixed directions are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Basis {
    /// The directions of largest variance of the first stage's tokens, differences between its classes and places included.
    Pca,
    /// The directions in which the first stage's tokens vary most around the mean of their class at their place: what a density of
    /// a class's tokens is about.
    WithinClass,
    /// Random ones.
    Random,
}

/// Config of the `ccnf` detector.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CcnfConfig {
    /// Fixed directions on which the channels of a level are projected, shared by all classes: a number for each level, or one for
    /// all; empty: all channels. The model sees nothing of the others.
    pub directions: Vec<usize>,
    /// How the directions are chosen.
    pub basis: Basis,
    /// Class-private invertible layers before the flow, fitted in closed form when a class is learnt.
    pub layers: Vec<Component>,
    /// Parts of a class's training images for held-out statistics: each part is seen through layers fitted on the other parts
    /// when flow, further layers and map statistics are fitted. 0: all images through layers fitted on all.
    pub folds: usize,
    /// Coupling blocks per level; 0: no flow, the layers alone.
    pub blocks: usize,
    /// How many of the last blocks have private parts for the classes that are learnt after the first stage
    /// (`coupling.subnet.private` says which); 0: none.
    pub private_blocks: usize,
    /// Haar steps: after so many blocks 2x2 tokens are joined to one of four times as many dims, on which the blocks behind work; ascending.
    /// Every level's map must have even sides there. A step of training then takes whole maps.
    pub haar: Vec<usize>,
    /// Scores every level a second time with the layers alone; the maps of both are averaged like those of two levels.
    pub identity_maps: bool,
    /// Width of the position code that enters every subnet; a multiple of 4, 0: none.
    pub position: usize,
    /// What stands between two blocks.
    pub mixing: Mixing,
    /// How the row of a class of a later stage starts.
    pub init: RowInitConfig,
    /// What the first stage does beyond training its classes' rows.
    pub first_task: FirstTaskConfig,
    /// Training against painted defects.
    pub defects: DefectsConfig,
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
            directions: vec![],
            basis: Basis::Pca,
            layers: vec![],
            folds: 4,
            blocks: 8,
            private_blocks: 0,
            haar: vec![],
            identity_maps: false,
            position: 64,
            mixing: Mixing::Rotation,
            init: RowInitConfig::Best,
            first_task: FirstTaskConfig::default(),
            defects: DefectsConfig::default(),
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

impl CcnfConfig {
    /// Fails for keys that make no sense together.
    pub(crate) fn check(&self, build: &Build<'_, DetectorSpec>) -> Result<()> {
        if self.blocks > 256 {
            return Err(build.error("blocks", "must be between 0 and 256"));
        }
        if self.blocks == 0 && self.layers.is_empty() {
            return Err(build
                .error("blocks", "without blocks and without layers there is no model")
                .help("set `blocks` to 1 or more, or add a layer such as { kind = \"whitening\" }"));
        }
        if self.private_blocks > self.blocks {
            let message = format!("must be at most `blocks`, which is {}", self.blocks);
            return Err(build.error("private_blocks", message));
        }
        if self.identity_maps && self.layers.is_empty() {
            return Err(build.error("identity_maps", "needs at least one layer"));
        }
        self.defects.check(build)?;
        self.first_task.check(build)
    }
}
