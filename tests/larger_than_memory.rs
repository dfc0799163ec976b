//! Encoding and training with features that do not fit into memory.
//!
//! The work is done in child processes whose anonymous memory is limited (`ulimit -d`: everything but files that are mapped
//! read-only, which the system can drop and read again). Without disk the same work must fail under this limit.
#![cfg(target_os = "linux")]

use ccnf::core::{Config, DatasetSpec, PhaseConfig, PlainUpdate, TrainConfig, build};
use ccnf::prelude::*;
use ccnf_bundle as _;
use ccnf_data::cache::FeatureCache;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Images, of 1 MiB of features each.
const IMAGES: usize = 256;
/// What a child may allocate, with its code's data and the stacks of its threads.
const LIMIT: usize = 64 << 20;
/// Tells a child what to do.
const TASK: &str = "CCNF_TEST_TASK";
const FOLDER: &str = "CCNF_TEST_FOLDER";

/// Copies the pixels over and over.
struct Wide(LevelSpec);

impl Wide {
    fn new() -> Wide {
        Wide(LevelSpec { name: "wide".into(), height: 64, width: 64, channels: 64 })
    }
}

impl Encoder for Wide {
    fn fingerprint(&self) -> String {
        "0123456789abcdef".into()
    }
    fn levels(&self) -> Vec<LevelSpec> {
        vec![self.0.clone()]
    }
    fn encode(&self, images: &[EncoderInput<'_>]) -> Result<Vec<EncodedImage>> {
        let one = |i: &EncoderInput<'_>| {
            let pixels = (i.open)()?.data;
            Ok(vec![pixels.iter().cycle().take(self.0.len()).map(|p| f32::from(*p) / 64.0).collect()])
        };
        images.iter().map(one).collect()
    }
    fn batch(&self) -> usize {
        1
    }
}

/// Encodes the images of a generated dataset, trains on all of them, scores some.
fn work(folder: Option<PathBuf>, maps: usize) -> Result<()> {
    let config = json!({
        "dataset": { "kind": "synthetic", "size": 32, "classes": ["bolt"], "train": IMAGES },
        "detector": {
            "kind": "ccnf", "blocks": 1, "position": 0,
            "coupling": { "kind": "affine", "subnet": { "hidden": 8 } },
        },
    });
    let root = Config::from_json("test", &config)?.root()?;
    let dataset = build::<dyn Dataset>(&root.child("dataset"), &DatasetSpec::default())?;
    let (train, _) = dataset.index()?.split()?;
    let sources: Vec<_> = train.images("bolt").iter().map(|i| &i.source).collect();
    let encoder = Wide::new();
    let cache = FeatureCache::open(folder, &encoder)?.with_maps(maps);
    let images = cache.get_or_encode(dataset.as_ref(), &sources, &encoder, &mut |_| {})?;
    assert_eq!(images.len(), IMAGES);
    let first = PhaseConfig { steps: 20, tokens: 1024, lr: 1e-3 };
    let spec = DetectorSpec {
        levels: encoder.levels(),
        train: TrainConfig { first, ..TrainConfig::default() },
        fusion: FusionConfig::default(),
        streams: Streams::new(1),
    };
    let mut detector = build::<dyn Detector>(&root.child("detector"), &spec)?;
    let view = TrainView::new(0, encoder.levels(), vec![TrainClass::new("bolt", images)]);
    detector.begin_stage(&view, TrainScope::All)?;
    for step in 0..detector.steps(0) {
        detector.step(&view, step, &mut PlainUpdate)?;
    }
    detector.end_stage(&view)?;
    let some: Vec<&dyn ImageFeatures> =
        view.classes()[0].images().iter().take(3).map(|i| i.as_ref()).collect();
    detector.score(&some, ScoreRequest { given: Some("bolt"), routed: false })?;
    Ok(())
}

/// Runs this test again under the limit.
fn child(task: &str, folder: &Path) -> Output {
    let limited = format!("ulimit -d {} && exec \"$@\"", LIMIT >> 10);
    Command::new("sh")
        .args(["-c", &limited, "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "features_need_not_fit_into_memory", "--nocapture"])
        .env(TASK, task)
        .env(FOLDER, folder)
        .env("RAYON_NUM_THREADS", "2")
        .output()
        .unwrap()
}

#[test]
fn features_need_not_fit_into_memory() {
    if let Ok(task) = std::env::var(TASK) {
        let folder = std::env::var_os(FOLDER).map(PathBuf::from);
        match task.as_str() {
            "allocate" => assert_eq!(std::hint::black_box(vec![1u8; LIMIT]).len(), LIMIT),
            "memory" => work(None, 0).unwrap(),
            "mapped" => work(folder, IMAGES).unwrap(),
            _ => work(folder, IMAGES / 16).unwrap(),
        }
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    if child("allocate", folder.path()).status.success() {
        println!("SKIPPED: `ulimit -d` does not limit memory here");
        return;
    }
    let said = |o: &Output| String::from_utf8_lossy(&[&o.stdout[..], &o.stderr[..]].concat()).into_owned();
    let memory = child("memory", folder.path());
    assert!(!memory.status.success() && said(&memory).contains("memory allocation"), "{}", said(&memory));
    // The first fills the cache; the second maps only a sixteenth of it.
    for task in ["mapped", "read"] {
        let output = child(task, folder.path());
        assert!(output.status.success() && said(&output).contains("1 passed"), "{task}: {}", said(&output));
    }
}
