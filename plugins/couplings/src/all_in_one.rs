//! The all-in-one block of HGAD's flow: affine coupling, global affine, fixed rotation.

use crate::subnet::{LastLayer, SpectralConfig, Subnet, SubnetConfig};
use ccnf::dfdx::prelude::{Axes2, Axis, BroadcastTo, HasShape, Rank0, SumTo};
use ccnf::prelude::*;
use ccnf::tensor::ops::Layer;
use ccnf::tensor::softplus;
use serde::{Deserialize, Serialize};

/// The soft clamp of the log-scale; `a` is 0.1 times the subnet's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SoftClamp {
    /// `alpha * tanh(a)`: the revision of the flow library that HGAD pins.
    Pinned,
    /// `alpha * tanh(a / alpha)`: later revisions of that library.
    Current,
}

/// Config of the `all-in-one` coupling.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AllInOneConfig {
    /// Largest log-scale `alpha`.
    pub alpha: f32,
    /// The form of the soft clamp.
    pub clamp: SoftClamp,
    /// Width of the subnet's hidden layers; 0: twice the width of its input.
    pub hidden: usize,
    /// Number of the subnet's hidden layers, at least 1.
    pub layers: usize,
}

impl Default for AllInOneConfig {
    fn default() -> Self {
        AllInOneConfig { alpha: 1.9, clamp: SoftClamp::Pinned, hidden: 0, layers: 1 }
    }
}

/// Factor on the whole output of the subnet.
const DAMPING: f32 = 0.1;
/// Factor of the global scale, and the sharpness of its softplus.
const SCALE: f32 = 0.1;
const SHARPNESS: f32 = 0.5;

/// `[a, t] = 0.1 subnet(x_a, condition)`, `s = alpha tanh(a)` (or `alpha tanh(a / alpha)`), `u = [x_a, x_b exp(s) + t]`,
/// `y = R (g u + b)`; `ln|det| = sum of s + sum of ln g`. `x_a` are the first `ceil(D/2)` dims.
///
/// `g = 0.1 softplus(gamma)` with sharpness 0.5, so `g = 0.2 ln(1 + exp(gamma / 2))`; `gamma` starts at `2 ln(e^5 - 1)`, where `g = 1`.
/// `R` is a random rotation that is never trained. Since the block rotates, a flow needs no mixing between blocks.
///
/// Source: the block of HGAD (Yao et al., ECCV 2024) and of the flow library it uses.
pub struct AllInOne {
    kept: usize,
    alpha: f32,
    subnet: Subnet,
    /// Factor of every output of the subnet, `[2 D_b, hidden]` and `[1, 2 D_b]`, for its last weight and bias.
    damping: (Mat, Mat),
    /// `gamma`, `[1, D]`.
    gamma: Param,
    /// `b`, `[1, D]`.
    offset: Param,
    /// `R`, `[D, D]`.
    rotation: Param,
    baked: bool,
}

impl AllInOne {
    /// Builds one block.
    pub fn new(config: AllInOneConfig, build: &Build<'_, CouplingSpec>) -> Result<Self> {
        let d = build.dim;
        if d < 2 {
            return Err(build.error("kind", format!("a coupling needs at least 2 dims, not {d}")));
        }
        if !(config.alpha > 0.0 && config.alpha <= 10.0) {
            return Err(build.error("alpha", "must be in (0, 10]"));
        }
        if config.layers == 0 || config.layers > 8 {
            return Err(build.error("layers", "must be between 1 and 8"));
        }
        if config.hidden > 1 << 16 {
            return Err(build.error("hidden", "must be at most 65536"));
        }
        let kept = d.div_ceil(2);
        let changed = d - kept;
        let subnet = SubnetConfig {
            hidden: config.hidden,
            layers: config.layers,
            spectral_norm: SpectralConfig::Off,
            last_layer: LastLayer::Uniform,
            output_gain: 0.0,
            ..SubnetConfig::default()
        };
        let subnet = Subnet::new(&subnet, kept, 2 * changed, build)?;
        let inner = match config.clamp {
            SoftClamp::Pinned => DAMPING,
            SoftClamp::Current => DAMPING / config.alpha,
        };
        let factor = |row: usize| if row < changed { inner } else { DAMPING };
        let width = subnet.hidden().last().copied().unwrap_or(0);
        let of_weight = (0..2 * changed * width).map(|i| factor(i / width)).collect();
        let of_bias = (0..2 * changed).map(factor).collect();
        let start = (2.0 * (5f64.exp() - 1.0).ln()) as f32;
        let name = |what: &str| format!("{}.{what}", build.scope);
        let rotation = name("rotation");
        Ok(AllInOne {
            kept,
            alpha: config.alpha,
            damping: (mat(of_weight, 2 * changed, width)?, mat(of_bias, 1, 2 * changed)?),
            gamma: Param::weight(name("gamma"), Owner::Shared, vec![start; d], 1, d)?,
            offset: Param::weight(name("offset"), Owner::Shared, vec![0.0; d], 1, d)?,
            rotation: Param::buffer(&rotation, Owner::Shared, build.streams.rotation(&rotation, d), d, d)?,
            subnet,
            baked: false,
        })
    }

