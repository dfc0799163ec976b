//! The detector: flow and mixture per level, trained and scored together.

use crate::centres::{Centres, check_places, initial_centres};
use crate::config::{HgadConfig, Later, MapKind};
use crate::level::{Level, StepContext};
use crate::product::{Model, ProductScoring};
use ccnf::core::{Probe, Teacher, TrainConfig, adam_state, check_trainable, restore_adam};
use ccnf::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `ln p(x | y) = ln sum_m omega_ym N(f(x); mu_ym, I) + ln|det df/dx|` per token, with one flow `f` per level, conditioned on the position
/// only, and the class in the mixture. Losses: [`losses`](crate::losses).
pub struct Hgad {
    config: HgadConfig,
    pub(crate) levels: Vec<Level>,
    scoring: LikelihoodScoring,
    /// For product maps.
    product: Option<ProductScoring>,
    train: TrainConfig,
    streams: Streams,
    /// For how many classes the centres are laid out; known after the first stage has begun.
    places: usize,
    baked: bool,
}

#[derive(Serialize, Deserialize)]
struct Meta {
    classes: Vec<String>,
    known_at: Vec<usize>,
    places: usize,
    baked: bool,
}

impl Hgad {
    /// Assembles the detector from its parts.
    pub fn new(config: HgadConfig, build: &Build<'_, DetectorSpec>) -> Result<Self> {
        config.check(build)?;
        let levels =
            (0..build.levels.len()).map(|n| Level::new(&config, build, n)).collect::<Result<Vec<_>>>()?;
        let scorer =
            build.part::<dyn Scorer>("scorer", &config.scorer, &ScorerSpec { levels: levels.len() })?;
        let router_spec = RouterSpec { levels: build.levels.clone() };
        let router = build.part::<dyn Router>("router", &config.router, &router_spec)?;
        Ok(Hgad {
            places: config.centre_classes,
            levels,
            scoring: LikelihoodScoring::new(scorer, router, build.fusion.levels, build.levels.clone()),
            product: (config.maps == MapKind::Product)
                .then(|| ProductScoring::new(config.entropy_classes, build.levels.len())),
            train: build.train.clone(),
            streams: build.streams,
            baked: false,
            config,
        })
    }

    /// Trainable flags and a fresh optimiser for a stage.
    fn arm(&mut self, view: &TrainView, scope: TrainScope) -> Result<()> {
        let trains_flow = scope == TrainScope::All && self.config.later_flow == Later::Update;
        if self.baked && trains_flow {
            return Err(Error::new(ErrorKind::Contract, "a frozen flow cannot be trained as a whole again"));
        }
        self.levels.iter_mut().for_each(|l| l.arm(view, scope, &self.config, &self.train));
        Ok(())
    }
}

impl Detector for Hgad {
    fn fits(&self, stages: &[Stage]) -> Result<()> {
        let first = stages.first().map_or(0, |s| s.classes.len());
        let places = if self.places == 0 { first } else { self.places };
        let classes = stages.iter().map(|s| s.classes.len()).sum();
        let check = |l: &Level| {
            check_places(self.config.centres, classes, places, l.spec.channels, &format!("level{}", l.number))
        };
        self.levels.iter().try_for_each(check)
    }

    fn begin_stage(&mut self, view: &TrainView, scope: TrainScope) -> Result<()> {
        view.classes().iter().try_for_each(|c| check_trainable(c, view.levels()))?;
        let known = self.classes();
        let fresh: Vec<&str> =
            view.classes().iter().map(TrainClass::name).filter(|n| !known.iter().any(|k| k == n)).collect();
        if known.is_empty() && self.config.centres == Centres::Official && self.places == 0 {
            self.places = fresh.len();
        }
        let which = known.len()..known.len() + fresh.len();
        for level in &mut self.levels {
            if known.is_empty() {
                level.standard.fit(view, level.number)?;
            }
            let scope = format!("level{}", level.number);
            let (dim, places) = (level.spec.channels, self.places);
            let centres =
                initial_centres(self.config.centres, which.clone(), places, dim, (&scope, &self.streams))?;
            for (class, centre) in fresh.iter().zip(centres) {
                level.mixture.grow(class, centre)?;
            }
        }
        self.arm(view, scope)
    }

    fn steps(&self, stage: usize) -> u64 {
        self.train.phase(stage).steps
    }

    fn step(&mut self, view: &TrainView, step: u64, rule: &mut dyn UpdateRule) -> Result<StepReport> {
        let mut report = StepReport::new();
        let (config, train, streams) = (&self.config, &self.train, &self.streams);
        let context = StepContext { view, config, train, streams, step };
        for level in &mut self.levels {
            level.step(&context, rule, &mut report)?;
        }
        Ok(report)
    }

    fn end_stage(&mut self, view: &TrainView) -> Result<()> {
        let classes = self.classes();
        let levels = &self.levels;
        self.scoring.end_stage(view, &classes, &|level, candidates| levels[level].candidates(candidates))?;
        let model = Model { levels, classes: &classes, known_at: self.scoring.known_at() };
        self.product.as_mut().map_or(Ok(()), |p| p.end_stage(view, model))
    }

