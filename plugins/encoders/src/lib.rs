//! Encoders: frozen networks and stored features.
//!
//! | name | features from |
//! |---|---|
//! | `efficientnet-lite0` | the embedded ImageNet network, at strides 4, 8, 16 and 32 |
//! | `onnx` | any ONNX file with an image input and feature maps as outputs; needs the feature `onnx` |
//! | `features` | `.safetensors` or `.npy` files made elsewhere |
//!
//! Features of a network depend on the processor in their last bits, since the fastest kernels for it are chosen; on one
//! machine they are bitwise repeatable.

mod channel_last;
pub mod features;
mod image_encoder;
mod lite0;
mod onnx;
mod onnx_file;
mod pooling;
mod preprocess;

pub use features::{Features, FeaturesConfig};
pub use lite0::{Lite0, Lite0Config, Lite0Level};
pub use onnx::{Onnx, OnnxConfig};
pub use preprocess::{Preprocess, ResizeFilter, ResizeMode};
