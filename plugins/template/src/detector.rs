//! The detector `template-detector`: a whole anomaly model on the features of an encoder.

use ccnf::core::{Standardization, check_size, check_trainable};
use ccnf::prelude::*;
use ccnf::serde::{Deserialize, Serialize};
use ccnf::serde_json::{self, Value};

/// Its keys in a config: a public field, its documentation and its default each.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "ccnf::serde", deny_unknown_fields, default)]
#[schemars(crate = "ccnf::schemars")]
pub struct TemplateConfig {
    /// The part `s` of a class's variances that is replaced by 1, in [0, 1].
    pub shrinkage: f32,
    /// From log-likelihoods to token scores; left out: the negative log-likelihood per dimension.
    pub scorer: Option<Component>,
    /// Chooses the class of an image when none is given; left out: the most likely one.
    pub router: Option<Component>,
}

impl Default for TemplateConfig {
    fn default() -> Self {
        TemplateConfig { shrinkage: 0.1, scorer: None, router: None }
    }
}

/// A Gaussian with a diagonal covariance per class and level, fitted in closed form at the end of a stage:
///
/// ```text
/// log p(x | y) = -1/2 sum over channels of (x - m_y)^2 / v_y + ln v_y + ln 2 pi,   v_y = (1 - s) variance of y + s
/// ```
///
/// `x` is standardised with the tokens of the first stage, which have variance 1 then; that is shared and stays. `m_y` and `v_y` belong to
/// the class: learning another changes nothing, so nothing is forgotten.
pub struct TemplateDetector {
    model: Model,
    /// Makes scores, routes and comparable levels of log-likelihoods.
    scoring: LikelihoodScoring,
}
ccnf::stateful!(TemplateDetector { model, scoring });

/// The Gaussians, without scoring.
struct Model {
    shrinkage: f64,
    levels: Vec<LevelSpec>,
    standards: Vec<Standardization>,
    /// Whether the first stage has been.
    fitted: bool,
    classes: Vec<String>,
    /// Per class and level mean and variance, `[1, channels]`.
    gaussians: Vec<Vec<[Param; 2]>>,
}
ccnf::stateful!(Model { standards, gaussians });

/// What a checkpoint says beside the tensors.
#[derive(Serialize, Deserialize)]
#[serde(crate = "ccnf::serde", deny_unknown_fields)]
struct Meta {
    fitted: bool,
    classes: Vec<String>,
    known_at: Vec<usize>,
}

impl TemplateDetector {
    /// A detector without classes; fails for keys out of range.
    pub fn new(config: TemplateConfig, build: &Build<'_, DetectorSpec>) -> Result<Self> {
        if !(0.0..=1.0).contains(&config.shrinkage) {
            return Err(build.error("shrinkage", "must be in [0, 1]"));
        }
        let levels = build.levels.clone();
        let standards =
            levels.iter().enumerate().map(|(l, s)| Standardization::new(&format!("level{l}"), s.channels));
        let scorer = match &config.scorer {
            Some(c) => build.part::<dyn Scorer>("scorer", c, &ScorerSpec { levels: levels.len() })?,
            None => Box::new(Plain),
        };
        let router = match &config.router {
            Some(c) => build.part::<dyn Router>("router", c, &RouterSpec { levels: levels.clone() })?,
            None => Box::new(Plain),
        };
        let scoring = LikelihoodScoring::new(scorer, router, build.fusion.levels, levels.clone());
        let (shrinkage, standards) = (f64::from(config.shrinkage), standards.collect::<Result<_>>()?);
        let model = Model { shrinkage, levels, standards, fitted: false, classes: vec![], gaussians: vec![] };
        Ok(TemplateDetector { model, scoring })
    }
}

