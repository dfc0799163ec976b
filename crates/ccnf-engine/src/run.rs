//! One continual run from start to finish.

use crate::assembly::Assembly;
use crate::certificate::{TensorHashes, certify, tensor_hashes};
use crate::environment::environment;
use crate::finished::{StageFile, stage_file};
use crate::folder::{FolderState, RunFolder};
use crate::metrics::{MetricsFile, Parts, StageCost};
use crate::observer::Observer;
use crate::overlays::write_overlays;
use crate::provenance::Provenance;
use crate::score_stage::{Scoring, StageEvaluation, scores_csv};
use crate::summary::summary_markdown;
use crate::tensorboard;
use crate::timing::{Clock, StageTiming, write_timing};
use crate::train::{Place, load_stage, read_trainable, train_stage};
use ccnf_core::panics::catch;
use ccnf_core::{Error, ErrorKind, Result};
use ccnf_tensor::Owner;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

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

/// Carries a run through: trains and evaluates stage after stage, going on where an interrupted run stopped. A finished run is only read.
/// Without `out` the folder is `runs/<id>`.
///
/// A panic in a component is an error, as any other.
pub fn run(a: Assembly, out: Option<&Path>, observer: &dyn Observer) -> Result<Outcome> {
    catch(|| "training and scoring".to_owned(), || carry_through(a, out, observer))
}

fn carry_through(mut a: Assembly, out: Option<&Path>, observer: &dyn Observer) -> Result<Outcome> {
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
    let provenance = Provenance::of(&a)?;
    folder.write_json("provenance.json", &provenance)?;
    let cache = a.open_cache()?;
    let place = Place { folder: &folder, cache: &cache, id: &id, observer };
    let classes = a.classes();
    let (mut files, mut in_memory): (Vec<StageFile>, bool) = (Vec::new(), false);
    for stage in 0..a.stages.len() {
        if let Some(f) = folder.read_json::<StageFile>(&stage_file(stage))? {
            files.push(f);
            in_memory = false;
            continue;
        }
        let mut clock = Clock::start();
        let earlier = files.last().map(|f| f.thresholds.clone()).unwrap_or_default();
        let (trainable, thresholds) = if folder.stage_checkpoint(stage).exists() {
            let c = load_stage(&mut a, &folder, &id, stage)?;
            (read_trainable(&folder, stage)?, c.thresholds)
        } else {
            let fresh = in_memory || stage == 0 && !folder.partial_checkpoint().exists();
            let t = train_stage(&mut a, place, stage, fresh, &earlier)?;
            (t.trainable, t.thresholds)
        };
        let (training_seconds, training_cpu_seconds) = clock.lap();
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
        tensorboard::update(&folder)?;
        let (scoring_seconds, scoring_cpu_seconds) = clock.lap();
        let timing =
            StageTiming { training_seconds, scoring_seconds, training_cpu_seconds, scoring_cpu_seconds };
        write_timing(&folder, stage, timing)?;
        files.push(file);
        in_memory = true;
    }
    let metrics = finish(&mut a, place, &files, &classes, provenance, in_memory)?;
    folder.finish(&id)?;
    Ok(Outcome { folder: path, id, metrics, already_finished: false })
}

fn write_description(a: &Assembly, folder: &RunFolder) -> Result<()> {
    folder.write_json("config.json", &a.config.resolved())?;
    let text = toml::to_string(&a.resolved()).map_err(|e| {
        Error::new(ErrorKind::Contract, format!("the resolved configuration is not TOML: {e}"))
    })?;
    folder.write("config.toml", text.as_bytes())?;
    folder.write_json("environment.json", &environment())
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

fn finish(
    a: &mut Assembly,
    place: Place<'_>,
    files: &[StageFile],
    classes: &[(String, usize)],
    provenance: Provenance,
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
        provenance,
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
    tensorboard::update(folder)?;
    if metrics.certificate.promised && !metrics.certificate.holds {
        return Err(Error::new(
            ErrorKind::Contract,
            format!("the forgetting certificate is broken, see `{}`", folder.file("certificate.json").display()),
        )
        .help("the strategy promises that earlier classes stay bit for bit, and they did not: a bug in the detector or the strategy"));
    }
    Ok(metrics)
}
