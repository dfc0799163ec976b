//! Tiny ONNX files, written with the protobuf types that tract reads them with.

use prost::Message;
use tract_onnx::pb::type_proto::{Tensor, Value};
use tract_onnx::pb::*;

/// A dimension: fixed or named.
#[derive(Clone, Copy)]
pub(crate) enum Dim {
    Is(i64),
    Any(&'static str),
}

/// `image` (float32, 4-D with free batch, height and width) -> 1x1 convolution to two channels `double` (twice red, blue
/// minus 1) -> mean over 2 x 2 cells `half`, both outputs. `inner` is `double` before its bias.
pub(crate) fn network() -> ModelProto {
    use Dim::{Any, Is};
    let conv = node("Conv", &["image", "weight"], "inner", vec![]);
    let add = node("Add", &["inner", "bias"], "double", vec![]);
    let pair = |name: &str| ints(name, &[2, 2]);
    let pool = node("AveragePool", &["double"], "half", vec![pair("kernel_shape"), pair("strides")]);
    let graph = GraphProto {
        name: "tiny".into(),
        node: vec![conv, add, pool],
        initializer: vec![
            floats("weight", &[2, 3, 1, 1], &[2.0, 0.0, 0.0, 0.0, 0.0, 1.0]),
            floats("bias", &[1, 2, 1, 1], &[0.0, -1.0]),
        ],
        input: vec![info("image", 1, &[Any("n"), Is(3), Any("h"), Any("w")])],
        output: vec![info("double", 1, &[]), info("half", 1, &[])],
        ..Default::default()
    };
    let opset = OperatorSetIdProto { domain: String::new(), version: 13 };
    ModelProto { ir_version: 7, graph: Some(graph), opset_import: vec![opset], ..Default::default() }
}

/// [`network`] with its graph changed, as the bytes of a file.
pub(crate) fn changed(change: impl FnOnce(&mut GraphProto)) -> Vec<u8> {
    let mut model = network();
    change(model.graph.as_mut().unwrap());
    model.encode_to_vec()
}

pub(crate) fn node(op: &str, inputs: &[&str], output: &str, attribute: Vec<AttributeProto>) -> NodeProto {
    NodeProto {
        op_type: op.into(),
        name: output.into(),
        input: inputs.iter().map(|s| s.to_string()).collect(),
        output: vec![output.into()],
        attribute,
        ..Default::default()
    }
}

fn ints(name: &str, values: &[i64]) -> AttributeProto {
    let kind = attribute_proto::AttributeType::Ints as i32;
    AttributeProto { name: name.into(), r#type: kind, ints: values.to_vec(), ..Default::default() }
}

pub(crate) fn floats(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
    let float_data = values.to_vec();
    TensorProto { name: name.into(), dims: dims.to_vec(), data_type: 1, float_data, ..Default::default() }
}

/// A typed value; no dimensions = unknown shape.
pub(crate) fn info(name: &str, elem_type: i32, dims: &[Dim]) -> ValueInfoProto {
    use tensor_shape_proto::dimension::Value as D;
    let dim = |d: &Dim| tensor_shape_proto::Dimension {
        value: Some(match *d {
            Dim::Is(n) => D::DimValue(n),
            Dim::Any(s) => D::DimParam(s.into()),
        }),
        ..Default::default()
    };
    let shape = (!dims.is_empty()).then(|| TensorShapeProto { dim: dims.iter().map(dim).collect() });
    let value = Some(Value::TensorType(Tensor { elem_type, shape }));
    let r#type = Some(TypeProto { value, ..Default::default() });
    ValueInfoProto { name: name.into(), r#type, ..Default::default() }
}
