//! A row computed from the mean of the class's training tokens.

use crate::embedding::concatenated;
use crate::rows::ClassRows;
use ccnf::prelude::*;
use serde::{Deserialize, Serialize};

/// Config of the `prototype` conditioner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PrototypeConfig {
    /// Length of the row `e_y` that the subnets see.
    pub width: usize,
    /// Width of the network's hidden layer.
    pub hidden: usize,
}

impl Default for PrototypeConfig {
    fn default() -> Self {
        PrototypeConfig { width: 64, hidden: 128 }
    }
}

/// `e_y = phi(m_y)`, concatenated to the subnets' input, with `m_y` (`[1, D]`, owned by the class) the mean of the class's training
/// tokens as the flow sees them and `phi` a network `Linear - GELU - Linear` that is trained in the first stage, shared by all classes:
/// a condition computed from data, as in Ardizzone et al. 2019 (cINN). A later class needs its mean only and no training.
///
/// Behind layers that centre the tokens of a class the means are 0, and the condition is the same for all classes.
pub struct Prototype {
    prototypes: ClassRows,
    width: usize,
    /// Weight and bias of both layers.
    layers: [(Param, Param); 2],
    blocks: usize,
}

impl Prototype {
    /// No classes yet.
    pub fn new(config: PrototypeConfig, build: &Build<'_, ConditionerSpec>) -> Result<Self> {
        for (key, value) in [("width", config.width), ("hidden", config.hidden)] {
            if value == 0 || value > 1 << 14 {
                return Err(build.error(key, "must be between 1 and 16384"));
            }
        }
        let layer = |l: usize, out: usize, inp: usize| -> Result<(Param, Param)> {
            let bound = 1.0 / (inp.max(1) as f32).sqrt();
            let name = |what: &str| format!("{}.phi.lin{l}.{what}", build.scope);
            let draw = |what: &str, n: usize| build.streams.uniform(&name(what), n, bound);
            Ok((
                Param::weight(name("weight"), Owner::Shared, draw("weight", out * inp), out, inp)?,
                Param::weight(name("bias"), Owner::Shared, draw("bias", out), 1, out)?,
            ))
        };
        Ok(Prototype {
            prototypes: ClassRows::fixed(build.spec, build.dim),
            width: config.width,
            layers: [layer(0, config.hidden, build.dim)?, layer(1, config.width, config.hidden)?],
            blocks: 0,
        })
    }

    /// `phi` of every row.
    fn embedded(&self, prototypes: &Var) -> Result<Var> {
        let linear =
            |x: &Var, (weight, bias): &(Param, Param)| ops::linear(x, &weight.var(), Some(&bias.var()));
        let [first, last] = &self.layers;
        Ok(linear(&ops::gelu(&linear(prototypes, first)?)?, last)?)
    }
}

impl Conditioner for Prototype {
    fn row_width(&self) -> usize {
        self.prototypes.width()
    }
    fn input_width(&self) -> usize {
        self.width
    }
    fn attach(&mut self, _block: usize, _hidden: &[usize]) -> Result<()> {
        self.blocks += 1;
        Ok(())
    }
    fn grow(&mut self, class: &str, init: &RowInit) -> Result<()> {
        self.prototypes.grow(class, init)
    }
    fn classes(&self) -> Vec<String> {
        self.prototypes.classes()
    }
    fn row(&self, class: usize) -> Result<Vec<f32>> {
        self.prototypes.values(class)
    }
    fn set_row(&mut self, class: usize, values: Vec<f32>) -> Result<()> {
        self.prototypes.set(class, values)
    }
    fn condition(&self, classes: &[usize], token: &Index) -> Result<Vec<BlockCondition>> {
        let rows = self.embedded(&self.prototypes.table(classes)?)?;
        Ok(concatenated(rows, token, self.blocks))
    }
    fn condition_mixed(&self, classes: &[usize], mix: &RowMix, token: &Index) -> Result<Vec<BlockCondition>> {
        let rows = self.embedded(&mix.apply(&self.prototypes.table(classes)?)?)?;
        Ok(concatenated(rows, token, self.blocks))
    }
    fn forget(&mut self, class: &str) -> Result<()> {
        self.prototypes.forget(class)
    }
    fn wants_prototype(&self) -> bool {
        true
    }
}

impl Stateful for Prototype {
    fn params(&self) -> Vec<&Param> {
        let mut all = self.prototypes.params();
        all.extend(self.layers.iter().flat_map(|(w, b)| [w, b]));
        all
    }
    fn params_mut(&mut self) -> Vec<&mut Param> {
        let mut all = self.prototypes.params_mut();
        all.extend(self.layers.iter_mut().flat_map(|(w, b)| [w, b]));
        all
    }
}

ccnf::register_component!(
    Conditioner,
    "prototype",
    PrototypeConfig,
    Prototype::new,
    "class row computed from the mean of the class's training tokens"
);
