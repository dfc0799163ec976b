//! Reads an ONNX graph that is a chain of convolutions into a short list of operators.

use crate::onnx_file::{
    AttributeProto, FLOAT, FLOAT16, GraphProto, INT64, NodeProto, TensorProto, encoder_error, half,
};
use ccnf::prelude::*;
use std::collections::HashMap;

/// No limits: a convolution without an activation.
const UNLIMITED: (f32, f32) = (f32::NEG_INFINITY, f32::INFINITY);

/// Zeros around an image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Padding {
    pub(super) top: usize,
    pub(super) left: usize,
    pub(super) bottom: usize,
    pub(super) right: usize,
}

/// A convolution with the padding before it and the limits of the activation after it.
#[derive(Debug, Clone)]
pub(super) struct Conv {
    /// `[outputs][inputs / groups][kernel][kernel]`.
    pub(super) weight: Vec<f32>,
    pub(super) bias: Vec<f32>,
    pub(super) inputs: usize,
    pub(super) groups: usize,
    pub(super) kernel: usize,
    pub(super) stride: usize,
    pub(super) padding: Padding,
    pub(super) limits: (f32, f32),
}

/// `value op constant`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Scaling {
    Add(f32),
    Subtract(f32),
    Multiply(f32),
    Divide(f32),
}

/// What an operator does with the result of the one before it.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    Scale(Scaling),
    Conv(Conv),
    /// Adds the tensor of this name.
    Add(String),
}

/// An operator of the chain.
#[derive(Debug, Clone)]
pub(super) struct Operator {
    pub(super) kind: Kind,
    /// Name of the tensor it takes.
    pub(super) input: String,
    /// Name of its result.
    pub(super) output: String,
}

/// How exporters compute the operand of a `Pad`, outermost first, from a constant `[left, right, top, bottom]`.
const PADDING: [&str; 6] = ["Cast", "Reshape", "Transpose", "Slice", "Reshape", "Concat"];

/// Every operator of the graph, in order.
pub(super) fn operators(graph: &GraphProto, name: &str) -> Result<Vec<Operator>> {
    let reader = Reader::new(graph, name);
    let mut found: Vec<Operator> = vec![];
    let mut padding = None;
    let mut tip = graph.input.first().map_or("", |i| i.name.as_str());
    for node in &graph.node {
        let [output] = node.output.as_slice() else {
            return Err(reader.unknown(node, "has not exactly one result"));
        };
        let op = node.op_type.as_str();
        if PADDING.contains(&op) || ["Constant", "ConstantOfShape"].contains(&op) {
            continue;
        }
        if input(node, 0) != tip && !(op == "Add" && input(node, 1) == tip) {
            return Err(reader.unknown(node, "does not take the result of the node before it"));
        }
        if padding.is_some() && op != "Conv" {
            return Err(reader.unknown(node, "follows a padding"));
        }
        let kind = match op {
            "Pad" => {
                padding = Some(reader.padding(node)?);
                None
            }
            "Clip" => {
                let limits = (reader.scalar(node, 1)?, reader.scalar(node, 2)?);
                match found.last_mut() {
                    Some(Operator { kind: Kind::Conv(conv), output: renamed, .. })
                        if conv.limits == UNLIMITED =>
                    {
                        conv.limits = limits;
                        renamed.clone_from(output);
                    }
                    _ => return Err(reader.unknown(node, "does not follow a convolution")),
                }
                None
            }
            "Conv" => Some(Kind::Conv(reader.conv(node, padding.take().unwrap_or_default())?)),
            "Add" if reader.constants.contains_key(input(node, 1)) => {
                Some(Kind::Scale(Scaling::Add(reader.scalar(node, 1)?)))
            }
            "Add" => {
                let other = if input(node, 0) == tip { input(node, 1) } else { input(node, 0) };
                Some(Kind::Add(other.to_owned()))
            }
            "Sub" => Some(Kind::Scale(Scaling::Subtract(reader.scalar(node, 1)?))),
            "Mul" => Some(Kind::Scale(Scaling::Multiply(reader.scalar(node, 1)?))),
            "Div" => Some(Kind::Scale(Scaling::Divide(reader.scalar(node, 1)?))),
            _ => return Err(reader.unknown(node, "is not supported")),
        };
        if let Some(kind) = kind {
            found.push(Operator { kind, input: tip.to_owned(), output: output.clone() });
        }
        tip = output;
    }
    Ok(found)
}

struct Reader<'a> {
    name: &'a str,
    constants: HashMap<&'a str, &'a TensorProto>,
    makers: HashMap<&'a str, &'a NodeProto>,
}

impl<'a> Reader<'a> {
    fn new(graph: &'a GraphProto, name: &'a str) -> Self {
        let made = || graph.node.iter().flat_map(|n| n.output.iter().map(move |o| (o.as_str(), n)));
        let constant = |(output, node): (&'a str, &'a NodeProto)| {
            let value = attribute(node, "value").filter(|_| node.op_type == "Constant")?;
            Some((output, value.t.as_ref()?))
        };
        let stored = graph.initializer.iter().map(|t| (t.name.as_str(), t));
        Reader {
            name,
            constants: stored.chain(made().filter_map(constant)).collect(),
            makers: made().collect(),
        }
    }

