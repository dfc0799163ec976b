//! Peers: Python programs that do one piece of work per line they read.

use crate::Result;
use ccnf::serde_json::Value;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// The workspace's folder.
pub(crate) fn root() -> PathBuf {
    let own = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    own.as_deref().and_then(Path::parent).unwrap_or(Path::new(".")).to_owned()
}

fn folder() -> PathBuf {
    root().join("benches/peers")
}

fn call(program: impl AsRef<OsStr>, args: &[&OsStr]) -> Result<()> {
    let status = Command::new(&program).args(args).status()?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{} failed: {status}", program.as_ref().display()).into())
    }
}

/// The interpreter of the peers' virtual environment, which is made when it is missing or its packages are others.
fn python() -> Result<PathBuf> {
    let (venv, requirements) = (folder().join(".venv"), folder().join("requirements.txt"));
    let (python, installed) = (venv.join("bin/python"), venv.join("installed.txt"));
    let wanted = std::fs::read_to_string(&requirements)?;
    if std::fs::read_to_string(&installed).ok().as_deref() != Some(wanted.as_str()) {
        eprintln!("installing the peers into benches/peers/.venv (several GB) …");
        call("python3", &["-m".as_ref(), "venv".as_ref(), venv.as_ref()])?;
        let pip = ["-m", "pip", "install", "--quiet", "-r"].map(OsStr::new);
        call(&python, &[&pip[..], &[requirements.as_ref()]].concat())?;
        std::fs::write(installed, wanted)?;
    }
    Ok(python)
}

/// Turns of which the losses are compared; after more, rounding has driven the sides apart.
const COMPARED: usize = 5;
/// How far the losses of a compared turn may differ, relative to the peer's.
const TOLERANCE: f64 = 2e-3;

/// One piece of work, done.
pub(crate) struct Reply {
    pub(crate) seconds: f64,
    /// Everything the peer said.
    pub(crate) values: Value,
}

impl Reply {
    /// Fails where this training step was not the same work as ours, by its loss.
    pub(crate) fn same_loss(&self, turn: usize, ours: f64) -> Result<()> {
        let theirs = self.values["loss"].as_f64().unwrap_or(f64::NAN);
        let off = (ours - theirs).abs();
        if turn < COMPARED && (off.is_nan() || off > TOLERANCE * theirs.abs().max(1.0)) {
            return Err(format!("the losses of step {turn} differ: {ours} here, {theirs} in the peer").into());
        }
        Ok(())
    }
}

/// A running peer; it ends when it is dropped.
pub(crate) struct Peer {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    /// What it said when it was ready.
    pub(crate) ready: Value,
}

impl Peer {
    /// Starts a program of benches/peers and waits until it is ready.
    pub(crate) fn start(program: &str, args: &[&OsStr], threads: usize) -> Result<Peer> {
        let mut child = Command::new(python()?)
            .arg(folder().join(program))
            .args(args)
            .env("OMP_NUM_THREADS", threads.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().ok_or("the peer has no output")?);
        let mut peer = Peer { child, stdin, stdout, ready: Value::Null };
        peer.ready = peer.read()?;
        Ok(peer)
    }

    /// Its name and version.
    pub(crate) fn version(&self) -> String {
        self.ready["version"].as_str().unwrap_or("unknown").to_owned()
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// One piece of work.
    pub(crate) fn step(&mut self) -> Result<Reply> {
        let stdin = self.stdin.as_mut().ok_or("the peer has no input")?;
        writeln!(stdin, "step")?;
        stdin.flush()?;
        let values = self.read()?;
        let seconds = values["seconds"].as_f64().ok_or("the peer told no time")?;
        Ok(Reply { seconds, values })
    }

    fn read(&mut self) -> Result<Value> {
        let mut line = String::new();
        if self.stdout.read_line(&mut line)? == 0 {
            // a signal, such as that of a system without memory, leaves no message
            let status = self.child.wait()?;
            return Err(format!("the peer ended ({status}); its message, if it left one, is above").into());
        }
        Ok(ccnf::serde_json::from_str(&line)?)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.stdin = None;
        let _ = self.child.wait();
    }
}
