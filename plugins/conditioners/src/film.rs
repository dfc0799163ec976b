//! The class row modulates the subnet's hidden layers.

use crate::rows::ClassRows;
use ccnf::prelude::*;
use serde::{Deserialize, Serialize};

/// Config of the `film` conditioner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FilmConfig {
    /// Length of a class row.
    pub width: usize,
    /// The generators' weights start uniform in `+-init_scale / sqrt(width)`.
    pub init_scale: f32,
    /// Modulate before the ReLU instead of after it.
    pub before_activation: bool,
    /// A class of a later stage trains its `[gamma, beta]` themselves, which start at `G(e_y)`, instead of the row.
    pub free_codes: bool,
}

impl Default for FilmConfig {
    fn default() -> Self {
        FilmConfig { width: 64, init_scale: 0.3, before_activation: false, free_codes: false }
    }
}

/// Hidden layer `h` of every subnet becomes `(1 + gamma) h + beta` with `[gamma, beta] = G(e_y)`, `G` linear with bias, one per
/// hidden layer of every block, shared by all classes (CCNF notes, section 2.5, mode `film`; Perez et al. 2018).
///
/// With `free_codes` a class of a later stage has `[gamma, beta]` of every layer as tensors of its own (`BLOCK.filmK.code.CLASS`,
/// `[1, 2 * hidden]`): as many directions as there are hidden units, and not only the image of `G`. Its row is then fixed.
pub struct FilmConditioner {
    config: FilmConfig,
    scope: String,
    streams: Streams,
    rows: ClassRows,
    /// Per block, per hidden layer: weight `[2 * hidden, width]`, bias `[1, 2 * hidden]`.
    generators: Vec<Vec<(Param, Param)>>,
    /// Classes with free codes; per block, per hidden layer `[1, 2 * hidden]`.
    free: Vec<(String, Vec<Vec<Param>>)>,
}

impl FilmConditioner {
    /// No classes and no blocks yet.
    pub fn new(config: FilmConfig, build: &Build<'_, ConditionerSpec>) -> Result<Self> {
        if config.width == 0 || config.width > 1 << 14 {
            return Err(build.error("width", "must be between 1 and 16384"));
        }
        if !(0.0..=100.0).contains(&config.init_scale) {
            return Err(build.error("init_scale", "must be between 0 and 100"));
        }
        Ok(FilmConditioner {
            rows: ClassRows::new(build.spec, config.width),
            config,
            scope: build.scope.clone(),
            streams: build.streams,
            generators: vec![],
            free: vec![],
        })
    }

    /// The codes of known class number `class`, where they are free.
    fn codes(&self, class: usize) -> Option<&[Vec<Param>]> {
        let name = self.rows.name(class)?;
        self.free.iter().find(|(c, _)| c == name).map(|(_, codes)| codes.as_slice())
    }

    /// The condition of every block; `table` makes the codes of hidden layer number `layer` of block number `block` with `G`.
    fn blocks(
        &self,
        token: &Index,
        table: impl Fn(usize, usize, &(Param, Param)) -> Result<Var>,
    ) -> Result<Vec<BlockCondition>> {
        let block = |(b, layers): (usize, &Vec<(Param, Param)>)| {
            let film = |(k, g): (usize, &(Param, Param))| {
                let rows = RowTable { table: table(b, k, g)?, index: Some(token.clone()) };
                Ok(Film { rows, before_activation: self.config.before_activation })
            };
            let film = layers.iter().enumerate().map(film).collect::<Result<Vec<_>>>()?;
            Ok(BlockCondition { class: None, position: None, film, private: None })
        };
        self.generators.iter().enumerate().map(block).collect()
    }
}

/// `G(e)` of every row.
fn generated(rows: &Var, (weight, bias): &(Param, Param)) -> Result<Var> {
    Ok(ops::linear(rows, &weight.var(), Some(&bias.var()))?)
}

