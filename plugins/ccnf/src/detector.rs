//! The detector: one flow per level, trained and scored together.

use crate::config::CcnfConfig;
use crate::flow::{Flow, FlowSpec};
use crate::init::{RowInitConfig, initial_row};
use crate::level::{LevelFlow, StepContext};
use ccnf::core::{Standardization, Teacher, TrainConfig, adam_state, check_trainable, restore_adam};
use ccnf::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The class-conditional normalizing flow detector: `log p(x|y) = log N(f(x; e_y); 0, I) + ln|det df/dx|` per token, one flow per level.
pub struct Ccnf {
    init: RowInitConfig,
    levels: Vec<LevelFlow>,
    regularizers: Vec<Box<dyn Regularizer>>,
    scoring: LikelihoodScoring,
    train: TrainConfig,
    streams: Streams,
    baked: bool,
}

#[derive(Serialize, Deserialize)]
struct Meta {
    classes: Vec<String>,
    known_at: Vec<usize>,
    baked: bool,
}

impl Ccnf {
    /// Assembles the detector from its parts.
    pub fn new(config: CcnfConfig, build: &Build<'_, DetectorSpec>) -> Result<Self> {
        if config.blocks == 0 || config.blocks > 256 {
            return Err(build.error("blocks", "must be between 1 and 256"));
        }
        let steps = build.train.first.steps;
        let warmup_steps = if steps >= 10_000 { 2000 } else { steps / 5 };
        let mut levels = Vec::new();
        for (number, level) in build.levels.iter().enumerate() {
            let scope = format!("level{number}");
            let spec =
                FlowSpec { scope: scope.clone(), level: level.clone(), warmup_steps, streams: build.streams };
            levels.push(LevelFlow {
                number,
                standard: Standardization::new(&scope, level.channels)?,
                flow: Flow::new(&config, build, &spec)?,
                adam: Adam::new(build.train.adam()),
                teacher: None,
            });
        }
        let regularizers = build
            .section
            .components("regularizers", &config.regularizers)?
            .iter()
            .map(|s| ccnf::core::build::<dyn Regularizer>(s, &RegularizerSpec {}))
            .collect::<Result<Vec<_>>>()?;
        let scorer =
            build.part::<dyn Scorer>("scorer", &config.scorer, &ScorerSpec { levels: build.levels.len() })?;
        let router = build.part::<dyn Router>(
            "router",
            &config.router,
            &RouterSpec { levels: build.levels.clone() },
        )?;
        Ok(Ccnf {
            init: config.init,
            levels,
            regularizers,
            scoring: LikelihoodScoring::new(scorer, router, build.fusion.levels, build.levels.clone()),
            train: build.train.clone(),
            streams: build.streams,
            baked: false,
        })
    }

    /// Trainable flags and a fresh optimiser for a stage.
    fn arm(&mut self, view: &TrainView, scope: TrainScope) -> Result<()> {
        if scope == TrainScope::All && self.baked {
            return Err(Error::new(ErrorKind::Contract, "a frozen flow cannot be trained as a whole again"));
        }
        for level in &mut self.levels {
            for p in level.flow.params_mut() {
                let trainable = match (scope, p.owner()) {
                    (TrainScope::All, _) => true,
                    (TrainScope::NewClasses, Owner::Shared) => false,
                    (TrainScope::NewClasses, Owner::Class(c)) => view.new_classes().any(|v| v.name() == c),
                };
                p.set_trainable(trainable);
            }
            level.adam = Adam::new(self.train.adam());
        }
        Ok(())
    }
}

impl Detector for Ccnf {
    fn begin_stage(&mut self, view: &TrainView, scope: TrainScope) -> Result<()> {
        view.classes().iter().try_for_each(|c| check_trainable(c, view.levels()))?;
        for level in &mut self.levels {
            if level.flow.conditioner().classes().is_empty() {
                level.standard.fit(view, level.number)?;
            }
            // Rows are chosen from the classes known before the stage, so that the order within a stage does not matter.
            let mut fresh = Vec::new();
            for class in view.classes() {
                if !level.flow.conditioner().classes().iter().any(|c| c == class.name()) {
                    let row = initial_row(self.init, level, view, class, &self.streams)?;
                    fresh.push((class.name().to_owned(), row));
                }
            }
            for (class, row) in fresh {
                level.flow.conditioner_mut().grow(&class, &row)?;
            }
        }
        self.arm(view, scope)
    }

    fn steps(&self, stage: usize) -> u64 {
        self.train.phase(stage).steps
    }