    /// The subnet's layers with the factors on its output in the last one.
    fn layers(&self, condition: &BlockCondition) -> Result<Vec<Layer>> {
        let mut layers = self.subnet.layers(condition)?;
        if let Some(last) = layers.last_mut() {
            last.weight = last.weight.clone() * constant(&self.damping.0);
            for t in &mut last.tables {
                t.table = t.table.clone() * constant(&self.damping.1);
            }
        }
        Ok(layers)
    }

    /// `g`, `[1, D]`.
    fn scale(&self) -> Var {
        softplus(self.gamma.var() * SHARPNESS) * (SCALE / SHARPNESS)
    }
}

impl Coupling for AllInOne {
    baked_is_a_mark!();

    fn hidden(&self) -> Vec<usize> {
        self.subnet.hidden()
    }

    fn mixes(&self) -> bool {
        true
    }

    fn forward(&self, x: &Var, condition: &BlockCondition) -> Result<CouplingOutput> {
        let tail = ops::affine_coupling(x, &self.layers(condition)?, self.alpha)?;
        // Global affine and rotation in one product: `y_row = u_row (R diag(g))^T + b R^T`.
        let (g, rotation) = (self.scale(), constant(self.rotation.value()));
        let rows = g.clone().sum::<(usize,), Axis<0>>().broadcast_like::<_, Axis<0>>(rotation.shape());
        let bias = ops::linear(&self.offset.var(), &rotation, None)?;
        let y = ops::linear(&tail.y, &(rotation * rows), Some(&bias))?;
        let log_scale =
            g.ln().sum::<Rank0, Axes2<0, 1>>().broadcast_like::<(usize,), Axis<0>>(&(x.shape().0,));
        Ok(CouplingOutput { y, log_det: tail.log_det + log_scale, log_scale: Some(tail.log_scale) })
    }

    fn inverse(&self, y: &Mat, condition: &BlockCondition) -> Result<Mat> {
        let (n, d) = *y.shape();
        let changed = d - self.kept;
        // `v_row = y_row R`, because R is orthogonal; `linear` multiplies by a transpose.
        let r = self.rotation.to_vec();
        let transposed = mat((0..d * d).map(|k| r[(k % d) * d + k / d]).collect(), d, d)?;
        let mut x = ops::linear(&constant(y), &constant(&transposed), None)?.as_vec();
        let (g, b) = (self.scale().as_vec(), self.offset.to_vec());
        for row in x.chunks_exact_mut(d) {
            row.iter_mut().zip(&g).zip(&b).for_each(|((v, g), b)| *v = (*v - b) / g);
        }
        let u = mat(x, n, d)?;
        let raw = ops::chain(&constant(&u), &self.layers(condition)?)?.as_vec();
        let mut x = u.as_vec();
        for (x, raw) in x.chunks_exact_mut(d).zip(raw.chunks_exact(2 * changed)) {
            let (a, t) = raw.split_at(changed);
            for ((x, a), t) in x[self.kept..].iter_mut().zip(a).zip(t) {
                *x = (*x - *t) * (-(self.alpha * a.tanh())).exp();
            }
        }
        Ok(mat(x, n, d)?)
    }
}

impl Stateful for AllInOne {
    fn params(&self) -> Vec<&Param> {
        let mut all = self.subnet.params();
        all.extend([&self.gamma, &self.offset, &self.rotation]);
        all
    }
    fn params_mut(&mut self) -> Vec<&mut Param> {
        let mut all = self.subnet.params_mut();
        all.extend([&mut self.gamma, &mut self.offset, &mut self.rotation]);
        all
    }
}

ccnf::register_component!(
    Coupling,
    "all-in-one",
    AllInOneConfig,
    AllInOne::new,
    "HGAD's block: affine coupling with soft clamp, global affine, fixed random rotation"
);