    fn unknown(&self, node: &NodeProto, why: &str) -> Error {
        let output = node.output.first().map_or("", String::as_str);
        encoder_error(self.name, format!("is no chain of convolutions: `{output}` ({}) {why}", node.op_type))
    }

    fn conv(&self, node: &NodeProto, padding: Padding) -> Result<Conv> {
        let wrong = |why: &str| self.unknown(node, why);
        let ints = |key: &str| attribute(node, key).map(|a| a.ints.as_slice()).unwrap_or_default();
        let plain = attribute(node, "auto_pad").is_none() && ints("pads").iter().all(|p| *p == 0);
        if !plain || !ints("dilations").iter().all(|d| *d == 1) {
            return Err(wrong("pads or dilates"));
        }
        let stride = match ints("strides") {
            [] => 1,
            [y, x] if y == x => usize::try_from(*y).unwrap_or(0),
            _ => 0,
        };
        let groups = attribute(node, "group").map_or(1, |g| usize::try_from(g.i).unwrap_or(0));
        let (weight, dims) = self.floats(input(node, 1)).ok_or_else(|| wrong("has no constant weight"))?;
        let (bias, _) = self.floats(input(node, 2)).ok_or_else(|| wrong("has no constant bias"))?;
        match dims[..] {
            [outputs, inputs, kernel, k]
                if kernel == k
                    && outputs == bias.len()
                    && outputs * inputs * kernel * stride * groups > 0 =>
            {
                let inputs = inputs * groups;
                Ok(Conv { weight, bias, inputs, groups, kernel, stride, padding, limits: UNLIMITED })
            }
            _ => Err(wrong("has no square kernel and stride")),
        }
    }

    /// The padding of height and width, constant zeros.
    fn padding(&self, node: &NodeProto) -> Result<Padding> {
        let wrong = || self.unknown(node, "does not pad height and width with a fixed number of zeros");
        let mode = attribute(node, "mode").map_or(b"constant".as_slice(), |m| &m.s);
        if mode != b"constant" || !input(node, 2).is_empty() {
            return Err(wrong());
        }
        let mut at = input(node, 1);
        for op in PADDING {
            let maker = self.makers.get(at).filter(|m| m.op_type == op).ok_or_else(wrong)?;
            at = input(maker, 0);
        }
        let sides = self.constants.get(at).and_then(|t| ints(t)).ok_or_else(wrong)?;
        match sides.iter().map(|s| usize::try_from(*s)).collect::<Result<Vec<_>, _>>().as_deref() {
            Ok(&[left, right, top, bottom]) => Ok(Padding { top, left, bottom, right }),
            _ => Err(wrong()),
        }
    }

    fn scalar(&self, node: &NodeProto, operand: usize) -> Result<f32> {
        match self.floats(input(node, operand)) {
            Some((value, _)) if value.len() == 1 => Ok(value[0]),
            _ => Err(self.unknown(node, "needs a constant number")),
        }
    }

    /// Values and dimensions of a constant.
    fn floats(&self, name: &str) -> Option<(Vec<f32>, Vec<usize>)> {
        let tensor = self.constants.get(name)?;
        let dims = tensor.dims.iter().map(|d| usize::try_from(*d)).collect::<Result<Vec<_>, _>>().ok()?;
        let (raw, rest) = tensor.raw_data.as_chunks::<4>();
        let (halves, odd) = tensor.raw_data.as_chunks::<2>();
        let (values, whole) = match (tensor.data_type, tensor.float_data.as_slice()) {
            (FLOAT, []) => (raw.iter().map(|b| f32::from_le_bytes(*b)).collect(), rest.is_empty()),
            (FLOAT, values) => (values.to_vec(), rest.is_empty()),
            (FLOAT16, []) => (halves.iter().map(|b| half(u16::from_le_bytes(*b))).collect(), odd.is_empty()),
            _ => return None,
        };
        let finite = values.iter().all(|v: &f32| v.is_finite());
        (finite && whole && values.len() == dims.iter().product::<usize>()).then_some((values, dims))
    }
}

fn ints(tensor: &TensorProto) -> Option<Vec<i64>> {
    let (raw, rest) = tensor.raw_data.as_chunks::<8>();
    let read = || raw.iter().map(|b| i64::from_le_bytes(*b)).collect();
    let values = if tensor.int64_data.is_empty() { read() } else { tensor.int64_data.clone() };
    (tensor.data_type == INT64 && rest.is_empty()).then_some(values)
}

fn attribute<'a>(node: &'a NodeProto, key: &str) -> Option<&'a AttributeProto> {
    node.attribute.iter().find(|a| a.name == key)
}

/// The name of an operand; empty where there is none.
fn input(node: &NodeProto, operand: usize) -> &str {
    node.input.get(operand).map_or("", String::as_str)
}
