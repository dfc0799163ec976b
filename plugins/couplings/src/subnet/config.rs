//! Config of a subnet.

use crate::private::PrivateConfig;
use ccnf::prelude::*;
use serde::{Deserialize, Serialize};

/// Spectral normalisation of the subnet's weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SpectralConfig {
    /// None.
    Off,
    /// `W / sigma` (the method's notes): also blows small weights up to norm 1.
    Literal,
    /// `W / max(1, sigma)`: only shrinks, so that the flow can start at the identity.
    Cap,
}

impl From<SpectralConfig> for SpectralMode {
    fn from(c: SpectralConfig) -> Self {
        match c {
            SpectralConfig::Off => SpectralMode::Off,
            SpectralConfig::Literal => SpectralMode::Literal,
            SpectralConfig::Cap => SpectralMode::Cap,
        }
    }
}

/// How the last layer starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LastLayer {
    /// At zero: the coupling starts as the identity. Not with literal spectral norm (0 / 0).
    Zero,
    /// Uniform in `+-1/sqrt(inputs)`, as the other layers.
    Uniform,
}

/// What the subnet sees beside a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Context {
    /// Nothing.
    None,
    /// The neighbours, by a depthwise 3x3 convolution with a skip over the first hidden layer (the next layer mixes the channels).
    /// The density of a token is then conditional on `x_a` of its neighbourhood; a step takes whole maps.
    Depthwise,
}

/// Shape and normalisation of a subnet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SubnetConfig {
    /// Width of the hidden layers; 0: twice the width of the input.
    pub hidden: usize,
    /// Number of hidden layers, at least 1.
    pub layers: usize,
    /// Spectral normalisation.
    pub spectral_norm: SpectralConfig,
    /// How the last layer starts.
    pub last_layer: LastLayer,
    /// Start value of a trained factor on the subnet's output; 0: no such factor. For runs with literal spectral norm, which
    /// cannot start near the identity otherwise.
    pub output_gain: f32,
    /// What a class of a later stage gets of its own, in the blocks that the detector names (`private_blocks`).
    pub private: PrivateConfig,
    /// Rank of the low-rank adapters, 1 to 64.
    pub rank: usize,
    /// Largest singular value that an adapter may have, so that it stays a small change; 0: no bound.
    pub adapter_norm: f32,
    /// What the subnet sees beside the token: `none` or `depthwise`.
    pub context: Context,
}

impl Default for SubnetConfig {
    fn default() -> Self {
        SubnetConfig {
            hidden: 0,
            layers: 2,
            spectral_norm: SpectralConfig::Cap,
            last_layer: LastLayer::Zero,
            output_gain: 0.0,
            private: PrivateConfig::None,
            rank: 4,
            adapter_norm: 0.5,
            context: Context::None,
        }
    }
}
