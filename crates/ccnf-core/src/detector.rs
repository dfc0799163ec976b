//! Detectors: whole anomaly models.

use crate::encoder::LevelSpec;
use crate::error::{Error, ErrorKind, Result};
use crate::probe::Probe;
use crate::scoring::FusionConfig;
use crate::state::{Snapshot, Stateful, StoredTensor};
use crate::strategy::Stage;
use crate::train::TrainConfig;
use crate::update::UpdateRule;
use crate::view::{ImageFeatures, TrainView};
use ccnf_tensor::{Shareable, Streams};
use std::collections::BTreeMap;

/// Which tensors a stage may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrainScope {
    /// Everything.
    All,
    /// Only tensors owned by classes that are new in this stage.
    NewClasses,
}

/// What a detector's constructor gets.
#[derive(Debug, Clone)]
pub struct DetectorSpec {
    /// The levels of the features.
    pub levels: Vec<LevelSpec>,
    /// The `[train]` section.
    pub train: TrainConfig,
    /// How level maps are made comparable.
    pub fusion: FusionConfig,
    /// Random streams of the run.
    pub streams: Streams,
}

/// Named numbers of one training step: losses, gradient norm, learning rate.
pub type StepReport = BTreeMap<String, f64>;

/// A token map of one level, `[height][width]` row-major; higher = more anomalous.
#[derive(Debug, Clone, PartialEq)]
pub struct LevelMap {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// The scores.
    pub data: Vec<f32>,
}

/// What a detector says about one image.
#[derive(Debug, Clone, Default)]
pub struct ImageScores {
    /// Maps per level under the class that was given; empty when no class was given.
    pub given: Vec<LevelMap>,
    /// Maps per level under the class that the router chose; empty when not asked for.
    pub routed: Vec<LevelMap>,
    /// The class that the router chose; empty when not asked for.
    pub routed_class: String,
    /// A part of the image score that does not come from the maps, under the class that was given.
    pub given_image: Option<ImageTerm>,
    /// The same under the class that the router chose.
    pub routed_image: Option<ImageTerm>,
}

/// A part of the image score that does not come from the maps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ImageTerm {
    /// Higher = more anomalous.
    pub score: f32,
    /// Its part of the image score, in [0, 1]: `(1 - weight) * score of the map + weight * score`.
    pub weight: f32,
}

impl ImageTerm {
    /// The image score, given that of the map.
    pub fn with_map(&self, map: f32) -> f32 {
        (1.0 - self.weight) * map + self.weight * self.score
    }
}

/// Which maps a caller wants.
#[derive(Debug, Clone, Copy)]
pub struct ScoreRequest<'a> {
    /// The class of the images, if it is known: asks for `given` maps.
    pub given: Option<&'a str>,
    /// Asks for `routed` maps. With a likelihood router they cost an evaluation per known class, or per class of its shortlist.
    pub routed: bool,
}

/// What later steps are kept near.
#[derive(Debug, Clone)]
pub struct Distillation {
    /// The state whose outputs are the target.
    pub teacher: Snapshot,
    /// The weight of the squared difference in the loss.
    pub weight: f32,
}

