//! What the shared core costs: the program of an SDK with a plugin loaded, against a program with the same plugin linked in.

use super::peer::root;
use super::run::{Run, ours};
use super::stats::Samples;
use super::turns::Turns;
use super::{Bench, Outcome, Settings};
use crate::Result;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// The benches `plugin.*`.
pub(crate) const BENCH: Bench = Bench { names: &["plugin.start", "plugin.train"], run };

/// Trainings take long and vary little: more turns than these are not made.
const TRAININGS: usize = 5;
const STARTS: usize = 20;

/// The program that loads the plugin, the plugin's file, and the program that has it linked in.
struct Sides {
    loading: PathBuf,
    plugin: PathBuf,
    linked: PathBuf,
}

impl Sides {
    /// Makes them below target/bench/plugin: an SDK, a new plugin, a bundle.
    fn make() -> Result<Sides> {
        let folder = root().join("target/bench/plugin");
        let [sdk, crate_folder, bundle] = ["sdk", "bench-coupling", "bundle"].map(|n| folder.join(n));
        for old in [&sdk, &crate_folder, &bundle] {
            if old.exists() {
                fs::remove_dir_all(old)?;
            }
        }
        let (source, target) = (root(), folder.join("target"));
        let program = ours()?;
        let ccnf = |program: &Path, words: &[&str], paths: &[&Path]| -> Result<String> {
            let mut command = Command::new(program);
            command.arg("plugin").args(words).args(paths).env("CARGO_TARGET_DIR", &target);
            let output = command.stderr(Stdio::inherit()).output()?;
            match output.status.success() {
                true => Ok(String::from_utf8(output.stdout)?),
                false => Err(format!("{command:?}: {}", output.status).into()),
            }
        };
        let file = |text: String| -> Result<PathBuf> {
            let line = text.lines().find_map(|l| l.strip_prefix("built "));
            Ok(line.ok_or("a build names no file")?.into())
        };
        ccnf(&program, &["sdk", "--source"], &[&source, &sdk])?;
        let loading = sdk.join("bin/ccnf");
        ccnf(&loading, &["new", "bench-coupling", "--kind", "coupling", "--out"], &[&crate_folder])?;
        let plugin = file(ccnf(&loading, &["build"], &[&crate_folder])?)?;
        let linked = file(ccnf(
            &program,
            &["bundle", "--source"],
            &[&source, Path::new("--out"), &bundle, &crate_folder],
        )?)?;
        Ok(Sides { loading, plugin, linked })
    }
}

fn run(name: &str, settings: &Settings) -> Result<Outcome> {
    let sides = Sides::make()?;
    match name {
        "plugin.start" => start(name, &sides, settings),
        _ => train(name, &sides, settings),
    }
}

/// From the start of the process to the end of `ccnf list`.
fn start(name: &str, sides: &Sides, settings: &Settings) -> Result<Outcome> {
    let plugin = [OsStr::new("--plugin"), sides.plugin.as_os_str()];
    let programs: [(&Path, &[&OsStr]); 3] =
        [(&sides.loading, &[]), (&sides.linked, &[]), (&sides.loading, &plugin)];
    let mut times: [Samples; 3] = Default::default();
    for turn in 0..=settings.rounds.max(STARTS) {
        for ((program, arguments), times) in programs.iter().zip(&mut times) {
            let begin = Instant::now();
            let output = Command::new(program).arg("list").args(*arguments).output()?;
            if !output.status.success() {
                return Err(format!("{}: {}", program.display(), output.status).into());
            }
            // The first start reads the files from disk.
            if turn > 0 {
                times.push(begin.elapsed().as_secs_f64());
            }
        }
    }
    let [shared, linked, loaded] = times.each_ref().map(Samples::median_ms);
    let [ours, _, _] = times;
    Ok(Outcome {
        name: name.into(),
        work: format!(
            "`ccnf list` with the shared core, {} whole processes in turn with a program that has all linked in",
            ours.len()
        ),
        turns: Turns { ours, ..Turns::default() },
        values: vec![
            (format!("{name}.shared_ms"), shared),
            (format!("{name}.linked_ms"), linked),
            (format!("{name}.with_plugin_ms"), loaded),
            (format!("{name}.shared_minus_linked_ms"), shared - linked),
        ],
        notes: vec![format!(
            "Start to end of `ccnf list`: {shared:.1} ms with the shared core, {linked:.1} ms with all linked in, {loaded:.1} ms with a plugin, which is \
             read, compared and loaded."
        )],
    })
}

/// Whole runs of a CCNF whose coupling is the plugin's, with cached features.
fn train(name: &str, sides: &Sides, settings: &Settings) -> Result<Outcome> {
    let folder = tempfile::tempdir()?;
    let cache = folder.path().join("cache");
    let plugin = sides.plugin.as_os_str();
    let kind =
        ["--set", "detector.coupling.kind=bench-coupling", "--set", "train.first.steps=400"].map(OsStr::new);
    let loaded: Vec<&OsStr> = kind.into_iter().chain([OsStr::new("--plugin"), plugin]).collect();
    let programs = [
        Run { program: &sides.loading, cache: &cache, arguments: &loaded },
        Run { program: &sides.linked, cache: &cache, arguments: &kind },
    ];
    let (mut turns, mut linked) = (Turns::default(), Samples::default());
    for turn in 0..=settings.rounds.min(TRAININGS) {
        for (k, side) in programs.iter().enumerate() {
            let ended = side.start(&folder.path().join(format!("{k}-{turn}")))?;
            // The first run fills the cache.
            if turn > 0 {
                ended.count(&mut turns);
                let times = if k == 0 { &mut turns.ours } else { &mut linked };
                times.push(ended.seconds);
            }
        }
    }
    let (ours, theirs) = (turns.ours.median_ms() / 1e3, linked.median_ms() / 1e3);
    Ok(Outcome {
        name: name.into(),
        work: format!(
            "400 steps of CCNF with a loaded coupling, then its later tasks, {} whole processes in turn with the same coupling linked in",
            turns.ours.len()
        ),
        turns,
        values: vec![
            (format!("{name}.loaded_s"), ours),
            (format!("{name}.linked_s"), theirs),
            (format!("{name}.loaded_vs_linked"), ours / theirs),
        ],
        notes: vec![format!(
            "A run with the loaded coupling takes {ours:.1} s, with the same one linked in {theirs:.1} s."
        )],
    })
}
