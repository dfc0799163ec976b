//! One inverted residual block, computed in strips of rows.

use super::chain::BlockSpec;
use super::depthwise::{DepthwiseRow, Taps};
use super::operators::Padding;
use super::product::{Panels, Product};
use super::stem::{Stem, out_side};
use pulp::Arch;
use std::ops::Range;

/// Upper bound for the expanded rows that are kept, in values: they should stay in the second-level cache.
const RING: usize = 96 * 1024;

/// What a block takes.
pub(super) enum Source<'a> {
    Image(&'a Stem, &'a [u8]),
    Map(&'a [f32]),
}

/// Buffers of one thread.
#[derive(Default)]
pub(super) struct Scratch {
    /// Input and output of a block, `[pixel][vector]`.
    pub(super) maps: (Vec<f32>, Vec<f32>),
    /// Expanded rows with their padding, `[slot][vector][column]`; row `r` is in slot `r % slots`.
    ring: Vec<f32>,
    /// Result of the depthwise convolution, `[pixel][vector]`.
    strip: Vec<f32>,
    patches: Vec<f32>,
    line: Vec<f32>,
    places: Vec<usize>,
}

/// A block that was prepared for maps of one size.
pub(super) struct Block {
    lanes: usize,
    expand: Panels,
    taps: Taps,
    project: Panels,
    channels: usize,
    skip: bool,
    padding: Padding,
    /// Height and width of the expanded map.
    inner: usize,
    /// Height and width of the result.
    side: usize,
    /// Rows of the result per strip.
    rows: usize,
    /// Expanded rows in the ring.
    slots: usize,
}

impl Block {
    /// `expand` are the expanding weights `[output][input]`, `inner` the height and width of what they give. `None` where
    /// the depthwise kernel does not fit.
    pub(super) fn new(spec: &BlockSpec, expand: &[f32], inner: usize, lanes: usize) -> Option<Block> {
        let depthwise = &spec.depthwise;
        let (kernel, stride, padding) = (depthwise.kernel, depthwise.stride, depthwise.padding);
        let side = out_side(inner, &padding, kernel, stride)?;
        let taps = Taps::new(&depthwise.weight, &depthwise.bias, depthwise.limits, (kernel, stride), lanes);
        let row = taps.blocks * lanes * (inner + padding.left + padding.right);
        let rows = ((RING / row).saturating_sub(kernel) / stride + 1).min(side);
        // Strips of equal height.
        let rows = side.div_ceil(side.div_ceil(rows));
        Some(Block {
            lanes,
            expand: Panels::new(expand, &spec.expand.bias, spec.expand.limits, lanes),
            taps,
            project: Panels::new(&spec.project.weight, &spec.project.bias, spec.project.limits, lanes),
            channels: spec.project.bias.len(),
            skip: spec.skip,
            padding,
            inner,
            side,
            rows,
            slots: (rows - 1) * stride + kernel,
        })
    }

    /// Height and width of the result.
    pub(super) fn side(&self) -> usize {
        self.side
    }

    /// Channels of the result.
    pub(super) fn channels(&self) -> usize {
        self.channels
    }

    /// Values of the result with its padding.
    pub(super) fn output_len(&self) -> usize {
        self.side * self.side * self.project.count * self.lanes
    }

    /// The result without the channels that fill up vectors.
    pub(super) fn unpadded(&self, output: &[f32]) -> Vec<f32> {
        let pixels = output[..self.output_len()].chunks_exact(self.project.count * self.lanes);
        pixels.flat_map(|p| &p[..self.channels]).copied().collect()
    }

    /// Writes the result for `source` to the start of `output`.
    pub(super) fn run(&self, arch: Arch, source: Source<'_>, output: &mut [f32], scratch: &mut Scratch) {
        self.clear(scratch);
        let mut ready = 0;
        for from in (0..self.side).step_by(self.rows) {
            let strip = from..(from + self.rows).min(self.side);
            let need = (strip.end - 1) * self.taps.stride + self.taps.kernel;
            self.expand(arch, &source, ready..need, scratch);
            ready = need;
            self.depthwise(arch, strip.clone(), scratch);
            self.project(arch, &source, strip, output, scratch);
        }
    }

    fn columns(&self) -> usize {
        self.inner + self.padding.left + self.padding.right
    }

    fn slot(&self) -> usize {
        self.columns() * self.taps.blocks * self.lanes
    }

    /// Makes the buffers large enough and the columns of padding zero.
    fn clear(&self, scratch: &mut Scratch) {
        let Scratch { ring, strip, .. } = scratch;
        let width = self.rows * self.side * self.taps.blocks * self.lanes;
        strip.resize(width.max(strip.len()), 0.0);
        let used = self.slots * self.slot();
        ring.resize(used.max(ring.len()), 0.0);
        for line in ring[..used].chunks_exact_mut(self.columns() * self.lanes) {
            line[..self.padding.left * self.lanes].fill(0.0);
            line[(self.padding.left + self.inner) * self.lanes..].fill(0.0);
        }
    }

    /// Expands some rows, counted with the padding.
    fn expand(&self, arch: Arch, source: &Source<'_>, rows: Range<usize>, scratch: &mut Scratch) {
        let Scratch { ring, places, patches, line, .. } = scratch;
        let slot = self.slot();
        let top = self.padding.top;
        let inside = rows.start.max(top).min(top + self.inner)..rows.end.min(top + self.inner).max(top);
        for row in rows.filter(|r| !inside.contains(r)) {
            ring[row % self.slots * slot..][..slot].fill(0.0);
        }
        places.clear();
        for row in inside.clone() {
            let start = row % self.slots * slot + self.padding.left * self.lanes;
            places.extend((0..self.inner).map(|x| start + x * self.lanes));
        }
        let (input, stride) = match source {
            Source::Image(stem, image) => {
                stem.gather(image, inside.start - top..inside.end - top, line, patches);
                (patches.as_slice(), self.expand.inputs)
            }
            Source::Map(map) => {
                let stride = self.expand.inputs.next_multiple_of(self.lanes);
                (&map[(inside.start - top) * self.inner * stride..], stride)
            }
        };
        let step = self.columns() * self.lanes;
        arch.dispatch(Product {
            input,
            stride,
            panels: &self.expand,
            places,
            step,
            skip: None,
            output: ring,
        });
    }

    fn depthwise(&self, arch: Arch, strip: Range<usize>, scratch: &mut Scratch) {
        let width = self.side * self.taps.blocks * self.lanes;
        for (y, output) in strip.zip(scratch.strip.chunks_exact_mut(width)) {
            let mut rows = [0; 5];
            let rows = &mut rows[..self.taps.kernel];
            for (k, row) in rows.iter_mut().enumerate() {
                *row = (y * self.taps.stride + k) % self.slots * self.slot();
            }
            let (taps, input, columns) = (&self.taps, scratch.ring.as_slice(), self.columns());
            arch.dispatch(DepthwiseRow { taps, input, columns, rows, output });
        }
    }

    fn project(
        &self,
        arch: Arch,
        source: &Source<'_>,
        strip: Range<usize>,
        output: &mut [f32],
        scratch: &mut Scratch,
    ) {
        let Scratch { strip: input, places, .. } = scratch;
        let width = self.project.count * self.lanes;
        places.clear();
        places.extend((strip.start * self.side..strip.end * self.side).map(|p| p * width));
        let skip = match source {
            Source::Map(map) if self.skip => Some(*map),
            _ => None,
        };
        let stride = self.taps.blocks * self.lanes;
        let step = self.lanes;
        arch.dispatch(Product { input, stride, panels: &self.project, places, step, skip, output });
    }
}
