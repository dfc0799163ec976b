//! Whole runs of the program, from the start of the process to its end.

use super::machine::{self, Watch};
use super::peer::root;
use super::stats::Samples;
use super::turns::{QUIET, Turns};
use super::{Bench, Outcome, Settings, THREADS};
use crate::{Result, cargo};
use ccnf::serde_json::Value;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The benches `run.*`.
pub(crate) const BENCH: Bench = Bench { names: &["run.quickstart", "run.realad"], run };

/// The last commit before the work on speed; `run.realad` compares with it.
const BEFORE: &str = "a54df51";
/// Names a program of that commit, which is then not built.
const BEFORE_PROGRAM: &str = "CCNF_BENCH_BEFORE";
/// Runs take long and vary little: more turns than these are not made.
const QUICKSTARTS: usize = 3;
const REALAD_TURNS: usize = 2;
/// How far the mean image AUROC of the two versions may differ: more, and they do not do the same work.
const TOLERANCE: f64 = 0.02;
/// How often a process is looked at: the uncertainty of its time and of the end of its memory's record.
const POLL: Duration = Duration::from_millis(20);

fn run(name: &str, settings: &Settings) -> Result<Outcome> {
    match name {
        "run.quickstart" => quickstart(name, settings),
        _ => realad(name, settings),
    }
}

/// This project's program.
pub(super) fn ours() -> Result<PathBuf> {
    cargo::build(&root(), &["--release", "--package", "ccnf-cli"], "ccnf", &[])
}

/// The built-in run as a new user sees it: nothing is cached.
fn quickstart(name: &str, settings: &Settings) -> Result<Outcome> {
    let program = ours()?;
    let (mut turns, mut peak) = (Turns::default(), None::<f64>);
    for _ in 0..settings.rounds.min(QUICKSTARTS) {
        let folder = tempfile::tempdir()?;
        let ended = Run { program: &program, cache: &folder.path().join("cache"), arguments: &[] }
            .start(&folder.path().join("out"))?;
        ended.count(&mut turns);
        turns.ours.push(ended.seconds);
        peak = peak.into_iter().chain(ended.peak_mib).reduce(f64::max);
    }
    let mut values = vec![(format!("{name}_s"), turns.ours.median_ms() / 1e3)];
    values.extend(peak.map(|p| (format!("{name}_peak_mib"), p)));
    Ok(Outcome {
        name: name.into(),
        work: format!(
            "`ccnf run` without a configuration and without a cache, {} whole processes",
            turns.ours.len()
        ),
        turns,
        values,
        notes: vec![],
    })
}

