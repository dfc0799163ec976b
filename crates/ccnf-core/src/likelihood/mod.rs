//! Scoring for detectors that give a log-likelihood per token and class: scorer, router and level standardisation in one place,
//! so that every such detector is scored alike.

mod calibration;
mod evaluations;
#[cfg(test)]
mod tests;

pub use evaluations::{Candidate, LogLikelihood};

use crate::detector::{ImageScores, LevelMap, ScoreRequest, unknown_class};
use crate::encoder::LevelSpec;
use crate::error::{Error, ErrorKind, Result};
use crate::scoring::{LevelNorm, Peers, RouteInput, Router, Scorer, TokenLikelihoods, checked_route};
use crate::state::Stateful;
use crate::view::{ImageFeatures, TrainView};
use calibration::{Calibration, Moments};
use ccnf_tensor::Param;
use evaluations::Evaluations;

/// Scorer, router and the training statistics of the level maps, stored with each class.
pub struct LikelihoodScoring {
    scorer: Box<dyn Scorer>,
    router: Box<dyn Router>,
    norm: LevelNorm,
    levels: Vec<LevelSpec>,
    /// Per class what its training maps say.
    calibrations: Vec<Calibration>,
    /// Per class: how many classes were known when its stage ended.
    known_at: Vec<usize>,
}

/// Images evaluated at once: enough to share what does not depend on the image, few enough to bound the memory with many classes.
const BATCH: usize = 8;

impl LikelihoodScoring {
    /// Scoring for a detector with these levels.
    pub fn new(
        scorer: Box<dyn Scorer>,
        router: Box<dyn Router>,
        norm: LevelNorm,
        levels: Vec<LevelSpec>,
    ) -> Self {
        LikelihoodScoring { scorer, router, norm, levels, calibrations: vec![], known_at: vec![] }
    }

    /// What [`prepare`](Self::prepare) needs: per class the number of classes known when it was learnt.
    pub fn known_at(&self) -> &[usize] {
        &self.known_at
    }

    /// Whether scores of old classes stay as they are when classes are added, as far as scoring is concerned.
    pub fn keeps_old_scores(&self) -> bool {
        self.scorer.peers() != Peers::Known
    }

    /// Makes the tensors for loading a checkpoint with these classes.
    pub fn prepare(&mut self, classes: &[String], known_at: &[usize]) -> Result<()> {
        self.calibrations.clear();
        let learnt = &classes[..classes.len().min(known_at.len())];
        for c in learnt {
            self.calibrations.push(Calibration::new(c, self.norm, &self.levels)?);
        }
        self.known_at = known_at.to_vec();
        self.router.prepare(learnt)
    }

    /// Ends a stage: routers learn the classes, the scorer is calibrated after the first stage, and the mean and std of the training
    /// maps of every class of `view` are stored. A class that already has statistics gets new ones (fine-tuning). `ll` is told which
    /// candidates are training images under their own class ([`Candidate::training`]).
    pub fn end_stage(&mut self, view: &TrainView, classes: &[String], ll: &LogLikelihood<'_>) -> Result<()> {
        // A rehearsed class was observed with all its images.
        self.router.observe(&view.without_rehearsal())?;
        if self.known_at.is_empty() {
            self.calibrate(view, classes, ll)?;
        }
        // All classes of the stage first: the peers of each are the classes known at the end of the stage.
        while self.calibrations.len() < classes.len() {
            let name = &classes[self.calibrations.len()];
            self.calibrations.push(Calibration::new(name, self.norm, &self.levels)?);
            self.known_at.push(classes.len());
        }
        for class in view.classes() {
            let c = index_of(class.name(), classes)?;
            let images: Vec<&dyn ImageFeatures> = class.images().iter().map(|i| i.as_ref()).collect();
            let wanted = self.for_maps(c, classes.len());
            let mut moments: Vec<_> = self.levels.iter().map(|l| Moments::new(self.norm, l)).collect();
            for (b, batch) in images.chunks(BATCH).enumerate() {
                let mut found =
                    Evaluations::new(batch.len(), self.levels.len(), classes.len()).of_training(c, b * BATCH);
                found.add(batch, &vec![wanted.clone(); batch.len()], &self.levels, classes, ll)?;
                for i in 0..batch.len() {
                    for (level, moments) in moments.iter_mut().enumerate() {
                        moments.add(&self.raw_scores(level, c, found.of(i, level))?);
                    }
                }
            }
            self.calibrations[c].set(&moments, &self.levels)?;
        }
        Ok(())
    }

