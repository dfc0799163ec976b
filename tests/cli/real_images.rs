//! Real images: the baseline reaches its figure, and the frozen flow forgets nothing.

use crate::place::Place;
use std::path::Path;

fn summary(path: &Path, key: &str) -> f64 {
    let m: serde_json::Value =
        serde_json::from_slice(&std::fs::read(path.join("metrics.json")).unwrap()).unwrap();
    m["summary"][key].as_f64().unwrap_or(f64::NAN)
}

/// Two base classes and two later ones; whatever classes the folder has, in order.
fn protocol(data: &Path) -> String {
    let mut classes: Vec<String> = std::fs::read_dir(data)
        .unwrap()
        .flatten()
        .filter(|e| e.path().join("train/good").is_dir())
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect();
    classes.sort();
    assert!(classes.len() >= 3, "the folder of real images has too few classes");
    let quoted: Vec<String> = classes.iter().take(4).map(|c| format!("\"{c}\"")).collect();
    format!("protocol.tasks=[[{}], [{}]]", quoted[..2].join(", "), quoted[2..].join(", "))
}

#[test]
fn the_region_gaussian_and_the_frozen_flow_work_on_real_images() {
    let Some(data) = ccnf_testkit::data_folder() else { return };
    let p = Place::new();
    let dataset =
        format!("dataset={{ kind = \"mvtec\", path = {:?} }}", std::fs::canonicalize(&data).unwrap());
    let tasks = protocol(&data);
    let common =
        ["--set", &dataset, "--set", &tasks, "--set", "encoder.size=224", "--set", "scoring.map_size=56"];
    let common = [&["run", "small.toml"], &common[..]].concat();
    p.ok(&[&common[..], &["--set", "detector={ kind = \"mahalanobis\" }", "--out", "gauss"]].concat());
    let auroc = summary(&p.path("gauss"), "image_auroc.given.acc_final");
    assert!(auroc > 0.75, "the region Gaussian reached only {auroc}");
    assert!(summary(&p.path("gauss"), "routing.accuracy") > 0.9);
    p.ok(&[&common[..], &["--out", "flow"]].concat());
    assert_eq!(summary(&p.path("flow"), "image_auroc.given.fm"), 0.0);
    let c: serde_json::Value =
        serde_json::from_slice(&std::fs::read(p.path("flow/certificate.json")).unwrap()).unwrap();
    assert_eq!((&c["promised"], &c["holds"]), (&true.into(), &true.into()));
}
