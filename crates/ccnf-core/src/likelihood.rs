//! Scoring for detectors that give a log-likelihood per token and class: scorer, router and level standardisation in one place,
//! so that every such detector is scored alike.

use crate::detector::{ImageScores, LevelMap, ScoreRequest, unknown_class};
use crate::encoder::LevelSpec;
use crate::error::{Error, ErrorKind, Result};
use crate::scoring::{LevelNorm, Peers, RouteInput, Router, Scorer, TokenLikelihoods, checked_route};
use crate::state::Stateful;
use crate::view::{ImageFeatures, TrainView};
use ccnf_tensor::{Owner, Param};

/// `log p(x | class)` for all tokens of `images` at `level`, image after image, without the constant of the input
/// standardisation. Arguments: level, class (index of a known class), images.
pub type LogLikelihood<'a> = dyn Fn(usize, usize, &[&dyn ImageFeatures]) -> Result<Vec<f32>> + 'a;

/// Scorer, router and the training statistics of the level maps, stored with each class.
pub struct LikelihoodScoring {
    scorer: Box<dyn Scorer>,
    router: Box<dyn Router>,
    norm: LevelNorm,
    levels: Vec<LevelSpec>,
    /// Per class `[1, 2 * levels]`: mean and std of the class's training map at each level.
    statistics: Vec<Param>,
    /// Per class: how many classes were known when its stage ended.
    known_at: Vec<usize>,
}

/// Images evaluated at once; fixed, so that a token's likelihood never depends on how many images are scored.
const BATCH: usize = 4;

impl LikelihoodScoring {
    /// Scoring for a detector with these levels.
    pub fn new(
        scorer: Box<dyn Scorer>,
        router: Box<dyn Router>,
        norm: LevelNorm,
        levels: Vec<LevelSpec>,
    ) -> Self {
        LikelihoodScoring { scorer, router, norm, levels, statistics: vec![], known_at: vec![] }
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
        self.statistics.clear();
        for c in classes.iter().take(known_at.len()) {
            self.statistics.push(statistics_param(c, vec![0.0; 2 * self.levels.len()])?);
        }
        self.known_at = known_at.to_vec();
        Ok(())
    }