    fn calibrate(&mut self, view: &TrainView, classes: &[String], ll: &LogLikelihood<'_>) -> Result<()> {
        if self.scorer.peers() == Peers::None {
            return Ok(());
        }
        let images: Vec<&dyn ImageFeatures> = view
            .classes()
            .iter()
            .flat_map(|c| c.images().iter().step_by(c.len().div_ceil(16).max(1)).map(|i| i.as_ref()))
            .collect();
        let mut levels = Vec::new();
        for (level, spec) in self.levels.iter().enumerate() {
            let under = |class: usize| {
                let candidates: Vec<_> =
                    images.iter().map(|i| Candidate { class, image: *i, training: None }).collect();
                Ok(ll(level, &candidates)?.concat())
            };
            levels.push((spec.channels, (0..classes.len()).map(under).collect::<Result<Vec<_>>>()?));
        }
        self.scorer.calibrate(&levels)
    }

    fn peers_of(&self, class: usize, known: usize) -> Vec<usize> {
        match self.scorer.peers() {
            Peers::None => vec![],
            Peers::Known => (0..known).collect(),
            Peers::FixedSet => (0..self.known_at.get(class).copied().unwrap_or(known).min(known)).collect(),
        }
    }

    /// The classes whose likelihoods the maps under `class` need.
    fn for_maps(&self, class: usize, known: usize) -> Vec<usize> {
        let mut all = self.peers_of(class, known);
        all.push(class);
        all
    }

    /// Scores of an image before level standardisation, token after token.
    fn raw_scores(&self, level: usize, class: usize, by_class: &[Vec<f32>]) -> Result<Vec<f32>> {
        let peers = self.peers_of(class, by_class.len());
        let dim = self.levels[level].channels;
        self.scorer.score(&TokenLikelihoods { level, by_class, dim, class, peers: &peers })
    }

    /// Scores images under the class given and, where asked for, under the routed class.
    pub fn score(
        &self,
        images: &[&dyn ImageFeatures],
        request: ScoreRequest<'_>,
        classes: &[String],
        ll: &LogLikelihood<'_>,
    ) -> Result<Vec<ImageScores>> {
        let known = self.known_at.len();
        let given = match request.given {
            None => None,
            Some(g) => Some(
                classes.iter().take(known).position(|c| c == g).ok_or_else(|| unknown_class(g, classes))?,
            ),
        };
        if known == 0 {
            return Err(Error::new(ErrorKind::Usage, "the model has not learnt any class yet"));
        }
        let mut out = Vec::with_capacity(images.len());
        for batch in images.chunks(BATCH) {
            out.extend(self.score_batch(batch, given, request.routed, &classes[..known], ll)?);
        }
        Ok(out)
    }

    /// Scores training images of `class`, given by their numbers in the view of the stage that has just ended, under that class. `ll` is
    /// told that they are ([`Candidate::training`]).
    pub fn score_training(
        &self,
        class: &str,
        images: &[(usize, &dyn ImageFeatures)],
        classes: &[String],
        ll: &LogLikelihood<'_>,
    ) -> Result<Vec<ImageScores>> {
        let known = &classes[..self.known_at.len().min(classes.len())];
        let c = known.iter().position(|k| k == class).ok_or_else(|| unknown_class(class, classes))?;
        let wanted = [self.for_maps(c, known.len())];
        let score = |(number, image): &(usize, &dyn ImageFeatures)| {
            let mut found = Evaluations::new(1, self.levels.len(), known.len()).of_training(c, *number);
            found.add(&[*image], &wanted, &self.levels, known, ll)?;
            Ok(ImageScores { given: self.maps(&found, 0, c)?, ..ImageScores::default() })
        };
        images.iter().map(score).collect()
    }

    /// The mean of `-log p(x | class) / D` over the tokens of each image, for the first `levels` levels.
    pub fn negative_log_likelihood(
        &self,
        images: &[&dyn ImageFeatures],
        class: &str,
        classes: &[String],
        levels: usize,
        ll: &LogLikelihood<'_>,
    ) -> Result<Vec<Vec<f64>>> {
        let known = &classes[..self.known_at.len().min(classes.len())];
        let c = known.iter().position(|k| k == class).ok_or_else(|| unknown_class(class, classes))?;
        let levels = &self.levels[..levels.min(self.levels.len())];
        let mut out = Vec::with_capacity(images.len());
        for batch in images.chunks(BATCH) {
            let mut found = Evaluations::new(batch.len(), levels.len(), known.len());
            found.add(batch, &vec![vec![c]; batch.len()], levels, known, ll)?;
            out.extend((0..batch.len()).map(|i| {
                let of = |(l, spec): (usize, &LevelSpec)| {
                    let sum: f64 = found.of(i, l)[c].iter().map(|v| f64::from(*v)).sum();
                    -sum / (spec.tokens() * spec.channels).max(1) as f64
                };
                levels.iter().enumerate().map(of).collect()
            }));
        }
        Ok(out)
    }

