//! The folder of a suite.

use crate::plan::{Plan, PlannedRun, WaitingRun};
use crate::spec::SuiteSpec;
use ccnf_core::{Error, ErrorKind, Result, read_file, write_atomic};
use ccnf_engine::FolderLock;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

const FORMAT: &str = "ccnf-suite/1";

/// A suite's folder.
///
/// ```text
/// suite.json            the suite and the runs that still wait for others
/// runs.jsonl            one line per run: id, place in the grid, whole configuration
/// runs/ID/              the run folders
/// logs/ID.log           what a run said; logs/ID.error why it failed
/// results.csv           one row per run and metric
/// results.json          statistics of all tables
/// timing.csv            seconds per run and stage
/// report.html           for people
/// ```
#[derive(Debug, Clone)]
pub struct SuiteFolder {
    path: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Header {
    format: String,
    spec: SuiteSpec,
    waiting: Vec<WaitingRun>,
    /// BLAKE3 of runs.jsonl: a shortened one is found.
    #[serde(default)]
    runs: Option<String>,
}

/// What a suite's folder says of itself.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// The suite.
    pub spec: SuiteSpec,
    /// Its runs.
    pub plan: Plan,
}

impl SuiteFolder {
    /// The folder at `path`, which may not be there yet.
    pub fn at(path: &Path) -> SuiteFolder {
        SuiteFolder { path: path.to_owned() }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Where the runs are.
    pub fn runs(&self) -> PathBuf {
        self.file("runs")
    }

    /// The folder of a run.
    pub fn run(&self, id: &str) -> PathBuf {
        self.runs().join(id)
    }

    /// What a run printed.
    pub fn log(&self, id: &str) -> PathBuf {
        self.path.join(format!("logs/{id}.log"))
    }

    /// Why a run failed.
    pub fn error(&self, id: &str) -> PathBuf {
        self.path.join(format!("logs/{id}.error"))
    }

    /// Makes the folder for `spec`, or takes the one that is there; locks it. Fails where the folder is another suite's or holds other
    /// things, and while another process works in it.
    pub fn claim(&self, spec: &SuiteSpec) -> Result<FolderLock> {
        let path = &self.path;
        std::fs::create_dir_all(path).map_err(|e| Error::io("create the suite's folder", path, e))?;
        let empty = std::fs::read_dir(path).map_err(|e| Error::io("list", path, e))?.next().is_none();
        if !empty && !self.file("suite.json").exists() && !self.file(".lock").exists() {
            return Err(Error::new(
                ErrorKind::Usage,
                format!("`{}` is not empty and not a suite's folder", path.display()),
            )
            .help("choose another --out"));
        }
        let lock = FolderLock::take(path)?;
        if let Some(header) = self.header()?.filter(|h| h.spec.name != spec.name) {
            let found =
                format!("`{}` holds the suite `{}`, not `{}`", path.display(), header.spec.name, spec.name);
            return Err(
                Error::new(ErrorKind::Usage, found).help("choose another --out: nothing was overwritten")
            );
        }
        Ok(lock)
    }

    /// Fails where a report would overwrite what is not an earlier report of the same suite.
    pub fn takes_report(&self, spec: &SuiteSpec) -> Result<()> {
        let path = &self.path;
        let free = !path.exists()
            || std::fs::read_dir(path).map_err(|e| Error::io("list", path, e))?.next().is_none();
        if free {
            return Ok(());
        }
        let earlier: Option<serde_json::Value> =
            read_file(&self.file("results.json")).ok().and_then(|t| serde_json::from_slice(&t).ok());
        let same = earlier.is_some_and(|r| r["suite"] == spec.name.as_str());
        let suites =
            self.file("suite.json").exists() && self.header()?.is_none_or(|h| h.spec.name != spec.name);
        if same && !suites {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Usage,
            format!("`{}` is not empty and holds no report of this suite", path.display()),
        )
        .help("choose another --out: nothing was overwritten"))
    }

    fn header(&self) -> Result<Option<Header>> {
        let path = self.file("suite.json");
        if !path.exists() {
            return Ok(None);
        }
        let header: Header = serde_json::from_slice(&read_file(&path)?).map_err(|e| {
            Error::new(ErrorKind::Checkpoint, format!("`{}` is damaged: {e}", path.display())).help(
                "remove this file and run `ccnf compare` with the suite's file again: finished runs are kept",
            )
        })?;
        if header.format != FORMAT {
            let found = format!(
                "`{}` was written by another version ({}, this one reads {FORMAT})",
                path.display(),
                header.format
            );
            return Err(Error::new(ErrorKind::Checkpoint, found).help("choose another --out"));
        }
        Ok(Some(header))
    }

