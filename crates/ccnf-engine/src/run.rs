//! One continual run from start to finish.

use crate::assembly::Assembly;
use crate::certificate::{TensorHashes, certify, tensor_hashes};
use crate::environment::environment;
use crate::folder::{FolderState, RunFolder};
use crate::metrics::{MetricsFile, Parts, StageCost};
use crate::observer::Observer;
use crate::overlays::write_overlays;
use crate::score_stage::{Scoring, StageEvaluation, scores_csv};
use crate::summary::summary_markdown;
use crate::train::{Place, load_stage, read_trainable, train_stage};
use ccnf_core::{Error, ErrorKind, Result};
use ccnf_data::cache::FeatureCache;
use ccnf_tensor::Owner;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What a run left.
#[derive(Debug)]
pub struct Outcome {
    /// The run's folder.
    pub folder: PathBuf,
    /// The run's id.
    pub id: String,
    /// The numbers.
    pub metrics: MetricsFile,
    /// True when the run had been finished before and nothing was computed.
    pub already_finished: bool,
}

/// What is kept after every stage's evaluation.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct StageFile {
    evaluation: StageEvaluation,
    tensors: TensorHashes,
    cost: StageCost,
    thresholds: BTreeMap<String, f64>,
}

fn stage_file(stage: usize) -> String {
    format!("evaluations/stage{stage}.json")
}

/// Carries a run through: trains and evaluates stage after stage, going on where an interrupted run stopped. A finished run is only read.
/// Without `out` the folder is `runs/<id>`.
pub fn run(mut a: Assembly, out: Option<&Path>, observer: &dyn Observer) -> Result<Outcome> {
    let id = a.id();
    let path = out.map_or_else(|| Path::new("runs").join(&id), Path::to_owned);
    let (folder, state) = RunFolder::open(&path, &id)?;
    if state == FolderState::Finished {
        let metrics = folder.read_json("metrics.json")?.ok_or_else(|| {
            Error::new(
                ErrorKind::Checkpoint,
                format!("the finished run `{}` has no metrics.json", path.display()),
            )
            .help("remove the run folder and run again")
        })?;
        return Ok(Outcome { folder: path, id, metrics, already_finished: true });
    }
    write_description(&a, &folder)?;
    let cache = FeatureCache::open(Some(a.run.cache_folder()), a.encoder.as_ref())?;
    let place = Place { folder: &folder, cache: &cache, id: &id, observer };
    let classes = a.classes();
    let (mut files, mut in_memory): (Vec<StageFile>, bool) = (Vec::new(), false);
    for stage in 0..a.stages.len() {
        if let Some(f) = folder.read_json::<StageFile>(&stage_file(stage))? {
            files.push(f);
            in_memory = false;
            continue;
        }
        let started = Instant::now();
        let earlier = files.last().map(|f| f.thresholds.clone()).unwrap_or_default();
        let (trainable, thresholds) = if folder.stage_checkpoint(stage).exists() {
            let c = load_stage(&mut a, &folder, &id, stage)?;
            (read_trainable(&folder, stage)?, c.thresholds)
        } else {
            let fresh = in_memory || stage == 0 && !folder.partial_checkpoint().exists();
            let t = train_stage(&mut a, place, stage, fresh, &earlier)?;
            (t.trainable, t.thresholds)
        };
        let trained = started.elapsed();
        let scoring = Scoring {
            dataset: a.dataset.as_ref(),
            test: &a.test_index,
            encoder: a.encoder.as_ref(),
            cache: &cache,
            detector: a.detector.as_ref(),
            config: &a.scoring,
        };
        let before = files.last().map(|f| &f.evaluation);
        let evaluation = scoring.stage(stage, &classes, before, observer)?;
        folder.write(&format!("scores/stage{stage}.csv"), &scores_csv(&evaluation)?)?;
        let file = StageFile {
            evaluation,
            tensors: tensor_hashes(a.detector.as_ref()),
            cost: cost(&a, trainable)?,
            thresholds,
        };
        folder.write_json(&stage_file(stage), &file)?;
        write_timing(&folder, stage, trained.as_secs_f64(), (started.elapsed() - trained).as_secs_f64())?;
        files.push(file);
        in_memory = true;
    }
    let metrics = finish(&mut a, place, &files, &classes, in_memory)?;
    folder.finish(&id)?;
    Ok(Outcome { folder: path, id, metrics, already_finished: false })
}

