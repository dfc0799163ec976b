//! The folder of a run.

use ccnf_core::{Error, ErrorKind, Result, read_file, write_atomic};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

/// What is known about a folder before the run starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FolderState {
    /// Nothing is there yet.
    New,
    /// A run that was interrupted.
    Started,
    /// A finished run.
    Finished,
}

/// Size and hash of a file of a finished run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sealed {
    pub(crate) bytes: u64,
    /// BLAKE3, 64 hex digits.
    pub(crate) hash: String,
}

/// `run.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunFile {
    pub(crate) format: String,
    pub(crate) id: String,
    pub(crate) finished: bool,
    /// Every file of the finished run by its path in the folder: a changed one is found.
    #[serde(default)]
    pub(crate) files: BTreeMap<String, Sealed>,
}

/// The layout of a run folder. Version 1 had no hashes of its files.
pub(crate) const FORMAT: &str = "ccnf-run/2";

/// A run's folder, locked by this process for as long as the value lives.
///
/// ```text
/// run.json              id and state; once finished, size and hash of every other file
/// provenance.json       hashes of the model, the protocol, the data and the weights
/// config.json           every value of the resolved configuration with its source
/// config.toml           the same configuration, ready to run again
/// environment.json      program, machine, threads; seconds per stage in timing.json
/// events.jsonl          losses and gradient norms, one line per step
/// tensorboard/          the same curves, evaluations and overlays for TensorBoard
/// checkpoints/          stageN.safetensors after every stage, partial.safetensors within one
/// scores/stageN.csv     one line per test image
/// evaluations/          metrics per class after every stage
/// certificate.json      the forgetting certificate
/// metrics.json          R matrices, summary; its schema: `ccnf schema metrics`
/// summary.md            the same for people
/// overlays/             best and worst cases
/// ```
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    _lock: FolderLock,
}

/// A folder that no other process uses for as long as the value lives, however either of them ends.
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// Locks a folder that is there; fails where another process has.
    pub fn take(folder: &Path) -> Result<FolderLock> {
        let path = folder.join(".lock");
        let file = File::create(&path).map_err(|e| Error::io("lock", &path, e))?;
        match file.try_lock() {
            Ok(()) => Ok(FolderLock { _file: file }),
            Err(TryLockError::WouldBlock) => {
                let found = format!("another process is running in `{}`", folder.display());
                Err(Error::new(ErrorKind::Locked, found).help("wait for it, or choose another --out"))
            }
            Err(TryLockError::Error(e)) => Err(Error::io("lock", &path, e)),
        }
    }
}

impl RunFolder {
    /// Opens or makes the folder for the run `id` and locks it.
    pub fn open(path: &Path, id: &str) -> Result<(RunFolder, FolderState)> {
        std::fs::create_dir_all(path).map_err(|e| Error::io("create the run folder", path, e))?;
        let foreign =
            std::fs::read_dir(path).map_err(|e| Error::io("list", path, e))?.flatten().next().is_some()
                && !path.join("run.json").exists()
                && !path.join(".lock").exists();
        if foreign {
            return Err(Error::new(
                ErrorKind::Usage,
                format!("`{}` is not empty and not a run folder", path.display()),
            )
            .help("choose another --out"));
        }
        let folder = RunFolder { path: path.to_owned(), _lock: FolderLock::take(path)? };
        folder.remove_leftovers(path);
        let state = match folder.read_json::<RunFile>("run.json")? {
            None => {
                folder.write_run(id, false)?;
                FolderState::New
            }
            Some(f) if f.id != id => {
                return Err(Error::new(
                    ErrorKind::Checkpoint,
                    format!("`{}` holds another run (id {}, this one is {id})", path.display(), f.id),
                )
                .help("the configuration, the data, a plugin or the program changed: choose another --out, or remove the folder"));
            }
            Some(f) if f.finished => FolderState::Finished,
            Some(_) => FolderState::Started,
        };
        Ok((folder, state))
    }

    /// Removes what a killed process left half-written; nobody else writes here while the lock is held.
    fn remove_leftovers(&self, at: &Path) {
        for entry in std::fs::read_dir(at).into_iter().flatten().flatten() {
            let p = entry.path();
            if p.is_dir() {
                self.remove_leftovers(&p);
            } else if temporary(&p) {
                let _ = std::fs::remove_file(&p);
            }
        }
    }

