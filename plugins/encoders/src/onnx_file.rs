//! The few fields of ONNX's protobuf messages that the embedded network uses.
//!
//! Tags are those of `onnx.proto3` (<https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3>). Fields that are not declared
//! here are skipped when a file is read.

use ccnf::prelude::*;
use prost::Message;

/// [`TensorProto::data_type`] of `f32`.
pub(crate) const FLOAT: i32 = 1;
/// [`TensorProto::data_type`] of IEEE half precision.
pub(crate) const FLOAT16: i32 = 10;
/// [`TensorProto::data_type`] of `i64`.
pub(crate) const INT64: i32 = 7;

/// A file.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ModelProto {
    #[prost(message, optional, tag = "7")]
    pub(crate) graph: Option<GraphProto>,
}

/// Nodes in the order of computation, and constants.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct GraphProto {
    #[prost(message, repeated, tag = "1")]
    pub(crate) node: Vec<NodeProto>,
    #[prost(message, repeated, tag = "5")]
    pub(crate) initializer: Vec<TensorProto>,
    #[prost(message, repeated, tag = "11")]
    pub(crate) input: Vec<ValueInfoProto>,
}

/// One operator.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct NodeProto {
    #[prost(string, repeated, tag = "1")]
    pub(crate) input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub(crate) output: Vec<String>,
    #[prost(string, tag = "4")]
    pub(crate) op_type: String,
    #[prost(message, repeated, tag = "5")]
    pub(crate) attribute: Vec<AttributeProto>,
}

/// A setting of an operator.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct AttributeProto {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(int64, tag = "3")]
    pub(crate) i: i64,
    #[prost(bytes = "vec", tag = "4")]
    pub(crate) s: Vec<u8>,
    #[prost(message, optional, tag = "5")]
    pub(crate) t: Option<TensorProto>,
    #[prost(int64, repeated, tag = "8")]
    pub(crate) ints: Vec<i64>,
}

/// A constant; its values stand in `raw_data` (little endian) or in the field of their type.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct TensorProto {
    #[prost(int64, repeated, tag = "1")]
    pub(crate) dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    pub(crate) data_type: i32,
    #[prost(float, repeated, tag = "4")]
    pub(crate) float_data: Vec<f32>,
    #[prost(int64, repeated, tag = "7")]
    pub(crate) int64_data: Vec<i64>,
    #[prost(string, tag = "8")]
    pub(crate) name: String,
    #[prost(bytes = "vec", tag = "9")]
    pub(crate) raw_data: Vec<u8>,
}

/// The name of an input.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ValueInfoProto {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
}

/// Reads the graph of a file. `name` is the file, for messages.
pub(crate) fn read_graph(bytes: &[u8], name: &str) -> Result<GraphProto> {
    let model = ModelProto::decode(bytes).map_err(|e| not_onnx(name, e.to_string()))?;
    match model.graph {
        Some(graph) if !graph.node.is_empty() => Ok(graph),
        _ => Err(not_onnx(name, "expected a graph with nodes, found none")),
    }
}

/// The value of an IEEE half precision number.
pub(crate) fn half(bits: u16) -> f32 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f32::from(bits & 1023));
    let size = match exponent {
        0 => fraction * 2f32.powi(-24),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        _ => (1024.0 + fraction) * 2f32.powi(exponent - 25),
    };
    if bits >> 15 == 0 { size } else { -size }
}

/// The error for a file that does not parse.
pub(crate) fn not_onnx(name: &str, why: impl std::fmt::Display) -> Error {
    encoder_error(name, format!("is not an ONNX model: {why}"))
        .help("export the network with torch.onnx.export or a similar tool, in one file")
}

/// An error about the model file `name`.
pub(crate) fn encoder_error(name: &str, message: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Encoder, format!("the model `{name}` {message}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_precision_numbers_have_their_values() {
        let known = [
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0x0001, 5.960_464_5e-8),
            (0x03ff, 6.097_555e-5),
            (0x3555, 0.333_251_95),
            (0x8000, -0.0),
            (0xfc00, f32::NEG_INFINITY),
        ];
        for (bits, value) in known {
            assert_eq!(
                half(bits).to_bits(),
                f32::to_bits(value),
                "{bits:x}: {} instead of {value}",
                half(bits)
            );
        }
        assert!(half(0x7e00).is_nan());
    }

    #[test]
    fn files_that_are_no_network_are_refused() {
        for bytes in
            [&b"this is a text file, not a network\n"[..], b"", &ModelProto::default().encode_to_vec()]
        {
            let error = read_graph(bytes, "net.onnx").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Encoder);
            assert!(error.to_string().contains("`net.onnx` is not an ONNX model"), "{error}");
        }
    }
}