impl Conditioner for FilmConditioner {
    fn row_width(&self) -> usize {
        self.rows.width()
    }
    fn input_width(&self) -> usize {
        0
    }
    fn attach(&mut self, block: usize, hidden: &[usize]) -> Result<()> {
        let width = self.config.width;
        let bound = self.config.init_scale / (width as f32).sqrt();
        let mut layers = Vec::new();
        for (k, h) in hidden.iter().enumerate() {
            let name = format!("{}.block{block}.film{k}", self.scope);
            let values = self.streams.uniform(&format!("{name}.weight"), 2 * h * width, bound);
            layers.push((
                Param::weight(format!("{name}.weight"), Owner::Shared, values, 2 * h, width)?,
                Param::weight(format!("{name}.bias"), Owner::Shared, vec![0.0; 2 * h], 1, 2 * h)?,
            ));
        }
        self.generators.push(layers);
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
        if self.codes(class).is_some() {
            return Err(Error::new(ErrorKind::Contract, "the row of a class with free codes says nothing"));
        }
        self.rows.set(class, values)
    }
    fn condition(&self, classes: &[usize], token: &Index) -> Result<Vec<BlockCondition>> {
        if classes.iter().all(|c| self.codes(*c).is_none()) {
            let rows = self.rows.table(classes)?;
            return self.blocks(token, |_, _, g| generated(&rows, g));
        }
        let rows = classes.iter().map(|c| self.rows.table(&[*c])).collect::<Result<Vec<_>>>()?;
        self.blocks(token, |b, k, g| {
            let code = |(class, row): (&usize, &Var)| match self.codes(*class) {
                Some(codes) => Ok(codes[b][k].var()),
                None => generated(row, g),
            };
            let codes = classes.iter().zip(&rows).map(code).collect::<Result<Vec<_>>>()?;
            Ok(ops::stack_rows(&codes)?)
        })
    }
    fn condition_mixed(&self, classes: &[usize], mix: &RowMix, token: &Index) -> Result<Vec<BlockCondition>> {
        let rows = mix.apply(&self.rows.table(classes)?)?;
        self.blocks(token, |_, _, g| generated(&rows, g))
    }
    fn free(&mut self, class: &str) -> Result<()> {
        if !self.config.free_codes {
            return Ok(());
        }
        let place = self.rows.classes().iter().position(|c| c == class);
        let place = place
            .ok_or_else(|| Error::new(ErrorKind::Contract, format!("class `{class}` was not announced")))?;
        let row = self.rows.table(&[place])?;
        let code = |b: usize, k: usize, g: &(Param, Param)| {
            let name = format!("{}.block{b}.film{k}.code.{class}", self.scope);
            let start = generated(&row, g)?.as_vec();
            let width = start.len();
            Ok(Param::weight(name, Owner::Class(class.to_owned()), start, 1, width)?)
        };
        let block = |(b, layers): (usize, &Vec<(Param, Param)>)| {
            layers.iter().enumerate().map(|(k, g)| code(b, k, g)).collect::<Result<Vec<_>>>()
        };
        let codes = self.generators.iter().enumerate().map(block).collect::<Result<Vec<_>>>()?;
        self.free.push((class.to_owned(), codes));
        self.rows.fix(class)
    }
    fn forget(&mut self, class: &str) -> Result<()> {
        self.free.retain(|(c, _)| c != class);
        self.rows.forget(class)
    }
}

impl Stateful for FilmConditioner {
    fn params(&self) -> Vec<&Param> {
        let mut all = self.rows.params();
        all.extend(self.generators.iter().flatten().flat_map(|(w, b)| [w, b]));
        all.extend(self.free.iter().flat_map(|(_, codes)| codes.iter().flatten()));
        all
    }
    fn params_mut(&mut self) -> Vec<&mut Param> {
        let mut all = self.rows.params_mut();
        all.extend(self.generators.iter_mut().flatten().flat_map(|(w, b)| [w, b]));
        all.extend(self.free.iter_mut().flat_map(|(_, codes)| codes.iter_mut().flatten()));
        all
    }
}

ccnf::register_component!(
    Conditioner,
    "film",
    FilmConfig,
    FilmConditioner::new,
    "class row modulates the subnets' hidden layers (FiLM)"
);
