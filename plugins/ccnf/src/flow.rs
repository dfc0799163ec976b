//! One flow: coupling blocks with fixed mixing between them, under a condition.

use crate::config::{CcnfConfig, Mixing};
use ccnf::prelude::*;
use ccnf::rand::seq::SliceRandom;

/// Geometry and names of a flow.
#[derive(Debug, Clone)]
pub struct FlowSpec {
    /// Prefix of the tensor names: `level0`.
    pub scope: String,
    /// The level.
    pub level: LevelSpec,
    /// Steps of the couplings' warm-up where their config leaves it open.
    pub warmup_steps: u64,
    /// Random streams.
    pub streams: Streams,
}

/// What a forward pass gives.
#[derive(Debug, Clone)]
pub struct FlowForward {
    /// Latents, `[N, D]`.
    pub z: Var,
    /// `ln |det dz/dx|`, `[N]`.
    pub log_det: VarVec,
    /// Log-scales of the blocks that have them.
    pub log_scales: Vec<Var>,
}

struct Block {
    coupling: Box<dyn Coupling>,
    /// Rotation `[D, D]` (`y_row = v_row R^T`) or permutation `[1, D]` (`y_j = v_{order j}`).
    mix: Param,
}

/// `z = f(x; class, position)`; per block a coupling, then the mixing.
pub struct Flow {
    level: LevelSpec,
    blocks: Vec<Block>,
    mixing: Mixing,
    conditioner: Box<dyn Conditioner>,
    /// Position code, `[h * w, P]`.
    position: Option<Mat>,
}

impl Flow {
    /// Builds a flow from the detector's config section.
    pub fn new<S>(config: &CcnfConfig, build: &Build<'_, S>, spec: &FlowSpec) -> Result<Self> {
        let d = spec.level.channels;
        let position = if config.position == 0 {
            None
        } else {
            let code = ccnf::data::position_code(spec.level.height, spec.level.width, config.position)
                .map_err(|e| build.error("position", e.message()))?;
            Some(mat(code, spec.level.tokens(), config.position)?)
        };
        let conditioner_spec = ConditionerSpec { scope: spec.scope.clone(), streams: spec.streams };
        let mut conditioner =
            build.part::<dyn Conditioner>("conditioner", &config.conditioner, &conditioner_spec)?;
        let mut blocks = Vec::new();
        for b in 0..config.blocks {
            let scope = format!("{}.block{b}", spec.scope);
            let coupling_spec = CouplingSpec {
                scope: scope.clone(),
                dim: d,
                class_width: conditioner.input_width(),
                position_width: config.position,
                warmup_steps: spec.warmup_steps,
                streams: spec.streams,
            };
            let coupling = build.part::<dyn Coupling>("coupling", &config.coupling, &coupling_spec)?;
            conditioner.attach(b, &coupling.hidden())?;
            let name = format!("{scope}.mix");
            let mix = match config.mixing {
                Mixing::Rotation => {
                    Param::buffer(&name, Owner::Shared, spec.streams.rotation(&name, d), d, d)?
                }
                Mixing::Permutation => {
                    let mut order: Vec<u32> = (0..d as u32).collect();
                    order.shuffle(&mut spec.streams.stream(&name, 0));
                    Param::buffer(&name, Owner::Shared, order.iter().map(|i| *i as f32).collect(), 1, d)?
                }
            };
            blocks.push(Block { coupling, mix });
        }
        Ok(Flow { level: spec.level.clone(), blocks, mixing: config.mixing, conditioner, position })
    }

    /// Whether there is no block, so that latents are tokens and no class has a row.
    pub fn is_identity(&self) -> bool {
        self.blocks.is_empty()
    }

    /// The level this flow models.
    pub fn level(&self) -> &LevelSpec {
        &self.level
    }

    /// The conditioner.
    pub fn conditioner(&self) -> &dyn Conditioner {
        self.conditioner.as_ref()
    }

    /// The conditioner, to add classes.
    pub fn conditioner_mut(&mut self) -> &mut dyn Conditioner {
        self.conditioner.as_mut()
    }

