//! Trains one stage, from wherever it was left.

use crate::assembly::Assembly;
use crate::checkpoint::{Checkpoint, read_checkpoint, write_checkpoint};
use crate::events::{Events, total_loss};
use crate::folder::RunFolder;
use crate::fuse::fuse;
use crate::observer::Observer;
use crate::painted::{paint_defects, versions};
use ccnf_core::{
    Error, ErrorKind, ImageFeatures, ImageSource, Result, ResultExt, TrainClass, TrainView, restore, snapshot,
};
use ccnf_data::cache::FeatureCache;
use rayon::prelude::*;
use std::collections::BTreeMap;

/// Normal training images per class from which the decision threshold is taken.
const THRESHOLD_IMAGES: usize = 100;

/// Where a run happens: its folder, features, id, and who watches.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) folder: &'a RunFolder,
    pub(crate) cache: &'a FeatureCache,
    pub(crate) id: &'a str,
    pub(crate) observer: &'a dyn Observer,
}

/// What training a stage leaves beside the detector's state.
pub(crate) struct Trained {
    pub(crate) trainable: usize,
    pub(crate) thresholds: BTreeMap<String, f64>,
}

/// The features of the training images of a stage.
pub(crate) fn train_view(
    a: &Assembly,
    cache: &FeatureCache,
    stage: usize,
    observer: &dyn Observer,
) -> Result<TrainView> {
    let versions = versions(a, stage)?;
    let classes = &a.stages[stage].classes;
    let total: usize = classes.iter().map(|c| a.train_index.images(c).len()).sum();
    observer.start(&format!("stage {}: encoding", stage + 1), total as u64);
    let (mut done, mut out) = (0usize, Vec::new());
    for class in classes {
        let sources: Vec<&ImageSource> = a.train_index.images(class).iter().map(|i| &i.source).collect();
        let images = cache
            .get_or_encode(a.dataset.as_ref(), &sources, a.encoder.as_ref(), &mut |n| {
                observer.advance((done + n) as u64, class);
            })
            .at(|| format!("class `{class}`"))?;
        done += images.len();
        observer.advance(done as u64, class);
        out.push(TrainClass::new(class.clone(), images));
    }
    observer.finish();
    let out = paint_defects(a, cache, (stage, versions), out, observer)?;
    Ok(TrainView::new(stage, a.encoder.levels(), out))
}

/// Loads the state with which `stage` starts, or in which it was interrupted; returns the steps already made in it.
fn load(a: &mut Assembly, folder: &RunFolder, id: &str, stage: usize) -> Result<Option<Checkpoint>> {
    let partial = folder.partial_checkpoint();
    if partial.exists() {
        let c = read_checkpoint(&partial).and_then(|c| owned(c, id))?;
        if c.stage == stage {
            put_back(a, &c)?;
            return Ok(Some(c));
        }
    }
    if stage > 0 {
        let c = read_checkpoint(&folder.stage_checkpoint(stage - 1)).and_then(|c| owned(c, id))?;
        put_back(a, &c)?;
    }
    Ok(None)
}

fn put_back(a: &mut Assembly, c: &Checkpoint) -> Result<()> {
    restore(a.detector.as_mut(), &c.model)?;
    a.strategy.restore(&c.strategy)
}

fn owned(c: Checkpoint, id: &str) -> Result<Checkpoint> {
    if c.run == id {
        return Ok(c);
    }
    Err(Error::new(
        ErrorKind::Checkpoint,
        format!("the checkpoint belongs to run {}, this is run {id}", c.run),
    )
    .help("remove the run folder, or choose another --out"))
}

