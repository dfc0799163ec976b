//! From log-likelihoods to anomaly scores: scorers, routers, fusion of levels.

use crate::encoder::LevelSpec;
use crate::error::{Error, ErrorKind, Result};
use crate::state::Stateful;
use crate::view::{ImageFeatures, TrainView};
use ccnf_tensor::Shareable;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Log-likelihoods of the tokens of one image at one level under several classes.
#[derive(Debug, Clone)]
pub struct TokenLikelihoods<'a> {
    /// The level's number.
    pub level: usize,
    /// `log p(x | y)` per class and token, without the constant of the input standardisation.
    pub by_class: &'a [Vec<f32>],
    /// Feature dimension of the level.
    pub dim: usize,
    /// The class under which to score (index into `by_class`).
    pub class: usize,
    /// The classes that the entropy may look at: all known ones, or those known when `class` was learnt.
    pub peers: &'a [usize],
}

/// Per-class log-likelihoods -> anomaly score per token, registered as kind `scorer`.
///
/// Contract: higher = more anomalous; per dimension, so that levels of different width are comparable; finite for finite input.
pub trait Scorer: Stateful + Shareable {
    /// Scores all tokens.
    fn score(&self, tokens: &TokenLikelihoods<'_>) -> Result<Vec<f32>>;
    /// Which other classes the score looks at.
    fn peers(&self) -> Peers {
        Peers::None
    }
    /// Called at the end of the first stage with log-likelihoods of training tokens (`[class][token]`) of every level, for
    /// settings that are chosen once and then fixed.
    fn calibrate(&mut self, _levels: &[(usize, Vec<Vec<f32>>)]) -> Result<()> {
        Ok(())
    }
}

/// Which classes beside the one scored under a [`Scorer`] looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Peers {
    /// None.
    None,
    /// All classes known at the time of scoring: scores of old classes change when classes are added.
    Known,
    /// The classes known when the class was learnt: scores of old classes stay.
    FixedSet,
}

/// What a scorer's constructor gets.
#[derive(Debug, Clone, Default)]
pub struct ScorerSpec {
    /// Number of levels.
    pub levels: usize,
}

crate::component_kind!(Scorer, "scorer", ScorerSpec);

/// What a router may look at.
pub struct RouteInput<'a> {
    /// The known classes.
    pub classes: &'a [String],
    /// Per class the mean of `log p(x | y)` over the tokens of a level, then over levels. `None` for a class that is not on the
    /// router's shortlist, and for every class where the router needs no likelihoods.
    pub log_likelihood: &'a [Option<f32>],
    /// The true class, if it was given.
    pub given: Option<usize>,
    /// The features of the image.
    pub features: &'a dyn ImageFeatures,
}

/// Which known class is this test image, registered as kind `router`.
///
/// Contract: returns an index into `classes`, one with a likelihood where it needs likelihoods; ties go to the first. A tensor that
/// belongs to one class is owned by that class, and learning about further classes leaves all other tensors bit for bit.
pub trait Router: Stateful + Shareable {
    /// Chooses the class.
    fn route(&self, input: &RouteInput<'_>) -> Result<usize>;
    /// Whether [`RouteInput::log_likelihood`] is needed (it costs one evaluation per class of the shortlist, or per known class).
    fn needs_likelihoods(&self) -> bool {
        true
    }
    /// What makes it cheap: only these classes are evaluated. `None`: all known classes.
    fn shortlist(&self) -> Option<Shortlist<'_>> {
        None
    }
    /// Its order of the classes, if it has one without likelihoods: what makes a router fit for the shortlist of another one.
    fn ranking(&self) -> Option<&dyn Ranking> {
        None
    }
    /// Learns about the classes of a finished stage.
    fn observe(&mut self, _view: &TrainView) -> Result<()> {
        Ok(())
    }
    /// Makes the tensors for loading a checkpoint with these classes.
    fn prepare(&mut self, _classes: &[String]) -> Result<()> {
        Ok(())
    }
}

/// An order of the known classes for an image that needs no likelihoods.
pub trait Ranking {
    /// All indices of `classes`, the best first; ties go to the first.
    fn rank(&self, classes: &[String], features: &dyn ImageFeatures) -> Result<Vec<usize>>;
}

/// The first classes of a [`Ranking`].
#[derive(Clone, Copy)]
pub struct Shortlist<'a> {
    /// The order.
    pub ranking: &'a dyn Ranking,
    /// How many classes are evaluated.
    pub top: usize,
}

