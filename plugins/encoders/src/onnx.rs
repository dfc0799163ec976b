//! Any ONNX network.

use crate::image_encoder::{ImageEncoder, Runtime};
use crate::network::{Network, parse};
use crate::pooling::check_window;
use crate::preprocess::{Preprocess, ResizeFilter, ResizeMode};
use ccnf::core::read_file;
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

/// A frozen network from an ONNX file: one image input (batch x 3 x height x width, RGB), feature maps as outputs
/// (batch x channels x height x width). The file is checked and compiled when the encoder is built.
pub struct Onnx(ImageEncoder);

impl Onnx {
    /// Reads, checks and compiles the network.
    pub fn new(config: OnnxConfig, build: &Build<EncoderSpec>) -> Result<Self> {
        let OnnxConfig { path, input, outputs, size, resize, filter, mean, std, pool, pool_levels } = config;
        if path.as_os_str().is_empty() {
            return Err(build.error("path", "missing: which ONNX file? Set path = \"…\""));
        }
        if size == 0 {
            return Err(build.error("size", "the size must be at least 1"));
        }
        if !mean.iter().all(|m| m.is_finite()) {
            return Err(build.error("mean", "the mean must be finite"));
        }
        if !std.iter().all(|s| s.is_finite() && *s > 0.0) {
            return Err(build.error("std", "the standard deviation must be finite and above 0"));
        }
        if let Some((_, twice)) = outputs.iter().enumerate().find(|(i, o)| outputs[..*i].contains(o)) {
            return Err(build.error("outputs", format!("`{twice}` is listed twice")));
        }
        check_window(build, "pool", pool)?;
        for (level, window) in &pool_levels {
            check_window(build, &format!("pool_levels.{level}"), *window)?;
        }
        let name = path.display().to_string();
        let place = || format!("key `{}.path`", build.section.path());
        let bytes = read_file(&path).map_err(|e| as_encoder_error(e, &name)).at(place)?;
        let (network, names) = parse(&bytes, &name)
            .and_then(|proto| Network::compile(proto, &name, input.as_deref(), &outputs, size))
            .at(place)?;
        if let Some(unknown) = pool_levels.keys().find(|k| !names.contains(k)) {
            let key = format!("pool_levels.{unknown}");
            return Err(
                build.error(&key, format!("`{unknown}` is not among the outputs `{}`", names.join("`, `")))
            );
        }
        let windows = names.iter().map(|n| pool_levels.get(n).copied().unwrap_or(pool)).collect();
        let preprocess = Preprocess { size, resize, filter, mean, std };
        Ok(Onnx(ImageEncoder::new(Runtime::General(network), preprocess, names, windows, &bytes)))
    }
}

/// A model file that cannot be read is a problem of the encoder, not of the disk.
fn as_encoder_error(error: Error, name: &str) -> Error {
    let advice = error.advice().unwrap_or("check the path").to_owned();
    Error::new(ErrorKind::Encoder, format!("the model `{name}` cannot be read: {}", error.message()))
        .help(advice)
}

impl Encoder for Onnx {
    fn fingerprint(&self) -> String {
        self.0.fingerprint()
    }
    fn levels(&self) -> Vec<LevelSpec> {
        self.0.levels()
    }
    fn encode(&self, images: &[EncoderInput<'_>]) -> Result<Vec<EncodedImage>> {
        self.0.encode(images)
    }
    fn batch(&self) -> usize {
        16
    }
}

ccnf::register_component!(
    Encoder,
    "onnx",
    OnnxConfig,
    Onnx::new,
    "any ONNX network with an image input and feature maps as outputs"
);
