//! The registered encoders, built from configs as a run builds them.

mod common;
mod features;
mod lite0;
mod onnx;
mod tiny;