impl Model {
    /// Makes the tensors of a class, which belong to it.
    fn add(&mut self, class: &str) -> Result<()> {
        let buffer = |what: &str, level: usize, spec: &LevelSpec| {
            let (name, owner) = (format!("level{level}.{what}.{class}"), Owner::Class(class.to_owned()));
            Param::buffer(name, owner, vec![1.0; spec.channels], 1, spec.channels)
        };
        let both =
            |(l, spec): (usize, &LevelSpec)| Ok([buffer("mean", l, spec)?, buffer("variance", l, spec)?]);
        self.gaussians.push(self.levels.iter().enumerate().map(both).collect::<Result<_>>()?);
        self.classes.push(class.to_owned());
        Ok(())
    }

    /// The standardised tokens of an image, one after the other.
    fn tokens(&self, level: usize, values: &[f32]) -> Result<Vec<f32>> {
        check_size(values, &self.levels[level])?;
        let mut x = Vec::with_capacity(values.len());
        self.standards[level].push(values, &mut x);
        Ok(x)
    }

    /// Mean and variance of the tokens of a class.
    fn fit(&self, level: usize, class: &TrainClass) -> Result<[Vec<f32>; 2]> {
        let channels = self.levels[level].channels;
        let (mut n, mut sum, mut squares) = (0f64, vec![0f64; channels], vec![0f64; channels]);
        for image in class.images() {
            let x = self.tokens(level, &image.level(level)?)?;
            check_finite("a feature", || format!("a training image of class `{}`", class.name()), &x)?;
            for token in x.chunks_exact(channels) {
                n += 1.0;
                for ((s, q), x) in sum.iter_mut().zip(&mut squares).zip(token) {
                    *s += f64::from(*x);
                    *q += f64::from(*x).powi(2);
                }
            }
        }
        let mean = sum.iter().map(|s| (s / n) as f32).collect();
        let variance = |(s, q): (&f64, &f64)| (q / n - (s / n).powi(2)).max(1e-6);
        let shrunk = |v: f64| ((1.0 - self.shrinkage) * v + self.shrinkage) as f32;
        Ok([mean, sum.iter().zip(&squares).map(variance).map(shrunk).collect()])
    }

    /// Fits a class, which may be known: then it is fitted anew.
    fn learn(&mut self, class: &TrainClass) -> Result<()> {
        let fits = (0..self.levels.len()).map(|l| self.fit(l, class)).collect::<Result<Vec<_>>>()?;
        if !self.classes.iter().any(|c| c == class.name()) {
            self.add(class.name())?;
        }
        let place = self.classes.iter().position(|c| c == class.name()).unwrap_or_default();
        let own = self.gaussians[place].iter_mut().flatten();
        own.zip(fits.into_iter().flatten()).try_for_each(|(own, fit)| Ok(own.set(fit)?))
    }

    /// `log p(x | class)` of all tokens of each candidate, an image under a class.
    fn log_likelihood(&self, level: usize, candidates: &[Candidate<'_>]) -> Result<Vec<Vec<f32>>> {
        let one = |c: &Candidate<'_>| {
            let [mean, variance] = self.gaussians[c.class][level].each_ref().map(Param::to_vec);
            let constant: f64 = variance.iter().map(|v| (std::f64::consts::TAU * f64::from(*v)).ln()).sum();
            let x = self.tokens(level, &c.image.level(level)?)?;
            let of_token = |x: &[f32]| {
                let squares =
                    x.iter().zip(&mean).zip(&variance).map(|((x, m), v)| f64::from((x - m).powi(2) / v));
                (-0.5 * (squares.sum::<f64>() + constant)) as f32
            };
            Ok(x.chunks_exact(mean.len()).map(of_token).collect())
        };
        candidates.iter().map(one).collect()
    }
}

impl Detector for TemplateDetector {
    /// The view has normal images of the stage's classes and nothing else; a strategy may have added images of earlier ones (rehearsal).
    fn begin_stage(&mut self, view: &TrainView, scope: TrainScope) -> Result<()> {
        let view = &view.without_rehearsal();
        view.classes().iter().try_for_each(|c| check_trainable(c, &self.model.levels))?;
        view.check_fresh(&self.model.classes, scope)?;
        if !self.model.fitted {
            self.model.standards.iter_mut().enumerate().try_for_each(|(level, s)| s.fit(view, level))?;
            self.model.fitted = true;
        }
        Ok(())
    }

