//! A frozen ONNX network, cut at the wanted outputs and compiled for one image at a time.

use crate::image_encoder::Runtime;
use crate::onnx_file::{encoder_error, not_onnx};
use crate::preprocess::Preprocess;
use ccnf::core::did_you_mean;
use ccnf::prelude::*;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use tract_onnx::pb::{GraphProto, ModelProto, ValueInfoProto, tensor_proto, tensor_shape_proto, type_proto};
use tract_onnx::prelude::*;

/// Reads ONNX's protobuf. `name` is the file, for messages.
pub(crate) fn parse(mut bytes: &[u8], name: &str) -> Result<ModelProto> {
    let proto =
        tract_onnx::onnx().proto_model_for_read(&mut bytes).map_err(|e| not_onnx(name, format!("{e:#}")))?;
    match &proto.graph {
        Some(g) if !g.node.is_empty() => Ok(proto),
        _ => Err(not_onnx(name, "expected a graph with nodes, found none")),
    }
}

/// A compiled network.
pub(crate) struct Network {
    plan: Arc<TypedRunnableModel>,
    size: usize,
    shapes: Vec<[usize; 3]>,
}

impl Network {
    /// Compiles `proto` for inputs of 1 x 3 x `size` x `size`; only what the `outputs` need is kept (all outputs of the
    /// graph when there is none). Returns the outputs' names, too.
    pub(crate) fn compile(
        mut proto: ModelProto,
        name: &str,
        input: Option<&str>,
        outputs: &[String],
        size: usize,
    ) -> Result<(Network, Vec<String>)> {
        let graph = proto.graph.as_mut().ok_or_else(|| encoder_error(name, "has no graph"))?;
        check_one_file(graph, name)?;
        check_input(graph, name, input, size)?;
        let outputs = choose_outputs(graph, name, outputs)?;
        let only_name = |o: &String| ValueInfoProto { name: o.clone(), ..Default::default() };
        graph.output = outputs.iter().map(only_name).collect();
        let model = guarded(name, size, || build(&proto, size))?;
        let shape = |(i, o): (usize, &String)| {
            output_shape(&model, i).map_err(|found| {
                let expected = "expected float32 of 1 x channels x height x width";
                encoder_error(
                    name,
                    format!("has an output `{o}` that is no feature map: {expected}, found {found}"),
                )
            })
        };
        let shapes = outputs.iter().enumerate().map(shape).collect::<Result<Vec<_>>>()?;
        let plan = guarded(name, size, || model.into_optimized()?.into_runnable())?;
        Ok((Network { plan, size, shapes }, outputs))
    }

    /// Runs one image `[3][size][size]`; each output comes back channel-last.
    pub(crate) fn run(&self, planes: Vec<f32>) -> Result<Vec<Vec<f32>>> {
        let failed =
            |e: &dyn std::fmt::Display| Error::new(ErrorKind::Encoder, format!("the network failed: {e:#}"));
        let input = tract_ndarray::Array4::from_shape_vec((1, 3, self.size, self.size), planes)
            .map_err(|e| failed(&e))?;
        let outputs = self.plan.run(tvec!(Tensor::from(input).into_tvalue())).map_err(|e| failed(&e))?;
        let maps = outputs.iter().zip(&self.shapes).map(|(tensor, &[h, w, c])| {
            let view = tensor.to_plain_array_view::<f32>().map_err(|e| failed(&e))?;
            let map = view.to_shape((c, h * w)).map_err(|e| failed(&e))?;
            Ok(map.t().iter().copied().collect())
        });
        maps.collect()
    }
}

impl Runtime for Network {
    fn shapes(&self) -> &[[usize; 3]] {
        &self.shapes
    }
    fn features(&self, image: &RgbImage, preprocess: &Preprocess) -> Result<Vec<Vec<f32>>> {
        self.run(preprocess.apply(image)?)
    }
    fn implementation(&self) -> Option<&'static str> {
        None
    }
}

fn build(proto: &ModelProto, size: usize) -> TractResult<TypedModel> {
    let onnx = tract_onnx::onnx().with_ignore_output_shapes(true).with_ignore_value_info(true);
    let mut model = onnx.model_for_proto_model(proto)?;
    model.set_input_fact(0, f32::fact([1, 3, size, size]).into())?;
    model.into_typed()?.into_decluttered()
}

/// Runs a step of tract's compiler, which may fail and, on a file that contradicts itself, panic.
fn guarded<T>(name: &str, size: usize, step: impl FnOnce() -> TractResult<T>) -> Result<T> {
    let why = match catch_unwind(AssertUnwindSafe(step)) {
        Ok(Ok(done)) => return Ok(done),
        Ok(Err(e)) => format!("{e:#}"),
        Err(_) => "the file contradicts itself".into(),
    };
    Err(encoder_error(name, format!("cannot be compiled for an input of 1 x 3 x {size} x {size}: {why}"))
        .help("check that the network accepts this size, or simplify the file with onnxsim"))
}

