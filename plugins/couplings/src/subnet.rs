//! The conditioned subnet of a coupling: `Linear - ReLU (- FiLM)` per hidden layer, then `Linear`.

use ccnf::prelude::*;
use ccnf::tensor::ops::{Activation, Layer as OpLayer};
use serde::{Deserialize, Serialize};

/// Spectral normalisation of the subnet's weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SpectralConfig {
    /// None.
    Off,
    /// `W / sigma` (the method's notes): also blows small weights up to norm 1.
    Literal,
    /// `W / max(1, sigma)`: only shrinks, so that the flow can start at the identity.
    Cap,
}

impl From<SpectralConfig> for SpectralMode {
    fn from(c: SpectralConfig) -> Self {
        match c {
            SpectralConfig::Off => SpectralMode::Off,
            SpectralConfig::Literal => SpectralMode::Literal,
            SpectralConfig::Cap => SpectralMode::Cap,
        }
    }
}

/// How the last layer starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LastLayer {
    /// At zero: the coupling starts as the identity. Not with literal spectral norm (0 / 0).
    Zero,
    /// Uniform in `+-1/sqrt(inputs)`, as the other layers.
    Uniform,
}

/// Shape and normalisation of a subnet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SubnetConfig {
    /// Width of the hidden layers; 0: twice the width of the input.
    pub hidden: usize,
    /// Number of hidden layers, at least 1.
    pub layers: usize,
    /// Spectral normalisation.
    pub spectral_norm: SpectralConfig,
    /// How the last layer starts.
    pub last_layer: LastLayer,
    /// Start value of a trained factor on the subnet's output; 0: no such factor. For runs with literal spectral norm, which
    /// cannot start near the identity otherwise.
    pub output_gain: f32,
}

impl Default for SubnetConfig {
    fn default() -> Self {
        SubnetConfig {
            hidden: 0,
            layers: 2,
            spectral_norm: SpectralConfig::Cap,
            last_layer: LastLayer::Zero,
            output_gain: 0.0,
        }
    }
}

struct Layer {
    weight: Param,
    bias: Param,
    norm: SpectralNorm,
}

/// A subnet of one coupling block. The input is `[x_a, class row, position code]`; its first layer is evaluated in three parts,
/// of which the class part and the position part are computed once per class and position (exact, by linearity).
pub struct Subnet {
    input: usize,
    layers: Vec<Layer>,
    gain: Option<Param>,
}

impl Subnet {
    /// A subnet that maps the first `input` dims of the tokens (and the condition) to `output` values.
    pub fn new(
        config: &SubnetConfig,
        input: usize,
        output: usize,
        build: &Build<'_, CouplingSpec>,
    ) -> Result<Self> {
        if config.layers == 0 || config.layers > 8 {
            return Err(build.error("subnet.layers", "must be between 1 and 8"));
        }
        if config.hidden > 1 << 16 {
            return Err(build.error("subnet.hidden", "must be at most 65536"));
        }
        if config.last_layer == LastLayer::Zero && config.spectral_norm == SpectralConfig::Literal {
            return Err(build
                .error(
                    "subnet.last_layer",
                    "a last layer that starts at zero has no literal spectral norm (0 / 0)",
                )
                .help("use last_layer = \"uniform\", or spectral_norm = \"cap\""));
        }
        if !config.output_gain.is_finite() {
            return Err(build.error("subnet.output_gain", "must be finite"));
        }
        let width = input + build.class_width + build.position_width;
        let hidden = if config.hidden == 0 { 2 * width } else { config.hidden };
        let mut layers = Vec::new();
        for i in 0..=config.layers {
            let fan_in = if i == 0 { width } else { hidden };
            let last = i == config.layers;
            let fan_out = if last { output } else { hidden };
            let bound = 1.0 / (fan_in.max(1) as f32).sqrt();
            let name = format!("{}.lin{i}", build.scope);
            let zero = last && config.last_layer == LastLayer::Zero;
            let draw = |what: &str, n: usize| {
                if zero { vec![0.0; n] } else { build.streams.uniform(&format!("{name}.{what}"), n, bound) }
            };
            let weight = Param::weight(
                format!("{name}.weight"),
                Owner::Shared,
                draw("weight", fan_out * fan_in),
                fan_out,
                fan_in,
            )?;
            let bias =
                Param::weight(format!("{name}.bias"), Owner::Shared, draw("bias", fan_out), 1, fan_out)?;
            let norm = SpectralNorm::new(&weight, config.spectral_norm.into(), &build.streams)?;
            layers.push(Layer { weight, bias, norm });
        }
        let gain = if config.output_gain == 0.0 {
            None
        } else {
            let name = format!("{}.gain", build.scope);
            Some(Param::weight(name, Owner::Shared, vec![config.output_gain], 1, 1)?)
        };
        Ok(Subnet { input, layers, gain })
    }

