//! Groups the operators of a graph into inverted residual blocks.

use super::operators::{Conv, Kind, Operator, Padding, Scaling};
use crate::onnx_file::encoder_error;
use ccnf::prelude::*;

/// An expanding convolution (in the first block: the stem), a depthwise and a projecting one.
#[derive(Debug, Clone)]
pub(super) struct BlockSpec {
    pub(super) expand: Conv,
    pub(super) depthwise: Conv,
    pub(super) project: Conv,
    /// Whether the input is added to the projection.
    pub(super) skip: bool,
    /// Name of the result.
    pub(super) output: String,
}

/// Scalings of the input, then blocks.
#[derive(Debug, Clone)]
pub(super) struct Chain {
    pub(super) scalings: Vec<Scaling>,
    pub(super) blocks: Vec<BlockSpec>,
}

impl Chain {
    /// All operators must belong to a block. `name` is the model, for messages.
    pub(super) fn new(operators: Vec<Operator>, name: &str) -> Result<Chain> {
        let mut chain = Chain { scalings: vec![], blocks: vec![] };
        let mut open: Vec<Conv> = vec![];
        let mut start = String::new();
        for Operator { kind, input, output } in operators {
            let wrong = |why: &str| {
                Err(encoder_error(name, format!("is no chain of inverted residual blocks: `{output}` {why}")))
            };
            match kind {
                Kind::Scale(s) if chain.blocks.is_empty() && open.is_empty() => chain.scalings.push(s),
                Kind::Scale(_) => return wrong("scales a feature map"),
                Kind::Add(other) => match chain.blocks.last_mut() {
                    Some(block) if open.is_empty() && other == start && block.keeps_shape() => {
                        block.skip = true;
                        block.output = output;
                    }
                    _ => return wrong("does not add the input of a block to its result"),
                },
                Kind::Conv(conv) => {
                    if open.is_empty() {
                        start = input;
                    }
                    open.push(conv);
                    if let [_, _, _] = open[..] {
                        let mut convs = open.drain(..);
                        let (Some(expand), Some(depthwise), Some(project)) =
                            (convs.next(), convs.next(), convs.next())
                        else {
                            return wrong("ends no block");
                        };
                        let block = BlockSpec { expand, depthwise, project, skip: false, output };
                        if !block.is_valid(chain.blocks.last()) {
                            return Err(encoder_error(
                                name,
                                format!("has no inverted residual block that gives `{}`", block.output),
                            ));
                        }
                        chain.blocks.push(block);
                    }
                }
            }
        }
        match open.is_empty() {
            true => Ok(chain),
            false => Err(encoder_error(name, "ends within an inverted residual block")),
        }
    }
}

impl BlockSpec {
    fn keeps_shape(&self) -> bool {
        let strides = self.expand.stride * self.depthwise.stride;
        !self.skip && strides == 1 && self.expand.inputs == self.project.bias.len()
    }

    fn is_valid(&self, before: Option<&BlockSpec>) -> bool {
        let BlockSpec { expand, depthwise, project, .. } = self;
        let pointwise =
            |c: &Conv| (c.kernel, c.stride, c.groups) == (1, 1, 1) && c.padding == Padding::default();
        let stem = before.is_none() && expand.groups == 1;
        let grouped = depthwise.groups == depthwise.inputs && depthwise.groups == depthwise.bias.len();
        (stem || pointwise(expand))
            && grouped
            && matches!((depthwise.kernel, depthwise.stride), (3 | 5, 1 | 2))
            && pointwise(project)
            && expand.inputs == before.map_or(3, |b| b.project.bias.len())
            && expand.bias.len() == depthwise.inputs
            && depthwise.inputs == project.inputs
    }
}
