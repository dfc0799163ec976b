//! The regulariser `template-regularizer`: a penalty that is added to the loss of every training step.

use ccnf::dfdx::prelude::*;
use ccnf::prelude::*;
use ccnf::serde::{Deserialize, Serialize};

/// Its keys in a config: a public field, its documentation and its default each.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "ccnf::serde", deny_unknown_fields, default)]
#[schemars(crate = "ccnf::schemars")]
pub struct TemplateConfig {
    /// Weight in the loss, not negative; the caller multiplies.
    pub weight: f32,
    /// From this mean on the penalty grows linearly, positive.
    pub delta: f32,
}

impl Default for TemplateConfig {
    fn default() -> Self {
        TemplateConfig { weight: 0.1, delta: 1.0 }
    }
}

/// `mean over dims of delta^2 (sqrt(1 + (m/delta)^2) - 1)` with `m` the mean latent of a step's tokens: the latents of a flow have mean 0
/// where it is right. Near 0 it is `m^2/2`, far away `delta |m|`, so that a few wild tokens do not rule the step; and it is smooth, unlike
/// Huber's two pieces (Charbonnier et al. 1997).
pub struct TemplateRegularizer {
    config: TemplateConfig,
}

impl TemplateRegularizer {
    /// The penalty; fails for keys out of range. `build.error` names the key and the file that set it.
    pub fn new(config: TemplateConfig, build: &Build<'_, RegularizerSpec>) -> Result<Self> {
        if !(config.weight >= 0.0 && config.weight.is_finite()) {
            return Err(build.error("weight", "must be finite and not negative"));
        }
        if !(config.delta > 0.0 && config.delta.is_finite()) {
            return Err(build.error("delta", "must be finite and positive"));
        }
        Ok(TemplateRegularizer { config })
    }
}

impl Regularizer for TemplateRegularizer {
    fn name(&self) -> &'static str {
        "template-regularizer"
    }

    fn weight(&self) -> f32 {
        self.config.weight
    }

    /// `output.z` is `[N, D]`. It is tracked: arithmetic on it is differentiated. What goes through `as_vec` is a number, and no gradient
    /// flows back from it. `None` would leave the penalty out of the step.
    fn penalty(&self, output: &FlowOutput) -> Result<Option<Scalar>> {
        let delta = self.config.delta;
        // Over the rows: one value per dim.
        let mean: VarVec = output.z.clone().mean::<(usize,), Axis<0>>();
        let root = ((mean / delta).square() + 1.0).sqrt();
        Ok(Some((root - 1.0).mean::<Rank0, _>() * (delta * delta)))
    }
}

ccnf::register_component!(
    Regularizer,
    "template-regularizer",
    TemplateConfig,
    TemplateRegularizer::new,
    "keeps the mean latent at zero, robustly"
);

#[cfg(test)]
ccnf_testkit::conformance!(Regularizer, "template-regularizer", { "delta": 0.2, "weight": 0.0 });

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_means_count_squared_and_large_ones_as_they_are() {
        let penalty = |z: Vec<f32>, delta: f32| {
            let none = || ccnf::tensor::constant_vec(vec![0.0; 2]).unwrap();
            let output = FlowOutput {
                dim: 2,
                z: constant(&mat(z, 2, 2).unwrap()),
                log_det: none(),
                log_prior: none(),
                log_prob: none(),
                log_prob_negative: None,
                log_scales: vec![],
                class: vec![0, 0].into(),
                classes: 1,
            };
            let config = TemplateConfig { delta, ..TemplateConfig::default() };
            TemplateRegularizer { config }.penalty(&output).unwrap().unwrap().as_vec()[0]
        };
        // The means of the two dims are 3 and 0.
        assert_eq!(penalty(vec![2.0, 1.0, 4.0, -1.0], 4.0), (16.0 * (1.25 - 1.0)) / 2.0);
        // (3 - delta) delta / 2, up to delta^2.
        assert!((penalty(vec![2.0, 1.0, 4.0, -1.0], 1e-2) - 0.5 * 2.99 * 1e-2).abs() < 1e-5);
        assert_eq!(penalty(vec![2.0, 1.0, -2.0, -1.0], 1.0), 0.0);
    }
}