/// The plain method on the real images with cached features, against the commit before.
fn realad(name: &str, settings: &Settings) -> Result<Outcome> {
    let data = std::env::var_os("CCNF_DATA")
        .filter(|v| !v.is_empty())
        .map_or_else(|| root().join("../shared/data/realad"), PathBuf::from);
    let Ok(data) = fs::canonicalize(&data) else {
        return Ok(skipped(name, &format!("no real images at {} (CCNF_DATA names them)", data.display())));
    };
    let before = match before()? {
        Ok(program) => program,
        Err(why) => return Ok(skipped(name, &why)),
    };
    let ours = ours()?;
    let config = fs::canonicalize(root().join("configs/models/ccnf.toml"))?;
    let mut dataset = std::ffi::OsString::from("dataset.path=");
    dataset.push(&data);
    let arguments: [&OsStr; 7] = [
        config.as_ref(),
        "--set".as_ref(),
        "dataset.kind=mvtec".as_ref(),
        "--set".as_ref(),
        &dataset,
        "--set".as_ref(),
        "protocol.preset=realad".as_ref(),
    ];
    let folder = tempfile::tempdir()?;
    let caches = ["ours", "before"].map(|side| folder.path().join(side).join("cache"));
    let sides = [(&ours, &caches[0]), (&before, &caches[1])].map(|(program, cache)| Run {
        program,
        cache,
        arguments: &arguments,
    });
    let (mut turns, mut before_times) = (Turns::default(), Samples::default());
    let mut accuracies = [f64::NAN; 2];
    for turn in 0..=settings.rounds.min(REALAD_TURNS) {
        for (k, side) in sides.iter().enumerate() {
            let out = folder.path().join(format!("{k}-{turn}"));
            let ended = side.start(&out)?;
            accuracies[k] = accuracy(&out)?;
            // The first run fills the cache.
            if turn > 0 {
                ended.count(&mut turns);
                let times = if k == 0 { &mut turns.ours } else { &mut before_times };
                times.push(ended.seconds);
            }
        }
        let [now, then] = accuracies;
        let same = (now - then).abs() <= TOLERANCE;
        if !same {
            return Err(format!("not the same work: image AUROC {now} here, {then} at {BEFORE}").into());
        }
    }
    let (now, then) = (turns.ours.median_ms() / 1e3, before_times.median_ms() / 1e3);
    Ok(Outcome {
        name: name.into(),
        work: format!(
            "plain CCNF on ten classes of real images, features cached, {} whole processes in turn with {BEFORE}",
            turns.ours.len()
        ),
        turns,
        values: vec![
            (format!("{name}_s"), now),
            (format!("{name}_before_s"), then),
            (format!("{name}_vs_before"), now / then),
        ],
        notes: vec![format!(
            "Wall time of a run with cached features: {now:.1} s, at the commit before ({BEFORE}) {then:.1} s. Mean image AUROC after \
             the last stage, class given: {:.3} and {:.3}.",
            accuracies[0], accuracies[1]
        )],
    })
}

fn skipped(name: &str, why: &str) -> Outcome {
    let note = format!("SKIPPED: {why}.");
    eprintln!("{name}: {note}");
    Outcome {
        name: name.into(),
        work: String::new(),
        turns: Turns::default(),
        values: vec![],
        notes: vec![note],
    }
}

/// The program of the commit before, built once and kept under target/bench/before; the inner error says why there is none.
fn before() -> Result<std::result::Result<PathBuf, String>> {
    if let Some(program) = std::env::var_os(BEFORE_PROGRAM).filter(|v| !v.is_empty()) {
        let program = fs::canonicalize(&program)
            .map_err(|e| format!("{BEFORE_PROGRAM}: {}: {e}", program.display()))?;
        return Ok(Ok(program));
    }
    let folder = root().join("target/bench/before");
    let source = folder.join("source");
    let git = |folder: &Path, arguments: &[&OsStr]| {
        Command::new("git").current_dir(folder).args(arguments).stdin(Stdio::null()).output()
    };
    let commit = format!("{BEFORE}^{{commit}}");
    let arguments = ["rev-parse", "--verify", "--quiet", &commit].map(OsStr::new);
    if !git(&root(), &arguments).is_ok_and(|o| o.status.success()) {
        return Ok(Err(format!(
            "the history here lacks commit {BEFORE}; fetch it, or name a program of it in {BEFORE_PROGRAM}"
        )));
    }
    if !source.join("Cargo.toml").is_file() {
        fs::create_dir_all(&folder)?;
        // `--force`: the folder may have gone with `cargo clean` while git still knows of it.
        let arguments =
            ["worktree", "add", "--force", "--detach"].map(OsStr::new).into_iter().chain([source.as_ref()]);
        let arguments: Vec<&OsStr> = arguments.chain([OsStr::new(BEFORE)]).collect();
        let output = git(&root(), &arguments)?;
        if !output.status.success() {
            return Err(format!("git worktree: {}", String::from_utf8_lossy(&output.stderr).trim()).into());
        }
    }
    eprintln!("building commit {BEFORE} (once, some minutes) …");
    let target = fs::canonicalize(&folder)?.join("target");
    let target = target.to_str().ok_or("the path of the target folder is not Unicode")?;
    let arguments = ["--release", "--locked", "--package", "ccnf-cli"];
    cargo::build(&source, &arguments, "ccnf", &[("CARGO_TARGET_DIR", target)]).map(Ok)
}

