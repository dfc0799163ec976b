//! The training problem that ours and the peer solve: one flow and one batch.

use super::tensors::Tensors;
use crate::Result;
use ccnf::core::Config;
use ccnf::prelude::*;
use ccnf::serde_json::json;
use ccnf_bundle as _;
use ccnf_plugin_flow::{CcnfConfig, Flow, FlowSpec};
use std::path::Path;

/// Tokens of a step.
pub(crate) const TOKENS: usize = 4096;
/// Classes of a step.
pub(crate) const CLASSES: usize = 15;
/// Cells along each side of the token grid.
const GRID: usize = 14;
/// Width of the position code.
const POSITION: usize = 64;
const SCOPE: &str = "l.";

/// A flow with its penalties and a batch.
pub(crate) struct Problem {
    pub(crate) flow: Flow,
    pub(crate) regularizers: Vec<Box<dyn Regularizer>>,
    pub(crate) x: Mat,
    pub(crate) class: Index,
    pub(crate) cell: Index,
}

impl Problem {
    /// 8 blocks under FiLM, `D = dim`. The last layers start at random values: at zero the first steps would skip half of the work.
    pub(crate) fn new(dim: usize) -> Result<Problem> {
        let config = json!({
            "blocks": 8, "position": POSITION, "mixing": "rotation",
            "coupling": {"kind": "affine", "clamp": 0.7, "warmup_steps": 0,
                "subnet": {"layers": 2, "hidden": 0, "spectral_norm": "cap", "last_layer": "uniform"}},
            "conditioner": {"kind": "film", "width": 64},
            "regularizers": [
                {"kind": "log-det", "weight": 2e-4}, {"kind": "balance", "weight": 1e-2},
                {"kind": "latent-variance", "weight": 0.05}, {"kind": "scale", "weight": 1e-3},
            ],
        });
        let section = Config::from_json("bench", &config)?.root()?;
        let streams = Streams::new(1);
        let spec = FlowSpec {
            scope: SCOPE.trim_end_matches('.').into(),
            level: LevelSpec { name: "bench".into(), height: GRID, width: GRID, channels: dim },
            warmup_steps: 0,
            streams,
        };
        let read: CcnfConfig = section.read()?;
        let mut flow = Flow::new(&read, &Build { section: &section, spec: &() }, &spec)?;
        for c in 0..CLASSES {
            flow.conditioner_mut().grow(&format!("c{c}"), &RowInit::Random)?;
        }
        let sections = section.components("regularizers", &[])?;
        let regularizers =
            sections.iter().map(|s| ccnf::core::build::<dyn Regularizer>(s, &RegularizerSpec {}));
        let class: Index = (0..TOKENS).map(|n| (n * CLASSES / TOKENS) as u32).collect();
        let cell: Index = (0..TOKENS).map(|n| (n * 7919 % (GRID * GRID)) as u32).collect();
        // Classes with means and scales of their own.
        let mut values = streams.normal("bench.x", TOKENS * dim);
        let means = streams.normal("bench.mean", CLASSES * dim);
        for (n, row) in values.chunks_exact_mut(dim).enumerate() {
            let c = class[n] as usize;
            let scale = 0.5 + c as f32 / CLASSES as f32;
            row.iter_mut().zip(&means[c * dim..]).for_each(|(v, m)| *v = *v * scale + 0.5 * m);
        }
        let regularizers = regularizers.collect::<std::result::Result<_, _>>()?;
        Ok(Problem { flow, regularizers, x: mat(values, TOKENS, dim)?, class, cell })
    }

    /// Number of trained values.
    pub(crate) fn parameters(&self) -> usize {
        self.flow.params().iter().filter(|p| p.is_trainable()).map(|p| p.len()).sum()
    }

    /// Leaves only the class rows trainable, as in a stage after the first.
    pub(crate) fn freeze_shared(&mut self) -> Result<()> {
        self.flow.bake()?;
        for p in self.flow.params_mut() {
            let shared = *p.owner() == Owner::Shared;
            p.set_trainable(!shared);
        }
        Ok(())
    }

    /// Floating-point operations of the matrix products of one training step, after hoisting: per block the token part of the
    /// subnet's three layers (forward, gradient of the input, gradient of the weight; the first block's input needs no gradient) and
    /// the rotation (forward and gradient of the input), and per block the position part (forward and gradient of the weight). What
    /// is computed once per class is left out.
    pub(crate) fn flops(&self) -> f64 {
        let dim = self.flow.level().channels;
        let (kept, changed) = (dim.div_ceil(2), dim / 2);
        let hidden = 2 * (kept + POSITION);
        let blocks = 8;
        let layers = kept * hidden + hidden * hidden + hidden * 2 * changed;
        let first_input = kept * hidden;
        let rotation = 2 * dim * dim;
        let per_token = blocks * (3 * layers + rotation) - first_input;
        let per_cell = blocks * 2 * POSITION * hidden;
        2.0 * (TOKENS * per_token + GRID * GRID * per_cell) as f64
    }

    /// Writes start values and batch for the peer.
    pub(crate) fn save(&self, path: &Path) -> Result<()> {
        let mut tensors = Tensors::default();
        tensors.params(&self.flow.params(), SCOPE);
        let dim = self.flow.level().channels;
        let code = ccnf::data::position_code(GRID, GRID, POSITION)?;
        tensors.floats("x", &self.x.as_vec(), &[TOKENS, dim]);
        tensors.floats("position", &code, &[GRID * GRID, POSITION]);
        tensors.indices("class", &self.class);
        tensors.indices("cell", &self.cell);
        tensors.write(path)
    }
}