    /// Writes the manifest.
    pub fn write(&self, spec: &SuiteSpec, plan: &Plan) -> Result<()> {
        let json = |e: serde_json::Error| Error::new(ErrorKind::Contract, e.to_string());
        let mut lines = String::new();
        for run in &plan.runs {
            lines += &serde_json::to_string(run).map_err(json)?;
            lines.push('\n');
        }
        write_atomic(&self.file("runs.jsonl"), lines.as_bytes())?;
        let runs = Some(blake3::hash(lines.as_bytes()).to_hex().to_string());
        let header =
            Header { format: FORMAT.into(), spec: spec.clone(), waiting: plan.waiting.clone(), runs };
        let text = serde_json::to_string_pretty(&header).map_err(json)? + "\n";
        write_atomic(&self.file("suite.json"), text.as_bytes())
    }

    /// One planned run; reads no other line of the manifest, which has thousands in a large suite.
    pub fn planned(&self, id: &str) -> Result<Option<PlannedRun>> {
        self.required_header()?;
        let path = self.file("runs.jsonl");
        let text = String::from_utf8_lossy(&read_file(&path)?).into_owned();
        let found = text
            .lines()
            .filter(|l| l.contains(id))
            .map(|l| serde_json::from_str(l).map_err(|e| damaged(&path, &e)));
        found.collect::<Result<Vec<PlannedRun>>>().map(|runs| runs.into_iter().find(|r| r.id == id))
    }

    fn required_header(&self) -> Result<Header> {
        self.header()?.ok_or_else(|| {
            Error::new(
                ErrorKind::Usage,
                format!("`{}` is not a suite's folder: it has no suite.json", self.path.display()),
            )
            .help("`ccnf compare SUITE.toml --out DIR` makes one")
        })
    }

    /// Reads the manifest.
    pub fn manifest(&self) -> Result<Manifest> {
        let header = self.required_header()?;
        let path = self.file("runs.jsonl");
        let bytes = read_file(&path)?;
        if header.runs.as_ref().is_some_and(|hash| blake3::hash(&bytes).to_hex().as_str() != hash) {
            return Err(damaged(&path, &"it is not the one that was written with suite.json"));
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let runs = text
            .lines()
            .map(|l| serde_json::from_str(l).map_err(|e| damaged(&path, &e)))
            .collect::<Result<Vec<PlannedRun>>>()?;
        Ok(Manifest { spec: header.spec, plan: Plan { runs, waiting: header.waiting } })
    }
}

fn damaged(path: &Path, e: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::Checkpoint, format!("`{}` is damaged: {e}", path.display())).help(
        "run `ccnf compare` with the suite's file again: it writes the file anew and keeps finished runs",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(name: &str) -> SuiteSpec {
        SuiteSpec::parse(&format!("name = \"{name}\"\n[[models]]\nmodel = \"ccnf\""), "test").unwrap()
    }

    #[test]
    fn a_folder_belongs_to_one_suite_and_one_process() {
        let dir = tempfile::tempdir().unwrap();
        let folder = SuiteFolder::at(&dir.path().join("s"));
        let lock = folder.claim(&spec("a")).unwrap();
        assert_eq!(folder.claim(&spec("a")).unwrap_err().kind(), ErrorKind::Locked);
        folder.write(&spec("a"), &Plan::default()).unwrap();
        drop(lock);
        assert!(folder.claim(&spec("b")).unwrap_err().to_string().contains("holds the suite `a`"));
        assert_eq!(folder.manifest().unwrap().spec, spec("a"));
        drop(folder.claim(&spec("a")).unwrap());
        std::fs::write(dir.path().join("thesis.tex"), "x").unwrap();
        assert_eq!(SuiteFolder::at(dir.path()).claim(&spec("a")).unwrap_err().kind(), ErrorKind::Usage);
    }

    #[test]
    fn a_damaged_manifest_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let folder = SuiteFolder::at(dir.path());
        assert!(folder.manifest().unwrap_err().to_string().contains("no suite.json"));
        folder.write(&spec("a"), &Plan::default()).unwrap();
        std::fs::write(folder.file("runs.jsonl"), "{").unwrap();
        assert!(folder.planned("{").unwrap_err().to_string().contains("is damaged"));
        assert!(folder.manifest().unwrap_err().to_string().contains("runs.jsonl` is damaged"));
    }
}
