//! The router `template-router`: which class does an image belong to, when nobody says it.

use ccnf::prelude::*;
use ccnf::serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Its keys in a config: a public field, its documentation and its default each.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "ccnf::serde", deny_unknown_fields, default)]
#[schemars(crate = "ccnf::schemars")]
pub struct TemplateConfig {
    /// Per class what is added to its mean log-likelihood, in nats per token, such as the logarithm of how often it comes; others get 0.
    pub log_prior: BTreeMap<String, f32>,
}

/// The class `y` with the highest `mean over tokens of log p(x|y) + log_prior(y)`. Ties go to the class learnt first.
pub struct TemplateRouter {
    config: TemplateConfig,
}
// Nothing here is learnt; a router that learns of classes has `observe`, and tensors that belong to their class.
ccnf::stateless!(TemplateRouter);

impl TemplateRouter {
    /// The router; fails for a prior that is not finite.
    pub fn new(config: TemplateConfig, build: &Build<'_, RouterSpec>) -> Result<Self> {
        match config.log_prior.iter().find(|(_, p)| !p.is_finite()) {
            Some((class, _)) => Err(build.error(&format!("log_prior.{class}"), "must be finite")),
            None => Ok(TemplateRouter { config }),
        }
    }
}

impl Router for TemplateRouter {
    /// An index into `input.classes`. A class without a likelihood was not evaluated and cannot be chosen.
    fn route(&self, input: &RouteInput<'_>) -> Result<usize> {
        let mut best: Option<(usize, f32)> = None;
        for (number, class) in input.classes.iter().enumerate() {
            let Some(likelihood) = input.log_likelihood.get(number).copied().flatten() else { continue };
            check_finite("a mean log-likelihood", || format!("class `{class}`"), &[likelihood])?;
            let value = likelihood + self.config.log_prior.get(class).copied().unwrap_or(0.0);
            // Only what is higher replaces: the first of equals stays.
            if best.is_none_or(|(_, highest)| value > highest) {
                best = Some((number, value));
            }
        }
        best.map(|(number, _)| number)
            .ok_or_else(|| Error::new(ErrorKind::Contract, "a router was given no likelihoods"))
    }
}

ccnf::register_component!(
    Router,
    "template-router",
    TemplateConfig,
    TemplateRouter::new,
    "the class with the highest mean log-likelihood and prior"
);

#[cfg(test)]
ccnf_testkit::conformance!(Router, "template-router", { "log_prior": { "elsewhere": 2.5 } });

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prior_decides_between_classes_that_are_alike() {
        let route = |log_prior: &[(&str, f32)], log_likelihood: &[Option<f32>]| {
            let log_prior = log_prior.iter().map(|(c, p)| ((*c).to_owned(), *p)).collect();
            let classes = ["a", "b", "c"].map(String::from);
            let features: Vec<Vec<f32>> = vec![];
            let input = RouteInput { classes: &classes, log_likelihood, given: Some(0), features: &features };
            TemplateRouter { config: TemplateConfig { log_prior } }.route(&input)
        };
        let likelihoods = [Some(-2.0), Some(-1.0), Some(-1.5)];
        assert_eq!(route(&[], &likelihoods).unwrap(), 1);
        assert_eq!(route(&[("c", 0.75)], &likelihoods).unwrap(), 2);
        assert_eq!(route(&[("b", 9.0)], &[Some(-2.0), None, Some(-1.5)]).unwrap(), 2);
        assert_eq!(route(&[], &[None; 3]).unwrap_err().kind(), ErrorKind::Contract);
        assert_eq!(route(&[], &[Some(f32::NAN); 3]).unwrap_err().kind(), ErrorKind::NonFinite);
    }
}
