//! One flow: coupling blocks with fixed mixing between them, under a condition.

mod pass;

use crate::config::{CcnfConfig, Mixing};
use crate::groups::Conditions;
use crate::loss::log_prior;
use crate::scales::Scales;
use ccnf::prelude::*;
use ccnf::rand::seq::SliceRandom;
use std::sync::Arc;

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
    /// Latents, `[N, D]`; behind Haar steps those of the joined tokens.
    pub z: Var,
    /// `ln |det dz/dx|`, `[N]`; that of a joined token in equal parts on its tokens.
    pub log_det: VarVec,
    /// Log-scales of the blocks that have them.
    pub log_scales: Vec<Var>,
}

struct Block {
    coupling: Box<dyn Coupling>,
    /// Rotation `[D, D]` (`y_row = v_row R^T`) or permutation `[1, D]` (`y_j = v_{order j}`); none where the coupling mixes.
    mix: Option<Param>,
}

/// `z = f(x; class, position)`; per block a coupling, then the mixing; between blocks there may be Haar steps. The last blocks may have private
/// parts for some classes: the tokens of such a class go through them by themselves.
pub struct Flow {
    level: LevelSpec,
    blocks: Vec<Block>,
    /// The first block in which classes have private parts.
    first_private: usize,
    /// The classes that have them.
    private: Vec<Arc<str>>,
    mixing: Mixing,
    conditioner: Box<dyn Conditioner>,
    scales: Scales,
    /// Position codes, `[h * w, P]`, of the grids of the scales; none without position.
    positions: Vec<Mat>,
}