    /// Ends a stage: routers learn the classes, the scorer is calibrated after the first stage, and the mean and std of the training
    /// maps of every class of `view` are stored. A class that already has statistics gets new ones (fine-tuning).
    pub fn end_stage(&mut self, view: &TrainView, classes: &[String], ll: &LogLikelihood<'_>) -> Result<()> {
        self.router.observe(view)?;
        if self.known_at.is_empty() {
            self.calibrate(view, classes, ll)?;
        }
        // All classes of the stage first: the peers of each are the classes known at the end of the stage.
        while self.statistics.len() < classes.len() {
            let name = &classes[self.statistics.len()];
            self.statistics.push(statistics_param(name, vec![0.0; 2 * self.levels.len()])?);
            self.known_at.push(classes.len());
        }
        for class in view.classes() {
            let c = index_of(class.name(), classes)?;
            let images: Vec<&dyn ImageFeatures> = class.images().iter().map(|i| i.as_ref()).collect();
            let mut row = Vec::with_capacity(2 * self.levels.len());
            for level in 0..self.levels.len() {
                let (mut n, mut sum, mut squares) = (0usize, 0.0f64, 0.0f64);
                for batch in images.chunks(BATCH) {
                    for s in self.raw_scores(level, c, batch, ll)? {
                        n += 1;
                        sum += f64::from(s);
                        squares += f64::from(s) * f64::from(s);
                    }
                }
                let mean = sum / n.max(1) as f64;
                let std = (squares / n.max(1) as f64 - mean * mean).max(0.0).sqrt();
                row.push(mean as f32);
                row.push(std.max(1e-12) as f32);
            }
            self.statistics[c].set(row)?;
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
            let by_class = (0..classes.len()).map(|c| ll(level, c, &images)).collect::<Result<Vec<_>>>()?;
            levels.push((spec.channels, by_class));
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

    /// Scores before level standardisation, token after token.
    fn raw_scores(
        &self,
        level: usize,
        class: usize,
        images: &[&dyn ImageFeatures],
        ll: &LogLikelihood<'_>,
    ) -> Result<Vec<f32>> {
        let known = self.known_at.len().max(class + 1);
        let peers = self.peers_of(class, known);
        let mut by_class = vec![Vec::new(); known];
        by_class[class] = ll(level, class, images)?;
        for p in &peers {
            if by_class[*p].is_empty() {
                by_class[*p] = ll(level, *p, images)?;
            }
        }
        self.scorer.score(&TokenLikelihoods {
            level,
            by_class: &by_class,
            dim: self.levels[level].channels,
            class,
            peers: &peers,
        })
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

    fn score_batch(
        &self,
        images: &[&dyn ImageFeatures],
        given: Option<usize>,
        routed: bool,
        classes: &[String],
        ll: &LogLikelihood<'_>,
    ) -> Result<Vec<ImageScores>> {
        let all = (routed && self.router.needs_likelihoods()) || self.scorer.peers() != Peers::None;
        // [level][class]: likelihoods of the batch, empty where not needed.
        let mut table: Vec<Vec<Vec<f32>>> = vec![vec![Vec::new(); classes.len()]; self.levels.len()];
        for (level, row) in table.iter_mut().enumerate() {
            for (c, cell) in row.iter_mut().enumerate() {
                if all || given == Some(c) {
                    *cell = ll(level, c, images)?;
                    ccnf_tensor::check_finite(
                        "the log-likelihood",
                        || format!("level `{}` under class `{}`", self.levels[level].name, classes[c]),
                        &*cell,
                    )?;
                }
            }
        }
        let mut out = Vec::with_capacity(images.len());
        for (i, image) in images.iter().enumerate() {
            let mean = |c: usize| -> f32 {
                let per_level = table.iter().zip(&self.levels).map(|(row, level)| {
                    let t = level.tokens();
                    let own = row[c].get(i * t..(i + 1) * t).unwrap_or(&[]);
                    own.iter().map(|v| f64::from(*v)).sum::<f64>() / t as f64
                });
                (per_level.sum::<f64>() / self.levels.len() as f64) as f32
            };
            let log_likelihood: Vec<f32> = if all { (0..classes.len()).map(mean).collect() } else { vec![] };
            let given_maps = given.map(|g| self.maps(&table, i, g)).transpose()?.unwrap_or_default();
            if !routed {
                out.push(ImageScores { given: given_maps, ..ImageScores::default() });
                continue;
            }
            let input = RouteInput { classes, log_likelihood: &log_likelihood, given, features: *image };
            let routed = checked_route(self.router.route(&input)?, classes)?;
            let routed_maps = if Some(routed) == given {
                given_maps.clone()
            } else {
                if table[0][routed].is_empty() {
                    return Err(Error::new(
                        ErrorKind::Contract,
                        "a router chose a class without asking for likelihoods",
                    ));
                }
                self.maps(&table, i, routed)?
            };
            out.push(ImageScores {
                given: given_maps,
                routed: routed_maps,
                routed_class: classes[routed].clone(),
            });
        }
        Ok(out)
    }

    fn maps(&self, table: &[Vec<Vec<f32>>], image: usize, class: usize) -> Result<Vec<LevelMap>> {
        let peers = self.peers_of(class, table[0].len());
        let statistics = self.statistics[class].to_vec();
        table
            .iter()
            .zip(&self.levels)
            .enumerate()
            .map(|(level, (row, spec))| {
                let t = spec.tokens();
                let by_class: Vec<Vec<f32>> =
                    row.iter().map(|l| l.get(image * t..(image + 1) * t).unwrap_or(&[]).to_vec()).collect();
                let dim = spec.channels;
                let tokens = TokenLikelihoods { level, by_class: &by_class, dim, class, peers: &peers };
                let mut data = self.scorer.score(&tokens)?;
                if self.norm == LevelNorm::ZNorm {
                    let (mean, std) = (statistics[2 * level], statistics[2 * level + 1]);
                    data.iter_mut().for_each(|v| *v = (*v - mean) / std);
                }
                Ok(LevelMap { height: spec.height, width: spec.width, data })
            })
            .collect()
    }
}

fn statistics_param(class: &str, values: Vec<f32>) -> Result<Param> {
    let cols = values.len();
    Ok(Param::buffer(format!("scoring.{class}.statistics"), Owner::Class(class.to_owned()), values, 1, cols)?)
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
        all.extend(&self.statistics);
        all
    }
    fn params_mut(&mut self) -> Vec<&mut Param> {
        let mut all = self.scorer.params_mut();
        all.extend(self.router.params_mut());
        all.extend(&mut self.statistics);
        all
    }
}
