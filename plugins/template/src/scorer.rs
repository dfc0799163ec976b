//! The scorer `template-scorer`: from log-likelihoods of tokens to anomaly scores.

use ccnf::prelude::*;
use ccnf::serde::{Deserialize, Serialize};

/// Its keys in a config: a public field, its documentation and its default each.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "ccnf::serde", deny_unknown_fields, default)]
#[schemars(crate = "ccnf::schemars")]
pub struct TemplateConfig {
    /// The temperature `T`, in nats per dimension, positive: from here on scores grow with the logarithm of the energy.
    pub temperature: f64,
}

impl Default for TemplateConfig {
    fn default() -> Self {
        TemplateConfig { temperature: 5.0 }
    }
}

/// `S = T asinh(e/T)` with the energy `e = -log p(x|y) / D` of a token under the class `y`, in nats per dimension: `e` itself where it is
/// small, `T ln(2 e/T)` where it is large, so that a single wild token does not outshine a defect. It keeps the order of the tokens.
///
/// Higher means more anomalous, always. Divided by `D`, levels of different width can be compared.
pub struct TemplateScorer {
    temperature: f64,
}
// Nothing here is learnt; a scorer with tensors says `ccnf::stateful!(TemplateScorer { … })`.
ccnf::stateless!(TemplateScorer);

impl TemplateScorer {
    /// The scorer; fails for a temperature out of range.
    pub fn new(config: TemplateConfig, build: &Build<'_, ScorerSpec>) -> Result<Self> {
        if !(config.temperature > 0.0 && config.temperature.is_finite()) {
            return Err(build.error("temperature", "must be finite and positive"));
        }
        Ok(TemplateScorer { temperature: config.temperature })
    }
}

impl Scorer for TemplateScorer {
    /// One score per token. `by_class[c]` has the log-likelihoods under class `c`; a scorer that compares with other classes asks for them
    /// by [`peers`](Scorer::peers).
    fn score(&self, tokens: &TokenLikelihoods<'_>) -> Result<Vec<f32>> {
        let Some(own) = tokens.by_class.get(tokens.class) else {
            let (class, known) = (tokens.class, tokens.by_class.len());
            return Err(Error::new(
                ErrorKind::Contract,
                format!("no likelihoods of class {class} of {known}"),
            ));
        };
        let scale = -1.0 / (tokens.dim.max(1) as f64 * self.temperature);
        Ok(own.iter().map(|l| (self.temperature * (f64::from(*l) * scale).asinh()) as f32).collect())
    }
}

ccnf::register_component!(
    Scorer,
    "template-scorer",
    TemplateConfig,
    TemplateScorer::new,
    "negative log-likelihood per dimension, logarithmic above a temperature"
);

#[cfg(test)]
ccnf_testkit::conformance!(Scorer, "template-scorer", { "temperature": 0.5 });

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_energies_stay_and_large_ones_are_logarithmic() {
        let by_class = [vec![-0.02, 0.02, -4e4], vec![0.0; 3]];
        let tokens = TokenLikelihoods { level: 0, by_class: &by_class, dim: 4, class: 0, peers: &[] };
        let scores = TemplateScorer { temperature: 2.0 }.score(&tokens).unwrap();
        let expected = [0.005, -0.005, 2.0 * 1e4f32.ln()];
        assert!(scores.iter().zip(expected).all(|(s, e)| (s - e).abs() < 1e-4 * e.abs()), "{scores:?}");
    }
}
