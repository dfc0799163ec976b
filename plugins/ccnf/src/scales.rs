//! Haar steps between the blocks of a flow: where they stand, and what of a map they put where.

use crate::config::CcnfConfig;
use ccnf::dfdx::prelude::{HasShape, ReshapeTo};
use ccnf::prelude::*;

/// The grids on which the blocks of a flow work. A Haar step ([`ops::haar`]) after `k` blocks joins 2x2 tokens to one of four times as many
/// dims, so the blocks behind it see a quarter of the tokens (Ardizzone et al. 2019).
///
/// What a flow says about a joined token, its part of the log-determinant and of the prior, goes back to its four tokens in equal parts:
/// which of them it comes from is not defined, because the blocks behind the step mix their dims.
pub(crate) struct Scales {
    /// Blocks before each Haar step, ascending.
    steps: Vec<usize>,
    /// The grid before the first step, and after each.
    grids: Vec<Grid>,
}

impl Scales {
    /// The steps of the config, for maps of `level`.
    pub(crate) fn new<S>(config: &CcnfConfig, build: &Build<'_, S>, level: &LevelSpec) -> Result<Self> {
        if !config.haar.is_empty() && config.private_blocks > 0 {
            return Err(build
                .error("haar", "a flow with private blocks has no Haar steps")
                .help("leave out one of `haar` and `private_blocks`"));
        }
        let mut grids = vec![Grid { height: level.height, width: level.width }];
        let mut last = 0;
        for step in &config.haar {
            if *step <= last || *step >= config.blocks {
                let message = format!("must be ascending numbers from 1 to {}", config.blocks.max(2) - 1);
                return Err(build
                    .error("haar", message)
                    .help("at least one block stands before and behind a Haar step"));
            }
            last = *step;
            let grid = grids[grids.len() - 1];
            grids.push(grid.halved().ok_or_else(|| {
                let (name, h, w) = (&level.name, grid.height, grid.width);
                let message =
                    format!("level `{name}` has a map of {h} x {w} there, which a Haar step cannot halve");
                build.error("haar", message).help("leave out a step, or the level")
            })?);
        }
        Ok(Scales { steps: config.haar.clone(), grids })
    }

    /// Whether there is no step.
    pub(crate) fn is_flat(&self) -> bool {
        self.steps.is_empty()
    }

    /// Whether a Haar step stands right before block number `block`.
    pub(crate) fn begins(&self, block: usize) -> bool {
        self.steps.contains(&block)
    }

    /// Haar steps before block number `block`.
    pub(crate) fn depth(&self, block: usize) -> usize {
        self.steps.iter().filter(|s| **s <= block).count()
    }

    /// The grid behind `depth` steps.
    pub(crate) fn grid(&self, depth: usize) -> Grid {
        self.grids[depth]
    }

    /// All depths.
    pub(crate) fn depths(&self) -> usize {
        self.grids.len()
    }

    /// What each joined token behind `depth` steps has, where `fine` says it of every token: that of its upper left one.
    pub(crate) fn joined(&self, fine: &Index, depth: usize) -> Result<Index> {
        let mut all = fine.clone();
        for grid in &self.grids[..depth] {
            let tokens = grid.tokens();
            if !all.len().is_multiple_of(tokens) {
                let (n, whole) = (all.len(), format!("{} x {}", grid.height, grid.width));
                return Err(Error::new(
                    ErrorKind::Contract,
                    format!("{n} tokens are not whole maps of {whole}"),
                ));
            }
            all = all
                .chunks_exact(tokens)
                .flat_map(|map| (0..tokens / 4).map(move |p| map[grid.patch(p)[0]]))
                .collect();
        }
        Ok(all)
    }

    /// Values of joined tokens behind all steps in equal parts to their tokens.
    pub(crate) fn spread(&self, values: VarVec) -> Result<VarVec> {
        (1..self.depths()).rev().try_fold(values, |v, depth| self.spread_once(v, depth))
    }

    /// Values of joined tokens behind `depth` steps in equal parts to those behind one step less.
    pub(crate) fn spread_once(&self, values: VarVec, depth: usize) -> Result<VarVec> {
        let (grid, m) = (self.grids[depth - 1], values.shape().0);
        let mut index = vec![0u32; 4 * m];
        for joined in 0..m {
            let (map, patch) = (joined / (grid.tokens() / 4), joined % (grid.tokens() / 4));
            grid.patch(patch).iter().for_each(|cell| index[map * grid.tokens() + cell] = joined as u32);
        }
        let fine = ops::gather_rows(&values.reshape_like(&(m, 1)), &index.into())?;
        Ok(fine.reshape_like(&(4 * m,)) * 0.25)
    }
}
