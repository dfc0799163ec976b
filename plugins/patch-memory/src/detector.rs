//! The detector `patch-memory`.

use crate::bank::Bank;
use crate::model::Model;
use ccnf::core::{Standardization, check_trainable};
use ccnf::prelude::*;
use ccnf::serde_json;
use serde::{Deserialize, Serialize};

/// How the kept patches are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Coreset {
    /// Greedy k-center: covers also rare patches.
    Greedy,
    /// At random.
    Random,
}

/// Config of [`PatchMemory`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PatchMemoryConfig {
    /// Patches kept per class and level, at most; at least 1.
    pub patches: usize,
    /// How they are chosen.
    pub coreset: Coreset,
    /// For `greedy`: from so many times `patches` tokens, drawn at random; 0: from all tokens.
    pub candidates: usize,
    /// Nearest patches whose squared distances are averaged, at least 1.
    pub neighbours: usize,
    /// From distances to scores.
    pub scorer: Component,
    /// Which class an image is scored under when none is given. A router that needs likelihoods compares the image with the patches of
    /// every class.
    pub router: Component,
}

impl Default for PatchMemoryConfig {
    fn default() -> Self {
        PatchMemoryConfig {
            patches: 4000,
            coreset: Coreset::Greedy,
            candidates: 8,
            neighbours: 1,
            scorer: Component::of("likelihood"),
            router: Component::of("prototype"),
        }
    }
}

/// Keeps patches of every class's normal images and compares new ones with the nearest: the other baseline that forgets nothing.
///
/// Per class and level a subset of the standardised training tokens is kept (PatchCore, Roth et al. 2022: greedy k-center). The score
/// of a token is `|x - m|^2 / 2 D` for the nearest kept `m`, or the mean over several: with `l = -|x - m|^2 / 2`, the unnormalised
/// log-density of the nearest of unit Gaussians on the patches, it is scored like every detector with likelihoods. PatchCore's
/// neighbourhood pooling is the encoder's (`pool`); its reweighting of the image score is left out.
///
/// For the statistics of maps and the threshold a training image is compared with the patches of the other images only.
///
/// Nothing is trained and nothing shared but the standardisation, which the first stage fixes. Rehearsed classes stay as they are.
pub struct PatchMemory {
    model: Model,
    scoring: LikelihoodScoring,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Meta {
    classes: Vec<String>,
    known_at: Vec<usize>,
    /// Per class and level.
    patches: Vec<Vec<usize>>,
    fitted: bool,
}

impl PatchMemory {
    /// The detector; fails for keys out of range.
    pub fn new(config: PatchMemoryConfig, build: &Build<DetectorSpec>) -> Result<Self> {
        for (key, value) in [("patches", config.patches), ("neighbours", config.neighbours)] {
            if value == 0 {
                return Err(build.error(key, "must be at least 1"));
            }
        }
        if config.patches > 1 << 20 {
            return Err(build.error("patches", "must be at most 1048576"));
        }
        let standards = build.levels.iter().enumerate();
        let standards = standards.map(|(l, s)| Standardization::new(&format!("level{l}"), s.channels));
        let standards = standards.collect::<Result<_>>()?;
        let scorer =
            build.part::<dyn Scorer>("scorer", &config.scorer, &ScorerSpec { levels: build.levels.len() })?;
        let router = RouterSpec { levels: build.levels.clone() };
        let router = build.part::<dyn Router>("router", &config.router, &router)?;
        let scoring = LikelihoodScoring::new(scorer, router, build.fusion.levels, build.levels.clone());
        let (levels, streams) = (build.levels.clone(), build.streams);
        let (fitted, classes, banks) = (false, vec![], vec![]);
        Ok(PatchMemory {
            model: Model { config, levels, standards, fitted, classes, banks, streams },
            scoring,
        })
    }
}

impl Detector for PatchMemory {
    fn begin_stage(&mut self, view: &TrainView, scope: TrainScope) -> Result<()> {
        let view = &view.without_rehearsal();
        view.classes().iter().try_for_each(|c| check_trainable(c, &self.model.levels))?;
        view.check_fresh(&self.model.classes, scope)?;
        if !self.model.fitted {
            for (level, standard) in self.model.standards.iter_mut().enumerate() {
                standard.fit(view, level)?;
            }
            self.model.fitted = true;
        }
        Ok(())
    }

