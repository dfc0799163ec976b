//! What a detector lets be seen of its inside, for diagnosis after training.

use crate::error::Result;
use crate::view::ImageFeatures;
use ccnf_tensor::Owner;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Which part of a model a tensor is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TensorGroup {
    /// The map from tokens to latents, as far as all classes share it.
    Flow,
    /// A density of the latents: centres and weights.
    Mixture,
    /// What is trained for one class within the flow: rows of a conditioner, adapters, private copies.
    Rows,
    /// Class-private layers before the flow.
    Layers,
    /// Everything else: standardisation, statistics of maps, routers, networks that are no flow.
    Other,
}

impl TensorGroup {
    /// Whether the model of a class is made of it, beside the flow.
    pub fn is_of_a_class(self) -> bool {
        matches!(self, TensorGroup::Mixture | TensorGroup::Rows | TensorGroup::Layers)
    }
}

impl fmt::Display for TensorGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TensorGroup::Flow => "flow",
            TensorGroup::Mixture => "mixture",
            TensorGroup::Rows => "rows",
            TensorGroup::Layers => "layers",
            TensorGroup::Other => "other",
        })
    }
}

/// Where in a model a tensor is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorPlace {
    /// The part of the model.
    pub group: TensorGroup,
    /// The level of the features, if it belongs to one.
    pub level: Option<usize>,
    /// The coupling block, if it belongs to one.
    pub block: Option<usize>,
    /// What it is within its group, the same for every level, block and class: `lin0.weight`, `phi_inter`.
    pub part: String,
}

impl TensorPlace {
    /// Reads level, block and part from a name such as `level0.block1.lin0.weight` or `level0.mu.bolt`; the group is
    /// [`Other`](TensorGroup::Other).
    ///
    /// ```
    /// use ccnf_core::TensorPlace;
    /// use ccnf_core::ccnf_tensor::Owner;
    /// let place = TensorPlace::of("level1.mu.bolt", &Owner::Class("bolt".into()));
    /// assert_eq!((place.level, place.block, place.part.as_str()), (Some(1), None, "mu"));
    /// ```
    pub fn of(name: &str, owner: &Owner) -> TensorPlace {
        let without_class = match owner {
            Owner::Shared => name.to_owned(),
            // A class's name may have dots of its own.
            Owner::Class(class) => format!(".{name}.").replacen(&format!(".{class}."), ".", 1),
        };
        let (mut level, mut block, mut part) = (None, None, Vec::new());
        for segment in without_class.split('.').filter(|s| !s.is_empty()) {
            let number = |prefix: &str| segment.strip_prefix(prefix).and_then(|n| n.parse().ok());
            match (number("level"), number("block")) {
                (Some(l), _) if level.is_none() => level = Some(l),
                (_, Some(b)) if block.is_none() => block = Some(b),
                _ => part.push(segment),
            }
        }
        TensorPlace { group: TensorGroup::Other, level, block, part: part.join(".") }
    }

    /// The same place in another group.
    pub fn in_group(self, group: TensorGroup) -> TensorPlace {
        TensorPlace { group, ..self }
    }
}

/// The latents of the tokens of one image at one level.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenLatents {
    /// Dimension of a latent.
    pub dim: usize,
    /// `[rows][dim]`, row-major. One row per token in the order of the level's grid, or one per joined token where the detector joins
    /// tokens.
    pub z: Vec<f32>,
    /// Per token the logarithm of the absolute determinant of the map from (standardised) token to latent, in nats.
    pub log_det: Vec<f32>,
}

impl TokenLatents {
    /// Number of latents.
    pub fn rows(&self) -> usize {
        self.z.len() / self.dim.max(1)
    }
    /// The latent number `row`.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.z[row * self.dim..(row + 1) * self.dim]
    }
}

/// What the known classes say about the tokens of one image at one level.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenClasses {
    /// `log p(x | class)` `[class][token]` in nats, without the constant of the input standardisation; classes in the order of
    /// [`Detector::classes`](crate::Detector::classes).
    pub log_likelihood: Vec<Vec<f32>>,
    /// Where the method defines its entropy of a token over the classes by other logits than these likelihoods: those logits,
    /// `[class][token]`. The entropy is that of their softmax.
    pub entropy_logits: Option<Vec<Vec<f32>>>,
}

/// What a [`Detector`](crate::Detector) with latents and class likelihoods lets be seen of itself.
///
/// Contract:
/// - nothing changes the detector, nothing uses randomness, and an image's answer has the same bits whatever the other images are;
/// - a latent depends on the image, the input standardisation (fixed after the first stage), the group [`Flow`](TensorGroup::Flow) and
///   the groups `Rows` and `Layers` of `class`, and on nothing else: not on the mixture and not on another class;
/// - a state put together from two states of one run, with the group `Flow` of one and the groups of a class of the other, can be
///   [restored](crate::restore) and scored;
/// - `log_likelihood` is what the detector scores with, so that `-log p / D` of the class given is the map of a likelihood scorer before
///   the levels are made comparable;
/// - an unknown class and a level that is not there are errors.
pub trait Probe {
    /// Where the tensor `name` of `owner` is. Any name gets an answer.
    fn place(&self, name: &str, owner: &Owner) -> TensorPlace;

    /// The latents of all tokens of each image at `level` under `class`.
    fn latents(&self, images: &[&dyn ImageFeatures], class: &str, level: usize) -> Result<Vec<TokenLatents>>;

    /// What every known class says about all tokens of each image at `level`.
    fn token_classes(&self, images: &[&dyn ImageFeatures], level: usize) -> Result<Vec<TokenClasses>>;

    /// The logarithms of the weights of the known classes at `level`, normalised, in their order; `None` for a model without weights.
    fn log_class_weights(&self, _level: usize) -> Result<Option<Vec<f32>>> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_level_block_and_part() {
        let of = |name: &str, class: &str| {
            let owner = if class.is_empty() { Owner::Shared } else { Owner::Class(class.into()) };
            let p = TensorPlace::of(name, &owner);
            (p.level, p.block, p.part)
        };
        assert_eq!(of("level0.block12.lin0.weight", ""), (Some(0), Some(12), "lin0.weight".into()));
        assert_eq!(of("level1.phi_inter.solar_mono", "solar_mono"), (Some(1), None, "phi_inter".into()));
        assert_eq!(of("level2.layer1.pcb.directions", "pcb"), (Some(2), None, "layer1.directions".into()));
        assert_eq!(of("level2.block0.private.a.b.lin0", "a.b"), (Some(2), Some(0), "private.lin0".into()));
        // A class may be called like anything.
        assert_eq!(of("level0.mu.level1", "level1"), (Some(0), None, "mu".into()));
        assert_eq!(of("levels.mean", ""), (None, None, "levels.mean".into()));
        assert_eq!(of("", ""), (None, None, String::new()));
    }
}
