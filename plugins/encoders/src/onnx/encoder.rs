//! The encoder `onnx` on tract.

use super::OnnxConfig;
use super::network::{Network, parse};
use crate::image_encoder::ImageEncoder;
use crate::pooling::check_window;
use crate::preprocess::Preprocess;
use ccnf::core::read_file;
use ccnf::prelude::*;

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
        if size == 0 || size > 4096 {
            return Err(build.error("size", "the size must be between 1 and 4096"));
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
        Ok(Onnx(ImageEncoder::new(Box::new(network), preprocess, names, windows, &bytes)))
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
        1
    }
}

ccnf::register_component!(
    Encoder,
    "onnx",
    OnnxConfig,
    Onnx::new,
    "any ONNX network with an image input and feature maps as outputs"
);
