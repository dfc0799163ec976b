//! The flow of one level: blocks one after the other, under the position.

use crate::config::HgadConfig;
use ccnf::prelude::*;

/// Couplings one after the other; the position code is the only condition. `J` is the sum of the blocks' log-determinants.
pub(crate) struct Chain {
    blocks: Vec<Box<dyn Coupling>>,
    /// `[h * w, P]`.
    position: Option<Mat>,
}

/// Latents `[N, D]` and `J`, `[N]`.
pub(crate) struct ChainOutput {
    pub(crate) z: Var,
    pub(crate) log_det: VarVec,
}

impl Chain {
    /// Builds the blocks through the registry.
    pub(crate) fn new(
        config: &HgadConfig,
        build: &Build<'_, DetectorSpec>,
        scope: &str,
        level: &LevelSpec,
    ) -> Result<Self> {
        let position = if config.position == 0 {
            None
        } else {
            let code = ccnf::data::position_code(level.height, level.width, config.position)
                .map_err(|e| build.error("position", e.message()))?;
            Some(mat(code, level.tokens(), config.position)?)
        };
        let steps = build.train.first.steps;
        let block = |b: usize| {
            let spec = CouplingSpec {
                scope: format!("{scope}.block{b}"),
                dim: level.channels,
                grid: Grid { height: level.height, width: level.width },
                class_width: 0,
                position_width: config.position,
                warmup_steps: if steps >= 10_000 { 2000 } else { steps / 5 },
                streams: build.streams,
            };
            let coupling = build.part::<dyn Coupling>("coupling", &config.coupling, &spec)?;
            let wrong = if coupling.needs_maps() {
                "the steps of `hgad` draw tokens, and this coupling needs whole maps"
            } else if !coupling.mixes() && config.blocks > 1 {
                "this coupling leaves half of the dims as they are, and nothing between two blocks makes them change roles"
            } else {
                return Ok(coupling);
            };
            Err(build.error("coupling", wrong).help("use a coupling that mixes the dims, such as all-in-one"))
        };
        Ok(Chain { blocks: (0..config.blocks).map(block).collect::<Result<_>>()?, position })
    }

    /// Tokens to latents; `position` is each token's cell. `visit` sees the output of every block.
    pub(crate) fn forward_with(
        &self,
        x: &Var,
        position: &Index,
        mut visit: impl FnMut(usize, &Var) -> Result<()>,
    ) -> Result<ChainOutput> {
        let table = self
            .position
            .as_ref()
            .map(|code| RowTable { table: constant(code), index: Some(position.clone()) });
        let condition = BlockCondition { class: None, position: table, film: vec![], private: None };
        let (mut z, mut log_det) = (x.clone(), ccnf::tensor::constant_vec(vec![0.0; position.len()])?);
        for (b, block) in self.blocks.iter().enumerate() {
            let out = block.forward(&z, &condition)?;
            (z, log_det) = (out.y, log_det + out.log_det);
            visit(b, &z)?;
        }
        Ok(ChainOutput { z, log_det })
    }

    /// Tokens to latents.
    pub(crate) fn forward(&self, x: &Var, position: &Index) -> Result<ChainOutput> {
        self.forward_with(x, position, |_, _| Ok(()))
    }

    /// See [`Coupling::begin_step`].
    pub(crate) fn begin_step(&mut self, step: Option<u64>) -> Result<()> {
        self.blocks.iter_mut().try_for_each(|b| b.begin_step(step))
    }

    /// See [`Coupling::bake`].
    pub(crate) fn bake(&mut self) -> Result<()> {
        self.blocks.iter_mut().try_for_each(|b| b.bake())
    }

    /// See [`Coupling::set_baked`].
    pub(crate) fn set_baked(&mut self) {
        self.blocks.iter_mut().for_each(|b| b.set_baked());
    }
}

impl Stateful for Chain {
    fn params(&self) -> Vec<&Param> {
        self.blocks.iter().flat_map(|b| b.params()).collect()
    }
    fn params_mut(&mut self) -> Vec<&mut Param> {
        self.blocks.iter_mut().flat_map(|b| b.params_mut()).collect()
    }
}
