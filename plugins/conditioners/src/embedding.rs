//! The class row concatenated to the subnet's input.

use crate::rows::ClassRows;
use ccnf::prelude::*;
use serde::{Deserialize, Serialize};

/// Config of the `embedding` conditioner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EmbeddingConfig {
    /// Length of a class row.
    pub width: usize,
}

impl Default for EmbeddingConfig {
    fn default() -> Self {
        EmbeddingConfig { width: 64 }
    }
}

/// The subnet's input is `[x_a, e_y, p]` (CCNF notes, section 2.5, mode `concat`).
pub struct Embedding {
    rows: ClassRows,
    blocks: usize,
}

impl Embedding {
    /// No classes yet.
    pub fn new(config: EmbeddingConfig, build: &Build<'_, ConditionerSpec>) -> Result<Self> {
        if config.width == 0 || config.width > 1 << 14 {
            return Err(build.error("width", "must be between 1 and 16384"));
        }
        Ok(Embedding { rows: ClassRows::new(build.spec, config.width), blocks: 0 })
    }
}

impl Conditioner for Embedding {
    fn row_width(&self) -> usize {
        self.rows.width()
    }
    fn input_width(&self) -> usize {
        self.rows.width()
    }
    fn attach(&mut self, _block: usize, _hidden: &[usize]) -> Result<()> {
        self.blocks += 1;
        Ok(())
    }
    fn grow(&mut self, class: &str, init: &RowInit) -> Result<()> {
        self.rows.grow(class, init)
    }
    fn classes(&self) -> Vec<String> {
        self.rows.classes()
    }
    fn row(&self, class: usize) -> Result<Vec<f32>> {
        self.rows.values(class)
    }
    fn set_row(&mut self, class: usize, values: Vec<f32>) -> Result<()> {
        self.rows.set(class, values)
    }
    fn condition(&self, classes: &[usize], token: &Index) -> Result<Vec<BlockCondition>> {
        Ok(concatenated(self.rows.table(classes)?, token, self.blocks))
    }
    fn condition_mixed(&self, classes: &[usize], mix: &RowMix, token: &Index) -> Result<Vec<BlockCondition>> {
        Ok(concatenated(mix.apply(&self.rows.table(classes)?)?, token, self.blocks))
    }
    fn forget(&mut self, class: &str) -> Result<()> {
        self.rows.forget(class)
    }
}

/// The condition of `blocks` blocks whose input gets the rows `table`.
pub(crate) fn concatenated(table: Var, token: &Index, blocks: usize) -> Vec<BlockCondition> {
    let class = RowTable { table, index: Some(token.clone()) };
    vec![BlockCondition { class: Some(class), position: None, film: vec![], private: None }; blocks]
}

impl Stateful for Embedding {
    fn params(&self) -> Vec<&Param> {
        self.rows.params()
    }
    fn params_mut(&mut self) -> Vec<&mut Param> {
        self.rows.params_mut()
    }
}

ccnf::register_component!(
    Conditioner,
    "embedding",
    EmbeddingConfig,
    Embedding::new,
    "class row concatenated to the subnets' input"
);