    fn write_run(&self, id: &str, finished: bool) -> Result<()> {
        let mut files = BTreeMap::new();
        if finished {
            self.seal(&self.path, &mut files)?;
        }
        self.write_json("run.json", &RunFile { format: FORMAT.into(), id: id.into(), finished, files })
    }

    /// Size and hash of every file at `at` and below.
    fn seal(&self, at: &Path, files: &mut BTreeMap<String, Sealed>) -> Result<()> {
        for entry in std::fs::read_dir(at).map_err(|e| Error::io("list", at, e))? {
            let path = entry.map_err(|e| Error::io("list", at, e))?.path();
            let name = path.strip_prefix(&self.path).unwrap_or(&path).to_string_lossy().into_owned();
            if path.is_dir() {
                self.seal(&path, files)?;
            } else if name != "run.json" && name != ".lock" && !temporary(&path) {
                let mut hasher = blake3::Hasher::new();
                hasher.update_mmap(&path).map_err(|e| Error::io("read", &path, e))?;
                let hash = hasher.finalize().to_hex().to_string();
                files.insert(name, Sealed { bytes: hasher.count(), hash });
            }
        }
        Ok(())
    }

    /// Marks the run as finished and seals its files.
    pub fn finish(&self, id: &str) -> Result<()> {
        self.write_run(id, true)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file in the folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The checkpoint after a stage.
    pub fn stage_checkpoint(&self, stage: usize) -> PathBuf {
        self.path.join(format!("checkpoints/stage{stage}.safetensors"))
    }

    /// The checkpoint within a stage.
    pub fn partial_checkpoint(&self) -> PathBuf {
        self.path.join("checkpoints/partial.safetensors")
    }

    /// Replaces a file.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        write_atomic(&self.file(name), bytes)
    }

    /// Replaces a JSON file.
    pub fn write_json(&self, name: &str, value: &impl Serialize) -> Result<()> {
        let mut text = serde_json::to_string_pretty(value)
            .map_err(|e| Error::new(ErrorKind::Contract, e.to_string()))?;
        text.push('\n');
        self.write(name, text.as_bytes())
    }

    /// Reads a JSON file, if it is there.
    pub fn read_json<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        read_json(&self.file(name))
    }
}

/// Fails where `out` lies in the folder of a run, whose files are sealed.
pub fn outside_of_run(run: &Path, out: &Path) -> Result<()> {
    let real = |p: &Path| -> Result<PathBuf> { p.canonicalize().map_err(|e| Error::io("read", p, e)) };
    let there = out.ancestors().find(|p| p.exists()).unwrap_or(Path::new("."));
    if real(there)?.starts_with(real(run)?) {
        let found = format!("`{}` lies in the run's folder, which is only read", out.display());
        return Err(Error::new(ErrorKind::Usage, found).help("choose a folder outside of it"));
    }
    Ok(())
}

/// Whether a file is one that somebody is writing, or has left half-written.
fn temporary(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with('.') && name.ends_with(".tmp")
}

/// Reads a JSON file, if it is there.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    if !path.exists() {
        return Ok(None);
    }
    let bytes = read_file(path)?;
    serde_json::from_slice(&bytes).map(Some).map_err(|e| {
        Error::new(ErrorKind::Checkpoint, format!("`{}` is damaged: {e}", path.display()))
            .help("remove the file and run the same command again")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_belongs_to_one_run_and_one_process() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run");
        let (folder, state) = RunFolder::open(&path, "a").unwrap();
        assert_eq!(state, FolderState::New);
        assert_eq!(RunFolder::open(&path, "a").unwrap_err().kind(), ErrorKind::Locked);
        drop(folder);
        let (folder, state) = RunFolder::open(&path, "a").unwrap();
        assert_eq!(state, FolderState::Started);
        folder.finish("a").unwrap();
        drop(folder);
        assert_eq!(RunFolder::open(&path, "a").unwrap().1, FolderState::Finished);
        assert_eq!(RunFolder::open(&path, "b").unwrap_err().kind(), ErrorKind::Checkpoint);
    }

    #[test]
    fn a_folder_with_other_things_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("thesis.tex"), "x").unwrap();
        assert_eq!(RunFolder::open(dir.path(), "a").unwrap_err().kind(), ErrorKind::Usage);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