impl Flow {
    /// Builds a flow from the detector's config section.
    pub fn new<S>(config: &CcnfConfig, build: &Build<'_, S>, spec: &FlowSpec) -> Result<Self> {
        let scales = Scales::new(config, build, &spec.level)?;
        let mut positions = Vec::new();
        for depth in (0..scales.depths()).filter(|_| config.position > 0) {
            let Grid { height, width } = scales.grid(depth);
            let code = ccnf::data::position_code(height, width, config.position)
                .map_err(|e| build.error("position", e.message()))?;
            positions.push(mat(code, height * width, config.position)?);
        }
        let (scope, dim) = (spec.scope.clone(), spec.level.channels);
        let conditioner_spec = ConditionerSpec { scope, dim, streams: spec.streams };
        let mut conditioner =
            build.part::<dyn Conditioner>("conditioner", &config.conditioner, &conditioner_spec)?;
        let mut blocks = Vec::new();
        for b in 0..config.blocks {
            let scope = format!("{}.block{b}", spec.scope);
            let depth = scales.depth(b);
            let d = spec.level.channels << (2 * depth);
            let coupling_spec = CouplingSpec {
                scope: scope.clone(),
                dim: d,
                grid: scales.grid(depth),
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
                    Some(Param::buffer(&name, Owner::Shared, spec.streams.rotation(&name, d), d, d)?)
                }
                Mixing::Permutation => {
                    let mut order: Vec<u32> = (0..d as u32).collect();
                    order.shuffle(&mut spec.streams.stream(&name, 0));
                    let order = order.iter().map(|i| *i as f32).collect();
                    Some(Param::buffer(&name, Owner::Shared, order, 1, d)?)
                }
                Mixing::None => None,
            };
            blocks.push(Block { coupling, mix });
        }
        let deaf = |b: &Block| b.coupling.hidden().is_empty();
        if conditioner.input_width() == 0 && !blocks.is_empty() && blocks.iter().all(deaf) {
            let message = "modulates hidden layers, and this coupling has no hidden layers: no class would enter the flow";
            return Err(build
                .error("conditioner.kind", message)
                .help("use another coupling, or `embedding`"));
        }
        if config.mixing == Mixing::None && blocks.len() > 1 && blocks.iter().any(|b| !b.coupling.mixes()) {
            let message = "this coupling leaves half of the dims as they are, and nothing between two blocks makes them change roles";
            return Err(build.error("mixing", message).help("use rotation or permutation"));
        }
        let shared = config.blocks.saturating_sub(config.private_blocks);
        if blocks[shared..].iter().any(|b| !b.coupling.has_private()) {
            return Err(build.error("private_blocks", "the coupling has no private parts").help(
                "use affine, additive or spline, with coupling.subnet.private = \"low-rank\" or \"copy\"",
            ));
        }
        let flow = Flow {
            level: spec.level.clone(),
            blocks,
            first_private: shared,
            private: vec![],
            mixing: config.mixing,
            conditioner,
            scales,
            positions,
        };
        if flow.needs_maps() && config.first_task.mixes() {
            return Err(build
                .error(
                    "first_task",
                    "noise, mixup and episodes work on tokens, and this flow needs whole maps",
                )
                .help("leave out `haar` and coupling.subnet.context, or these switches of the first task"));
        }
        Ok(flow)
    }

    /// Whether the tokens of a call must be whole maps, for a Haar step or a coupling ([`Coupling::needs_maps`]).
    pub fn needs_maps(&self) -> bool {
        !self.scales.is_flat() || self.blocks.iter().any(|b| b.coupling.needs_maps())
    }

    /// `log N(z; 0, I)` per token; that of a joined token in equal parts on its tokens.
    pub fn log_prior(&self, z: &Var) -> Result<VarVec> {
        self.scales.spread(log_prior(z)?)
    }

    /// The class of every row of the latents, where `class` says it of every token.
    pub fn latent_classes(&self, class: &Index) -> Result<Index> {
        self.scales.joined(class, self.scales.depths() - 1)
    }

    /// Gives a known class what classes of later stages have of their own: what the conditioner has for them, and private parts of the
    /// last blocks. Nothing where it has them.
    pub fn grow_private(&mut self, class: &str) -> Result<()> {
        if self.private.iter().any(|c| **c == *class) {
            return Ok(());
        }
        self.conditioner.free(class)?;
        for block in &mut self.blocks[self.first_private..] {
            block.coupling.grow(class)?;
        }
        self.private.push(class.into());
        Ok(())
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
    pub fn condition(&self, classes: &[usize], token: &Index, position: &Index) -> Result<Conditions> {
        let mut all = self.at(position, self.conditioner.condition(classes, token)?)?;
        for depth in 1..self.scales.depths() {
            let joined = self.scales.joined(token, depth)?;
            let joined = self.at(position, self.conditioner.condition(classes, &joined)?)?;
            let both = all.iter_mut().zip(joined).enumerate();
            both.filter(|(b, _)| self.scales.depth(*b) == depth).for_each(|(_, (to, from))| *to = from);
        }
        let names = self.conditioner.classes();
        let owner = |class: &usize| {
            let name = names.get(*class)?;
            self.private.iter().find(|c| ***c == **name).cloned()
        };
        let owners: Vec<Option<Arc<str>>> = classes.iter().map(owner).collect();
        Ok(Conditions::new(all, &owners, token, self.first_private))
    }

    /// [`condition`](Self::condition) under rows made of those of `classes`; `token` gives each token's entry in the made rows. Private parts
    /// are left out.
    pub fn condition_mixed(
        &self,
        classes: &[usize],
        rows: &RowMix,
        token: &Index,
        position: &Index,
    ) -> Result<Conditions> {
        let all = self.at(position, self.conditioner.condition_mixed(classes, rows, token)?)?;
        Ok(Conditions::new(all, &[], token, self.blocks.len()))
    }

    /// Adds the position code of every token that a block sees.
    fn at(&self, position: &Index, mut blocks: Vec<BlockCondition>) -> Result<Vec<BlockCondition>> {
        use ccnf::dfdx::prelude::HasShape;
        for (depth, code) in self.positions.iter().enumerate() {
            let index = match depth {
                0 => position.clone(),
                _ => {
                    // Whole maps: the cells follow each other.
                    let (n, tokens) = (self.scales.joined(position, depth)?.len(), code.shape().0);
                    (0..n).map(|k| (k % tokens) as u32).collect()
                }
            };
            let table = RowTable { table: constant(code), index: Some(index) };
            let here = blocks.iter_mut().enumerate().filter(|(b, _)| self.scales.depth(*b) == depth);
            here.for_each(|(_, c)| c.position = Some(table.clone()));
        }
        Ok(blocks)
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
            all.extend(&b.mix);
        }
        all
    }
    fn params_mut(&mut self) -> Vec<&mut Param> {
        let mut all = self.conditioner.params_mut();
        for b in &mut self.blocks {
            all.extend(b.coupling.params_mut());
            all.extend(&mut b.mix);
        }
        all
    }
}