    /// The class that the router would choose for each image if it had no shortlist; `None` where it has none.
    pub fn routes_without_shortlist(
        &self,
        images: &[&dyn ImageFeatures],
        classes: &[String],
        ll: &LogLikelihood<'_>,
    ) -> Result<Option<Vec<String>>> {
        if self.router.shortlist().is_none() {
            return Ok(None);
        }
        let classes = &classes[..self.known_at.len().min(classes.len())];
        let all: Vec<usize> = (0..classes.len()).collect();
        let mut out = Vec::with_capacity(images.len());
        for batch in images.chunks(BATCH) {
            let mut found = Evaluations::new(batch.len(), self.levels.len(), classes.len());
            found.add(batch, &vec![all.clone(); batch.len()], &self.levels, classes, ll)?;
            for (i, image) in batch.iter().enumerate() {
                out.push(classes[self.route(&found, i, *image, &all, None, classes)?].clone());
            }
        }
        Ok(Some(out))
    }

    /// The classes whose likelihoods the router sees for an image.
    fn candidates(&self, image: &dyn ImageFeatures, classes: &[String]) -> Result<Vec<usize>> {
        match self.router.shortlist() {
            _ if !self.router.needs_likelihoods() => Ok(vec![]),
            Some(shortlist) => shortlist.classes(classes, image),
            None => Ok((0..classes.len()).collect()),
        }
    }

    /// Asks the router. It sees the likelihoods of the candidates only: those that were evaluated for another reason (the class
    /// given, the peers of a scorer) would let the route depend on what else is asked for.
    fn route(
        &self,
        found: &Evaluations,
        i: usize,
        image: &dyn ImageFeatures,
        candidates: &[usize],
        given: Option<usize>,
        classes: &[String],
    ) -> Result<usize> {
        let mut log_likelihood = vec![None; classes.len()];
        candidates.iter().for_each(|c| log_likelihood[*c] = Some(found.mean(i, *c)));
        let input = RouteInput { classes, log_likelihood: &log_likelihood, given, features: image };
        checked_route(self.router.route(&input)?, classes)
    }

    fn score_batch(
        &self,
        images: &[&dyn ImageFeatures],
        given: Option<usize>,
        routed: bool,
        classes: &[String],
        ll: &LogLikelihood<'_>,
    ) -> Result<Vec<ImageScores>> {
        let known = classes.len();
        let mut found = Evaluations::new(images.len(), self.levels.len(), known);
        let candidates = images
            .iter()
            .map(|i| if routed { self.candidates(*i, classes) } else { Ok(vec![]) })
            .collect::<Result<Vec<_>>>()?;
        let for_given = given.map_or_else(Vec::new, |g| self.for_maps(g, known));
        let wanted: Vec<_> = candidates.iter().map(|c| [c.as_slice(), &for_given].concat()).collect();
        found.add(images, &wanted, &self.levels, classes, ll)?;
        let mut routes = Vec::new();
        if routed {
            for (i, image) in images.iter().enumerate() {
                routes.push(self.route(&found, i, *image, &candidates[i], given, classes)?);
            }
            let wanted: Vec<_> = routes.iter().map(|r| self.for_maps(*r, known)).collect();
            found.add(images, &wanted, &self.levels, classes, ll)?;
        }
        (0..images.len())
            .map(|i| {
                let given_maps = given.map(|g| self.maps(&found, i, g)).transpose()?.unwrap_or_default();
                let Some(route) = routes.get(i).copied() else {
                    return Ok(ImageScores { given: given_maps, ..ImageScores::default() });
                };
                let routed =
                    if Some(route) == given { given_maps.clone() } else { self.maps(&found, i, route)? };
                let routed_class = classes[route].clone();
                Ok(ImageScores { given: given_maps, routed, routed_class, ..ImageScores::default() })
            })
            .collect()
    }

    fn maps(&self, found: &Evaluations, image: usize, class: usize) -> Result<Vec<LevelMap>> {
        self.levels
            .iter()
            .enumerate()
            .map(|(level, spec)| {
                let mut data = self.raw_scores(level, class, found.of(image, level))?;
                self.calibrations[class].apply(self.norm, level, &mut data);
                Ok(LevelMap { height: spec.height, width: spec.width, data })
            })
            .collect()
    }
}

fn index_of(class: &str, classes: &[String]) -> Result<usize> {
    classes.iter().position(|c| c == class).ok_or_else(|| {
        Error::new(ErrorKind::Contract, format!("class `{class}` was trained on but never added"))
    })
}

impl Stateful for LikelihoodScoring {
    fn params(&self) -> Vec<&Param> {
        let mut all = self.scorer.params();
        all.extend(self.router.params());
        all.extend(self.calibrations.iter().flat_map(|c| c.params()));
        all
    }
    fn params_mut(&mut self) -> Vec<&mut Param> {
        let mut all = self.scorer.params_mut();
        all.extend(self.router.params_mut());
        all.extend(self.calibrations.iter_mut().flat_map(|c| c.params_mut()));
        all
    }
}
