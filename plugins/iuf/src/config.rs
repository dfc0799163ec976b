//! Config of the detector.

use ccnf::prelude::*;
use serde::{Deserialize, Serialize};

/// What the discriminator reads. The published one reads the normalised image at full size, attention along its rows included; its
/// activations, 224 x 224 x 256 over four blocks, are out of reach for a CPU, and the framework's features are at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DiscriminatorInput {
    /// The aligned feature map that is reconstructed, at its own grid.
    Aligned,
    /// All levels at the grid of the finest one; its maps are pooled to the grid of the reconstruction.
    Finest,
}

/// Config of the discriminator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DiscriminatorConfig {
    /// What it reads.
    pub input: DiscriminatorInput,
    /// Heads of its attention.
    pub heads: usize,
    /// Width of the hidden layer of its blocks.
    pub hidden: usize,
}

impl Default for DiscriminatorConfig {
    fn default() -> Self {
        DiscriminatorConfig { input: DiscriminatorInput::Aligned, heads: 4, hidden: 128 }
    }
}

/// What becomes of the semantic compression loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CompressionMode {
    /// As in the released code, where it has no gradient: it is reported at the end of every epoch, and nothing else.
    Off,
    /// As the paper means it: part of the loss of the first stage.
    On,
}

/// How later stages are updated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum UpdateKind {
    /// The method's own: pulled back to the weights of the stage before, projected, plain gradient descent.
    Projected,
    /// AdamW as in the first stage (UniAD, fine-tuned).
    Plain,
}

/// Whether the bases of the projection are collected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Bases {
    /// At the end of every stage, as the paper means it.
    Collected,
    /// Never, which is what the released code does under most of its own configurations: nothing is projected.
    None,
}

/// Config of [`Iuf`](crate::Iuf).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct IufConfig {
    /// Width of transformer and discriminator, `d`: a multiple of 2 and of the heads.
    pub width: usize,
    /// Heads of the transformer's attention.
    pub heads: usize,
    /// Width of the hidden layer of the transformer's feed-forward parts.
    pub hidden: usize,
    /// Layers of encoder and decoder, and blocks of the discriminator: at least 2.
    pub layers: usize,
    /// Dropout of the transformer, in [0, 1).
    pub dropout: f32,
    /// Feature jitter in training: noise of this many times the token's norm over the number of channels; 0: none.
    pub jitter: f32,
    /// Whether channels are standardised with the first stage's mean and std before they are reconstructed. The published method does
    /// not; without, channels of large values rule the loss.
    pub standardize: bool,
    /// The discriminator.
    pub discriminator: DiscriminatorConfig,
    /// Semantic compression in the first stage.
    pub compression: CompressionMode,
    /// Weight of the semantic compression loss.
    pub compression_weight: f32,
    /// How later stages are updated.
    pub update: UpdateKind,
    /// The bases of the projection.
    pub bases: Bases,
    /// How far every step of a later stage is first pulled towards the weights of the stage before, in [0, 1); 0: not at all.
    pub pull: f32,
}

impl Default for IufConfig {
    fn default() -> Self {
        IufConfig {
            width: 256,
            heads: 8,
            hidden: 1024,
            layers: 4,
            dropout: 0.1,
            jitter: 20.0,
            standardize: false,
            discriminator: DiscriminatorConfig::default(),
            compression: CompressionMode::Off,
            compression_weight: 10.0,
            update: UpdateKind::Projected,
            bases: Bases::Collected,
            pull: 0.05,
        }
    }
}

impl IufConfig {
    /// Checks the ranges.
    pub(crate) fn check<S>(&self, build: &Build<'_, S>) -> Result<()> {
        if self.width > 65536 {
            return Err(build.error("width", "must be at most 65536"));
        }
        let divides = |heads: usize| heads > 0 && self.width.is_multiple_of(heads);
        if self.width < 2 || !self.width.is_multiple_of(2) || !divides(self.heads) {
            let key = if self.width < 2 || !self.width.is_multiple_of(2) { "width" } else { "heads" };
            return Err(build.error(key, "`width` must be a multiple of 2 and of `heads`"));
        }
        if !divides(self.discriminator.heads) {
            return Err(build.error("discriminator.heads", "must divide `width`"));
        }
        for (key, hidden) in [("hidden", self.hidden), ("discriminator.hidden", self.discriminator.hidden)] {
            if hidden == 0 || hidden > 65536 {
                return Err(build.error(key, "must be between 1 and 65536"));
            }
        }
        if !(2..=64).contains(&self.layers) {
            return Err(build.error("layers", "must be between 2 and 64"));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(build.error("dropout", "must be in [0, 1)"));
        }
        if !(self.jitter >= 0.0 && self.jitter.is_finite()) {
            return Err(build.error("jitter", "must be 0 or more"));
        }
        if !(self.compression_weight >= 0.0 && self.compression_weight.is_finite()) {
            return Err(build.error("compression_weight", "must be 0 or more"));
        }
        if !(0.0..1.0).contains(&self.pull) {
            return Err(build.error("pull", "must be in [0, 1)"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ccnf::core::{Config, TrainConfig};
    use serde_json::json;

    fn message(keys: serde_json::Value) -> String {
        let mut config = json!({ "kind": "iuf", "width": 8, "heads": 2, "hidden": 4 });
        for (key, value) in keys.as_object().unwrap() {
            config[key] = value.clone();
        }
        let section = Config::from_json("test", &json!({ "detector": config })).unwrap().root().unwrap();
        let level = LevelSpec { name: "l".into(), height: 2, width: 2, channels: 3 };
        let spec = DetectorSpec {
            levels: vec![level],
            train: TrainConfig::default(),
            fusion: FusionConfig::default(),
            streams: Streams::new(1),
        };
        let built = ccnf::core::build::<dyn Detector>(&section.child("detector"), &spec);
        built.err().map_or_else(String::new, |e| e.to_string())
    }

    #[test]
    fn keys_out_of_range_are_named() {
        assert_eq!(message(json!({})), "");
        for (key, value) in [
            ("width", json!(7)),
            ("width", json!(0)),
            ("heads", json!(3)),
            ("layers", json!(1)),
            ("hidden", json!(0)),
            ("dropout", json!(1.0)),
            ("jitter", json!(-1.0)),
            ("compression_weight", json!(-1.0)),
            ("pull", json!(1.0)),
        ] {
            let said = message(json!({ key: value }));
            assert!(said.contains(&format!("`detector.{key}`")), "{key} = {value}: {said}");
        }
        for (key, value) in [("heads", 3), ("hidden", 0)] {
            let said = message(json!({ "discriminator": { key: value } }));
            assert!(said.contains(&format!("`detector.discriminator.{key}`")), "{said}");
        }
    }
}
