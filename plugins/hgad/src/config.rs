//! Config of the detector.

use crate::centres::Centres;
use ccnf::prelude::*;
use serde::{Deserialize, Serialize};

/// What happens in later stages to a part of the model that earlier stages have trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Later {
    /// It is trained further.
    Update,
    /// It stays bit for bit.
    Freeze,
}

/// What the maps are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MapKind {
    /// The log-likelihood under the class alone (the released map 1), through `scorer`.
    Likelihood,
    /// Product of the likelihood map and the entropy map (the released maps 1 and 2), each normalised by the largest values of the
    /// class's training images, which are stored with the class. An image that is far from every centre has no entropy and
    /// therefore a low product, so this is not the default.
    Product,
}

/// The classes over which the entropy map runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EntropyClasses {
    /// All classes known when the image is scored: maps of old classes change when classes are added.
    Known,
    /// Those known when the class was learnt.
    FixedSet,
}

/// Config of the `hgad` detector. The defaults are the released settings.
///
/// The `[train]` section counts as for other detectors, with one exception: `schedule = "cosine"` is HGAD's schedule, a linear ramp
/// from a tenth of the learning rate over the first 8 % of a stage's steps, then a cosine to a thousandth, in 25 equal stairs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HgadConfig {
    /// Coupling blocks per level.
    pub blocks: usize,
    /// Width of the position code that enters every subnet; a multiple of 4, 0: none.
    pub position: usize,
    /// Intra-class centres `M` of every class, at least 2.
    pub intra: usize,
    /// Where the main centre of a class starts.
    pub centres: Centres,
    /// For `centres = "official"`: the number of classes for which the centres are laid out; 0: those of the first stage.
    pub centre_classes: usize,
    /// Weight `lambda2` of the mutual information.
    pub information_weight: f32,
    /// Label smoothing of the mutual information, in [0, 1).
    pub label_smoothing: f32,
    /// L2 weight decay of the flow, added to its gradient; the mixture has none.
    pub weight_decay: f32,
    /// The flow in stages after the first (NF_update or NF_freeze).
    pub later_flow: Later,
    /// The mixture parameters of earlier classes in stages after the first (GMM_update or GMM_freeze).
    pub later_mixture: Later,
    /// What the maps are made of.
    pub maps: MapKind,
    /// For `maps = "product"`: the classes over which the entropy runs.
    pub entropy_classes: EntropyClasses,
    /// The coupling of every block. It must mix the dims itself, since nothing stands between two blocks.
    pub coupling: Component,
    /// For `maps = "likelihood"`: from likelihoods to token scores.
    pub scorer: Component,
    /// Chooses the class of a test image for `routed` scores.
    pub router: Component,
}

impl Default for HgadConfig {
    fn default() -> Self {
        HgadConfig {
            blocks: 12,
            position: 256,
            intra: 10,
            centres: Centres::Orthonormal,
            centre_classes: 0,
            information_weight: 100.0,
            label_smoothing: 0.02,
            weight_decay: 1e-4,
            later_flow: Later::Update,
            later_mixture: Later::Update,
            maps: MapKind::Likelihood,
            entropy_classes: EntropyClasses::Known,
            coupling: Component::of("all-in-one"),
            scorer: Component::of("likelihood"),
            router: Component::of("likelihood"),
        }
    }
}

impl HgadConfig {
    /// Fails for values out of range.
    pub(crate) fn check<S>(&self, build: &Build<'_, S>) -> Result<()> {
        if self.blocks == 0 || self.blocks > 256 {
            return Err(build.error("blocks", "must be between 1 and 256"));
        }
        if self.intra < 2 || self.intra > 1024 {
            return Err(build.error("intra", "must be between 2 and 1024"));
        }
        if !(0.0..1.0).contains(&self.label_smoothing) {
            return Err(build.error("label_smoothing", "must be in [0, 1)"));
        }
        for (key, value) in
            [("information_weight", self.information_weight), ("weight_decay", self.weight_decay)]
        {
            if !(value.is_finite() && value >= 0.0) {
                return Err(build.error(key, "must be finite and not negative"));
            }
        }
        Ok(())
    }
}
