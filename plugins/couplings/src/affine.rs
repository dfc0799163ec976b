//! The affine coupling with soft clamp and additive-to-affine warm-up.

use crate::subnet::{Subnet, SubnetConfig};
use ccnf::prelude::*;
use serde::{Deserialize, Serialize};

/// Config of the `affine` coupling.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AffineConfig {
    /// Soft clamp `alpha`: the log-scale is `alpha * tanh(s_raw) * w`.
    pub clamp: f32,
    /// Optimiser steps over which `w` grows from 0 (additive) to 1 (affine). Left out: 2000, or a fifth of the first stage's steps
    /// when that has fewer than 10000. 0: no warm-up.
    pub warmup_steps: Option<u64>,
    /// The subnet.
    pub subnet: SubnetConfig,
}

impl Default for AffineConfig {
    fn default() -> Self {
        AffineConfig { clamp: 0.7, warmup_steps: None, subnet: SubnetConfig::default() }
    }
}

/// `y = [x_a, x_b * exp(s) + t]`, `[s_raw, t] = subnet(x_a, condition)`, `s = alpha * tanh(s_raw) * w`;
/// `ln|det| = sum of s`. `x_a` are the first `ceil(D/2)` dims.
///
/// Affine couplings: Dinh, Sohl-Dickstein & Bengio 2017 (Real NVP). Clamp, warm-up and conditioning: the project's CCNF notes,
/// sections 2.3-2.8.
pub struct Affine {
    kept: usize,
    clamp: f32,
    warmup_steps: u64,
    /// `w`, `[1, 1]`.
    warmup: Param,
    subnet: Subnet,
    baked: bool,
}

impl Affine {
    /// Builds one block.
    pub fn new(config: AffineConfig, build: &Build<'_, CouplingSpec>) -> Result<Self> {
        if build.dim < 2 {
            return Err(build.error("kind", format!("a coupling needs at least 2 dims, not {}", build.dim)));
        }
        if !(config.clamp > 0.0 && config.clamp <= 10.0) {
            return Err(build.error("clamp", "must be in (0, 10]"));
        }
        let kept = build.dim.div_ceil(2);
        let warmup_steps = config.warmup_steps.unwrap_or(build.warmup_steps);
        let start = if warmup_steps == 0 { 1.0 } else { 0.0 };
        Ok(Affine {
            kept,
            clamp: config.clamp,
            warmup_steps,
            warmup: Param::buffer(format!("{}.warmup", build.scope), Owner::Shared, vec![start], 1, 1)?,
            subnet: Subnet::new(&config.subnet, kept, 2 * (build.dim - kept), build)?,
            baked: false,
        })
    }

    fn scale(&self) -> f32 {
        self.clamp * self.warmup.to_vec().first().copied().unwrap_or(1.0)
    }
}

impl Coupling for Affine {
    through_subnet!();

    fn forward(&self, x: &Var, condition: &BlockCondition) -> Result<CouplingOutput> {
        let tail = match self.subnet.needs_maps() {
            true => ops::affine_tail(x, &self.subnet.forward(x, condition)?, self.scale())?,
            false => ops::affine_coupling(x, &self.subnet.layers(condition)?, self.scale())?,
        };
        Ok(CouplingOutput { y: tail.y, log_det: tail.log_det, log_scale: Some(tail.log_scale) })
    }

    fn inverse(&self, y: &Mat, condition: &BlockCondition) -> Result<Mat> {
        use ccnf::dfdx::prelude::HasShape;
        let (n, d) = *y.shape();
        let changed = d - self.kept;
        let raw = self.subnet.forward(&constant(y), condition)?.as_vec();
        let mut x = y.as_vec();
        for (x, raw) in x.chunks_exact_mut(d).zip(raw.chunks_exact((2 * changed).max(1))) {
            let (s, t) = raw.split_at(changed);
            for ((x, s), t) in x[self.kept..].iter_mut().zip(s).zip(t) {
                *x = (*x - *t) * (-(self.scale() * s.tanh())).exp();
            }
        }
        Ok(mat(x, n, d)?)
    }

    fn begin_step(&mut self, step: Option<u64>) -> Result<()> {
        if self.baked {
            return Ok(());
        }
        let w = match step {
            Some(k) if self.warmup_steps > 0 => (k as f64 / self.warmup_steps as f64).min(1.0) as f32,
            _ => 1.0,
        };
        self.warmup.set(vec![w])?;
        self.subnet.iterate()
    }
}

impl Stateful for Affine {
    fn params(&self) -> Vec<&Param> {
        let mut all = vec![&self.warmup];
        all.extend(self.subnet.params());
        all
    }
    fn params_mut(&mut self) -> Vec<&mut Param> {
        let mut all = vec![&mut self.warmup];
        all.extend(self.subnet.params_mut());
        all
    }
}

ccnf::register_component!(
    Coupling,
    "affine",
    AffineConfig,
    Affine::new,
    "affine coupling with soft clamp, additive-to-affine warm-up and spectral norm"
);