fn write_description(a: &Assembly, folder: &RunFolder) -> Result<()> {
    folder.write_json("config.json", &a.config.resolved())?;
    let text = toml::to_string(&without_null(a.config.resolved_json())).map_err(|e| {
        Error::new(ErrorKind::Contract, format!("the resolved configuration is not TOML: {e}"))
    })?;
    folder.write("config.toml", text.as_bytes())?;
    folder.write_json("environment.json", &environment())
}

/// TOML has no null: keys without a value are left out.
fn without_null(v: serde_json::Value) -> serde_json::Value {
    use serde_json::Value as J;
    match v {
        J::Object(o) => J::Object(
            o.into_iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k, without_null(v))).collect(),
        ),
        J::Array(a) => J::Array(a.into_iter().filter(|v| !v.is_null()).map(without_null).collect()),
        v => v,
    }
}

/// What the model and the strategy keep.
fn cost(a: &Assembly, trainable: usize) -> Result<StageCost> {
    let (mut shared_bytes, mut class_bytes) = (0, BTreeMap::new());
    let mut count = |owner: &Owner, values: usize| match owner {
        Owner::Shared => shared_bytes += 4 * values,
        Owner::Class(c) => *class_bytes.entry(c.clone()).or_insert(0) += 4 * values,
    };
    a.detector.params().iter().for_each(|p| count(p.owner(), p.len()));
    a.strategy.state()?.tensors.values().for_each(|t| count(&t.owner, t.values.len()));
    Ok(StageCost { trainable, shared_bytes, class_bytes })
}

type PerStage<T> = BTreeMap<usize, T>;

#[derive(Debug, Serialize, Deserialize)]
struct StageTiming {
    training_seconds: f64,
    scoring_seconds: f64,
}

/// Wall-clock seconds of the process that finished the stage; kept apart from the results, which repeat bit for bit.
fn write_timing(folder: &RunFolder, stage: usize, training_seconds: f64, scoring_seconds: f64) -> Result<()> {
    let mut all: PerStage<StageTiming> = folder.read_json("timing.json")?.unwrap_or_default();
    all.insert(stage, StageTiming { training_seconds, scoring_seconds });
    folder.write_json("timing.json", &all)
}

fn finish(
    a: &mut Assembly,
    place: Place<'_>,
    files: &[StageFile],
    classes: &[(String, usize)],
    in_memory: bool,
) -> Result<MetricsFile> {
    let Place { folder, cache, id, observer } = place;
    let evaluations: Vec<StageEvaluation> = files.iter().map(|f| f.evaluation.clone()).collect();
    let tensors: Vec<TensorHashes> = files.iter().map(|f| f.tensors.clone()).collect();
    let promised = a.strategy.promises_no_forgetting() && a.detector.keeps_old_scores();
    let certificate = certify(promised, &tensors, &evaluations);
    folder.write_json("certificate.json", &certificate)?;
    let metrics = MetricsFile::new(Parts {
        run: id,
        classes,
        evaluations: &evaluations,
        cost: files.iter().map(|f| f.cost.clone()).collect(),
        thresholds: files.last().map(|f| f.thresholds.clone()).unwrap_or_default(),
        certificate,
    })?;
    if let (Some(last), true) = (evaluations.last(), a.run.overlays > 0) {
        if !in_memory {
            load_stage(a, folder, id, files.len() - 1)?;
        }
        write_overlays(a, folder, cache, last, observer)?;
    }
    folder.write_json("metrics.json", &metrics)?;
    folder.write("summary.md", summary_markdown(&metrics).as_bytes())?;
    if metrics.certificate.promised && !metrics.certificate.holds {
        return Err(Error::new(
            ErrorKind::Contract,
            format!("the forgetting certificate is broken, see `{}`", folder.file("certificate.json").display()),
        )
        .help("the strategy promises that earlier classes stay bit for bit, and they did not: a bug in the detector or the strategy"));
    }
    Ok(metrics)
}
