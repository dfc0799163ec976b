//! `onnx`: any ONNX network. Its runtime, tract, takes most of a cold build, so it is there only with the feature `onnx`.

#[cfg(not(feature = "onnx"))]
mod absent;
#[cfg(feature = "onnx")]
mod encoder;
#[cfg(feature = "onnx")]
pub(crate) mod network;

#[cfg(not(feature = "onnx"))]
pub use absent::Onnx;
#[cfg(feature = "onnx")]
pub use encoder::Onnx;

use crate::preprocess::{ResizeFilter, ResizeMode};
use ccnf::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Config of [`Onnx`].
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OnnxConfig {
    /// The ONNX file; a relative path starts at the working directory.
    pub path: PathBuf,
    /// Name of the image input; only checked, since the network may have no other.
    pub input: Option<String>,
    /// Names of the tensors that become levels, in this order: outputs or any tensor inside the network. Empty = all
    /// outputs.
    pub outputs: Vec<String>,
    /// Height and width of the network's input in pixels.
    pub size: usize,
    /// How the image becomes a square.
    pub resize: ResizeMode,
    /// The filter of the resize.
    pub filter: ResizeFilter,
    /// Mean per channel (red, green, blue) that is subtracted from the values in [0, 1].
    pub mean: [f32; 3],
    /// Standard deviation per channel by which the result is divided.
    pub std: [f32; 3],
    /// Window of the mean pooling of the features in cells, odd; 1 = none.
    pub pool: usize,
    /// Windows of single levels by output name, instead of `pool`.
    pub pool_levels: BTreeMap<String, usize>,
}

impl Default for OnnxConfig {
    fn default() -> Self {
        OnnxConfig {
            path: PathBuf::new(),
            input: None,
            outputs: vec![],
            size: 224,
            resize: ResizeMode::default(),
            filter: ResizeFilter::default(),
            mean: [0.0; 3],
            std: [1.0; 3],
            pool: 3,
            pool_levels: BTreeMap::new(),
        }
    }
}
