//! What the network encoders share: preprocess, run, pool, for many images in parallel.

use crate::pooling::pool;
use crate::preprocess::Preprocess;
use ccnf::prelude::*;
use rayon::prelude::*;
use serde::Serialize;

/// What computes the feature maps of one image.
pub(crate) trait Runtime: Send + Sync {
    /// Height, width and channels of each output.
    fn shapes(&self) -> &[[usize; 3]];
    /// Preprocesses and runs one image; each output comes back channel-last.
    fn features(&self, image: &RgbImage, preprocess: &Preprocess) -> Result<Vec<Vec<f32>>>;
    /// Part of the fingerprint where features are not those of the general runtime.
    fn implementation(&self) -> Option<&'static str>;
}

/// A network between preprocessing and pooling. Every image runs alone, so the batch cannot matter.
pub(crate) struct ImageEncoder {
    network: Box<dyn Runtime>,
    preprocess: Preprocess,
    levels: Vec<LevelSpec>,
    windows: Vec<usize>,
    fingerprint: String,
}

impl ImageEncoder {
    /// `names` and `windows` are per output of the network; `weights` are the model file's bytes.
    pub(crate) fn new(
        network: Box<dyn Runtime>,
        preprocess: Preprocess,
        names: Vec<String>,
        windows: Vec<usize>,
        weights: &[u8],
    ) -> ImageEncoder {
        let levels: Vec<LevelSpec> = names
            .into_iter()
            .zip(network.shapes())
            .map(|(name, &[height, width, channels])| LevelSpec { name, height, width, channels })
            .collect();
        let fingerprint = fingerprint(weights, network.implementation(), &preprocess, &levels, &windows);
        ImageEncoder { network, preprocess, levels, windows, fingerprint }
    }

    pub(crate) fn fingerprint(&self) -> String {
        self.fingerprint.clone()
    }

    pub(crate) fn levels(&self) -> Vec<LevelSpec> {
        self.levels.clone()
    }

    pub(crate) fn encode(&self, images: &[EncoderInput<'_>]) -> Result<Vec<EncodedImage>> {
        images
            .par_iter()
            .map(|image| self.encode_one(image).at(|| format!("image `{}`", image.source.label())))
            .collect()
    }

    fn encode_one(&self, image: &EncoderInput<'_>) -> Result<EncodedImage> {
        let maps = self
            .network
            .features(&(image.open)()?, &self.preprocess)?
            .into_iter()
            .zip(&self.levels)
            .zip(&self.windows);
        maps.map(|((map, level), &window)| {
            if let Some(bad) = map.iter().find(|v| !v.is_finite()) {
                return Err(Error::new(ErrorKind::NonFinite, format!("level `{}` holds {bad}", level.name)));
            }
            pool(map, level, window)
        })
        .collect()
    }
}

/// BLAKE3 over everything that determines the features. `FORMAT` counts the changes of this code that change them.
fn fingerprint(
    weights: &[u8],
    implementation: Option<&str>,
    preprocess: &Preprocess,
    levels: &[LevelSpec],
    windows: &[usize],
) -> String {
    const FORMAT: u32 = 1;
    #[derive(Serialize)]
    struct Settings<'a> {
        format: u32,
        #[serde(skip_serializing_if = "Option::is_none")]
        implementation: Option<&'a str>,
        weights: String,
        preprocess: &'a Preprocess,
        levels: &'a [LevelSpec],
        pool: &'a [usize],
    }
    let settings = Settings {
        format: FORMAT,
        implementation,
        weights: blake3::hash(weights).to_hex().to_string(),
        preprocess,
        levels,
        pool: windows,
    };
    let text = ccnf::serde_json::to_string(&settings).unwrap_or_default();
    blake3::hash(text.as_bytes()).to_hex().to_string()
}
