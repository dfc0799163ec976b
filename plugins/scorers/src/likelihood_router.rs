//! The router `likelihood`.

use ccnf::prelude::*;
use serde::{Deserialize, Serialize};

/// Config of [`LikelihoodRouter`]: no keys.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LikelihoodRouterConfig {}

/// `argmax_y` of the mean over levels of the mean over tokens of `l_y` (in nats, not per dimension); ties go to the class
/// learnt first.
#[derive(Debug, Clone, Copy)]
pub struct LikelihoodRouter;

impl LikelihoodRouter {
    /// The router.
    pub fn new(_: LikelihoodRouterConfig, _: &Build<RouterSpec>) -> Result<Self> {
        Ok(LikelihoodRouter)
    }
}

ccnf::stateless!(LikelihoodRouter);

impl Router for LikelihoodRouter {
    fn route(&self, input: &RouteInput<'_>) -> Result<usize> {
        check_finite("the mean log-likelihood", || "the router `likelihood`".into(), input.log_likelihood)?;
        let best = input
            .log_likelihood
            .iter()
            .enumerate()
            .reduce(|best, next| if next.1 > best.1 { next } else { best });
        best.map(|b| b.0).ok_or_else(|| {
            Error::new(ErrorKind::Contract, "the router `likelihood` was given no likelihoods")
        })
    }
}

ccnf::register_component!(
    Router,
    "likelihood",
    LikelihoodRouterConfig,
    LikelihoodRouter::new,
    "the class with the highest mean log-likelihood"
);

#[cfg(test)]
mod tests {
    use super::*;

    fn route(log_likelihood: &[f32]) -> Result<usize> {
        let features: Vec<Vec<f32>> = vec![];
        LikelihoodRouter.route(&RouteInput {
            classes: &[],
            log_likelihood,
            given: Some(0),
            features: &features,
        })
    }

    #[test]
    fn the_highest_wins_and_ties_go_to_the_first() {
        assert_eq!(route(&[-3.0, -1.0, -2.0]).unwrap(), 1);
        assert_eq!(route(&[-3.0, -1.0, -1.0]).unwrap(), 1);
        assert_eq!(route(&[f32::MIN]).unwrap(), 0);
    }

    #[test]
    fn nothing_and_nan_are_errors() {
        assert_eq!(route(&[]).unwrap_err().kind(), ErrorKind::Contract);
        assert_eq!(route(&[0.0, f32::NAN]).unwrap_err().kind(), ErrorKind::NonFinite);
    }
}
