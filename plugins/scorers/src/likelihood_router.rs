//! The router `likelihood`.

use ccnf::prelude::*;
use serde::{Deserialize, Serialize};

/// Config of [`LikelihoodRouter`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LikelihoodRouterConfig {
    /// A router that ranks the classes without likelihoods, such as `{ kind = "prototype" }`: the likelihood is evaluated for its
    /// first `top` classes only. Left out: for all known classes.
    pub shortlist: Option<Component>,
    /// The length of the shortlist, at least 1; without one it has no effect.
    pub top: usize,
}

impl Default for LikelihoodRouterConfig {
    fn default() -> Self {
        LikelihoodRouterConfig { shortlist: None, top: 2 }
    }
}

/// `argmax_y` of the mean over levels of the mean over tokens of `l_y` (in nats, not per dimension); ties go to the class
/// learnt first.
///
/// Without a shortlist `y` runs over all known classes and the cost of an image grows with their number. With one `y` runs over
/// the `top` best classes of a cheaper router. The result differs where the most likely class is not among them; the engine
/// measures on what part of the test images that is (`routing.shortlist_changed`).
pub struct LikelihoodRouter {
    shortlist: Option<Box<dyn Router>>,
    top: usize,
}

impl LikelihoodRouter {
    /// The router; fails for a shortlist of a router that needs likelihoods itself.
    pub fn new(config: LikelihoodRouterConfig, build: &Build<RouterSpec>) -> Result<Self> {
        if config.top == 0 {
            return Err(build.error("top", "must be at least 1"));
        }
        let shortlist = config.shortlist.map(|c| build.part::<dyn Router>("shortlist", &c, build.spec));
        let shortlist = shortlist.transpose()?;
        if shortlist.as_ref().is_some_and(|s| s.ranking().is_none()) {
            return Err(build
                .error("shortlist.kind", "this router does not rank the classes without likelihoods")
                .help("use shortlist = { kind = \"prototype\" }, or leave the shortlist out"));
        }
        Ok(LikelihoodRouter { shortlist, top: config.top })
    }
}

impl Router for LikelihoodRouter {
    fn route(&self, input: &RouteInput<'_>) -> Result<usize> {
        let values: Vec<(usize, f32)> =
            input.log_likelihood.iter().enumerate().filter_map(|(c, l)| Some((c, (*l)?))).collect();
        let finite: Vec<f32> = values.iter().map(|v| v.1).collect();
        check_finite("the mean log-likelihood", || "the router `likelihood`".into(), &finite)?;
        let best = values.into_iter().reduce(|best, next| if next.1 > best.1 { next } else { best });
        best.map(|b| b.0).ok_or_else(|| {
            Error::new(ErrorKind::Contract, "the router `likelihood` was given no likelihoods")
        })
    }

    fn shortlist(&self) -> Option<Shortlist<'_>> {
        Some(Shortlist { ranking: self.shortlist.as_ref()?.ranking()?, top: self.top })
    }

    fn observe(&mut self, view: &TrainView) -> Result<()> {
        self.shortlist.as_mut().map_or(Ok(()), |s| s.observe(view))
    }

    fn prepare(&mut self, classes: &[String]) -> Result<()> {
        self.shortlist.as_mut().map_or(Ok(()), |s| s.prepare(classes))
    }
}

impl Stateful for LikelihoodRouter {
    fn params(&self) -> Vec<&Param> {
        self.shortlist.as_ref().map_or_else(Vec::new, |s| s.params())
    }
    fn params_mut(&mut self) -> Vec<&mut Param> {
        self.shortlist.as_mut().map_or_else(Vec::new, |s| s.params_mut())
    }
}

ccnf::register_component!(
    Router,
    "likelihood",
    LikelihoodRouterConfig,
    LikelihoodRouter::new,
    "the class with the highest mean log-likelihood, of all or of a shortlist"
);

#[cfg(test)]
mod tests {
    use super::*;
    use ccnf::core::{Config, build};
    use serde_json::json;

    fn route(log_likelihood: &[Option<f32>]) -> Result<usize> {
        let features: Vec<Vec<f32>> = vec![];
        let input = RouteInput { classes: &[], log_likelihood, given: Some(0), features: &features };
        LikelihoodRouter { shortlist: None, top: 1 }.route(&input)
    }

    #[test]
    fn the_highest_wins_and_ties_go_to_the_first() {
        assert_eq!(route(&[Some(-3.0), Some(-1.0), Some(-2.0)]).unwrap(), 1);
        assert_eq!(route(&[Some(-3.0), Some(-1.0), Some(-1.0)]).unwrap(), 1);
        assert_eq!(route(&[Some(f32::MIN)]).unwrap(), 0);
    }

    #[test]
    fn a_class_that_was_not_evaluated_never_wins() {
        assert_eq!(route(&[None, Some(-9.0), None, Some(-8.0)]).unwrap(), 3);
        assert_eq!(route(&[None, None]).unwrap_err().kind(), ErrorKind::Contract);
    }

    #[test]
    fn nothing_and_nan_are_errors() {
        assert_eq!(route(&[]).unwrap_err().kind(), ErrorKind::Contract);
        assert_eq!(route(&[Some(0.0), Some(f32::NAN)]).unwrap_err().kind(), ErrorKind::NonFinite);
    }

    fn built(keys: serde_json::Value) -> Result<Box<dyn Router>> {
        let root = Config::from_json("test", &json!({ "router": keys }))?.root()?;
        let level = LevelSpec { name: "l".into(), height: 1, width: 2, channels: 3 };
        build::<dyn Router>(&root.child("router"), &RouterSpec { levels: vec![level] })
    }

    #[test]
    fn only_a_router_that_ranks_without_likelihoods_makes_a_shortlist() {
        assert!(built(json!({ "kind": "likelihood" })).unwrap().shortlist().is_none());
        let keys = json!({ "kind": "likelihood", "top": 4, "shortlist": { "kind": "prototype" } });
        assert_eq!(built(keys).unwrap().shortlist().unwrap().top, 4);
        for (shortlist, top, key) in
            [("given", 2, "shortlist"), ("likelihood", 2, "shortlist"), ("prototype", 0, "top")]
        {
            let keys = json!({ "kind": "likelihood", "top": top, "shortlist": { "kind": shortlist } });
            let e = built(keys).err().unwrap();
            assert_eq!(e.kind(), ErrorKind::Config, "{e}");
            assert!(e.to_string().contains(&format!("router.{key}")), "{e}");
        }
    }
}