/// Mean image AUROC over all classes after the last stage, class given.
fn accuracy(out: &Path) -> Result<f64> {
    let metrics: Value = ccnf::serde_json::from_slice(&fs::read(out.join("metrics.json"))?)?;
    let value = metrics["summary"]["image_auroc.given.acc_final"].as_f64();
    value.ok_or_else(|| "metrics.json has no image_auroc.given.acc_final".into())
}

/// One `ccnf run`.
pub(super) struct Run<'a> {
    pub(super) program: &'a Path,
    pub(super) cache: &'a Path,
    pub(super) arguments: &'a [&'a OsStr],
}

/// What a process took.
pub(super) struct Ended {
    pub(super) seconds: f64,
    /// The peak of its resident memory, where the system tells it.
    peak_mib: Option<f64>,
    /// Cores that others used meanwhile, where the system tells it.
    others: Option<f64>,
}

impl Run<'_> {
    /// Runs into the new folder `out`, with no other settings than these, and waits for the end.
    pub(super) fn start(&self, out: &Path) -> Result<Ended> {
        let mut command = Command::new(self.program);
        for (key, _) in std::env::vars_os().filter(|(k, _)| k.to_string_lossy().starts_with("CCNF_")) {
            command.env_remove(key);
        }
        command.arg("run").args(self.arguments).arg("--out").arg(out);
        command.env("CCNF_CACHE", self.cache).env("RAYON_NUM_THREADS", THREADS.to_string());
        command.current_dir(out.parent().ok_or("the run's folder has no parent")?);
        ended(command)
    }
}

/// Runs a process to its end.
fn ended(mut command: Command) -> Result<Ended> {
    let mut messages = tempfile::NamedTempFile::new()?;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(messages.as_file_mut().try_clone()?);
    let start = Instant::now();
    let mut child = command.spawn()?;
    let watch = Watch::start(child.id());
    let (mut peak_mib, mut others) = (None, None);
    let status = loop {
        // The system keeps the peak; so it is enough to ask for it now and then, while the process lives.
        peak_mib = machine::peak_mib_of(child.id()).or(peak_mib);
        others = watch.others().or(others);
        if let Some(status) = child.try_wait()? {
            break status;
        }
        std::thread::sleep(POLL);
    };
    let seconds = start.elapsed().as_secs_f64();
    if status.success() {
        Ok(Ended { seconds, peak_mib, others })
    } else {
        Err(format!("{command:?}: {status}\n{}", fs::read_to_string(messages.path())?).into())
    }
}

impl Ended {
    /// Notes whether others used the machine; the run counts anyway.
    pub(super) fn count(&self, turns: &mut Turns) {
        if self.others.is_some_and(|o| o > QUIET) {
            turns.disturbed += 1;
            turns.noisy = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_failed_process_is_an_error_with_its_messages() {
        let error = ended(shell("echo no such class >&2; exit 3")).err().unwrap().to_string();
        assert!(error.contains("exit status: 3") && error.contains("no such class"), "{error}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_peak_of_a_process_is_that_of_its_own_memory() {
        let small = ended(shell("sleep 0.2")).unwrap().peak_mib.unwrap();
        // 64 MiB of text in one variable of the shell
        let big = ended(shell("x=$(head -c 67108864 /dev/zero | tr '\\0' x); sleep 0.2")).unwrap();
        let big = big.peak_mib.unwrap();
        assert!(small < 32.0 && big > 64.0, "{small} MiB and {big} MiB");
    }

    #[test]
    fn the_accuracy_is_read_from_the_metrics() {
        let folder = tempfile::tempdir().unwrap();
        let write = |text: &str| fs::write(folder.path().join("metrics.json"), text).unwrap();
        write(r#"{"summary": {"image_auroc.given.acc_final": 0.75}}"#);
        assert_eq!(accuracy(folder.path()).unwrap(), 0.75);
        write(r#"{"summary": {"image_auroc.given.acc_final": null}}"#);
        assert!(accuracy(folder.path()).is_err());
    }
}
