//! The detector `iuf`: the Incremental Unified Framework for small defect inspection (Tang et al., ECCV 2024), built on the
//! reconstruction transformer UniAD (You et al., NeurIPS 2022).
//!
//! A transformer reconstructs the aligned feature map of a normal image from a noisy copy of it; what it cannot reconstruct is anomalous.
//! A class discriminator modulates the queries ("object-aware" attention). Later tasks are learnt with small, projected steps that are
//! pulled back to the weights of the task before.
//!
//! | part | file |
//! |---|---|
//! | several levels to one grid | [`Neck`] |
//! | object-aware transformer | [`Transformer`] |
//! | discriminator | [`Discriminator`] |
//! | losses | [`reconstruction_loss`], [`cross_entropy`], [`Compression`] |
//! | update for later tasks | [`Basis`], [`ConstrainedSgd`], [`pull`] |
//! | maps | [`distance_map`] |
//!
//! What differs from the published method stands in the documentation of the part that differs; the two that matter most: features come
//! from the framework's frozen encoder and not from EfficientNet-B4, and the discriminator reads these features and not the image.

#[macro_use]
mod parts;

mod batches;
mod compression;
mod config;
mod decoder;
mod detector;
mod discriminator;
mod encoder;
mod increment;
mod layers;
mod losses;
mod model;
mod neck;
mod projection;
mod row_block;
mod scoring;
mod training;
mod transformer;

pub use batches::{ImageBatch, draw};
pub use compression::{Compression, CompressionLoss, SEMANTIC_QUEUE, Spectrum};
pub use config::{Bases, CompressionMode, DiscriminatorConfig, DiscriminatorInput, IufConfig, UpdateKind};
pub use decoder::DecoderLayer;
pub use detector::Iuf;
pub use discriminator::{Discriminator, Judgement};
pub use encoder::{EncoderLayer, LayerOutput};
pub use increment::{ConstrainedSgd, pull};
pub use layers::{
    BatchMoments, BatchNorm, FeedForward, LayerNorm, Linear, MultiHead, Noise, Normalisation, group_means,
};
pub use losses::{cross_entropy, reconstruction_loss};
pub use neck::{Neck, pool_map, resize_map};
pub use parts::Parts;
pub use projection::{Basis, ramp};
pub use row_block::RowBlock;
pub use scoring::distance_map;
pub use transformer::{Reconstruction, Transformer, TransformerShape, jitter};
