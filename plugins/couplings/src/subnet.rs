//! The conditioned subnet of a coupling: `Linear - ReLU (- FiLM)` per hidden layer, then `Linear`; where the config says so, the first
//! hidden layer sees the neighbours.

mod config;

pub use config::{Context, LastLayer, SpectralConfig, SubnetConfig};

use crate::private::{Adapters, PrivateConfig, PrivatePart};
use ccnf::prelude::*;
use ccnf::tensor::ops::{Activation, Layer as OpLayer};

/// A depthwise convolution over a hidden layer; spectral norm leaves it as it is.
struct Neighbours {
    /// `[9, hidden]`.
    weight: Param,
    grid: Grid,
}

struct Layer {
    weight: Param,
    bias: Param,
    norm: SpectralNorm,
}

/// A subnet of one coupling block. The input is `[x_a, class row, position code]`; its first layer is evaluated in three parts,
/// of which the class part and the position part are computed once per class and position (exact, by linearity).
///
/// A class may have a private part of all layers ([`PrivateConfig`]); the factor on the output and the convolution over the neighbours are
/// always the shared ones.
pub struct Subnet {
    input: usize,
    layers: Vec<Layer>,
    gain: Option<Param>,
    scope: String,
    streams: Streams,
    config: SubnetConfig,
    private: Vec<PrivatePart>,
    neighbours: Option<Neighbours>,
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
        if config.rank == 0 || config.rank > 64 {
            return Err(build.error("subnet.rank", "must be between 1 and 64"));
        }
        if !(0.0..=1e3).contains(&config.adapter_norm) {
            return Err(build.error("subnet.adapter_norm", "must be between 0 and 1000"));
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
        let (scope, streams, config) = (build.scope.clone(), build.streams, config.clone());
        let neighbours = match config.context {
            Context::None => None,
            Context::Depthwise => {
                // The fan-in of a channel is the window.
                let (name, bound) = (format!("{scope}.depthwise"), 1.0 / 3.0);
                let start = streams.uniform(&name, 9 * hidden, bound);
                let weight = Param::weight(&name, Owner::Shared, start, 9, hidden)?;
                Some(Neighbours { weight, grid: build.grid })
            }
        };
        Ok(Subnet { input, layers, gain, scope, streams, config, private: vec![], neighbours })
    }

    /// Whether the subnet sees the neighbours of a token.
    pub fn needs_maps(&self) -> bool {
        self.neighbours.is_some()
    }

    /// Whether classes can have a private part.
    pub fn has_private(&self) -> bool {
        self.config.private != PrivateConfig::None
    }

    /// Makes the private part of `class`; it computes what the shared layers compute.
    pub fn grow(&mut self, class: &str) -> Result<()> {
        if self.private.iter().any(|p| p.class() == class) {
            let message = format!("class `{class}` has its private part already");
            return Err(Error::new(ErrorKind::Contract, message));
        }
        let mut part = PrivatePart::new(class);
        for layer in &self.layers {
            match self.config.private {
                PrivateConfig::None => {
                    let message = format!("the subnet has no private part for class `{class}`");
                    return Err(Error::new(ErrorKind::Usage, message)
                        .help("set subnet.private to \"low-rank\" or \"copy\""));
                }
                PrivateConfig::LowRank => {
                    let SubnetConfig { rank, adapter_norm: cap, .. } = self.config;
                    let adapters = Adapters { rank, cap, streams: &self.streams };
                    part.push_adapter(&self.scope, layer.weight.shape(), &adapters)?;
                }
                PrivateConfig::Copy => {
                    let weight = layer.norm.effective(&layer.weight)?;
                    part.push_copy(&self.scope, &weight, &layer.bias.var())?;
                }
            }
        }
        self.private.push(part);
        Ok(())
    }

    /// The private part that a condition names.
    fn part(&self, condition: &BlockCondition) -> Result<Option<&PrivatePart>> {
        let Some(class) = condition.private.as_deref() else { return Ok(None) };
        match self.private.iter().find(|p| p.class() == class) {
            Some(part) => Ok(Some(part)),
            None => Err(Error::new(ErrorKind::Contract, format!("class `{class}` has no private part"))),
        }
    }

    /// Widths of the hidden layers.
    pub fn hidden(&self) -> Vec<usize> {
        self.layers[..self.layers.len() - 1].iter().map(|l| l.weight.shape().0).collect()
    }

    /// The layers under a condition, for the chain operations; without context they map the first columns of the tokens to `[N, output]`.
    pub fn layers(&self, condition: &BlockCondition) -> Result<Vec<OpLayer>> {
        let last = self.layers.len() - 1;
        let part = self.part(condition)?;
        self.layers
            .iter()
            .enumerate()
            .map(|(i, layer)| {
                let shared = || Ok((layer.norm.effective(&layer.weight)?, layer.bias.var()));
                let (mut weight, mut bias) = match part {
                    None => shared()?,
                    Some(part) => part.layer(i, shared)?,
                };
                if let (true, Some(gain)) = (i == last, &self.gain) {
                    weight = scaled(&weight, gain)?;
                    bias = scaled(&bias, gain)?;
                }
                let plain = match i {
                    0 => condition.input_layer(&weight, &bias, self.input)?,
                    _ => OpLayer::new(weight, bias),
                };
                let film = if i < last { condition.film.get(i).cloned() } else { None };
                let activation = if i < last { Activation::Relu } else { Activation::Identity };
                Ok(OpLayer { activation, film, ..plain })
            })
            .collect()
    }

    /// The output, `[N, output]`, for tokens `x` (`[N, >= input]`).
    pub fn forward(&self, x: &Var, condition: &BlockCondition) -> Result<Var> {
        let layers = self.layers(condition)?;
        let Some(Neighbours { weight, grid }) = &self.neighbours else {
            return Ok(ops::chain(x, &layers)?);
        };
        let (first, rest) = layers.split_at(1);
        let hidden = ops::depthwise(&ops::chain(x, first)?, &weight.var(), *grid)?;
        Ok(ops::chain(&hidden, rest)?)
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
        all.extend(self.private.iter().flat_map(|p| p.params()));
        all.extend(self.neighbours.as_ref().map(|n| &n.weight));
        all
    }
    fn params_mut(&mut self) -> Vec<&mut Param> {
        let mut all: Vec<&mut Param> = Vec::new();
        for l in &mut self.layers {
            all.extend([&mut l.weight, &mut l.bias]);
            all.extend(l.norm.params_mut());
        }
        all.extend(&mut self.gain);
        all.extend(self.private.iter_mut().flat_map(|p| p.params_mut()));
        all.extend(self.neighbours.as_mut().map(|n| &mut n.weight));
        all
    }
}