    /// The fit is in closed form. A model that is trained by gradients also has `steps` and `step`, in which it draws tokens, records a loss
    /// with `gradients` and changes parameters through `update`.
    fn end_stage(&mut self, view: &TrainView) -> Result<()> {
        let view = &view.without_rehearsal();
        view.classes().iter().try_for_each(|c| self.model.learn(c))?;
        let model = &self.model;
        self.scoring.end_stage(view, &model.classes, &|l, c| model.log_likelihood(l, c))
    }

    /// Nothing to do: what is shared stays as the first stage made it.
    fn freeze_shared(&mut self) -> Result<()> {
        Ok(())
    }

    fn classes(&self) -> Vec<String> {
        self.model.classes.clone()
    }

    fn score(&self, images: &[&dyn ImageFeatures], request: ScoreRequest<'_>) -> Result<Vec<ImageScores>> {
        self.scoring.score(images, request, &self.model.classes, &|l, c| self.model.log_likelihood(l, c))
    }

    fn routes_without_shortlist(&self, images: &[&dyn ImageFeatures]) -> Result<Option<Vec<String>>> {
        self.scoring
            .routes_without_shortlist(images, &self.model.classes, &|l, c| self.model.log_likelihood(l, c))
    }

    fn keeps_old_scores(&self) -> bool {
        self.scoring.keeps_old_scores()
    }

    fn meta(&self) -> Value {
        let (classes, known_at) = (self.model.classes.clone(), self.scoring.known_at().to_vec());
        serde_json::to_value(Meta { fitted: self.model.fitted, classes, known_at }).unwrap_or_default()
    }

    /// Makes the tensors that a checkpoint has; their values come next, then `loaded`.
    fn prepare(&mut self, meta: &Value) -> Result<()> {
        let meta = Meta::deserialize(meta).map_err(|e| {
            Error::new(
                ErrorKind::Checkpoint,
                format!("the checkpoint is not one of `template-detector`: {e}"),
            )
        })?;
        self.model.fitted = meta.fitted;
        (self.model.classes, self.model.gaussians) = (vec![], vec![]);
        meta.classes.iter().try_for_each(|c| self.model.add(c))?;
        self.scoring.prepare(&meta.classes, &meta.known_at)
    }

    fn loaded(&mut self) -> Result<()> {
        self.model.standards.iter_mut().for_each(Standardization::refresh);
        Ok(())
    }
}

/// The scorer and the router of a config without any.
struct Plain;
ccnf::stateless!(Plain);

impl Scorer for Plain {
    fn score(&self, tokens: &TokenLikelihoods<'_>) -> Result<Vec<f32>> {
        let own = tokens.by_class.get(tokens.class).map_or(&[][..], Vec::as_slice);
        Ok(own.iter().map(|l| -l / tokens.dim.max(1) as f32).collect())
    }
}

impl Router for Plain {
    fn route(&self, input: &RouteInput<'_>) -> Result<usize> {
        let known = input.log_likelihood.iter().enumerate().filter_map(|(c, l)| Some((c, (*l)?)));
        let best = known.reduce(|best, next| if next.1 > best.1 { next } else { best });
        best.map(|b| b.0).ok_or_else(|| Error::new(ErrorKind::Contract, "no class has a likelihood"))
    }
}

ccnf::register_component!(
    Detector,
    "template-detector",
    TemplateConfig,
    TemplateDetector::new,
    "Gaussian with a diagonal covariance per class, in closed form"
);

#[cfg(test)]
ccnf_testkit::conformance!(Detector, "template-detector", { "shrinkage": 1.0 }, { "shrinkage": 0.0 });
