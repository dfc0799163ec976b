//! The conditioner `template-conditioner`: how the class of a token reaches the subnets of a flow.

use ccnf::prelude::*;
use ccnf::serde::{Deserialize, Serialize};

/// Its keys in a config: a public field, its documentation and its default each.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "ccnf::serde", deny_unknown_fields, default)]
#[schemars(crate = "ccnf::schemars")]
pub struct TemplateConfig {
    /// Numbers that a class has of its own, from 1 to 16384.
    pub code: usize,
    /// Columns that a subnet sees, from 1 to 16384.
    pub width: usize,
}

impl Default for TemplateConfig {
    fn default() -> Self {
        TemplateConfig { code: 8, width: 32 }
    }
}

/// A subnet's input gets `e_y W^T` beside the token: the code `e_y`, `[1, code]`, belongs to the class `y`; `W`, `[width, code]`, is shared,
/// trained in the first stage and then frozen. So a later class costs `code` numbers, however wide the subnets are.
pub struct TemplateConditioner {
    spec: ConditionerSpec,
    weight: Param,
    classes: Vec<String>,
    /// The code of every class, a tensor of its own each: no optimiser can then move that of another class.
    codes: Vec<Param>,
    blocks: usize,
}
ccnf::stateful!(TemplateConditioner { weight, codes });

impl TemplateConditioner {
    /// A conditioner without classes and blocks; fails for keys out of range.
    pub fn new(config: TemplateConfig, build: &Build<'_, ConditionerSpec>) -> Result<Self> {
        for (key, value) in [("code", config.code), ("width", config.width)] {
            if !(1..=1 << 14).contains(&value) {
                return Err(build.error(key, "must be between 1 and 16384"));
            }
        }
        let weight = build.weight("spread", config.width, config.code, (config.code as f32).powf(-0.5))?;
        Ok(TemplateConditioner {
            spec: build.spec.clone(),
            weight,
            classes: vec![],
            codes: vec![],
            blocks: 0,
        })
    }

    fn code(&self, class: usize) -> Result<&Param> {
        let known = self.codes.len();
        let unknown =
            || Error::new(ErrorKind::Contract, format!("class number {class} of {known} known ones"));
        self.codes.get(class).ok_or_else(unknown)
    }

    /// The codes of some classes, `[classes, code]`. `var()` is tracked while a gradient is recorded.
    fn table(&self, classes: &[usize]) -> Result<Var> {
        let codes = classes.iter().map(|c| Ok(self.code(*c)?.var())).collect::<Result<Vec<_>>>()?;
        Ok(ops::stack_rows(&codes)?)
    }

    /// The condition of every block for rows of codes, and the row of each token. A table has one row per class, not per token: what
    /// depends on the class is computed once.
    fn blocks(&self, codes: &Var, token: &Index) -> Result<Vec<BlockCondition>> {
        let table = ops::linear(codes, &self.weight.var(), None)?;
        let class = Some(RowTable { table, index: Some(token.clone()) });
        Ok(vec![BlockCondition { class, position: None, film: vec![], private: None }; self.blocks])
    }
}

impl Conditioner for TemplateConditioner {
    fn row_width(&self) -> usize {
        self.weight.shape().1
    }

    fn input_width(&self) -> usize {
        self.weight.shape().0
    }

    /// `hidden` are the widths of the block's hidden layers, for a conditioner that modulates them (FiLM).
    fn attach(&mut self, _block: usize, _hidden: &[usize]) -> Result<()> {
        self.blocks += 1;
        Ok(())
    }

    fn grow(&mut self, class: &str, init: &RowInit) -> Result<()> {
        if self.classes.iter().any(|c| c == class) {
            return Err(Error::new(ErrorKind::Contract, format!("class `{class}` is already known")));
        }
        let (name, width) = (format!("{}.code.{class}", self.spec.scope), self.row_width());
        // A random code depends on the class's name alone, not on how many came before.
        let values = match init {
            RowInit::Random => self.spec.streams.normal(&name, width),
            RowInit::Values(values) => values.clone(),
        };
        // `weight` fails for another number of values.
        self.codes.push(Param::weight(name, Owner::Class(class.to_owned()), values, 1, width)?);
        self.classes.push(class.to_owned());
        Ok(())
    }

    fn classes(&self) -> Vec<String> {
        self.classes.clone()
    }

    fn row(&self, class: usize) -> Result<Vec<f32>> {
        Ok(self.code(class)?.to_vec())
    }

    fn set_row(&mut self, class: usize, values: Vec<f32>) -> Result<()> {
        self.code(class)?;
        Ok(self.codes[class].set(values)?)
    }

    fn condition(&self, classes: &[usize], token: &Index) -> Result<Vec<BlockCondition>> {
        self.blocks(&self.table(classes)?, token)
    }

    fn condition_mixed(&self, classes: &[usize], mix: &RowMix, token: &Index) -> Result<Vec<BlockCondition>> {
        self.blocks(&mix.apply(&self.table(classes)?)?, token)
    }

    fn forget(&mut self, class: &str) -> Result<()> {
        let Some(place) = self.classes.iter().position(|c| c == class) else {
            return Err(Error::new(ErrorKind::Contract, format!("class `{class}` is not known")));
        };
        self.classes.remove(place);
        self.codes.remove(place);
        Ok(())
    }
}

ccnf::register_component!(
    Conditioner,
    "template-conditioner",
    TemplateConfig,
    TemplateConditioner::new,
    "a short code per class, spread by a shared map, concatenated to the subnets' input"
);

#[cfg(test)]
ccnf_testkit::conformance!(Conditioner, "template-conditioner", { "code": 3, "width": 2 });