    fn end_stage(&mut self, view: &TrainView) -> Result<()> {
        let view = &view.without_rehearsal();
        for class in view.classes() {
            let banks = self.model.fit(class)?;
            match self.model.classes.iter().position(|c| c == class.name()) {
                Some(c) => self.model.banks[c] = banks,
                None => {
                    self.model.classes.push(class.name().to_owned());
                    self.model.banks.push(banks);
                }
            }
        }
        let model = &self.model;
        self.scoring.end_stage(view, &model.classes, &|l, c| model.log_likelihood(l, c))
    }

    /// Nothing to do: the standardisation is fixed after the first stage anyway.
    fn freeze_shared(&mut self) -> Result<()> {
        Ok(())
    }

    fn classes(&self) -> Vec<String> {
        self.model.classes.clone()
    }

    fn score(&self, images: &[&dyn ImageFeatures], request: ScoreRequest<'_>) -> Result<Vec<ImageScores>> {
        self.scoring.score(images, request, &self.model.classes, &|l, c| self.model.log_likelihood(l, c))
    }

    fn score_training(
        &self,
        class: &str,
        images: &[(usize, &dyn ImageFeatures)],
    ) -> Result<Vec<ImageScores>> {
        let ll = |l: usize, c: &[Candidate<'_>]| self.model.log_likelihood(l, c);
        self.scoring.score_training(class, images, &self.model.classes, &ll)
    }

    fn routes_without_shortlist(&self, images: &[&dyn ImageFeatures]) -> Result<Option<Vec<String>>> {
        self.scoring
            .routes_without_shortlist(images, &self.model.classes, &|l, c| self.model.log_likelihood(l, c))
    }

    fn keeps_old_scores(&self) -> bool {
        self.scoring.keeps_old_scores()
    }

    fn meta(&self) -> serde_json::Value {
        let meta = Meta {
            classes: self.model.classes.clone(),
            known_at: self.scoring.known_at().to_vec(),
            patches: self.model.banks.iter().map(|b| b.iter().map(Bank::len).collect()).collect(),
            fitted: self.model.fitted,
        };
        serde_json::to_value(meta).unwrap_or_default()
    }

    fn prepare(&mut self, meta: &serde_json::Value) -> Result<()> {
        let wrong = |why: String| {
            Error::new(ErrorKind::Checkpoint, format!("the checkpoint is not one of `patch-memory`: {why}"))
        };
        let meta = Meta::deserialize(meta).map_err(|e| wrong(e.to_string()))?;
        let levels = self.model.levels.len();
        if meta.patches.len() != meta.classes.len() || meta.patches.iter().any(|p| p.len() != levels) {
            return Err(wrong("it lacks the number of patches of a class".into()));
        }
        let bank = |class: &String, (level, n): (usize, &usize)| {
            if *n > self.model.config.patches {
                return Err(wrong(format!(
                    "{n} patches of class `{class}`, {} are allowed",
                    self.model.config.patches
                )));
            }
            Bank::new(level, class, *n, self.model.levels[level].channels)
        };
        let of_class = |(class, sizes): (&String, &Vec<usize>)| {
            sizes.iter().enumerate().map(|s| bank(class, s)).collect()
        };
        self.model.banks = meta.classes.iter().zip(&meta.patches).map(of_class).collect::<Result<_>>()?;
        self.model.fitted = meta.fitted;
        self.scoring.prepare(&meta.classes, &meta.known_at)?;
        self.model.classes = meta.classes;
        Ok(())
    }

    fn loaded(&mut self) -> Result<()> {
        self.model.standards.iter_mut().for_each(Standardization::refresh);
        self.model.banks.iter_mut().flatten().for_each(Bank::refresh);
        Ok(())
    }
}

impl Stateful for PatchMemory {
    fn params(&self) -> Vec<&Param> {
        let standards = self.model.standards.iter().flat_map(Standardization::params);
        let banks = self.model.banks.iter().flatten().map(Bank::param);
        standards.chain(banks).chain(self.scoring.params()).collect()
    }
    fn params_mut(&mut self) -> Vec<&mut Param> {
        let standards = self.model.standards.iter_mut().flat_map(Standardization::params_mut);
        let banks = self.model.banks.iter_mut().flatten().map(Bank::param_mut);
        standards.chain(banks).chain(self.scoring.params_mut()).collect()
    }
}

ccnf::register_component!(
    Detector,
    "patch-memory",
    PatchMemoryConfig,
    PatchMemory::new,
    "distance to the nearest kept patches of a class (coreset nearest neighbours)"
);
