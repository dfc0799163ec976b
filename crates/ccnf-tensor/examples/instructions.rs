//! Work whose instructions `cargo xtask counts` counts: `instructions WORK TIMES`, with WORK one of `training-step`, `rows-step`, `scoring`.
//!
//! The work is a small flow as the detector `ccnf` builds it: couplings with FiLM, a position part and spectral norm, rotations between
//! them. Everything runs on the main thread, so two runs execute the same instructions. The difference between 2 and 1 TIMES is one
//! piece of the work without the set-up.

use ccnf_tensor::dfdx::prelude::{MeanTo, Rank0};
use ccnf_tensor::ops::{self, Activation, Film, Index, Layer, RowTable};
use ccnf_tensor::{
    Adam, AdamSettings, Mat, Owner, Param, Result, Scalar, SpectralMode, SpectralNorm, Streams, Var, VarVec,
    constant, constant_scalar, constant_vec, gradients, mat,
};

const TOKENS: usize = 512;
const DIM: usize = 64;
const KEPT: usize = DIM / 2;
const BLOCKS: usize = 2;
const CLASSES: usize = 5;
/// Width of a class row.
const ROW: usize = 64;
const CELLS: usize = 49;
/// Width of the position code.
const POSITION: usize = 32;
const HIDDEN: usize = 2 * (KEPT + POSITION);
/// Soft clamp of the log-scales.
const CLAMP: f32 = 0.7;

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    const USAGE: &str = "usage: instructions training-step|rows-step|scoring TIMES";
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [work, times] = arguments.as_slice() else { return Err(USAGE.into()) };
    let times: usize = times.parse().map_err(|_| USAGE)?;
    // A pool of this thread alone: no other thread that spins or is waited for. It lives to the end of the program.
    let _pool = rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build()?;
    let mut flow = Flow::new()?;
    let value = match work.as_str() {
        "training-step" => train(&mut flow, times)?,
        "rows-step" => {
            flow.freeze_shared()?;
            train(&mut flow, times)?
        }
        "scoring" => {
            flow.freeze_shared()?;
            score(&flow, times)?
        }
        _ => return Err(USAGE.into()),
    };
    if !value.is_finite() {
        return Err(format!("the result is {value}").into());
    }
    let arch = format!("{:?}", pulp::Arch::new());
    println!("{}", arch.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default());
    eprintln!("{work}, {times} times: {value}");
    Ok(())
}

/// One fully connected layer with its normalisation.
struct Dense {
    weight: Param,
    bias: Param,
    norm: SpectralNorm,
}

/// One coupling block and the rotation after it.
struct Block {
    subnet: Vec<Dense>,
    /// Per hidden layer the generator of its modulation: weight and bias.
    films: Vec<(Param, Param)>,
    rotation: Mat,
}

struct Flow {
    blocks: Vec<Block>,
    /// One row per class.
    rows: Vec<Param>,
    position: Mat,
    x: Mat,
    class: Index,
    cell: Index,
}

struct Output {
    z: Var,
    log_det: VarVec,
    log_scales: Vec<Var>,
}

fn weight(streams: &Streams, name: &str, out: usize, inputs: usize) -> Result<Param> {
    let values = streams.uniform(name, out * inputs, 1.0 / (inputs as f32).sqrt());
    Param::weight(name, Owner::Shared, values, out, inputs)
}

impl Flow {
    fn new() -> Result<Flow> {
        let streams = Streams::new(1);
        let sizes = [(HIDDEN, KEPT + POSITION), (HIDDEN, HIDDEN), (2 * (DIM - KEPT), HIDDEN)];
        let block = |b: usize| -> Result<Block> {
            let dense = |(k, (out, inputs)): (usize, &(usize, usize))| -> Result<Dense> {
                let weight = weight(&streams, &format!("block{b}.lin{k}.weight"), *out, *inputs)?;
                let bias = self::weight(&streams, &format!("block{b}.lin{k}.bias"), 1, *out)?;
                let norm = SpectralNorm::new(&weight, SpectralMode::Cap, &streams)?;
                Ok(Dense { weight, bias, norm })
            };
            let film = |k: usize| -> Result<(Param, Param)> {
                let weight = weight(&streams, &format!("block{b}.film{k}.weight"), 2 * HIDDEN, ROW)?;
                Ok((weight, self::weight(&streams, &format!("block{b}.film{k}.bias"), 1, 2 * HIDDEN)?))
            };
            Ok(Block {
                subnet: sizes.iter().enumerate().map(dense).collect::<Result<_>>()?,
                films: (0..sizes.len() - 1).map(film).collect::<Result<_>>()?,
                rotation: mat(streams.rotation(&format!("block{b}.mix"), DIM), DIM, DIM)?,
            })
        };
        let row = |c: usize| {
            let owner = Owner::Class(format!("c{c}"));
            Param::weight(format!("row{c}"), owner, streams.normal(&format!("row{c}"), ROW), 1, ROW)
        };
        Ok(Flow {
            blocks: (0..BLOCKS).map(block).collect::<Result<_>>()?,
            rows: (0..CLASSES).map(row).collect::<Result<_>>()?,
            position: mat(streams.normal("position", CELLS * POSITION), CELLS, POSITION)?,
            x: mat(streams.normal("x", TOKENS * DIM), TOKENS, DIM)?,
            class: (0..TOKENS).map(|n| (n * CLASSES / TOKENS) as u32).collect(),
            cell: (0..TOKENS).map(|n| (n * 31 % CELLS) as u32).collect(),
        })
    }