/// Trains `stage` and writes its checkpoint. `in_memory` says that the detector already holds the state after the stage before.
pub(crate) fn train_stage(
    a: &mut Assembly,
    place: Place<'_>,
    stage: usize,
    in_memory: bool,
    earlier: &BTreeMap<String, f64>,
) -> Result<Trained> {
    let Place { folder, cache, id, observer } = place;
    let own = train_view(a, cache, stage, observer)?;
    let scope = a.stages[stage].scope;
    let interrupted = if in_memory { None } else { load(a, folder, id, stage)? };
    let rehearsed = a.strategy.rehearsal(&own).at(|| format!("stage {stage}"))?;
    let view = own.with(rehearsed);
    let mut first_step = 0;
    match interrupted {
        Some(c) => {
            a.detector.resume_stage(&view, scope)?;
            a.detector.restore_optimizer(&c.optimizer)?;
            first_step = c.step.unwrap_or(0);
            tracing::info!(stage, step = first_step, "resuming");
        }
        None => a.detector.begin_stage(&view, scope).at(|| format!("stage {stage}"))?,
    }
    a.strategy.begin_stage(stage, a.detector.as_mut()).at(|| format!("stage {stage}"))?;
    let trainable = a.detector.trainable();
    let steps = a.detector.steps(stage);
    let mut events = Events::resume(folder, stage, first_step)?;
    if steps > 0 {
        observer.start(&format!("stage {}: training", stage + 1), steps);
        observer.advance(first_step, "");
    }
    for step in first_step..steps {
        let mut report =
            a.detector.step(&view, step, a.strategy.as_mut()).at(|| format!("stage {stage}, step {step}"))?;
        report.extend(a.strategy.penalty().map(|value| ("strategy.penalty".to_owned(), value)));
        events.write(stage, step, &report)?;
        observer.advance(step + 1, &total_loss(&report).map_or_else(String::new, |l| format!("loss {l:.3}")));
        if (step + 1) % a.train.checkpoint_every == 0 && step + 1 < steps {
            let c = Checkpoint {
                run: id.to_owned(),
                stage,
                step: Some(step + 1),
                model: snapshot(a.detector.as_ref()),
                optimizer: a.detector.optimizer_state()?,
                strategy: a.strategy.state()?,
                thresholds: earlier.clone(),
            };
            write_checkpoint(&folder.partial_checkpoint(), &c)?;
        }
    }
    if steps > 0 {
        observer.finish();
    }
    observer.start(&format!("stage {}: statistics", stage + 1), 1);
    a.detector.end_stage(&view).at(|| format!("stage {stage}"))?;
    a.strategy.end_stage(&view, a.detector.as_mut()).at(|| format!("stage {stage}"))?;
    let mut thresholds = earlier.clone();
    thresholds.extend(fit_thresholds(a, &view)?);
    observer.finish();
    let c = Checkpoint {
        run: id.to_owned(),
        stage,
        step: None,
        model: snapshot(a.detector.as_ref()),
        optimizer: BTreeMap::new(),
        strategy: a.strategy.state()?,
        thresholds: thresholds.clone(),
    };
    // First, so that whoever finds the checkpoint finds this, too.
    write_trainable(folder, stage, trainable)?;
    write_checkpoint(&folder.stage_checkpoint(stage), &c)?;
    let _ = std::fs::remove_file(folder.partial_checkpoint());
    Ok(Trained { trainable, thresholds })
}

const TRAINABLE: &str = "checkpoints/trainable.json";

fn write_trainable(folder: &RunFolder, stage: usize, trainable: usize) -> Result<()> {
    let mut all: BTreeMap<usize, usize> = folder.read_json(TRAINABLE)?.unwrap_or_default();
    all.insert(stage, trainable);
    folder.write_json(TRAINABLE, &all)
}

/// How many values training could change in a stage that has its checkpoint.
pub(crate) fn read_trainable(folder: &RunFolder, stage: usize) -> Result<usize> {
    let all: BTreeMap<usize, usize> = folder.read_json(TRAINABLE)?.unwrap_or_default();
    all.get(&stage).copied().ok_or_else(|| {
        Error::new(
            ErrorKind::Checkpoint,
            format!("`{}` says nothing about stage {stage}", folder.file(TRAINABLE).display()),
        )
        .help("remove the run folder and run again")
    })
}

/// Loads the state after `stage`, whose training is finished.
pub(crate) fn load_stage(a: &mut Assembly, folder: &RunFolder, id: &str, stage: usize) -> Result<Checkpoint> {
    let c = read_checkpoint(&folder.stage_checkpoint(stage)).and_then(|c| owned(c, id))?;
    put_back(a, &c)?;
    Ok(c)
}

/// The decision threshold of every class of the stage: a quantile of image scores of normal training images, with the class given.
fn fit_thresholds(a: &Assembly, view: &TrainView) -> Result<BTreeMap<String, f64>> {
    let scoring = &a.scoring;
    let mut out = BTreeMap::new();
    for class in view.classes() {
        let stride = class.len().div_ceil(THRESHOLD_IMAGES).max(1);
        let images: Vec<(usize, &dyn ImageFeatures)> =
            class.images().iter().map(|i| i.as_ref()).enumerate().step_by(stride).collect();
        let scores = a.detector.score_training(class.name(), &images)?;
        let scores: Vec<f32> = scores
            .par_iter()
            .map(|s| Ok(fuse(&s.given, scoring)?.with(s.given_image)?.score))
            .collect::<Result<_>>()?;
        let q = ccnf_metrics::quantile(&scores, a.scoring.threshold_quantile)
            .map_err(|e| Error::new(ErrorKind::Contract, e.to_string()))?;
        if let Some(v) = q.value() {
            out.insert(class.name().to_owned(), v);
        }
    }
    Ok(out)
}