/// A whole anomaly model, registered as kind `detector`.
///
/// A stage runs as `begin_stage`, `steps(stage)` calls of `step`, `end_stage`. Contract:
/// - all randomness comes from the streams of the spec, named by stage and step, so that a stage resumed at step `k` draws
///   what an undisturbed one draws;
/// - every tensor is listed by [`Stateful`]; with [`TrainScope::NewClasses`] no tensor of another owner changes;
/// - `score` uses no randomness, gives an image the same maps whatever else is in the batch of its class, and is finite or fails
///   with an error that names the place.
pub trait Detector: Stateful + Shareable {
    /// How many images with painted defects the detector wants per training image of a stage's new classes.
    fn painted_defects(&self, _stage: usize) -> usize {
        0
    }
    /// Fails where the model cannot learn the classes of these stages: asked before any work is done.
    fn fits(&self, _stages: &[Stage]) -> Result<()> {
        Ok(())
    }
    /// Starts a stage: learns of new classes, sets up statistics and the optimiser.
    fn begin_stage(&mut self, view: &TrainView, scope: TrainScope) -> Result<()>;
    /// How many steps the stage makes; 0 for a model that is fitted in closed form, which then has no [`step`](Detector::step).
    fn steps(&self, _stage: usize) -> u64 {
        0
    }
    /// One training step (number `step`, from 0). Parameters change through [`update`](crate::update()), so that `rule` has its say.
    fn step(&mut self, _view: &TrainView, _step: u64, _rule: &mut dyn UpdateRule) -> Result<StepReport> {
        Err(Error::new(ErrorKind::Contract, "this detector is fitted in closed form and makes no steps"))
    }
    /// Ends a stage: closed-form fits, statistics of the new classes.
    fn end_stage(&mut self, view: &TrainView) -> Result<()>;
    /// Fixes everything shared for good.
    fn freeze_shared(&mut self) -> Result<()>;
    /// The classes learnt so far, in order.
    fn classes(&self) -> Vec<String>;
    /// Scores images.
    fn score(&self, images: &[&dyn ImageFeatures], request: ScoreRequest<'_>) -> Result<Vec<ImageScores>>;
    /// Scores training images of a class of the stage that has just ended, given by their numbers in its view, as images that were not
    /// trained on, where the detector holds that apart: what the decision threshold is taken from.
    fn score_training(
        &self,
        class: &str,
        images: &[(usize, &dyn ImageFeatures)],
    ) -> Result<Vec<ImageScores>> {
        let images: Vec<&dyn ImageFeatures> = images.iter().map(|i| i.1).collect();
        self.score(&images, ScoreRequest { given: Some(class), routed: false })
    }
    /// The class that would be chosen for each image if every known class were evaluated: what a router with a shortlist is compared
    /// with. `None` where nothing is left out, so that there is nothing to compare.
    fn routes_without_shortlist(&self, _images: &[&dyn ImageFeatures]) -> Result<Option<Vec<String>>> {
        Ok(None)
    }

    /// The mean of `-log p(x | class) / D` over the tokens of each image, per level of the features, in nats per dimension; `None` for a
    /// detector without likelihoods. What is constant over all models of a run's features (the input standardisation) may be left out.
    fn negative_log_likelihood(
        &self,
        _images: &[&dyn ImageFeatures],
        _class: &str,
    ) -> Result<Option<Vec<Vec<f64>>>> {
        Ok(None)
    }

    /// What must be known to build the tensors again before loading: classes, flags.
    fn meta(&self) -> serde_json::Value;
    /// Makes the tensors that `meta` describes (their values come next).
    fn prepare(&mut self, meta: &serde_json::Value) -> Result<()>;
    /// Whether the scores of old classes, with the class given, stay as they are when classes are added while all old tensors stay:
    /// not with a scorer that looks at all known classes.
    fn keeps_old_scores(&self) -> bool {
        true
    }
    /// Called after tensors were loaded from a checkpoint.
    fn loaded(&mut self) -> Result<()> {
        Ok(())
    }
    /// The state of the running stage's optimiser.
    fn optimizer_state(&mut self) -> Result<BTreeMap<String, StoredTensor>> {
        Ok(BTreeMap::new())
    }
    /// Puts the optimiser's state back in the middle of a stage; called after [`Detector::begin_stage`]'s tensors are loaded.
    fn restore_optimizer(&mut self, _state: &BTreeMap<String, StoredTensor>) -> Result<()> {
        Ok(())
    }
    /// Sets up the optimiser and the trainable flags for continuing a stage in the middle, without touching tensors.
    fn resume_stage(&mut self, _view: &TrainView, _scope: TrainScope) -> Result<()> {
        Ok(())
    }
    /// Whether the model has outputs for [`distil`](Self::distil).
    fn distils(&self) -> bool {
        false
    }
    /// Keeps what the model says to training tokens near what it said in the state `teacher`: further steps add
    /// `weight * mean |output - teacher's output|^2 / D` over the tokens of a step, which
    /// the report gives unweighted as `distillation`. `None` ends it.
    fn distil(&mut self, teacher: Option<Distillation>) -> Result<()> {
        match teacher {
            None => Ok(()),
            Some(_) => Err(Error::new(ErrorKind::Usage, "this detector has no outputs to distil")
                .help("use another strategy, such as replay or ewc")),
        }
    }
    /// Its inside, for diagnosis; `None` for a detector without latents and class likelihoods.
    fn probe(&self) -> Option<&dyn Probe> {
        None
    }
    /// Trainable values in the current stage.
    fn trainable(&self) -> usize {
        self.params().iter().filter(|p| p.is_trainable()).map(|p| p.len()).sum()
    }
}

crate::component_kind!(Detector, "detector", DetectorSpec);

/// The state of a detector.
pub fn snapshot(d: &dyn Detector) -> Snapshot {
    Snapshot::of(d, d.meta())
}

/// Loads a detector's state; fails when it belongs to another model.
pub fn restore(d: &mut dyn Detector, snapshot: &Snapshot) -> Result<()> {
    d.prepare(&snapshot.meta)?;
    snapshot.restore_into(d)?;
    d.loaded()
}

/// The error for scoring under a class that was never learnt.
pub fn unknown_class(class: &str, known: &[String]) -> Error {
    let hint = crate::error::did_you_mean(class, known.iter().map(String::as_str))
        .map(|g| format!(" (did you mean `{g}`?)"))
        .unwrap_or_default();
    Error::new(ErrorKind::Usage, format!("the class `{class}` has not been learnt{hint}"))
        .help(format!("learnt: {}", if known.is_empty() { "none".into() } else { known.join(", ") }))
}
