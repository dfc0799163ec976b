//! The parts of a conditional normalizing flow: couplings, conditioners, regularisers.

use crate::error::{Error, ErrorKind, Result};
use crate::state::Stateful;
use ccnf_tensor::dfdx::prelude::{HasShape, TryMatMul};
use ccnf_tensor::ops::{self, Film, Grid, Index, Layer, RowTable};
use ccnf_tensor::{Mat, Owner, Param, Scalar, Shareable, Streams, Var, VarVec, constant};
use std::sync::Arc;

/// The condition of a batch of tokens for one coupling block. Everything that depends only on the class or only on the position
/// is a table with one row per class or position, so that a block computes it once and not per token.
#[derive(Debug, Clone)]
pub struct BlockCondition {
    /// Rows appended to the subnet's input, `[classes, class_width]`, and each token's row; `None` where the class does not enter
    /// the input.
    pub class: Option<RowTable>,
    /// Position codes appended to the subnet's input, `[positions, position_width]`; `None` without position.
    pub position: Option<RowTable>,
    /// Modulation of the subnet's hidden layers, one per layer; empty without modulation.
    pub film: Vec<Film>,
    /// The class whose private part of the block all tokens use ([`Coupling::grow`]); `None`: the shared block.
    pub private: Option<Arc<str>>,
}

impl BlockCondition {
    /// The first layer of a subnet under the condition, `W [x_a, class row, position code] + b`, without activation and modulation.
    /// `weight` is `[out, inputs + class_width + position_width]`, `bias` `[1, out]`; `x_a` are the first `inputs` dims of a token.
    ///
    /// The columns for class and position are multiplied once per class and position and not once per token, which is exact by linearity.
    pub fn input_layer(&self, weight: &Var, bias: &Var, inputs: usize) -> Result<Layer> {
        let width = |t: &Option<RowTable>| t.as_ref().map_or(0, |t| t.table.shape().1);
        let parts = ops::split_cols(weight, &[inputs, width(&self.class), width(&self.position)])?;
        let mut layer = Layer::new(parts[0].clone(), bias.clone());
        if let Some(class) = &self.class {
            let table = ops::linear(&class.table, &parts[1], Some(bias))?;
            layer.tables = vec![RowTable { table, index: class.index.clone() }];
        }
        if let Some(position) = &self.position {
            let table = ops::linear(&position.table, &parts[2], None)?;
            layer.tables.push(RowTable { table, index: position.index.clone() });
        }
        Ok(layer)
    }
}

/// What one coupling gives.
#[derive(Debug, Clone)]
pub struct CouplingOutput {
    /// The output, `[N, D]`.
    pub y: Var,
    /// `ln |det dy/dx|` per token, `[N]`.
    pub log_det: VarVec,
    /// The log-scales, `[N, ..]`, for the scale penalty; `None` for a volume-preserving coupling.
    pub log_scale: Option<Var>,
}

/// What a coupling's constructor gets.
#[derive(Debug, Clone)]
pub struct CouplingSpec {
    /// Prefix of the tensor names: `level0.block3`.
    pub scope: String,
    /// Dimension `D` of the tokens, at least 2.
    pub dim: usize,
    /// The map that the tokens belong to.
    pub grid: Grid,
    /// Columns of the class rows appended to the subnet's input (0: none).
    pub class_width: usize,
    /// Columns of the position code appended to the subnet's input (0: none).
    pub position_width: usize,
    /// Steps after which warm-up ends, for `warmup = "auto"`.
    pub warmup_steps: u64,
    /// Random streams.
    pub streams: Streams,
}

impl CouplingSpec {
    /// A weight that all classes share, `[rows, cols]`, called `scope.name`: uniform in `[-bound, bound)`, from the stream of its name.
    /// Fails for more than 2^30 values.
    pub fn weight(&self, name: &str, rows: usize, cols: usize, bound: f32) -> Result<Param> {
        shared_weight(&self.streams, format!("{}.{name}", self.scope), (rows, cols), bound)
    }
}

/// Values of a tensor, at most: 4 GiB of them.
const MOST: usize = 1 << 30;

fn shared_weight(streams: &Streams, name: String, shape: (usize, usize), bound: f32) -> Result<Param> {
    // A failed allocation would end the process.
    let Some(values) = shape.0.checked_mul(shape.1).filter(|n| *n <= MOST) else {
        let found = format!("the tensor `{name}` of {} x {} values is too large", shape.0, shape.1);
        return Err(Error::new(ErrorKind::Config, found)
            .help(format!("at most {MOST} values: choose smaller widths in the configuration")));
    };
    let values = streams.uniform(&name, values, bound);
    Ok(Param::weight(name, Owner::Shared, values, shape.0, shape.1)?)
}

