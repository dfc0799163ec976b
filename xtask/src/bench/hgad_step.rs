//! One training step of HGAD, against the same step in PyTorch.

use super::peer::Peer;
use super::tensors::Tensors;
use super::turns::interleave;
use super::{Bench, Outcome, Settings, THREADS, cuda};
use crate::Result;
use ccnf::core::Config;
use ccnf::prelude::*;
use ccnf::serde_json::json;
use ccnf::tensor::{AdamSettings, synchronize};
use ccnf_bundle as _;
use ccnf_plugin_hgad::{Centres, Mixture, Phase, initial_centres, losses};
use std::path::Path;

/// The bench `hgad_step`.
pub(crate) const BENCH: Bench = Bench { names: &["hgad_step"], run };

/// The released sizes: 12 blocks, 200 channels, a position code of 256 channels, 15 classes with 10 centres each.
const BLOCKS: usize = 12;
const DIM: usize = 200;
const POSITION: usize = 256;
const CLASSES: usize = 15;
const INTRA: usize = 10;
/// Tokens of a step, those of 16 images of the coarsest released level.
const TOKENS: usize = 4096;
const GRID: usize = 16;
const SCOPE: &str = "l.";
const LEARNING_RATE: f64 = 2e-4;
const DECAY: f32 = 1e-4;
const INFORMATION: f32 = 100.0;
const SMOOTHING: f32 = 0.02;

struct Trainer {
    blocks: Vec<Box<dyn Coupling>>,
    mixture: Mixture,
    adam: Adam,
    code: Mat,
    x: Mat,
    class: Index,
    cell: Index,
}

impl Trainer {
    fn new() -> Result<Self> {
        let streams = Streams::new(1);
        let config = json!({"coupling": {"kind": "all-in-one", "alpha": 1.9}});
        let section = Config::from_json("bench", &config)?.root()?.child("coupling");
        let block = |b: usize| {
            let spec = CouplingSpec {
                scope: format!("{SCOPE}block{b}"),
                dim: DIM,
                grid: Grid { height: 1, width: 1 },
                class_width: 0,
                position_width: POSITION,
                warmup_steps: 0,
                streams,
            };
            ccnf::core::build::<dyn Coupling>(&section, &spec)
        };
        let mut mixture = Mixture::new(SCOPE.trim_end_matches('.'), DIM, INTRA, streams);
        let centres = initial_centres(Centres::Official, 0..CLASSES, CLASSES, DIM, ("bench", &streams))?;
        for (c, centre) in centres.into_iter().enumerate() {
            mixture.grow(&format!("c{c}"), centre)?;
        }
        let class: Index = (0..TOKENS).map(|n| (n * CLASSES / TOKENS) as u32).collect();
        let mut x = streams.normal("bench.x", TOKENS * DIM);
        let means = streams.normal("bench.mean", CLASSES * DIM);
        for (n, row) in x.chunks_exact_mut(DIM).enumerate() {
            row.iter_mut().zip(&means[class[n] as usize * DIM..]).for_each(|(v, m)| *v = 0.7 * *v + 0.5 * m);
        }
        let settings = AdamSettings { betas: [0.95, 0.99], eps: 1e-8, weight_decay: 0.0, clip: None };
        Ok(Trainer {
            blocks: (0..BLOCKS).map(block).collect::<std::result::Result<_, _>>()?,
            mixture,
            adam: Adam::new(settings),
            code: mat(ccnf::data::position_code(GRID, GRID, POSITION)?, GRID * GRID, POSITION)?,
            x: mat(x, TOKENS, DIM)?,
            class,
            cell: (0..TOKENS).map(|n| (n * 7919 % (GRID * GRID)) as u32).collect(),
        })
    }

    /// One whole optimiser step of the second phase, where all terms of the loss are on; returns the loss.
    fn step(&mut self) -> Result<f64> {
        let (blocks, mixture) = (&self.blocks, &self.mixture);
        let (x, code) = (constant(&self.x), constant(&self.code));
        let position = RowTable { table: code, index: Some(self.cell.clone()) };
        let condition = BlockCondition { class: None, position: Some(position), film: vec![], private: None };
        let (loss, (), mut grads) = gradients(|| {
            let (mut z, mut log_det) = (x, ccnf::tensor::constant_vec(vec![0.0; TOKENS])?);
            for block in blocks {
                let out = block.forward(&z, &condition)?;
                (z, log_det) = (out.y, log_det + out.log_det);
            }
            let terms = losses(mixture, &z, &log_det, &self.class, SMOOTHING, Phase::Full)?;
            Ok::<_, Error>((terms.total(INFORMATION), ()))
        })?;
        for p in self.blocks.iter().flat_map(|b| b.params()).filter(|p| p.is_trainable()) {
            let decay: Vec<f32> = p.to_vec().iter().map(|v| v * DECAY).collect();
            grads.add(p.value(), &decay)?;
        }
        let mut params: Vec<&mut Param> = self.blocks.iter_mut().flat_map(|b| b.params_mut()).collect();
        params.extend(self.mixture.params_mut());
        self.adam.step(&mut params, &mut grads, LEARNING_RATE)?;
        synchronize()?;
        Ok(f64::from(loss))
    }

    fn params(&self) -> Vec<&Param> {
        self.blocks.iter().flat_map(|b| b.params()).chain(self.mixture.params()).collect()
    }

    fn save(&self, path: &Path) -> Result<()> {
        let mut tensors = Tensors::default();
        tensors.params(&self.params(), SCOPE);
        tensors.floats("x", &self.x.as_vec(), &[TOKENS, DIM]);
        tensors.floats("position", &self.code.as_vec(), &[GRID * GRID, POSITION]);
        tensors.indices("class", &self.class);
        tensors.indices("cell", &self.cell);
        tensors.write(path)
    }
}

fn run(name: &str, settings: &Settings) -> Result<Outcome> {
    let mut ours = Trainer::new()?;
    let parameters: usize = ours.params().iter().filter(|p| p.is_trainable()).map(|p| p.len()).sum();
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("problem.safetensors");
    ours.save(&file)?;
    let mut peers = vec![];
    if !settings.alone {
        let threads = THREADS.to_string();
        let arguments = [file.as_ref(), threads.as_ref(), cuda::DEVICE.as_ref()];
        let peer = Peer::start("hgad_step.py", &arguments, THREADS)?;
        let theirs = peer.ready["parameters"].as_u64();
        if theirs != Some(parameters as u64) {
            return Err(format!("not the same model: {parameters} parameters here, {theirs:?} there").into());
        }
        peers.push(("torch_eager", peer));
    }
    let turns = interleave(
        settings.rounds,
        &mut peers,
        || ours.step(),
        |turn, loss, replies| {
            for reply in replies {
                reply.same_loss(turn, *loss)?;
            }
            Ok(())
        },
    )?;
    Ok(Outcome {
        name: name.into(),
        work: format!(
            "training step of HGAD, N = {TOKENS}, D = {DIM}, {BLOCKS} blocks, {CLASSES} classes with {INTRA} centres, all terms of the loss, \
             Adam with L2 decay; {parameters} parameters"
        ),
        turns,
        values: vec![],
        notes: vec![],
    })
}
