//! The detector `mahalanobis`.

use crate::config::MahalanobisConfig;
use crate::model::Model;
use ccnf::prelude::*;
use serde::{Deserialize, Serialize};

/// A Gaussian per class and level on standardised tokens, fitted in closed form at the end of a stage.
///
/// ```text
/// l(x | y) = -d^T S^-1 d / 2 - ln det S / 2 - D/2 ln 2 pi,   d = (x - m) / s - mean
/// ```
///
/// `m`, `s` standardise the channels with the first stage's tokens and then stay; `mean` and `S` belong to the class. The mode
/// says which tokens share them; in every mode but `pooled` the mean is per position and, with `smooth`, averaged with its
/// neighbours:
///
/// | mode | mean | covariance `S` |
/// |---|---|---|
/// | `pooled` | of all tokens | `S_p`: of all residuals |
/// | `position-mean` | per position | `S_p` |
/// | `region` | per position | per cell of a `region_grid` x `region_grid` partition, shrunk to `S_p` |
/// | `per-position` | per position | per position (over images), shrunk to `S_p` |
///
/// With `shrinkage = s`: `S_p <- (1-s) S_p + s tr(S_p)/D I`, and a cell with `n` tokens has `S <- (1-a) S + a S_p` with
/// `a = min(1, kD/(kD+n) + s)`, `k` the `prior`. Covariances are second moments of the residuals to the mean in use, divided by their number. One
/// that is still not positive definite gets the smallest diagonal jitter that makes it so, with a warning.
///
/// A class that is trained on again (scope [`TrainScope::All`]) is fitted anew on the images of that stage alone.
pub struct Mahalanobis {
    model: Model,
    scoring: LikelihoodScoring,
}

/// What [`Detector::meta`] says.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Meta {
    classes: Vec<String>,
    known_at: Vec<usize>,
    standardized: bool,
}

impl Mahalanobis {
    /// The detector; fails for keys out of range.
    pub fn new(config: MahalanobisConfig, build: &Build<DetectorSpec>) -> Result<Self> {
        config.whitening().check(build)?;
        let model = Model::new(config.whitening(), &build.levels)?;
        let scorer =
            build.part::<dyn Scorer>("scorer", &config.scorer, &ScorerSpec { levels: build.levels.len() })?;
        let router = build.part::<dyn Router>(
            "router",
            &config.router,
            &RouterSpec { levels: build.levels.clone() },
        )?;
        let scoring = LikelihoodScoring::new(scorer, router, build.fusion.levels, build.levels.clone());
        Ok(Mahalanobis { model, scoring })
    }
}

impl Detector for Mahalanobis {
    fn begin_stage(&mut self, view: &TrainView, scope: TrainScope) -> Result<()> {
        let view = &view.without_rehearsal();
        self.model.check(view)?;
        view.check_fresh(&self.model.classes, scope)?;
        self.model.standardize(view)?;
        view.classes().iter().try_for_each(|c| self.model.add(c.name()))
    }

    /// Rehearsed classes were fitted on all their images and stay as they are.
    fn end_stage(&mut self, view: &TrainView) -> Result<()> {
        let view = &view.without_rehearsal();
        self.model.check(view)?;
        self.model.fit(view)?;
        let model = &self.model;
        self.scoring.end_stage(view, &model.classes, &|l, candidates| model.log_likelihood(l, candidates))
    }

    /// Nothing to do: the shared standardisation is fixed after the first stage anyway.
    fn freeze_shared(&mut self) -> Result<()> {
        Ok(())
    }

    fn classes(&self) -> Vec<String> {
        self.model.classes.clone()
    }

    fn score(&self, images: &[&dyn ImageFeatures], request: ScoreRequest<'_>) -> Result<Vec<ImageScores>> {
        let model = &self.model;
        self.scoring
            .score(images, request, &model.classes, &|l, candidates| model.log_likelihood(l, candidates))
    }

    fn routes_without_shortlist(&self, images: &[&dyn ImageFeatures]) -> Result<Option<Vec<String>>> {
        let model = &self.model;
        self.scoring.routes_without_shortlist(images, &model.classes, &|l, c| model.log_likelihood(l, c))
    }

    fn keeps_old_scores(&self) -> bool {
        self.scoring.keeps_old_scores()
    }

    fn meta(&self) -> serde_json::Value {
        let meta = Meta {
            classes: self.model.classes.clone(),
            known_at: self.scoring.known_at().to_vec(),
            standardized: self.model.standardized,
        };
        serde_json::to_value(meta).unwrap_or_default()
    }

    fn prepare(&mut self, meta: &serde_json::Value) -> Result<()> {
        let wrong = |why: String| {
            Error::new(ErrorKind::Checkpoint, format!("the checkpoint is not one of `mahalanobis`: {why}"))
        };
        let meta = Meta::deserialize(meta).map_err(|e| wrong(e.to_string()))?;
        if meta.known_at.len() > meta.classes.len() {
            return Err(wrong("it knows more class counts than classes".into()));
        }
        self.model.clear();
        meta.classes.iter().try_for_each(|c| self.model.add(c))?;
        self.model.standardized = meta.standardized;
        self.scoring.prepare(&meta.classes, &meta.known_at)
    }
}

impl Stateful for Mahalanobis {
    fn params(&self) -> Vec<&Param> {
        self.model.params().chain(self.scoring.params()).collect()
    }
    fn params_mut(&mut self) -> Vec<&mut Param> {
        self.model.params_mut().chain(self.scoring.params_mut()).collect()
    }
}

ccnf::register_component!(
    Detector,
    "mahalanobis",
    MahalanobisConfig,
    Mahalanobis::new,
    "Gaussian per class in closed form: pooled, per region or per position"
);