/// One invertible step of a flow, registered as kind `coupling`.
///
/// Contract: `x`, `y` are `[N, D]`; tokens are independent, or, for a coupling that [needs whole maps](Coupling::needs_maps), maps are;
/// `inverse(forward(x).y)` is `x` within 1e-4; `log_det` is the log of the
/// absolute Jacobian determinant, in nats; gradients reach every trainable parameter, `x` and the condition's tables;
/// without [`begin_step`](Coupling::begin_step) a forward changes nothing.
pub trait Coupling: Stateful + Shareable {
    /// Widths of the subnet's hidden layers: what a modulating conditioner must generate for.
    fn hidden(&self) -> Vec<usize>;
    /// Whether a token's result depends on the others of its map. Then the tokens of a call are whole maps of the spec's grid, row after
    /// row, one map after the other, each map of one class. The log-determinant of a map is the sum of those of its tokens.
    fn needs_maps(&self) -> bool {
        false
    }
    /// Whether every output depends on every input, so that nothing need stand between two of them.
    fn mixes(&self) -> bool {
        false
    }
    /// `(x, condition) -> (y, log-det)`.
    fn forward(&self, x: &Var, condition: &BlockCondition) -> Result<CouplingOutput>;
    /// `(y, condition) -> x`.
    fn inverse(&self, y: &Mat, condition: &BlockCondition) -> Result<Mat>;
    /// Once per optimiser step, before the first forward: power iteration, warm-up. `step` counts the optimiser steps of the first
    /// stage from 0; `None` in later stages, where warm-up is over.
    fn begin_step(&mut self, _step: Option<u64>) -> Result<()> {
        Ok(())
    }
    /// Turns everything that still moves in a forward (spectral norm, warm-up) into plain weights, for freezing. A coupling in which
    /// nothing moves leaves this and the next two methods as they are.
    fn bake(&mut self) -> Result<()> {
        Ok(())
    }
    /// Whether [`bake`](Coupling::bake) has been called.
    fn is_baked(&self) -> bool {
        false
    }
    /// Marks a coupling as baked before baked weights are loaded into it.
    fn set_baked(&mut self) {}
    /// Whether the config gives classes a private part.
    fn has_private(&self) -> bool {
        false
    }
    /// Makes the private part of `class`, which tokens use whose condition names the class.
    ///
    /// Contract: it starts as what the shared block computes at that time; its tensors are owned by the class; every other tensor and
    /// every forward under another condition stay bit for bit as they are.
    fn grow(&mut self, class: &str) -> Result<()> {
        Err(Error::new(ErrorKind::Usage, format!("the coupling has no private part for class `{class}`")))
    }
}

crate::component_kind!(Coupling, "coupling", CouplingSpec);

/// How the row of a new class starts (spec: ccnf section 11).
#[derive(Debug, Clone, PartialEq)]
pub enum RowInit {
    /// Standard normal, from the stream of the class's name.
    Random,
    /// These values.
    Values(Vec<f32>),
}

/// What a conditioner's constructor gets.
#[derive(Debug, Clone)]
pub struct ConditionerSpec {
    /// Prefix of the tensor names: `level0`.
    pub scope: String,
    /// Dimension `D` of the tokens.
    pub dim: usize,
    /// Random streams.
    pub streams: Streams,
}

impl ConditionerSpec {
    /// A weight that all classes share, `[rows, cols]`, called `scope.name`: uniform in `[-bound, bound)`, from the stream of its name.
    /// Fails for more than 2^30 values.
    pub fn weight(&self, name: &str, rows: usize, cols: usize, bound: f32) -> Result<Param> {
        shared_weight(&self.streams, format!("{}.{name}", self.scope), (rows, cols), bound)
    }
}

