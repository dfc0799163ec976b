//! The detector: one chain of layers and flow per level, trained and scored together.

use crate::config::CcnfConfig;
use crate::defects::DefectsConfig;
use crate::first_task::FirstTaskConfig;
use crate::init::{RowInitConfig, initial_row};
use crate::level::{LevelFlow, StepContext};
use crate::projection::Projection;
use ccnf::core::{Probe, Teacher, TrainConfig, adam_state, check_trainable, restore_adam};
use ccnf::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The class-conditional normalizing flow detector: `log p(x|y) = log N(f(x; e_y); 0, I) + ln|det df/dx|` per token, one flow per level.
///
/// With `layers`, class-private invertible layers come first, `f = flow(.; e_y) . layers_y`, and their log-determinants are part of
/// the sum. They are fitted in closed form when a class is learnt and belong to it alone, so nothing is forgotten. The flow, further
/// layers and the statistics of the training maps are fitted on held-out output (`folds`). `blocks = 0` leaves the flow out: the
/// identity control that a trained flow is compared with.
///
/// The held-out maps of the running stage are kept in memory, as large as the stage's features.
pub struct Ccnf {
    classes: Vec<String>,
    init: RowInitConfig,
    first_task: FirstTaskConfig,
    defects: DefectsConfig,
    pub(crate) levels: Vec<LevelFlow>,
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
    /// Per level the clusters that have a row, within the first stage.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pseudo: Vec<Vec<String>>,
}

