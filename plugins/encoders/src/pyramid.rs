//! One network at several scales of the input.

use ccnf::core::find;
use ccnf::prelude::*;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Config of [`Pyramid`].
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PyramidConfig {
    /// The network, at the largest scale; it must have a key `size`.
    pub encoder: Component,
    /// Number of scales: 1, 1/2, 1/4, … of the `size` of the network.
    pub scales: usize,
}

impl Default for PyramidConfig {
    fn default() -> Self {
        let levels = ccnf::serde_json::json!(["stride16"]);
        let encoder = Component::of("efficientnet-lite0").with("size", 256).with("levels", levels);
        PyramidConfig { encoder, scales: 3 }
    }
}

/// The levels of one encoder at input sizes `size`, `size / 2`, `size / 4`, …; level `stride16` at 128 pixels is called `stride16@128`.
///
/// This is how HGAD gets levels of equal width from one stage. Its released code shrinks the image at full size without antialiasing;
/// here each scale is resized from the image itself, with the filter of the encoder.
pub struct Pyramid {
    encoders: Vec<Box<dyn Encoder>>,
    sizes: Vec<usize>,
}

impl Pyramid {
    /// Builds the encoder once per scale.
    pub fn new(config: PyramidConfig, build: &Build<EncoderSpec>) -> Result<Self> {
        let section = build.section.component("encoder", &config.encoder);
        let entry = find::<dyn Encoder>(&section.kind()?, &section)?;
        let given = config.encoder.rest.get("size").cloned();
        let Some(size) = given.or_else(|| (entry.example)().get("size").cloned()).and_then(|s| s.as_u64())
        else {
            let kind = entry.name;
            return Err(build
                .error("encoder.kind", format!("`{kind}` has no key `size`, so it has no other scales"))
                .help("use an encoder whose input size can be set, such as `efficientnet-lite0`"));
        };
        if config.scales == 0 || config.scales > 8 {
            return Err(build.error("scales", "must be between 1 and 8"));
        }
        let smallest = 1u64 << (config.scales - 1);
        if !size.is_multiple_of(smallest) {
            let scales = config.scales;
            return Err(build.error(
                "encoder.size",
                format!("the size is {size}, but {scales} scales need a multiple of {smallest}"),
            ));
        }
        let sizes: Vec<usize> = (0..config.scales).map(|i| (size >> i) as usize).collect();
        // The largest is built last, so that its size is the one in the resolved config.
        let mut encoders = Vec::new();
        for size in sizes.iter().rev() {
            let at = || format!("at the scale of {size} pixels");
            encoders.push((entry.build)(&section.with("size", *size), build.spec).at(at)?);
        }
        encoders.reverse();
        Ok(Pyramid { encoders, sizes })
    }

    fn encode_one(&self, input: &EncoderInput<'_>) -> Result<EncodedImage> {
        let image = (input.open)().at(|| format!("image `{}`", input.source.label()))?;
        let open = || Ok(image.clone());
        let input = [EncoderInput { source: input.source, open: &open }];
        let scales = self.encoders.iter().map(|e| e.encode(&input)).collect::<Result<Vec<_>>>()?;
        Ok(scales.into_iter().flatten().flatten().collect())
    }
}

impl Encoder for Pyramid {
    fn fingerprint(&self) -> String {
        let mut hash = blake3::Hasher::new();
        hash.update(b"pyramid-1");
        for e in &self.encoders {
            hash.update(e.fingerprint().as_bytes());
        }
        hash.finalize().to_hex().to_string()
    }

    fn levels(&self) -> Vec<LevelSpec> {
        let scales = self.encoders.iter().zip(&self.sizes);
        let named = scales.flat_map(|(encoder, size)| {
            let name = move |l: LevelSpec| LevelSpec { name: format!("{}@{size}", l.name), ..l };
            encoder.levels().into_iter().map(name)
        });
        named.collect()
    }

    fn encode(&self, images: &[EncoderInput<'_>]) -> Result<Vec<EncodedImage>> {
        images.par_iter().map(|image| self.encode_one(image)).collect()
    }

    fn batch(&self) -> usize {
        1
    }
}

ccnf::register_component!(
    Encoder,
    "pyramid",
    PyramidConfig,
    Pyramid::new,
    "one encoder at several input scales (1, 1/2, 1/4, …), the levels of HGAD"
);
