//! The additive (volume-preserving) coupling.

use crate::subnet::{Subnet, SubnetConfig};
use ccnf::prelude::*;
use serde::{Deserialize, Serialize};

/// Config of the `additive` coupling.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdditiveConfig {
    /// The subnet.
    pub subnet: SubnetConfig,
}

/// `y = [x_a, x_b + t(x_a, condition)]`, `ln|det| = 0`. `x_a` are the first `ceil(D/2)` dims.
/// Source: Dinh, Krueger & Bengio 2015 (NICE).
pub struct Additive {
    kept: usize,
    /// `[D, D_b]`: places `t` into the last `D_b` of `D` columns.
    place: Mat,
    subnet: Subnet,
    baked: bool,
}

impl Additive {
    /// Builds one block.
    pub fn new(config: AdditiveConfig, build: &Build<'_, CouplingSpec>) -> Result<Self> {
        let d = build.dim;
        if d < 2 {
            return Err(build.error("kind", format!("a coupling needs at least 2 dims, not {d}")));
        }
        let kept = d.div_ceil(2);
        let changed = d - kept;
        let mut place = vec![0.0; d * changed];
        (0..changed).for_each(|j| place[(kept + j) * changed + j] = 1.0);
        Ok(Additive {
            kept,
            place: mat(place, d, changed)?,
            subnet: Subnet::new(&config.subnet, kept, changed, build)?,
            baked: false,
        })
    }
}

impl Coupling for Additive {
    through_subnet!();

    fn forward(&self, x: &Var, condition: &BlockCondition) -> Result<CouplingOutput> {
        use ccnf::dfdx::prelude::HasShape;
        let t = self.subnet.forward(x, condition)?;
        let y = x.clone() + ops::linear(&t, &constant(&self.place), None)?;
        let log_det = ccnf::tensor::constant_vec(vec![0.0; x.shape().0])?;
        Ok(CouplingOutput { y, log_det, log_scale: None })
    }

    fn inverse(&self, y: &Mat, condition: &BlockCondition) -> Result<Mat> {
        use ccnf::dfdx::prelude::HasShape;
        let (n, d) = *y.shape();
        let t = self.subnet.forward(&constant(y), condition)?.as_vec();
        let mut x = y.as_vec();
        for (x, t) in x.chunks_exact_mut(d).zip(t.chunks_exact((d - self.kept).max(1))) {
            x[self.kept..].iter_mut().zip(t).for_each(|(x, t)| *x -= *t);
        }
        Ok(mat(x, n, d)?)
    }

    fn begin_step(&mut self, _step: Option<u64>) -> Result<()> {
        if self.baked { Ok(()) } else { self.subnet.iterate() }
    }
}

impl Stateful for Additive {
    fn params(&self) -> Vec<&Param> {
        self.subnet.params()
    }
    fn params_mut(&mut self) -> Vec<&mut Param> {
        self.subnet.params_mut()
    }
}

ccnf::register_component!(
    Coupling,
    "additive",
    AdditiveConfig,
    Additive::new,
    "additive coupling: shifts only, volume-preserving (log-det 0)"
);