impl Shortlist<'_> {
    /// The classes to be evaluated for an image; where there are no more than `top` all of them, without ranking.
    pub fn classes(&self, classes: &[String], features: &dyn ImageFeatures) -> Result<Vec<usize>> {
        if classes.len() <= self.top {
            return Ok((0..classes.len()).collect());
        }
        let mut ranked = self.ranking.rank(classes, features)?;
        ranked.truncate(self.top);
        if ranked.is_empty() {
            return Err(Error::new(ErrorKind::Contract, "a shortlist has no class"));
        }
        ranked.iter().try_for_each(|c| checked_route(*c, classes).map(drop))?;
        Ok(ranked)
    }
}

/// What a router's constructor gets.
#[derive(Debug, Clone, Default)]
pub struct RouterSpec {
    /// The levels of the features.
    pub levels: Vec<LevelSpec>,
}

crate::component_kind!(Router, "router", RouterSpec);

/// For scorers and routers without tensors.
#[macro_export]
macro_rules! stateless {
    ($($t:ty),* $(,)?) => { $(
        impl $crate::Stateful for $t {
            fn params(&self) -> Vec<&$crate::ccnf_tensor::Param> { vec![] }
            fn params_mut(&mut self) -> Vec<&mut $crate::ccnf_tensor::Param> { vec![] }
        }
    )* };
}

/// How the maps of several levels are made comparable before they are averaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LevelNorm {
    /// Plain mean of the level maps.
    Mean,
    /// Each level's map is standardised with the mean and std of that class's training maps, stored with the class.
    ZNorm,
    /// Each position is first standardised by itself: `(s - m_p) / (sqrt(v_p) + 0.1 std)`, then the level's map as in `z-norm`. `m_p`
    /// and `v_p` are mean and variance over the class's `n` training maps, averaged over 3x3 positions and shrunk to those of the
    /// whole level's maps (whose root is `std`): `n/(n+30)` of the position's, the rest of the level's.
    Position,
}

/// The `[scoring]` section: what happens between level maps and image score.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FusionConfig {
    /// How levels are made comparable.
    pub levels: LevelNorm,
    /// Side of the fused map in pixels; masks are brought to this size by nearest neighbour.
    pub map_size: usize,
    /// Sigma of the Gaussian smoothing of the fused map, in pixels of the fused map.
    pub blur_sigma: f64,
    /// How the image score comes from the map: `{ rule = "max" }` or `{ rule = "top-mean", fraction = 0.01 }`.
    pub image: ImageScoreConfig,
    /// The decision threshold is this quantile of the image scores of normal training images.
    pub threshold_quantile: f64,
}

/// The `image` table of `[scoring]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ImageScoreConfig {
    /// `max` or `top-mean`.
    pub rule: ImageRule,
    /// For `top-mean`: the fraction of pixels, in (0, 1].
    pub fraction: f64,
}

/// The rule of [`ImageScoreConfig`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ImageRule {
    /// The maximum of the map.
    Max,
    /// The mean of the highest fraction of pixels.
    TopMean,
}

impl Default for ImageScoreConfig {
    fn default() -> Self {
        ImageScoreConfig { rule: ImageRule::Max, fraction: 0.01 }
    }
}

impl Default for FusionConfig {
    fn default() -> Self {
        FusionConfig {
            levels: LevelNorm::ZNorm,
            map_size: 224,
            blur_sigma: 4.0,
            image: ImageScoreConfig::default(),
            threshold_quantile: 0.99,
        }
    }
}

impl FusionConfig {
    /// Checks the ranges; `section` names the keys in errors.
    pub fn check(&self, section: &crate::config::Section) -> Result<()> {
        if self.map_size == 0 || self.map_size > 4096 {
            return Err(section.error("map_size", "must be between 1 and 4096"));
        }
        if !(0.0..=200.0).contains(&self.blur_sigma) {
            return Err(section.error("blur_sigma", "must be between 0 and 200"));
        }
        if !(self.image.fraction > 0.0 && self.image.fraction <= 1.0) {
            return Err(section.error("image.fraction", "must be in (0, 1]"));
        }
        if !(0.0..=1.0).contains(&self.threshold_quantile) {
            return Err(section.error("threshold_quantile", "must be between 0 and 1"));
        }
        Ok(())
    }
}

/// Checks that a router's answer is a class.
pub fn checked_route(route: usize, classes: &[String]) -> Result<usize> {
    if route < classes.len() {
        Ok(route)
    } else {
        Err(Error::new(ErrorKind::Contract, format!("a router chose class {route} of {}", classes.len())))
    }
}
