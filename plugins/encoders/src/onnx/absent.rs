//! The name `onnx` in a build without an ONNX runtime.

use super::OnnxConfig;
use ccnf::prelude::*;
use std::convert::Infallible;

/// Says that this build cannot run ONNX networks. There is no value of this type.
pub struct Onnx(Infallible);

impl Onnx {
    /// Fails; the config is checked before.
    pub fn new(_: OnnxConfig, build: &Build<EncoderSpec>) -> Result<Self> {
        let place = format!("key `{}.kind`", build.section.path());
        Err(Error::new(ErrorKind::NotBuilt, "this build has no ONNX runtime").at(place).help(
            "build with `cargo build --release --features onnx`, or take the embedded encoder `efficientnet-lite0`",
        ))
    }
}

impl Encoder for Onnx {
    fn fingerprint(&self) -> String {
        match self.0 {}
    }
    fn levels(&self) -> Vec<LevelSpec> {
        match self.0 {}
    }
    fn encode(&self, _: &[EncoderInput<'_>]) -> Result<Vec<EncodedImage>> {
        match self.0 {}
    }
}

ccnf::register_component!(
    Encoder,
    "onnx",
    OnnxConfig,
    Onnx::new,
    "any ONNX network; not in this build (`cargo build --release --features onnx`)"
);
