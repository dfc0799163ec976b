//! The router `given`.

use ccnf::prelude::*;
use serde::{Deserialize, Serialize};

/// Config of [`GivenRouter`]: no keys.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GivenRouterConfig {}

/// Takes the class that the caller names; an error where none is named. Costs no likelihood of any other class.
#[derive(Debug, Clone, Copy)]
pub struct GivenRouter;

impl GivenRouter {
    /// The router.
    pub fn new(_: GivenRouterConfig, _: &Build<RouterSpec>) -> Result<Self> {
        Ok(GivenRouter)
    }
}

ccnf::stateless!(GivenRouter);

impl Router for GivenRouter {
    fn route(&self, input: &RouteInput<'_>) -> Result<usize> {
        input.given.ok_or_else(|| {
            Error::new(ErrorKind::Usage, "the router `given` needs the class of each image, and none was given").help(
                "name the class of the images, or let a router find it: [detector.router] kind = \"likelihood\"",
            )
        })
    }

    fn needs_likelihoods(&self) -> bool {
        false
    }
}

ccnf::register_component!(
    Router,
    "given",
    GivenRouterConfig,
    GivenRouter::new,
    "the class that is named with the image; fails without one"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_class_is_the_one_given_and_nothing_else_is_asked_for() {
        let features: Vec<Vec<f32>> = vec![];
        let classes = ["a".to_owned(), "b".to_owned()];
        let input = |given| RouteInput {
            classes: &classes,
            log_likelihood: &[None, None],
            given,
            features: &features,
        };
        assert!(!GivenRouter.needs_likelihoods());
        assert_eq!(GivenRouter.route(&input(Some(1))).unwrap(), 1);
        let e = GivenRouter.route(&input(None)).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Usage);
        assert!(e.advice().is_some_and(|h| h.contains("likelihood")));
    }
}