    fn step(&mut self, view: &TrainView, step: u64, rule: &mut dyn UpdateRule) -> Result<StepReport> {
        let mut report = StepReport::new();
        let context = StepContext {
            view,
            train: &self.train,
            regularizers: &self.regularizers,
            streams: &self.streams,
            step,
        };
        for level in &mut self.levels {
            level.step(&context, rule, &mut report)?;
        }
        Ok(report)
    }

    fn end_stage(&mut self, view: &TrainView) -> Result<()> {
        let classes = self.classes();
        let levels = &self.levels;
        self.scoring.end_stage(view, &classes, &|level, candidates| levels[level].candidates(candidates))
    }

    fn freeze_shared(&mut self) -> Result<()> {
        self.levels.iter_mut().try_for_each(|l| l.flow.bake())?;
        self.baked = true;
        Ok(())
    }

    fn classes(&self) -> Vec<String> {
        self.levels.first().map_or_else(Vec::new, |l| l.flow.conditioner().classes())
    }

    fn score(&self, images: &[&dyn ImageFeatures], request: ScoreRequest<'_>) -> Result<Vec<ImageScores>> {
        let ll = |level: usize, candidates: &[Candidate<'_>]| self.levels[level].candidates(candidates);
        self.scoring.score(images, request, &self.classes(), &ll)
    }

    fn routes_without_shortlist(&self, images: &[&dyn ImageFeatures]) -> Result<Option<Vec<String>>> {
        let ll = |level: usize, candidates: &[Candidate<'_>]| self.levels[level].candidates(candidates);
        self.scoring.routes_without_shortlist(images, &self.classes(), &ll)
    }

    fn keeps_old_scores(&self) -> bool {
        self.scoring.keeps_old_scores()
    }

    fn meta(&self) -> ccnf::serde_json::Value {
        let meta =
            Meta { classes: self.classes(), known_at: self.scoring.known_at().to_vec(), baked: self.baked };
        ccnf::serde_json::to_value(meta).unwrap_or_default()
    }

    fn prepare(&mut self, meta: &ccnf::serde_json::Value) -> Result<()> {
        let meta: Meta = ccnf::serde_json::from_value(meta.clone()).map_err(|e| {
            Error::new(ErrorKind::Checkpoint, format!("the checkpoint does not describe a `ccnf` model: {e}"))
        })?;
        for level in &mut self.levels {
            let known = level.flow.conditioner().classes();
            for class in meta.classes.iter().filter(|c| !known.contains(c)) {
                level.flow.conditioner_mut().grow(class, &RowInit::Random)?;
            }
            if meta.baked {
                level.flow.set_baked();
            }
        }
        self.baked = meta.baked;
        self.scoring.prepare(&meta.classes, &meta.known_at)
    }

    fn loaded(&mut self) -> Result<()> {
        self.levels.iter_mut().for_each(|l| l.standard.refresh());
        Ok(())
    }

    fn optimizer_state(&mut self) -> Result<BTreeMap<String, StoredTensor>> {
        let mut out = BTreeMap::new();
        for level in &mut self.levels {
            out.extend(adam_state(&mut level.adam, &format!("level{}", level.number), &level.flow.params())?);
        }
        Ok(out)
    }

    fn restore_optimizer(&mut self, state: &BTreeMap<String, StoredTensor>) -> Result<()> {
        self.levels.iter_mut().try_for_each(|level| {
            restore_adam(&mut level.adam, &format!("level{}", level.number), &level.flow.params(), state)
        })
    }

    /// The outputs are the latents `z`.
    fn distil(&mut self, teacher: Option<Distillation>) -> Result<()> {
        for level in &mut self.levels {
            level.teacher = teacher.as_ref().map(|t| Teacher::new(&level.flow, t)).transpose()?;
        }
        Ok(())
    }

    fn resume_stage(&mut self, view: &TrainView, scope: TrainScope) -> Result<()> {
        self.arm(view, scope)
    }
}

impl Stateful for Ccnf {
    fn params(&self) -> Vec<&Param> {
        let mut all = Vec::new();
        for l in &self.levels {
            all.extend(l.standard.params());
            all.extend(l.flow.params());
        }
        all.extend(self.scoring.params());
        all
    }
    fn params_mut(&mut self) -> Vec<&mut Param> {
        let mut all = Vec::new();
        for l in &mut self.levels {
            all.extend(l.standard.params_mut());
            all.extend(l.flow.params_mut());
        }
        all.extend(self.scoring.params_mut());
        all
    }
}

ccnf::register_component!(
    Detector,
    "ccnf",
    CcnfConfig,
    Ccnf::new,
    "class-conditional normalizing flow, one per level; later classes add rows only"
);
