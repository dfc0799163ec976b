//! The detector.

use crate::compression::Compression;
use crate::config::{Bases, IufConfig, UpdateKind};
use crate::model::{CHUNK, Model};
use crate::neck::resize_map;
use crate::scoring::{check_request, distance_map};
use crate::training::Increment;
use ccnf::core::{TrainConfig, adam_state, check_trainable, restore_adam};
use ccnf::dfdx::prelude::HasShape;
use ccnf::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The Incremental Unified Framework: a transformer reconstructs the feature map; `|F^ - F|` per location is the anomaly map.
///
/// * Stage 0 minimises `L_rec + L_cls` and, if asked for, `10 L_sc` with AdamW.
/// * Later stages minimise `L_rec + L_cls`. With `update = "projected"` every step first pulls the tensors back to those of the stage
///   before, then descends along the clipped, projected gradient with learning rate `train.later.lr`, 1 in the published method. With
///   `plain` they go on with AdamW.
/// * A step takes whole images: as many as `train.*.tokens` tokens make on the grid of the reconstruction.
/// * The class is not given to the model: maps under a given class and routed maps are the same, and the routed class is the
///   discriminator's. There is one map; every level gets it, resized to the level's grid, so `scoring.levels` has nothing to make
///   comparable.
///
/// Where only new classes may change, their rows of the discriminator's last layer are all that is trained.
pub struct Iuf {
    pub(crate) config: IufConfig,
    pub(crate) model: Model,
    pub(crate) train: TrainConfig,
    pub(crate) streams: Streams,
    pub(crate) adam: Adam,
    pub(crate) increment: Option<Increment>,
    pub(crate) compression: Compression,
    pub(crate) scope: TrainScope,
    pub(crate) frozen: bool,
}

/// What [`Detector::meta`] says.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Meta {
    classes: Vec<String>,
    rows: Vec<(String, usize)>,
    frozen: bool,
}

impl Iuf {
    /// The detector; fails for keys out of range.
    pub fn new(config: IufConfig, build: &Build<DetectorSpec>) -> Result<Self> {
        config.check(build)?;
        Ok(Iuf {
            model: Model::new(&config, &build.levels, &build.streams)?,
            config,
            train: build.train.clone(),
            streams: build.streams,
            adam: Adam::new(build.train.adam()),
            increment: None,
            compression: Compression::default(),
            scope: TrainScope::All,
            frozen: false,
        })
    }
}

impl Detector for Iuf {
    fn begin_stage(&mut self, view: &TrainView, scope: TrainScope) -> Result<()> {
        view.classes().iter().try_for_each(|c| check_trainable(c, self.model.levels()))?;
        if self.model.classes().is_empty() {
            self.model.fit(view)?;
        }
        let known = self.model.classes();
        let fresh: Vec<&str> =
            view.classes().iter().map(TrainClass::name).filter(|c| !known.iter().any(|k| k == c)).collect();
        let total = known.len() + fresh.len();
        fresh.iter().try_for_each(|c| self.model.discriminator.grow(c, total, &self.streams))?;
        self.arm(view, scope)
    }

    fn steps(&self, stage: usize) -> u64 {
        self.train.phase(stage).steps
    }

    fn step(&mut self, view: &TrainView, step: u64, rule: &mut dyn UpdateRule) -> Result<StepReport> {
        self.make_step(view, step, rule)
    }

    fn end_stage(&mut self, view: &TrainView) -> Result<()> {
        let collects = self.config.update == UpdateKind::Projected && self.config.bases == Bases::Collected;
        view.new_classes().filter(|_| collects).try_for_each(|c| self.model.collect(c))
    }

    fn freeze_shared(&mut self) -> Result<()> {
        self.frozen = true;
        Ok(())
    }

    fn classes(&self) -> Vec<String> {
        self.model.classes()
    }

    fn score(&self, images: &[&dyn ImageFeatures], request: ScoreRequest<'_>) -> Result<Vec<ImageScores>> {
        let classes = self.model.classes();
        check_request(images, request, &classes, self.model.levels())?;
        let (neck, mut out) = (&self.model.neck, Vec::with_capacity(images.len()));
        for chunk in images.chunks(CHUNK) {
            let inputs = self.model.inputs(chunk)?;
            let (judged, reconstructed) = self.model.evaluate(&inputs)?;
            let maps = distance_map(&reconstructed.features.as_vec(), &inputs.features, neck.channels());
            check_finite("an anomaly score", || "the reconstruction".into(), maps.iter())?;
            let (logits, k) = (judged.logits.as_vec(), judged.logits.shape().1);
            for (map, logits) in maps.chunks_exact(neck.tokens()).zip(logits.chunks_exact(k)) {
                let levels = self.model.levels().iter().map(|l| {
                    let (from, to) = ((neck.height, neck.width), (l.height, l.width));
                    let data = resize_map(map, from, to, 1)?.into_owned();
                    Ok(LevelMap { height: l.height, width: l.width, data })
                });
                let levels: Vec<LevelMap> = levels.collect::<Result<_>>()?;
                let best = (0..k).fold(0, |best, c| if logits[c] > logits[best] { c } else { best });
                let mut scores = ImageScores::default();
                if request.routed {
                    scores.routed_class = classes[best].clone();
                    scores.routed.clone_from(&levels);
                }
                if request.given.is_some() {
                    scores.given = levels;
                }
                out.push(scores);
            }
        }
        Ok(out)
    }

    fn meta(&self) -> serde_json::Value {
        let meta = Meta { classes: self.model.classes(), rows: self.model.row_counts(), frozen: self.frozen };
        serde_json::to_value(meta).unwrap_or_default()
    }

    fn prepare(&mut self, meta: &serde_json::Value) -> Result<()> {
        let meta = Meta::deserialize(meta).map_err(|e| {
            Error::new(ErrorKind::Checkpoint, format!("the checkpoint does not describe an `iuf` model: {e}"))
        })?;
        self.frozen = meta.frozen;
        self.model.prepare(&meta.classes, &meta.rows, &self.streams)
    }

    fn loaded(&mut self) -> Result<()> {
        self.model.refresh();
        Ok(())
    }

    fn optimizer_state(&mut self) -> Result<BTreeMap<String, StoredTensor>> {
        let mut state = match &self.increment {
            Some(i) => i.anchor.state(),
            None => adam_state(&mut self.adam, "iuf", &self.model.params())?,
        };
        state.extend(self.compression.state());
        Ok(state)
    }

    fn restore_optimizer(&mut self, state: &BTreeMap<String, StoredTensor>) -> Result<()> {
        self.compression.restore(state);
        match &mut self.increment {
            Some(i) => i.anchor.restore(state),
            None => restore_adam(&mut self.adam, "iuf", &self.model.params(), state),
        }
    }

    fn resume_stage(&mut self, view: &TrainView, scope: TrainScope) -> Result<()> {
        self.arm(view, scope)
    }
}

impl Stateful for Iuf {
    fn params(&self) -> Vec<&Param> {
        self.model.params()
    }
    fn params_mut(&mut self) -> Vec<&mut Param> {
        self.model.params_mut()
    }
}

ccnf::register_component!(
    Detector,
    "iuf",
    IufConfig,
    Iuf::new,
    "incremental unified framework: reconstruction by an object-aware transformer, projected updates for later tasks"
);
