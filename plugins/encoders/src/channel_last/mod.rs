//! Runs chains of inverted residual blocks (MobileNetV2, EfficientNet-Lite) faster than a general runtime.
//!
//! Maps are channel-last. A block is computed in strips of rows, so that the expanded channels never leave the cache:
//! padding, bias, activation and skip connection are part of the two kernels, [`product`] and [`depthwise`].

mod block;
mod chain;
mod depthwise;
mod operators;
mod product;
mod stem;

use crate::image_encoder::Runtime;
use crate::onnx_file::{GraphProto, encoder_error};
use crate::preprocess::Preprocess;
use block::{Block, Scratch, Source};
use ccnf::prelude::*;
use chain::Chain;
use pulp::{Arch, Simd, WithSimd};
use std::sync::{Mutex, PoisonError};
use stem::Stem;

/// Names this implementation in fingerprints; changes whenever its results do.
const IMPLEMENTATION: &str = "channel-last 1";

/// A network that was prepared for square images of one size.
pub(crate) struct ChannelLast {
    arch: Arch,
    stem: Stem,
    blocks: Vec<Block>,
    /// Block that gives each output.
    outputs: Vec<usize>,
    shapes: Vec<[usize; 3]>,
    /// Buffers of the threads that are not running.
    idle: Mutex<Vec<Scratch>>,
}

impl ChannelLast {
    /// Prepares the network for images of `size` x `size`; blocks after the last of the `outputs` are left out.
    pub(crate) fn compile(
        graph: &GraphProto,
        name: &str,
        outputs: &[String],
        size: usize,
    ) -> Result<ChannelLast> {
        ChannelLast::compile_for(Arch::new(), graph, name, outputs, size)
    }

    /// The same for the given vector instructions.
    fn compile_for(
        arch: Arch,
        graph: &GraphProto,
        name: &str,
        outputs: &[String],
        size: usize,
    ) -> Result<ChannelLast> {
        let chain = Chain::new(operators::operators(graph, name)?, name)?;
        let missing = |o: &String| encoder_error(name, format!("has no block that gives `{o}`"));
        let outputs: Vec<usize> = outputs
            .iter()
            .map(|o| chain.blocks.iter().position(|b| b.output == *o).ok_or_else(|| missing(o)))
            .collect::<Result<_>>()?;
        let lanes = lanes(arch);
        let needed = outputs.iter().max().map_or(0, |last| last + 1);
        let [first, ..] = &chain.blocks[..needed] else {
            return Err(encoder_error(name, "has no output"));
        };
        let small = || encoder_error(name, format!("cannot take images of {size} x {size}: too small"));
        let stem = Stem::new(&first.expand, &chain.scalings, size).ok_or_else(small)?;
        let mut blocks: Vec<Block> = vec![];
        for spec in &chain.blocks[..needed] {
            let (expand, side) = match blocks.last() {
                None => (stem.reorder(&spec.expand.weight), stem.side()),
                Some(before) => (spec.expand.weight.clone(), before.side()),
            };
            blocks.push(Block::new(spec, &expand, side, lanes).ok_or_else(small)?);
        }
        let shapes =
            outputs.iter().map(|o| [blocks[*o].side(), blocks[*o].side(), blocks[*o].channels()]).collect();
        Ok(ChannelLast { arch, stem, blocks, outputs, shapes, idle: Mutex::default() })
    }

    /// Runs one image of the size for which the network was prepared.
    fn run(&self, image: &RgbImage) -> Result<Vec<Vec<f32>>> {
        let size = self.stem.size();
        if (image.width, image.height, image.data.len()) != (size, size, 3 * size * size) {
            let found =
                format!("the network takes {size} x {size} pixels, not {} x {}", image.width, image.height);
            return Err(Error::new(ErrorKind::Encoder, found));
        }
        let take = || self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut scratch = take().unwrap_or_default();
        let mut results: Vec<Vec<f32>> = vec![vec![]; self.outputs.len()];
        let (mut from, mut to) = std::mem::take(&mut scratch.maps);
        for (index, block) in self.blocks.iter().enumerate() {
            let source = match index {
                0 => Source::Image(&self.stem, &image.data),
                _ => Source::Map(&from),
            };
            to.resize(block.output_len().max(to.len()), 0.0);
            block.run(self.arch, source, &mut to, &mut scratch);
            for (output, result) in self.outputs.iter().zip(&mut results) {
                if *output == index {
                    *result = block.unpadded(&to);
                }
            }
            std::mem::swap(&mut from, &mut to);
        }
        scratch.maps = (from, to);
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(scratch);
        Ok(results)
    }
}

impl Runtime for ChannelLast {
    fn shapes(&self) -> &[[usize; 3]] {
        &self.shapes
    }
    /// The stem scales the pixels itself.
    fn features(&self, image: &RgbImage, preprocess: &Preprocess) -> Result<Vec<Vec<f32>>> {
        self.run(&preprocess.square(image)?)
    }
    fn implementation(&self) -> Option<&'static str> {
        Some(IMPLEMENTATION)
    }
}

/// The number of `f32` values of a vector.
fn lanes(arch: Arch) -> usize {
    struct Lanes;
    impl WithSimd for Lanes {
        type Output = usize;
        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> usize {
            S::F32_LANES
        }
    }
    arch.dispatch(Lanes)
}

/// `values` with zeros up to a whole number of vectors.
fn padded(values: &[f32], lanes: usize) -> Vec<f32> {
    let mut all = values.to_vec();
    all.resize(values.len().next_multiple_of(lanes), 0.0);
    all
}

#[cfg(test)]
mod tests;
