//! The registered encoders, built from configs as a run builds them.

mod common;
mod features;
mod lite0;
#[cfg(feature = "onnx")]
mod onnx;
#[cfg(not(feature = "onnx"))]
mod onnx_absent;
mod pyramid;
#[cfg(feature = "onnx")]
mod tiny;