/// Height, width and channels of an output, or what was found instead.
fn output_shape(model: &TypedModel, output: usize) -> Result<[usize; 3], String> {
    let fact = model.output_fact(output).map_err(|e| e.to_string())?;
    match (fact.datum_type == f32::datum_type(), fact.shape.as_concrete()) {
        (true, Some(&[1, c, h, w])) if c * h * w > 0 => Ok([h, w, c]),
        _ => Err(format!("{:?}", fact.without_value())),
    }
}

fn check_one_file(graph: &GraphProto, name: &str) -> Result<()> {
    let external = tensor_proto::DataLocation::External as i32;
    match graph.initializer.iter().find(|t| t.data_location == Some(external)) {
        None => Ok(()),
        Some(t) => Err(encoder_error(name, format!("keeps the weights `{}` in another file", t.name)).help(
            "save it as a single file, for example onnx.save(model, path, save_as_external_data=False)",
        )),
    }
}

/// The graph's only input must take float32 images of 1 x 3 x size x size.
fn check_input(graph: &GraphProto, name: &str, wanted: Option<&str>, size: usize) -> Result<()> {
    let inputs: Vec<_> =
        graph.input.iter().filter(|i| graph.initializer.iter().all(|t| t.name != i.name)).collect();
    let names: Vec<&str> = inputs.iter().map(|i| i.name.as_str()).collect();
    if let Some(w) = wanted.filter(|w| !names.contains(w)) {
        return Err(missing(name, "input", w, &names, &names));
    }
    let [input] = inputs.as_slice() else {
        return Err(encoder_error(
            name,
            format!("must have one input, the image; found {}: `{}`", names.len(), names.join("`, `")),
        )
        .help("export the network without its other inputs"));
    };
    let tensor = input.r#type.as_ref().and_then(|t| t.value.as_ref());
    let Some(type_proto::Value::TensorType(tensor)) = tensor else {
        return Err(encoder_error(name, format!("has an input `{}` that is not a tensor", input.name)));
    };
    let dims: Vec<Option<i64>> = tensor.shape.iter().flat_map(|s| &s.dim).map(fixed).collect();
    let shown = dims.iter().map(|d| d.map_or("?".into(), |d| d.to_string())).collect::<Vec<_>>().join(" x ");
    let wrong = |expected: &str| {
        encoder_error(
            name,
            format!(
                "has an input `{}` of shape {shown}; expected {expected} (batch x 3 x height x width)",
                input.name
            ),
        )
    };
    if tensor.elem_type != tensor_proto::DataType::Float as i32 {
        return Err(encoder_error(
            name,
            format!(
                "has an input `{}` of element type {}; expected float32 (1)",
                input.name, tensor.elem_type
            ),
        ));
    }
    let fits = |d: Option<i64>, n: usize| d.is_none_or(|d| d == n as i64);
    match dims.as_slice() {
        [_, _, _, Some(3)] => Err(wrong("channels first").help("export the network in NCHW layout")),
        [b, c, h, w] => {
            if !fits(*c, 3) {
                return Err(wrong("3 channels (RGB)"));
            }
            if !fits(*b, 1) {
                return Err(wrong("a dynamic batch or a batch of 1")
                    .help("export the network with a dynamic batch axis"));
            }
            if !fits(*h, size) || !fits(*w, size) {
                return Err(wrong(&format!("height and width {size} or dynamic"))
                    .help("set `size` to what the network takes, or export it with dynamic axes"));
            }
            Ok(())
        }
        _ => Err(wrong("4 dimensions")),
    }
}

/// The size of a dimension that is not dynamic.
fn fixed(dim: &tract_onnx::pb::tensor_shape_proto::Dimension) -> Option<i64> {
    match dim.value {
        Some(tensor_shape_proto::dimension::Value::DimValue(d)) if d > 0 => Some(d),
        _ => None,
    }
}

/// The wanted outputs, which may be any tensor of the graph; all outputs of the graph when none is wanted.
fn choose_outputs(graph: &GraphProto, name: &str, wanted: &[String]) -> Result<Vec<String>> {
    let listed: Vec<&str> = graph.output.iter().map(|o| o.name.as_str()).collect();
    let made: Vec<&str> =
        graph.node.iter().flat_map(|n| &n.output).map(String::as_str).filter(|o| !o.is_empty()).collect();
    let chosen: Vec<String> =
        if wanted.is_empty() { listed.iter().map(|o| o.to_string()).collect() } else { wanted.to_vec() };
    match chosen.iter().find(|w| !made.contains(&w.as_str())) {
        Some(bad) => Err(missing(name, "output", bad, &made, &listed)),
        None if chosen.is_empty() => Err(encoder_error(name, "has no output")),
        None => Ok(chosen),
    }
}

fn missing(name: &str, what: &str, bad: &str, all: &[&str], shown: &[&str]) -> Error {
    let hint =
        did_you_mean(bad, all.iter().copied()).map(|g| format!(" (did you mean `{g}`?)")).unwrap_or_default();
    encoder_error(name, format!("has no {what} `{bad}`{hint}"))
        .help(format!("its {what}s: `{}`", shown.join("`, `")))
}