    /// Widths of the hidden layers.
    pub fn hidden(&self) -> Vec<usize> {
        self.layers[..self.layers.len() - 1].iter().map(|l| l.weight.shape().0).collect()
    }

    /// The layers under a condition, for the chain operations; they map the first columns of the tokens to `[N, output]`.
    pub fn layers(&self, condition: &BlockCondition) -> Result<Vec<OpLayer>> {
        let last = self.layers.len() - 1;
        self.layers
            .iter()
            .enumerate()
            .map(|(i, layer)| {
                let mut weight = layer.norm.effective(&layer.weight)?;
                let mut bias = layer.bias.var();
                let mut tables = Vec::new();
                if i == 0 {
                    weight = self.first_layer(&weight, &bias, condition, &mut tables)?;
                } else {
                    if let (true, Some(gain)) = (i == last, &self.gain) {
                        weight = scaled(&weight, gain)?;
                        bias = scaled(&bias, gain)?;
                    }
                    tables.push(RowTable { table: bias, index: None });
                }
                let film = if i < last { condition.film.get(i).cloned() } else { None };
                let activation = if i < last { Activation::Relu } else { Activation::Identity };
                Ok(OpLayer { weight, tables, activation, film })
            })
            .collect()
    }

    /// The output, `[N, output]`, for tokens `x` (`[N, >= input]`).
    pub fn forward(&self, x: &Var, condition: &BlockCondition) -> Result<Var> {
        Ok(ops::chain(x, &self.layers(condition)?)?)
    }

    /// Splits the first weight into the parts for `x_a`, class and position; fills the tables of the latter two.
    fn first_layer(
        &self,
        weight: &Var,
        bias: &Var,
        condition: &BlockCondition,
        tables: &mut Vec<RowTable>,
    ) -> Result<Var> {
        use ccnf::dfdx::prelude::HasShape;
        let width = |t: &Option<RowTable>| t.as_ref().map_or(0, |t| t.table.shape().1);
        let parts =
            ops::split_cols(weight, &[self.input, width(&condition.class), width(&condition.position)])?;
        match &condition.class {
            Some(class) => tables.push(RowTable {
                table: ops::linear(&class.table, &parts[1], Some(bias))?,
                index: class.index.clone(),
            }),
            None => tables.push(RowTable { table: bias.clone(), index: None }),
        }
        if let Some(position) = &condition.position {
            tables.push(RowTable {
                table: ops::linear(&position.table, &parts[2], None)?,
                index: position.index.clone(),
            });
        }
        Ok(parts[0].clone())
    }

    /// One power iteration per layer.
    pub fn iterate(&mut self) -> Result<()> {
        self.layers.iter_mut().try_for_each(|l| Ok(l.norm.iterate(&l.weight)?))
    }

    /// Writes the normalised weights and switches the normalisation off.
    pub fn bake(&mut self) -> Result<()> {
        self.layers.iter_mut().try_for_each(|l| Ok(l.norm.bake(&mut l.weight)?))
    }

    /// Switches the normalisation off before baked weights are loaded.
    pub fn set_baked(&mut self) {
        self.layers.iter_mut().for_each(|l| l.norm.set_off());
    }
}

/// `value * gain` with a trained scalar.
fn scaled(value: &Var, gain: &Param) -> Result<Var> {
    use ccnf::dfdx::prelude::*;
    let shape = *value.shape();
    let gain = gain.var().sum::<Rank0, _>().broadcast_like::<_, Axes2<0, 1>>(&shape);
    Ok(value.clone() * gain)
}

impl Stateful for Subnet {
    fn params(&self) -> Vec<&Param> {
        let mut all: Vec<&Param> = Vec::new();
        for l in &self.layers {
            all.extend([&l.weight, &l.bias]);
            all.extend(l.norm.params());
        }
        all.extend(&self.gain);
        all
    }
    fn params_mut(&mut self) -> Vec<&mut Param> {
        let mut all: Vec<&mut Param> = Vec::new();
        for l in &mut self.layers {
            all.extend([&mut l.weight, &mut l.bias]);
            all.extend(l.norm.params_mut());
        }
        all.extend(&mut self.gain);
        all
    }
}
