//! A finished run, read back: what was written is what is read, or an error says which file was changed.

use crate::certificate::TensorHashes;
use crate::folder::{FORMAT, RunFile, read_json};
use crate::metrics::{MetricsFile, StageCost};
use crate::provenance::Provenance;
use crate::score_stage::StageEvaluation;
use crate::timing::StageTiming;
use ccnf_core::{Error, ErrorKind, Resolved, Result, read_file};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What is kept after every stage's evaluation, `evaluations/stageN.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StageFile {
    pub(crate) evaluation: StageEvaluation,
    pub(crate) tensors: TensorHashes,
    pub(crate) cost: StageCost,
    pub(crate) thresholds: BTreeMap<String, f64>,
}

/// The file of a stage's evaluation.
pub(crate) fn stage_file(stage: usize) -> String {
    format!("evaluations/stage{stage}.json")
}

/// A finished run.
#[derive(Debug, Clone)]
pub struct FinishedRun {
    path: PathBuf,
    file: RunFile,
    /// The numbers.
    pub metrics: MetricsFile,
}

impl FinishedRun {
    /// Opens a run folder; `None` where no run is, or one that has not finished. Fails for one of an older version, and where a file is
    /// missing or has another size than it had when the run finished. What is read later is also compared with its hash.
    pub fn open(path: &Path) -> Result<Option<FinishedRun>> {
        let Some(file) = read_json::<RunFile>(&path.join("run.json"))?.filter(|f| f.finished) else {
            return Ok(None);
        };
        if file.format != FORMAT {
            let found = format!(
                "`{}` was written by another version ({}, this one reads {FORMAT})",
                path.display(),
                file.format
            );
            return Err(Error::new(ErrorKind::Checkpoint, found)
                .help("its numbers are not mixed with new ones: run it again into another folder"));
        }
        let run = FinishedRun { path: path.to_owned(), file, metrics: MetricsFile::default() };
        for (name, sealed) in &run.file.files {
            let found = std::fs::metadata(path.join(name)).map(|m| m.len());
            match found {
                Ok(bytes) if bytes == sealed.bytes => {}
                Ok(_) => return Err(run.edited(name)),
                Err(e) => return Err(Error::io("read", &path.join(name), e).at(run.place())),
            }
        }
        let metrics = run.json("metrics.json")?;
        Ok(Some(FinishedRun { metrics, ..run }))
    }

    fn place(&self) -> String {
        format!("finished run `{}`", self.path.display())
    }

    fn edited(&self, name: &str) -> Error {
        Error::new(
            ErrorKind::Checkpoint,
            format!("`{}` is not what the run wrote", self.path.join(name).display()),
        )
        .help("the run is left out: restore the file, or remove the run's folder and run it again")
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The run's id.
    pub fn id(&self) -> &str {
        &self.file.id
    }

    /// The names of the run's files.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.file.files.keys().map(String::as_str)
    }

    /// Compares everything that tables and reports are made from with its hash: all files but checkpoints and pictures.
    pub fn verify(&self) -> Result<()> {
        let heavy = |name: &&String| {
            ["checkpoints/", "overlays/", "tensorboard/"].iter().any(|f| name.starts_with(f))
        };
        self.file.files.keys().filter(|name| !heavy(name)).try_for_each(|name| self.read(name).map(drop))
    }

    /// The content of a file, compared with its hash.
    pub fn read(&self, name: &str) -> Result<Vec<u8>> {
        let path = self.path.join(name);
        let Some(sealed) = self.file.files.get(name) else {
            return Err(
                Error::new(ErrorKind::Checkpoint, format!("the run has no `{name}`")).at(self.place())
            );
        };
        let bytes = read_file(&path)?;
        match blake3::hash(&bytes).to_hex().as_str() == sealed.hash {
            true => Ok(bytes),
            false => Err(self.edited(name)),
        }
    }

    fn json<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        serde_json::from_slice(&self.read(name)?).map_err(|e| {
            let found = format!("`{}` is not of this version: {e}", self.path.join(name).display());
            Error::new(ErrorKind::Checkpoint, found).help("run it again into another folder")
        })
    }

    /// What the numbers rest on.
    pub fn provenance(&self) -> &Provenance {
        &self.metrics.provenance
    }

    /// The number of stages.
    pub fn stages(&self) -> usize {
        self.metrics.cost.len()
    }

    /// The evaluation after a stage, image by image.
    pub fn evaluation(&self, stage: usize) -> Result<StageEvaluation> {
        self.json::<StageFile>(&stage_file(stage)).map(|f| f.evaluation)
    }

    /// Seconds per stage.
    pub fn timing(&self) -> Result<BTreeMap<usize, StageTiming>> {
        self.json("timing.json")
    }

    /// Every value of the configuration with its source.
    pub fn config(&self) -> Result<BTreeMap<String, Resolved>> {
        self.json("config.json")
    }

    /// Program, machine and threads.
    pub fn environment(&self) -> Result<serde_json::Value> {
        self.json("environment.json")
    }
}
