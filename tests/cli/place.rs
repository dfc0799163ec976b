//! Runs the binary in a folder of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A small model on generated images: three stages, seconds in a debug build.
pub(crate) const SMALL: &str = r#"
seed = 3
[dataset]
kind = "synthetic"
size = 64
train = 6
test_good = 3
test_per_defect = 1
[protocol]
tasks = [["bolt", "pine"], ["granite"], ["capsule"]]
[encoder]
kind = "efficientnet-lite0"
size = 64
[detector]
kind = "ccnf"
blocks = 2
position = 8
coupling = { kind = "affine", subnet = { hidden = 16 } }
conditioner = { kind = "embedding", width = 8 }
[strategy]
kind = "freeze-expand"
[train]
first = { steps = 12, tokens = 64, lr = 2e-3 }
later = { steps = 6, tokens = 32, lr = 3e-2 }
checkpoint_every = 2
[scoring]
map_size = 32
blur_sigma = 1.0
[run]
overlays = 1
"#;

/// A folder with a config `small.toml`, a cache of its own, and the binary.
pub(crate) struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(dir.path().join("small.toml"), SMALL).expect("the config");
        Place { dir }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut c = Command::new(env!("CARGO_BIN_EXE_ccnf"));
        c.args(args).current_dir(self.dir.path()).env("CCNF_CACHE", self.path("cache"));
        c.env_remove("CCNF_LOG").stdin(std::process::Stdio::null());
        c
    }

    pub(crate) fn ccnf(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("the binary starts")
    }

    /// Writes a small dataset with the classes `bolt` and `pine`; returns the arguments that use it.
    pub(crate) fn on_disk(&self) -> Vec<&'static str> {
        let size = ["--size", "64", "--train", "3", "--test-good", "2", "--test-per-defect", "1"];
        self.ok(&[&["data", "synth", "--out", "images", "--classes", "bolt,pine"], &size[..]].concat());
        vec![
            "--set",
            "dataset={ kind = \"mvtec\", path = \"images\" }",
            "--set",
            "protocol.tasks=[[\"bolt\"], [\"pine\"]]",
        ]
    }

    /// Runs and expects success; returns standard output.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let o = self.ccnf(args);
        assert!(o.status.success(), "ccnf {args:?}: {:?}\n{}", o.status, String::from_utf8_lossy(&o.stderr));
        String::from_utf8(o.stdout).expect("UTF-8")
    }

    /// Runs and expects this exit code; returns standard error.
    pub(crate) fn fails(&self, code: i32, args: &[&str]) -> String {
        let o = self.ccnf(args);
        let err = String::from_utf8_lossy(&o.stderr).into_owned();
        assert_eq!(
            o.status.code(),
            Some(code),
            "ccnf {args:?} said:\n{err}\n{}",
            String::from_utf8_lossy(&o.stdout)
        );
        assert!(!err.contains("panicked"), "{err}");
        err
    }
}

/// Everything below a folder that must be the same for the same run: file names and contents.
pub(crate) fn results(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut out = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(f) = folders.pop() {
        for e in std::fs::read_dir(&f).expect("a folder").flatten() {
            let p = e.path();
            let name = p.strip_prefix(folder).expect("below").display().to_string();
            if p.is_dir() {
                folders.push(p);
            } else if !timed(&name) && name != ".lock" {
                out.push((name.clone(), untimed(&name, std::fs::read(&p).expect("a file"))));
            }
        }
    }
    out.sort();
    out
}

/// Whether a file tells when or how fast something happened.
fn timed(name: &str) -> bool {
    name == "timing.json" || name.starts_with("tensorboard/")
}

/// A file without the hashes of files that are [`timed`].
fn untimed(name: &str, bytes: Vec<u8>) -> Vec<u8> {
    if name != "run.json" {
        return bytes;
    }
    let mut json: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
    if let Some(files) = json["files"].as_object_mut() {
        files.retain(|file, _| !timed(file));
    }
    json.to_string().into_bytes()
}

/// Fails with the names of the files that differ.
pub(crate) fn assert_same(a: &Path, b: &Path) {
    let (a, b) = (results(a), results(b));
    let names = |r: &[(String, Vec<u8>)]| r.iter().map(|(n, _)| n.clone()).collect::<Vec<_>>();
    assert_eq!(names(&a), names(&b));
    let differ: Vec<&String> = a.iter().zip(&b).filter(|(x, y)| x.1 != y.1).map(|(x, _)| &x.0).collect();
    assert!(differ.is_empty(), "these files differ: {differ:?}");
}