    fn params_mut(&mut self) -> Vec<&mut Param> {
        let mut all: Vec<&mut Param> = self.rows.iter_mut().collect();
        for block in &mut self.blocks {
            all.extend(block.subnet.iter_mut().flat_map(|d| [&mut d.weight, &mut d.bias]));
            all.extend(block.films.iter_mut().flat_map(|(w, b)| [w, b]));
        }
        all
    }

    /// Bakes the normalised weights and leaves only the class rows trainable, as after the first stage.
    fn freeze_shared(&mut self) -> Result<()> {
        self.blocks.iter_mut().flat_map(|b| &mut b.subnet).try_for_each(|d| d.norm.bake(&mut d.weight))?;
        for p in self.params_mut() {
            let shared = *p.owner() == Owner::Shared;
            p.set_trainable(!shared);
        }
        Ok(())
    }

    /// One power iteration per layer.
    fn iterate(&mut self) -> Result<()> {
        self.blocks.iter_mut().flat_map(|b| &mut b.subnet).try_for_each(|d| d.norm.iterate(&d.weight))
    }

    /// The layers of a block's subnet; what depends on the class or the cell alone is computed once per class or cell.
    fn layers(&self, block: &Block, rows: &Var) -> Result<Vec<Layer>> {
        let last = block.subnet.len() - 1;
        let layer = |(k, dense): (usize, &Dense)| -> Result<Layer> {
            let mut weight = dense.norm.effective(&dense.weight)?;
            let mut tables = vec![RowTable { table: dense.bias.var(), index: None }];
            if k == 0 {
                let parts = ops::split_cols(&weight, &[KEPT, POSITION])?;
                let table = ops::linear(&constant(&self.position), &parts[1], None)?;
                tables.push(RowTable { table, index: Some(self.cell.clone()) });
                weight = parts[0].clone();
            }
            let film = |(weight, bias): &(Param, Param)| -> Result<Film> {
                let table = ops::linear(rows, &weight.var(), Some(&bias.var()))?;
                let rows = RowTable { table, index: Some(self.class.clone()) };
                Ok(Film { rows, before_activation: false })
            };
            let activation = if k < last { Activation::Relu } else { Activation::Identity };
            Ok(Layer { weight, tables, activation, film: block.films.get(k).map(film).transpose()? })
        };
        block.subnet.iter().enumerate().map(layer).collect()
    }

    fn forward(&self) -> Result<Output> {
        let rows = ops::stack_rows(&self.rows.iter().map(Param::var).collect::<Vec<_>>())?;
        let mut z = constant(&self.x);
        let mut log_det = constant_vec(vec![0.0; TOKENS])?;
        let mut log_scales = Vec::new();
        for block in &self.blocks {
            let out = ops::affine_coupling(&z, &self.layers(block, &rows)?, CLAMP)?;
            log_det = log_det + out.log_det;
            log_scales.push(out.log_scale);
            z = ops::linear(&out.y, &constant(&block.rotation), None)?;
        }
        Ok(Output { z, log_det, log_scales })
    }
}

/// Negative log-likelihood per dim and the four usual penalties: log-determinant, balance, latent variance, scale.
fn loss(flow: &Flow, output: Output) -> Result<Scalar> {
    let log_prior = ops::square_sum(&output.z)? * -0.5;
    let log_prob = log_prior.clone() + output.log_det.clone();
    let mut total = log_prob.mean::<Rank0, _>() * (-1.0 / DIM as f32);
    let log_det = output.log_det.abs().mean::<Rank0, _>() / DIM as f32;
    let prior = log_prior.abs().mean::<Rank0, _>() / DIM as f32;
    total = total + log_det.clone() * 2e-4 + (log_det - prior).abs() * 1e-2;
    total = total + ops::within_class_std_penalty(&output.z, &flow.class, CLASSES)? * 0.05;
    let mut scale = constant_scalar(0.0)?;
    for s in &output.log_scales {
        scale = scale + ops::mean_square(s)?;
    }
    Ok(total + scale * (1e-3 / BLOCKS as f32))
}

/// Whole optimiser steps; returns the last loss.
fn train(flow: &mut Flow, times: usize) -> Result<f32> {
    let settings = AdamSettings { betas: [0.9, 0.99], eps: 1e-8, weight_decay: 1e-4, clip: Some(1.0) };
    let mut adam = Adam::new(settings);
    let mut last = f32::NAN;
    for _ in 0..times {
        flow.iterate()?;
        let (value, (), mut grads) = gradients(|| Ok((loss(flow, flow.forward()?)?, ())))?;
        adam.step(&mut flow.params_mut(), &mut grads, 1e-3)?;
        last = value;
    }
    Ok(last)
}

/// Log-likelihoods without gradients; returns their mean.
fn score(flow: &Flow, times: usize) -> Result<f32> {
    let mut last = f32::NAN;
    for _ in 0..times {
        let output = flow.forward()?;
        let log_prob = ops::square_sum(&output.z)? * -0.5 + output.log_det;
        last = log_prob.as_vec().iter().sum::<f32>() / TOKENS as f32;
    }
    Ok(last)
}