/// Class id -> what the subnets see, registered as kind `conditioner`. Grows by one class at a time.
///
/// Contract: growing leaves every other tensor bit for bit as it was; the row of class `c` is owned by `c` and each row is a tensor
/// of its own; everything else is shared.
pub trait Conditioner: Stateful + Shareable {
    /// Length of a class row.
    fn row_width(&self) -> usize;
    /// Columns that the class adds to a subnet's input.
    fn input_width(&self) -> usize;
    /// Makes what modulates block number `block` with the given hidden widths; called once per block, in order.
    fn attach(&mut self, block: usize, hidden: &[usize]) -> Result<()>;
    /// Adds a class.
    fn grow(&mut self, class: &str, init: &RowInit) -> Result<()>;
    /// The known classes, in the order of growth.
    fn classes(&self) -> Vec<String>;
    /// The values of a class's row.
    fn row(&self, class: usize) -> Result<Vec<f32>>;
    /// Replaces the values of a class's row.
    fn set_row(&mut self, class: usize, values: Vec<f32>) -> Result<()>;
    /// The class part of every block's condition for tokens of `classes` (indices of known classes); `token` gives each token's
    /// entry in `classes`. The position part is left empty.
    fn condition(&self, classes: &[usize], token: &Index) -> Result<Vec<BlockCondition>>;
    /// [`condition`](Conditioner::condition) under rows made of those of `classes` for one training step; `token` gives each token's
    /// entry in the made rows.
    fn condition_mixed(
        &self,
        _classes: &[usize],
        _mix: &RowMix,
        _token: &Index,
    ) -> Result<Vec<BlockCondition>> {
        Err(Error::new(ErrorKind::Usage, "this conditioner has no rows to mix"))
    }
    /// Gives a class that was grown last what classes of later stages have of their own beside the row; its condition stays what it is.
    /// Nothing, unless the config says so.
    fn free(&mut self, _class: &str) -> Result<()> {
        Ok(())
    }
    /// Takes a class away again that served in training only: what is left is what there would be without it.
    fn forget(&mut self, class: &str) -> Result<()> {
        Err(Error::new(ErrorKind::Usage, format!("this conditioner cannot forget the class `{class}`")))
    }
    /// Whether the row of a class is the mean of its training tokens, `row_width = D`, and not trained.
    fn wants_prototype(&self) -> bool {
        false
    }
}

/// Rows made of those of some classes: `M R + S`, with the rows of the classes in `R`.
#[derive(Debug, Clone)]
pub struct RowMix {
    /// `M`, `[made, classes]`.
    pub mix: Mat,
    /// `S`, `[made, width]`.
    pub shift: Var,
}

impl RowMix {
    /// The made rows for the class rows `rows`, `[classes, width]`.
    pub fn apply(&self, rows: &Var) -> Result<Var> {
        let ((made, classes), (known, width)) = (*self.mix.shape(), *rows.shape());
        if classes != known || self.shift.shape() != &(made, width) {
            let shift = self.shift.shape();
            let message = format!(
                "{known} rows of {width} values cannot be mixed by [{made}, {classes}] with a shift of {shift:?}"
            );
            return Err(Error::new(ErrorKind::Contract, message));
        }
        Ok(constant(&self.mix).matmul(rows.clone()) + self.shift.clone())
    }
}

crate::component_kind!(Conditioner, "conditioner", ConditionerSpec);

/// What a flow says about a batch of tokens: the input of the regularisers.
#[derive(Debug, Clone)]
pub struct FlowOutput {
    /// Feature dimension `D`.
    pub dim: usize,
    /// Latents, `[N, D]`. Of a flow that joins tokens they have fewer rows of more dims.
    pub z: Var,
    /// `J`, `[N]`: log-determinant of the whole flow.
    pub log_det: VarVec,
    /// `log N(z; 0, I)` with its constant, `[N]`.
    pub log_prior: VarVec,
    /// `log p(x | y_true)`, `[N]`.
    pub log_prob: VarVec,
    /// `log p(x | y_neg)`, `[N]`, where a regulariser asked for it and another class exists.
    pub log_prob_negative: Option<VarVec>,
    /// Log-scales of the blocks.
    pub log_scales: Vec<Var>,
    /// Class of each row of `z`, counted within the step.
    pub class: Index,
    /// Number of classes in the step.
    pub classes: usize,
}

/// Which wrong class a regulariser compares with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Negative {
    /// Uniform among the other known classes, one per token.
    Uniform,
    /// The other known class with the highest likelihood of the token.
    Hard,
}

/// What a regulariser's constructor gets.
#[derive(Debug, Clone, Default)]
pub struct RegularizerSpec {}

/// A penalty on one step's flow output, registered as kind `regularizer`.
///
/// Contract: `penalty` is a scalar without its weight, per dimension where it grows with the dimension, so that one weight fits all
/// levels; its gradient is exact.
pub trait Regularizer: Send + Sync {
    /// The name in logs.
    fn name(&self) -> &'static str;
    /// The weight in the loss.
    fn weight(&self) -> f32;
    /// The wrong class it needs, if any. The penalty is left out of steps in which no other class is known.
    fn negative(&self) -> Option<Negative> {
        None
    }
    /// The penalty; `None` where it does not apply.
    fn penalty(&self, output: &FlowOutput) -> Result<Option<Scalar>>;
}

crate::component_kind!(Regularizer, "regularizer", RegularizerSpec);
