//! The coupling `template-coupling`: one invertible block of a flow, here an affine one.

use ccnf::prelude::*;
use ccnf::serde::{Deserialize, Serialize};
use ccnf::tensor::ops::{Activation, Layer};

/// Its keys in a config: a public field, its documentation and its default each.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "ccnf::serde", deny_unknown_fields, default)]
#[schemars(crate = "ccnf::schemars")]
pub struct TemplateConfig {
    /// Width of the subnet's hidden layer, at least 1.
    pub hidden: usize,
}

impl Default for TemplateConfig {
    fn default() -> Self {
        TemplateConfig { hidden: 64 }
    }
}

/// `y = [x_a, x_b * exp(s) + t]` with `[r, t] = W1 relu(W0 [x_a, class row, position] + b0) + b1`, `s = CLAMP tanh(r)` (Dinh et al. 2017).
/// Tokens are rows: `x`, `y` are `[N, D]`, `x_a` the first `ceil(D/2)` dims. `log_det = ln |det dy/dx| = sum of s` per token, `[N]`.
pub struct TemplateCoupling {
    kept: usize,
    /// `W0`, `b0`, `W1`, `b1`.
    params: [Param; 4],
}
ccnf::stateful!(TemplateCoupling { params });
const CLAMP: f32 = 0.7;

impl TemplateCoupling {
    /// One block of a flow; it starts as the identity, since `W1` and `b1` are 0. `build` says how wide tokens and conditions are.
    pub fn new(config: TemplateConfig, build: &Build<'_, CouplingSpec>) -> Result<Self> {
        if !(1..=65536).contains(&config.hidden) {
            return Err(build.error("hidden", "must be between 1 and 65536"));
        }
        let (hidden, kept, changed) = (config.hidden, build.dim.div_ceil(2), build.dim / 2);
        let input = kept + build.class_width + build.position_width;
        let w0 = build.weight("w0", hidden, input, (input as f32).powf(-0.5))?;
        let b0 = build.weight("b0", 1, hidden, 0.0)?;
        let w1 = build.weight("w1", 2 * changed, hidden, 0.0)?;
        let b1 = build.weight("b1", 1, 2 * changed, 0.0)?;
        Ok(TemplateCoupling { kept, params: [w0, b0, w1, b1] })
    }

    /// The subnet. `var()` is tracked where a gradient is wanted; what is made from `value()` or `to_vec()` is never trained.
    fn layers(&self, condition: &BlockCondition) -> Result<[Layer; 2]> {
        let [w0, b0, w1, b1] = self.params.each_ref().map(Param::var);
        let (first, film) = (condition.input_layer(&w0, &b0, self.kept)?, condition.film.first().cloned());
        Ok([Layer { activation: Activation::Relu, film, ..first }, Layer::new(w1, b1)])
    }
}

impl Coupling for TemplateCoupling {
    fn hidden(&self) -> Vec<usize> {
        vec![self.params[1].len()]
    }
    fn forward(&self, x: &Var, condition: &BlockCondition) -> Result<CouplingOutput> {
        let out = ops::affine_coupling(x, &self.layers(condition)?, CLAMP)?;
        Ok(CouplingOutput { y: out.y, log_det: out.log_det, log_scale: Some(out.log_scale) })
    }
    fn inverse(&self, y: &Mat, condition: &BlockCondition) -> Result<Mat> {
        let ((n, d), changed) = (*y.shape(), self.params[3].len() / 2);
        let (mut x, subnet) = (y.as_vec(), ops::chain(&constant(y), &self.layers(condition)?)?.as_vec());
        for (x, out) in x.chunks_exact_mut(d).zip(subnet.chunks_exact(2 * changed)) {
            for (k, x_b) in x[self.kept..].iter_mut().enumerate() {
                *x_b = (*x_b - out[changed + k]) * (-CLAMP * out[k].tanh()).exp();
            }
        }
        Ok(mat(x, n, d)?)
    }
}

ccnf::register_component!(Coupling, "template-coupling", TemplateConfig, TemplateCoupling::new, "affine");
#[cfg(test)]
ccnf_testkit::conformance!(Coupling, "template-coupling", { "hidden": 5 });
