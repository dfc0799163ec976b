//! Encoders: frozen networks that turn images into feature maps.

use crate::dataset::{ImageSource, RgbImage};
use crate::error::Result;
use serde::{Deserialize, Serialize};

/// One level of features.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LevelSpec {
    /// The level's name, such as `stride16`.
    pub name: String,
    /// Rows of the token grid.
    pub height: usize,
    /// Columns of the token grid.
    pub width: usize,
    /// Channels per token.
    pub channels: usize,
}

impl LevelSpec {
    /// Tokens per image.
    pub fn tokens(&self) -> usize {
        self.height * self.width
    }
    /// Values per image.
    pub fn len(&self) -> usize {
        self.tokens() * self.channels
    }
    /// True for a level without values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One image for an encoder. The pixels are opened only when asked for, so that an encoder that reads stored features does
/// not decode images.
pub struct EncoderInput<'a> {
    /// Where the image comes from.
    pub source: &'a ImageSource,
    /// Opens the pixels.
    pub open: &'a (dyn Fn() -> Result<RgbImage> + Sync),
}

/// The features of one image: per level `[height][width][channels]`, row-major.
pub type EncodedImage = Vec<Vec<f32>>;

/// What an encoder's constructor gets.
#[derive(Debug, Clone, Default)]
pub struct EncoderSpec {}

/// A frozen network, registered as kind `encoder`.
///
/// Contract: [`encode`](Encoder::encode) is deterministic and gives every image the same features whatever else is in the
/// batch; all values are finite; two encoders with the same [`fingerprint`](Encoder::fingerprint) give the same features.
pub trait Encoder: Send + Sync {
    /// Hash of everything that determines the features: weights, preprocessing, levels.
    fn fingerprint(&self) -> String;
    /// The levels, in the order of the features.
    fn levels(&self) -> Vec<LevelSpec>;
    /// Encodes a batch; one result per image, in order. An error names the image.
    fn encode(&self, images: &[EncoderInput<'_>]) -> Result<Vec<EncodedImage>>;
    /// How many images to hand over at once, at most. The feature cache hands batches to several threads: 1 for an encoder
    /// that gains nothing from company.
    fn batch(&self) -> usize {
        8
    }
    /// Whether features are worth caching (not when they are read from disk anyway).
    fn cacheable(&self) -> bool {
        true
    }
}

crate::component_kind!(Encoder, "encoder", EncoderSpec);
