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
}

impl Default for FilmConfig {
    fn default() -> Self {
        FilmConfig { width: 64, init_scale: 0.3, before_activation: false }
    }
}

/// Hidden layer `h` of every subnet becomes `(1 + gamma) h + beta` with `[gamma, beta] = G(e_y)`, `G` linear with bias, one per
/// hidden layer of every block, shared by all classes (CCNF notes, section 2.5, mode `film`; Perez et al. 2018).
pub struct FilmConditioner {
    config: FilmConfig,
    scope: String,
    streams: Streams,
    rows: ClassRows,
    /// Per block, per hidden layer: weight `[2 * hidden, width]`, bias `[1, 2 * hidden]`.
    generators: Vec<Vec<(Param, Param)>>,
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
        })
    }
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
        self.rows.set(class, values)
    }
    fn condition(&self, classes: &[usize], token: &Index) -> Result<Vec<BlockCondition>> {
        let rows = self.rows.table(classes)?;
        let film = |(weight, bias): &(Param, Param)| -> Result<Film> {
            let table = ops::linear(&rows, &weight.var(), Some(&bias.var()))?;
            Ok(Film {
                rows: RowTable { table, index: Some(token.clone()) },
                before_activation: self.config.before_activation,
            })
        };
        self.generators
            .iter()
            .map(|layers| {
                let film = layers.iter().map(film).collect::<Result<Vec<_>>>()?;
                Ok(BlockCondition { class: None, position: None, film, private: None })
            })
            .collect()
    }
}

impl Stateful for FilmConditioner {
    fn params(&self) -> Vec<&Param> {
        let mut all = self.rows.params();
        all.extend(self.generators.iter().flatten().flat_map(|(w, b)| [w, b]));
        all
    }
    fn params_mut(&mut self) -> Vec<&mut Param> {
        let mut all = self.rows.params_mut();
        all.extend(self.generators.iter_mut().flatten().flat_map(|(w, b)| [w, b]));
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