impl Ccnf {
    /// Assembles the detector from its parts.
    pub fn new(config: CcnfConfig, build: &Build<'_, DetectorSpec>) -> Result<Self> {
        config.check(build)?;
        let sections = build.section.components("layers", &config.layers)?;
        let mut levels = Vec::new();
        for (number, level) in build.levels.iter().enumerate() {
            levels.push(LevelFlow::new(&config, build, number, level, &sections)?);
        }
        if config.first_task.episodes > 0.0 && levels.iter().any(|l| l.flow.conditioner().wants_prototype()) {
            return Err(build.error("first_task.episodes", "a conditioner of prototypes has no row to fit"));
        }
        if config.defects.versions > 0 && levels.iter().any(|l| l.flow.needs_maps()) {
            let message = "a flow that sees whole maps cannot be trained on single defective tokens";
            return Err(build.error("defects.versions", message));
        }
        let regularizers = build
            .section
            .components("regularizers", &config.regularizers)?
            .iter()
            .map(|s| ccnf::core::build::<dyn Regularizer>(s, &RegularizerSpec {}))
            .collect::<Result<Vec<_>>>()?;
        let mut scored: Vec<_> = levels.iter().map(|l| l.flow.level().clone()).collect();
        if config.identity_maps && config.blocks > 0 {
            scored.extend_from_within(..);
        }
        let scorer =
            build.part::<dyn Scorer>("scorer", &config.scorer, &ScorerSpec { levels: scored.len() })?;
        let router = build.part::<dyn Router>(
            "router",
            &config.router,
            &RouterSpec { levels: build.levels.clone() },
        )?;
        Ok(Ccnf {
            classes: vec![],
            init: config.init,
            first_task: config.first_task,
            defects: config.defects,
            levels,
            regularizers,
            scoring: LikelihoodScoring::new(scorer, router, build.fusion.levels, scored),
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

/// The maps of every level, then, where they are asked for, those of the layers alone.
fn log_likelihood(
    levels: &[LevelFlow],
    classes: &[String],
    map: usize,
    candidates: &[Candidate<'_>],
) -> Result<Vec<Vec<f32>>> {
    levels[map % levels.len()].candidates(candidates, classes, map >= levels.len())
}

impl Detector for Ccnf {
    fn painted_defects(&self, _stage: usize) -> usize {
        if self.levels.iter().all(|l| l.flow.is_identity()) { 0 } else { self.defects.versions }
    }

    fn begin_stage(&mut self, view: &TrainView, scope: TrainScope) -> Result<()> {
        view.classes().iter().try_for_each(|c| check_trainable(c, view.levels()))?;
        let known = |c: &&TrainClass| self.classes.iter().any(|k| k == c.name());
        let private = self.levels.iter().any(|l| !l.chain.is_empty());
        if let (true, TrainScope::NewClasses, Some(c)) = (private, scope, view.new_classes().find(known)) {
            let message = format!("the class `{}` has its layers already", c.name());
            return Err(Error::new(ErrorKind::Contract, message)
                .help("use a strategy that trains everything, such as fine-tune, to fit a class again"));
        }
        for level in &mut self.levels {
            if self.classes.is_empty() {
                level.standard.fit(view, level.number)?;
                if let Some(p) = &mut level.projection {
                    p.fit(view, level.number, &level.standard)?;
                }
            }
            level.begin(view, true)?;
            if level.flow.is_identity() {
                continue;
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
                if !self.scoring.known_at().is_empty() {
                    level.flow.grow_private(&class)?;
                }
            }
        }
        if self.scoring.known_at().is_empty() {
            let k = self.first_task.pseudo_classes;
            self.levels.iter_mut().try_for_each(|l| l.cluster(view, k, true, &self.streams))?;
        }
        for class in view.classes().iter().filter(|c| !c.is_rehearsed()) {
            if !self.classes.iter().any(|c| c == class.name()) {
                self.classes.push(class.name().to_owned());
            }
        }
        self.arm(view, scope)
    }

    fn steps(&self, stage: usize) -> u64 {
        // A conditioner may leave nothing to learn for a later class.
        let learns =
            |l: &LevelFlow| !l.flow.is_identity() && l.flow.params().iter().any(|p| p.is_trainable());
        if self.levels.iter().any(learns) { self.train.phase(stage).steps } else { 0 }
    }

    fn step(&mut self, view: &TrainView, step: u64, rule: &mut dyn UpdateRule) -> Result<StepReport> {
        let mut report = StepReport::new();
        let context = StepContext {
            view,
            train: &self.train,
            regularizers: &self.regularizers,
            first_task: &self.first_task,
            defects: &self.defects,
            streams: &self.streams,
            step,
        };
        for level in &mut self.levels {
            level.step(&context, rule, &mut report)?;
        }
        Ok(report)
    }

    fn end_stage(&mut self, view: &TrainView) -> Result<()> {
        self.levels.iter_mut().try_for_each(|l| l.drop_clusters())?;
        let (classes, levels) = (&self.classes, &self.levels);
        // Without a flow nothing that a rehearsed class depends on has changed: its statistics stay those of all its images.
        let own = levels.iter().all(|l| l.flow.is_identity()).then(|| view.without_rehearsal());
        let view = own.as_ref().unwrap_or(view);
        self.scoring.end_stage(view, classes, &|l, c| log_likelihood(levels, classes, l, c))
    }

    fn freeze_shared(&mut self) -> Result<()> {
        self.levels.iter_mut().try_for_each(|l| l.flow.bake())?;
        self.baked = true;
        Ok(())
    }

    fn classes(&self) -> Vec<String> {
        self.classes.clone()
    }

    fn score(&self, images: &[&dyn ImageFeatures], request: ScoreRequest<'_>) -> Result<Vec<ImageScores>> {
        let ll = |l: usize, c: &[Candidate<'_>]| log_likelihood(&self.levels, &self.classes, l, c);
        self.scoring.score(images, request, &self.classes, &ll)
    }

    fn score_training(
        &self,
        class: &str,
        images: &[(usize, &dyn ImageFeatures)],
    ) -> Result<Vec<ImageScores>> {
        let ll = |l: usize, c: &[Candidate<'_>]| log_likelihood(&self.levels, &self.classes, l, c);
        self.scoring.score_training(class, images, &self.classes, &ll)
    }

    fn routes_without_shortlist(&self, images: &[&dyn ImageFeatures]) -> Result<Option<Vec<String>>> {
        let ll = |l: usize, c: &[Candidate<'_>]| log_likelihood(&self.levels, &self.classes, l, c);
        self.scoring.routes_without_shortlist(images, &self.classes, &ll)
    }

    fn negative_log_likelihood(
        &self,
        images: &[&dyn ImageFeatures],
        class: &str,
    ) -> Result<Option<Vec<Vec<f64>>>> {
        let ll = |l: usize, c: &[Candidate<'_>]| log_likelihood(&self.levels, &self.classes, l, c);
        let of =
            self.scoring.negative_log_likelihood(images, class, &self.classes, self.levels.len(), &ll)?;
        Ok(Some(of))
    }

    fn keeps_old_scores(&self) -> bool {
        self.scoring.keeps_old_scores()
    }

    fn meta(&self) -> ccnf::serde_json::Value {
        let mut pseudo: Vec<_> = self.levels.iter().map(|l| l.pseudo_rows.clone()).collect();
        if pseudo.iter().all(Vec::is_empty) {
            pseudo.clear();
        }
        let (classes, known_at) = (self.classes(), self.scoring.known_at().to_vec());
        let meta = Meta { classes, known_at, baked: self.baked, pseudo };
        ccnf::serde_json::to_value(meta).unwrap_or_default()
    }

    fn prepare(&mut self, meta: &ccnf::serde_json::Value) -> Result<()> {
        let meta: Meta = ccnf::serde_json::from_value(meta.clone()).map_err(|e| {
            Error::new(ErrorKind::Checkpoint, format!("the checkpoint does not describe a `ccnf` model: {e}"))
        })?;
        for (number, level) in self.levels.iter_mut().enumerate() {
            level.drop_clusters()?;
            let (known, rows) = (level.flow.conditioner().classes(), !level.flow.is_identity());
            meta.classes.iter().try_for_each(|c| level.chain.add(c))?;
            for class in meta.classes.iter().filter(|c| rows && !known.contains(c)) {
                level.flow.conditioner_mut().grow(class, &RowInit::Random)?;
            }
            if meta.baked {
                level.flow.set_baked();
            }
            for cluster in meta.pseudo.get(number).into_iter().flatten().filter(|_| rows) {
                level.grow_cluster(cluster, &RowInit::Random)?;
            }
            let first = meta.known_at.first().copied().unwrap_or(meta.classes.len());
            for class in meta.classes.iter().skip(first).filter(|_| rows) {
                level.flow.grow_private(class)?;
            }
        }
        self.baked = meta.baked;
        self.classes.clone_from(&meta.classes);
        self.scoring.prepare(&meta.classes, &meta.known_at)
    }

    fn loaded(&mut self) -> Result<()> {
        for level in &mut self.levels {
            level.standard.refresh();
            level.projection.iter_mut().for_each(Projection::refresh);
        }
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
    fn distils(&self) -> bool {
        true
    }

    fn distil(&mut self, teacher: Option<Distillation>) -> Result<()> {
        for level in &mut self.levels {
            level.teacher = teacher.as_ref().map(|t| Teacher::new(&level.flow, t)).transpose()?;
        }
        Ok(())
    }

    fn probe(&self) -> Option<&dyn Probe> {
        Some(self)
    }

    fn resume_stage(&mut self, view: &TrainView, scope: TrainScope) -> Result<()> {
        self.levels.iter_mut().try_for_each(|l| l.begin(view, false))?;
        if self.scoring.known_at().is_empty() {
            let k = self.first_task.pseudo_classes;
            self.levels.iter_mut().try_for_each(|l| l.cluster(view, k, false, &self.streams))?;
        }
        self.arm(view, scope)
    }
}

impl Stateful for Ccnf {
    fn params(&self) -> Vec<&Param> {
        let mut all = Vec::new();
        for l in &self.levels {
            all.extend(l.standard.params());
            all.extend(l.projection.as_ref().map(Projection::param));
            all.extend(l.chain.params());
            all.extend(l.flow.params());
        }
        all.extend(self.scoring.params());
        all
    }
    fn params_mut(&mut self) -> Vec<&mut Param> {
        let mut all = Vec::new();
        for l in &mut self.levels {
            all.extend(l.standard.params_mut());
            all.extend(l.projection.as_mut().map(Projection::param_mut));
            all.extend(l.chain.params_mut());
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
