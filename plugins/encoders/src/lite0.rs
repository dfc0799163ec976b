//! EfficientNet-Lite0 with ImageNet weights, part of the program.

use crate::channel_last::ChannelLast;
use crate::image_encoder::ImageEncoder;
use crate::onnx_file::read_graph;
use crate::pooling::check_window;
use crate::preprocess::{Preprocess, ResizeFilter, ResizeMode};
use ccnf::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Blocks 0 to 10; licence and provenance: `weights/LICENSE-efficientnet-lite0`.
const WEIGHTS: &[u8] = include_bytes!("../weights/efficientnet_lite0_stride16.onnx");
/// Blocks 11 to 15, on top of those; weights in half precision.
const LATER_WEIGHTS: &[u8] = include_bytes!("../weights/efficientnet_lite0_stride32.onnx");

/// A level of [`Lite0`], named after its stride in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Lite0Level {
    /// Block 2: 24 channels, a cell per 4 x 4 pixels.
    Stride4,
    /// Block 4: 40 channels, a cell per 8 x 8 pixels.
    Stride8,
    /// Block 10: 112 channels, a cell per 16 x 16 pixels.
    Stride16,
    /// Block 15: 320 channels, a cell per 32 x 32 pixels.
    Stride32,
}

impl Lite0Level {
    /// The level's name.
    pub fn name(self) -> &'static str {
        match self {
            Lite0Level::Stride4 => "stride4",
            Lite0Level::Stride8 => "stride8",
            Lite0Level::Stride16 => "stride16",
            Lite0Level::Stride32 => "stride32",
        }
    }
}

/// Config of [`Lite0`].
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Lite0Config {
    /// The levels, in the order in which the detector gets them.
    pub levels: Vec<Lite0Level>,
    /// Height and width of the network's input in pixels, a multiple of 32.
    pub size: usize,
    /// How the image becomes a square.
    pub resize: ResizeMode,
    /// The filter of the resize.
    pub filter: ResizeFilter,
    /// Window of the mean pooling of the features in cells, odd; 1 = none.
    pub pool: usize,
    /// Windows of single levels, instead of `pool`.
    pub pool_levels: BTreeMap<Lite0Level, usize>,
    /// Further windows: every level comes once more with each of them, after all the others, as level `NAME-poolWINDOW`.
    pub scales: Vec<usize>,
}

impl Default for Lite0Config {
    fn default() -> Self {
        Lite0Config {
            levels: vec![Lite0Level::Stride8, Lite0Level::Stride16],
            size: 224,
            resize: ResizeMode::default(),
            filter: ResizeFilter::default(),
            pool: 3,
            pool_levels: BTreeMap::new(),
            scales: vec![],
        }
    }
}

/// EfficientNet-Lite0 (Tan and Le 2019; no squeeze-excite, ReLU6), frozen, ImageNet-1k weights: the projections of blocks
/// 2, 4, 10 and 15 before any activation.
pub struct Lite0(ImageEncoder);

impl Lite0 {
    /// Compiles the embedded network for the configured levels; later blocks are left out.
    pub fn new(config: Lite0Config, build: &Build<EncoderSpec>) -> Result<Self> {
        let Lite0Config { levels, size, resize, filter, pool, pool_levels, scales } = config;
        if size == 0 || size > 4096 || !size.is_multiple_of(32) {
            return Err(build
                .error("size", format!("the size is {size}, but it must be a multiple of 32, at most 4096"))
                .help("the network halves the image five times; use 224, 256, 320, …"));
        }
        if levels.is_empty() {
            return Err(build
                .error("levels", "at least one of `stride4`, `stride8`, `stride16`, `stride32` is needed"));
        }
        if let Some(twice) = levels.iter().enumerate().find(|(i, l)| levels[..*i].contains(l)) {
            return Err(build.error("levels", format!("`{}` is listed twice", twice.1.name())));
        }
        check_window(build, "pool", pool)?;
        for (level, window) in &pool_levels {
            let key = format!("pool_levels.{}", level.name());
            check_window(build, &key, *window)?;
            if !levels.contains(level) {
                return Err(build.error(&key, format!("`{}` is not among the `levels`", level.name())));
            }
        }
        let mut windows: Vec<usize> =
            levels.iter().map(|l| pool_levels.get(l).copied().unwrap_or(pool)).collect();
        let mut outputs: Vec<String> = levels.iter().map(|l| l.name().to_owned()).collect();
        let mut names = outputs.clone();
        for (i, window) in scales.iter().enumerate() {
            check_window(build, &format!("scales.{i}"), *window)?;
            if scales[..i].contains(window) {
                return Err(build.error("scales", format!("the window {window} is listed twice")));
            }
            for (l, level) in levels.iter().enumerate() {
                if windows[l] == *window {
                    let message = format!("`{}` is pooled with a window of {window} already", level.name());
                    return Err(build.error("scales", message));
                }
                outputs.push(level.name().to_owned());
                names.push(format!("{}-pool{window}", level.name()));
            }
            windows.extend(vec![*window; levels.len()]);
        }
        let name = "efficientnet-lite0";
        let mut graph = read_graph(WEIGHTS, name)?;
        let mut weights = WEIGHTS.to_vec();
        if levels.contains(&Lite0Level::Stride32) {
            let later = read_graph(LATER_WEIGHTS, name)?;
            graph.node.extend(later.node);
            graph.initializer.extend(later.initializer);
            weights.extend_from_slice(LATER_WEIGHTS);
        }
        let network = Box::new(ChannelLast::compile(&graph, name, &outputs, size)?);
        let preprocess = Preprocess::unit(size, resize, filter);
        Ok(Lite0(ImageEncoder::new(network, preprocess, names, windows, &weights)))
    }
}

impl Encoder for Lite0 {
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
    "efficientnet-lite0",
    Lite0Config,
    Lite0::new,
    "EfficientNet-Lite0 with ImageNet weights, embedded; levels at strides 4 to 32"
);