    /// The condition of tokens for every block: `classes` are indices of known classes, `token` each token's entry there, `position`
    /// each token's cell.
    pub fn condition(
        &self,
        classes: &[usize],
        token: &Index,
        position: &Index,
    ) -> Result<Vec<BlockCondition>> {
        let mut all = self.conditioner.condition(classes, token)?;
        if let Some(code) = &self.position {
            let table = RowTable { table: constant(code), index: Some(position.clone()) };
            all.iter_mut().for_each(|c| c.position = Some(table.clone()));
        }
        Ok(all)
    }

    fn order(mix: &Param) -> Index {
        mix.to_vec().iter().map(|v| *v as u32).collect()
    }

    /// Tokens to latents. `visit` sees the output of every block (for diagnosis).
    pub fn forward_with(
        &self,
        x: &Var,
        conditions: &[BlockCondition],
        mut visit: impl FnMut(usize, &Var) -> Result<()>,
    ) -> Result<FlowForward> {
        use ccnf::dfdx::prelude::HasShape;
        let mut h = x.clone();
        let mut log_det = ccnf::tensor::constant_vec(vec![0.0; x.shape().0])?;
        let mut log_scales = Vec::new();
        for (b, (block, condition)) in self.blocks.iter().zip(conditions).enumerate() {
            let out = block.coupling.forward(&h, condition)?;
            log_det = log_det + out.log_det;
            log_scales.extend(out.log_scale);
            h = match self.mixing {
                Mixing::Rotation => ops::linear(&out.y, &constant(block.mix.value()), None)?,
                Mixing::Permutation => ops::permute_cols(&out.y, &Self::order(&block.mix))?,
            };
            visit(b, &h)?;
        }
        Ok(FlowForward { z: h, log_det, log_scales })
    }

    /// Tokens to latents.
    pub fn forward(&self, x: &Var, conditions: &[BlockCondition]) -> Result<FlowForward> {
        self.forward_with(x, conditions, |_, _| Ok(()))
    }

    /// Latents to tokens.
    pub fn inverse(&self, z: &Mat, conditions: &[BlockCondition]) -> Result<Mat> {
        use ccnf::dfdx::prelude::HasShape;
        let (n, d) = *z.shape();
        let mut h = z.clone();
        for (block, condition) in self.blocks.iter().zip(conditions).rev() {
            let v = match self.mixing {
                Mixing::Rotation => {
                    // v_row = y_row R, because R is orthogonal.
                    let r = block.mix.to_vec();
                    let transposed = (0..d * d).map(|k| r[(k % d) * d + k / d]).collect();
                    let v = ops::linear(&constant(&h), &constant(&mat(transposed, d, d)?), None)?;
                    mat(v.as_vec(), n, d)?
                }
                Mixing::Permutation => {
                    let order = Self::order(&block.mix);
                    let mut back = vec![0u32; d];
                    order.iter().enumerate().for_each(|(j, from)| back[*from as usize] = j as u32);
                    mat(ops::permute_cols(&constant(&h), &back.into())?.as_vec(), n, d)?
                }
            };
            h = block.coupling.inverse(&v, condition)?;
        }
        Ok(h)
    }

    /// See [`Coupling::begin_step`].
    pub fn begin_step(&mut self, step: Option<u64>) -> Result<()> {
        self.blocks.iter_mut().try_for_each(|b| b.coupling.begin_step(step))
    }

    /// See [`Coupling::bake`].
    pub fn bake(&mut self) -> Result<()> {
        self.blocks.iter_mut().try_for_each(|b| b.coupling.bake())
    }

    /// See [`Coupling::set_baked`].
    pub fn set_baked(&mut self) {
        self.blocks.iter_mut().for_each(|b| b.coupling.set_baked());
    }

    /// True when every coupling is baked.
    pub fn is_baked(&self) -> bool {
        self.blocks.iter().all(|b| b.coupling.is_baked())
    }
}

impl Stateful for Flow {
    fn params(&self) -> Vec<&Param> {
        let mut all = self.conditioner.params();
        for b in &self.blocks {
            all.extend(b.coupling.params());
            all.push(&b.mix);
        }
        all
    }
    fn params_mut(&mut self) -> Vec<&mut Param> {
        let mut all = self.conditioner.params_mut();
        for b in &mut self.blocks {
            all.extend(b.coupling.params_mut());
            all.push(&mut b.mix);
        }
        all
    }
}