    fn freeze_shared(&mut self) -> Result<()> {
        self.levels.iter_mut().try_for_each(|l| l.chain.bake())?;
        self.baked = true;
        Ok(())
    }

    fn classes(&self) -> Vec<String> {
        self.levels.first().map_or_else(Vec::new, |l| l.mixture.classes())
    }

    fn score(&self, images: &[&dyn ImageFeatures], request: ScoreRequest<'_>) -> Result<Vec<ImageScores>> {
        let ll = |level: usize, candidates: &[Candidate<'_>]| self.levels[level].candidates(candidates);
        let classes = self.classes();
        let mut scores = self.scoring.score(images, request, &classes, &ll)?;
        if let Some(product) = &self.product {
            let model = Model { levels: &self.levels, classes: &classes, known_at: self.scoring.known_at() };
            product.replace(model, images, &mut scores, request.given)?;
        }
        Ok(scores)
    }

    fn routes_without_shortlist(&self, images: &[&dyn ImageFeatures]) -> Result<Option<Vec<String>>> {
        let ll = |level: usize, candidates: &[Candidate<'_>]| self.levels[level].candidates(candidates);
        self.scoring.routes_without_shortlist(images, &self.classes(), &ll)
    }

    fn keeps_old_scores(&self) -> bool {
        self.product
            .as_ref()
            .map_or_else(|| self.scoring.keeps_old_scores(), ProductScoring::keeps_old_scores)
    }

    fn meta(&self) -> ccnf::serde_json::Value {
        let meta = Meta {
            classes: self.classes(),
            known_at: self.scoring.known_at().to_vec(),
            places: self.places,
            baked: self.baked,
        };
        ccnf::serde_json::to_value(meta).unwrap_or_default()
    }

    fn prepare(&mut self, meta: &ccnf::serde_json::Value) -> Result<()> {
        let meta: Meta = ccnf::serde_json::from_value(meta.clone()).map_err(|e| {
            Error::new(
                ErrorKind::Checkpoint,
                format!("the checkpoint does not describe an `hgad` model: {e}"),
            )
        })?;
        for level in &mut self.levels {
            let known = level.mixture.classes();
            for class in meta.classes.iter().filter(|c| !known.contains(c)) {
                level.mixture.grow(class, vec![0.0; level.spec.channels])?;
            }
            if meta.baked {
                level.chain.set_baked();
            }
        }
        if let Some(product) = &mut self.product {
            product.prepare(&meta.classes[..meta.classes.len().min(meta.known_at.len())])?;
        }
        (self.baked, self.places) = (meta.baked, meta.places);
        self.scoring.prepare(&meta.classes, &meta.known_at)
    }

    fn loaded(&mut self) -> Result<()> {
        self.levels.iter_mut().for_each(|l| l.standard.refresh());
        Ok(())
    }

    fn optimizer_state(&mut self) -> Result<BTreeMap<String, StoredTensor>> {
        let mut out = BTreeMap::new();
        for level in &mut self.levels {
            let mut params = level.chain.params();
            params.extend(level.mixture.params());
            out.extend(adam_state(&mut level.adam, &format!("level{}", level.number), &params)?);
        }
        Ok(out)
    }

    fn restore_optimizer(&mut self, state: &BTreeMap<String, StoredTensor>) -> Result<()> {
        self.levels.iter_mut().try_for_each(|level| {
            let mut params = level.chain.params();
            params.extend(level.mixture.params());
            restore_adam(&mut level.adam, &format!("level{}", level.number), &params, state)
        })
    }

    fn resume_stage(&mut self, view: &TrainView, scope: TrainScope) -> Result<()> {
        self.arm(view, scope)
    }

    /// The outputs are the latents `z`.
    fn distils(&self) -> bool {
        true
    }

    fn distil(&mut self, teacher: Option<Distillation>) -> Result<()> {
        for level in &mut self.levels {
            level.teacher = teacher.as_ref().map(|t| Teacher::new(&level.chain, t)).transpose()?;
        }
        Ok(())
    }

    fn probe(&self) -> Option<&dyn Probe> {
        Some(self)
    }
}

impl Stateful for Hgad {
    fn params(&self) -> Vec<&Param> {
        let mut all = Vec::new();
        for l in &self.levels {
            all.extend(l.standard.params());
            all.extend(l.chain.params());
            all.extend(l.mixture.params());
        }
        all.extend(self.scoring.params());
        all.extend(self.product.iter().flat_map(Stateful::params));
        all
    }
    fn params_mut(&mut self) -> Vec<&mut Param> {
        let mut all = Vec::new();
        for l in &mut self.levels {
            all.extend(l.standard.params_mut());
            all.extend(l.chain.params_mut());
            all.extend(l.mixture.params_mut());
        }
        all.extend(self.scoring.params_mut());
        all.extend(self.product.iter_mut().flat_map(Stateful::params_mut));
        all
    }
}

ccnf::register_component!(
    Detector,
    "hgad",
    HgadConfig,
    Hgad::new,
    "HGAD: a flow per level with a hierarchical Gaussian mixture of the classes in its latents"
);
