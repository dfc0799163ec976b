//! The rational-quadratic spline coupling.

use crate::subnet::{Subnet, SubnetConfig};
use ccnf::dfdx::prelude::HasShape;
use ccnf::prelude::*;
use ccnf::tensor::ops::Spline as Splines;
use serde::{Deserialize, Serialize};

/// Config of the `spline` coupling.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SplineConfig {
    /// Bins `K` of a dim, 2 to 64. The subnet has `3 K - 1` outputs per changed dim, which is most of the cost.
    pub bins: usize,
    /// Half of the interval that the bins cover; beyond it a dim stays as it is.
    pub bound: f32,
    /// The subnet.
    pub subnet: SubnetConfig,
}

impl Default for SplineConfig {
    fn default() -> Self {
        SplineConfig { bins: 4, bound: 4.0, subnet: SubnetConfig::default() }
    }
}

/// `y = [x_a, rqs(x_b; subnet(x_a, condition))]`: every dim of `x_b` goes through a monotonic rational-quadratic spline of its own,
/// [`Spline`](ccnf::tensor::ops::Spline), whose knots and slopes come from the subnet; `ln|det| = sum of ln dy/dx`. `x_a` are the first
/// `ceil(D/2)` dims. With a last layer that starts at zero the coupling starts as the identity, to the last bit.
///
/// The log-scales that a `scale` penalty sees are `ln dy/dx`. There is no warm-up.
///
/// Source: Durkan, Bekasov, Murray & Papamakarios 2019 (Neural Spline Flows), with linear tails.
pub struct Spline {
    splines: Splines,
    subnet: Subnet,
    baked: bool,
}

impl Spline {
    /// Builds one block.
    pub fn new(config: SplineConfig, build: &Build<'_, CouplingSpec>) -> Result<Self> {
        let d = build.dim;
        if d < 2 {
            return Err(build.error("kind", format!("a coupling needs at least 2 dims, not {d}")));
        }
        if !(2..=64).contains(&config.bins) {
            return Err(build.error("bins", format!("must be between 2 and 64, not {}", config.bins)));
        }
        if !(config.bound > 0.0 && config.bound <= 1e3) {
            return Err(build.error("bound", "must be in (0, 1000]"));
        }
        let splines = Splines { bins: config.bins, bound: config.bound };
        let kept = d.div_ceil(2);
        let subnet = Subnet::new(&config.subnet, kept, splines.parameters() * (d - kept), build)?;
        Ok(Spline { splines, subnet, baked: false })
    }
}

impl Coupling for Spline {
    through_subnet!();

    fn forward(&self, x: &Var, condition: &BlockCondition) -> Result<CouplingOutput> {
        let raw = self.subnet.forward(x, condition)?;
        let tail = ops::spline_coupling(x, &raw, &self.splines)?;
        Ok(CouplingOutput { y: tail.y, log_det: tail.log_det, log_scale: Some(tail.log_slope) })
    }

    fn inverse(&self, y: &Mat, condition: &BlockCondition) -> Result<Mat> {
        let raw = self.subnet.forward(&constant(y), condition)?;
        let raw = mat(raw.as_vec(), y.shape().0, raw.shape().1)?;
        Ok(ops::spline_inverse(y, &raw, &self.splines)?)
    }

    fn begin_step(&mut self, _step: Option<u64>) -> Result<()> {
        if self.baked { Ok(()) } else { self.subnet.iterate() }
    }
}

impl Stateful for Spline {
    fn params(&self) -> Vec<&Param> {
        self.subnet.params()
    }
    fn params_mut(&mut self) -> Vec<&mut Param> {
        self.subnet.params_mut()
    }
}

ccnf::register_component!(
    Coupling,
    "spline",
    SplineConfig,
    Spline::new,
    "monotonic rational-quadratic spline per dim, with linear tails"
);
