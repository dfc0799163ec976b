//! Plugins that fit: made by `plugin new`, tested, built, loaded, and linked statically.

use crate::builds::target;
use crate::sdk::{build, ccnf, said, sdk, source};
use safetensors::SafeTensors;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A new plugin's folder.
fn made(sdk: &Path, folder: &Path, name: &str, kinds: &str) -> PathBuf {
    let out = folder.join(name);
    said(ccnf(sdk, &["plugin", "new", name, "--kind", kinds, "--out"]).arg(&out).output().unwrap());
    out
}

/// The program with the plugin linked in.
fn bundled(folder: &Path, plugin: &Path) -> PathBuf {
    let out = folder.join("bundle");
    let mut command = Command::new(env!("CARGO_BIN_EXE_ccnf"));
    command
        .args(["plugin", "bundle", "--debug", "--source"])
        .arg(source())
        .arg("--out")
        .arg(&out)
        .arg(plugin);
    let text = said(command.env("CARGO_TARGET_DIR", target()).output().unwrap());
    PathBuf::from(text.trim().strip_prefix("built ").unwrap())
}

#[test]
fn a_loaded_plugin_trains_to_the_same_bits_as_the_same_source_linked_in() {
    let sdk = sdk();
    let folder = tempfile::tempdir().unwrap();
    let plugin = made(&sdk, folder.path(), "my-coupling", "coupling");
    // A file beside the manifest is found by both.
    std::fs::write(plugin.join("w.txt"), "1").unwrap();
    let lib = std::fs::read_to_string(plugin.join("src/lib.rs")).unwrap();
    let file = "const _: &str = include_str!(concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/w.txt\"));\n";
    std::fs::write(plugin.join("src/lib.rs"), lib + file).unwrap();
    said(ccnf(&sdk, &["plugin", "test"]).arg(&plugin).output().unwrap());
    let file = build(&sdk, &plugin);
    let checked = said(ccnf(&sdk, &["plugin", "check"]).arg(&file).output().unwrap());
    assert!(checked.contains("coupling/my-coupling: keeps the contract of its kind"), "{checked}");
    let cache = folder.path().join("cache");
    let run = |mut command: Command, name: &str| {
        let out = folder.path().join(name);
        command.args([
            "run",
            "--set",
            "detector.coupling.kind=my-coupling",
            "--set",
            "train.first.steps=200",
        ]);
        command.args([
            "--set",
            "dataset.train=8",
            "--set",
            "dataset.test_good=4",
            "--set",
            "dataset.test_per_defect=2",
        ]);
        said(command.arg("--out").arg(&out).env("CCNF_CACHE", &cache).output().unwrap());
        out
    };
    let loaded = run(ccnf(&sdk, &["--plugin", &file.display().to_string()]), "loaded");
    let linked = run(Command::new(bundled(folder.path(), &plugin)), "linked");
    assert_eq!(numbers(&loaded), numbers(&linked));
    assert!(numbers(&loaded).len() >= 200);
    let stages = |run: &Path| std::fs::read_dir(run.join("checkpoints")).unwrap().count();
    assert_eq!(stages(&loaded), stages(&linked));
    for entry in std::fs::read_dir(loaded.join("checkpoints")).unwrap().flatten() {
        if entry.path().extension().is_some_and(|e| e == "safetensors") {
            let other = linked.join("checkpoints").join(entry.file_name());
            same_tensors(&entry.path(), &other);
        }
    }
    // The plugin's content is part of what the result rests on; where it lies is not.
    let provenance = |run: &Path| -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(run.join("provenance.json")).unwrap()).unwrap()
    };
    assert_eq!(provenance(&loaded)["plugins"]["my-coupling 0.1.0"].as_str().unwrap().len(), 64);
    assert!(provenance(&linked).get("plugins").is_none());
    let moved = folder.path().join("moved.so");
    std::fs::copy(&file, &moved).unwrap();
    std::fs::remove_file(&file).unwrap();
    let mut eval = ccnf(&sdk, &["--plugin", &moved.display().to_string(), "eval"]);
    said(eval.arg(&loaded).env("CCNF_CACHE", &cache).output().unwrap());
}

/// Losses, gradient norms and all else that the run wrote of every step.
fn numbers(run: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(run.join("events.jsonl")).unwrap();
    text.lines().filter(|l| l.contains(".grad_norm")).map(str::to_owned).collect()
}

fn same_tensors(a: &Path, b: &Path) {
    let (left, right) = (std::fs::read(a).unwrap(), std::fs::read(b).unwrap());
    let (left, right) = (SafeTensors::deserialize(&left).unwrap(), SafeTensors::deserialize(&right).unwrap());
    assert_eq!(left.names().len(), right.names().len());
    for name in left.names() {
        assert_eq!(
            left.tensor(name).unwrap().data(),
            right.tensor(name).unwrap().data(),
            "{name} of {}",
            a.display()
        );
    }
}

#[test]
fn every_kind_of_component_comes_from_a_plugin_and_models_are_made_of_nothing_else() {
    let sdk = sdk();
    let folder = tempfile::tempdir().unwrap();
    let kinds = "dataset,encoder,detector,layer,coupling,conditioner,regularizer,scorer,router,strategy";
    let plugin = made(&sdk, folder.path(), "zoo", kinds);
    let file = build(&sdk, &plugin).display().to_string();
    let list = said(ccnf(&sdk, &["--plugin", &file, "plugin", "list"]).output().unwrap());
    for kind in kinds.split(',') {
        assert!(list.contains(&format!("{kind}/zoo-{kind}")), "{kind}: {list}");
    }
    let images = folder.path().join("images");
    let sizes = [
        "--size",
        "64",
        "--train",
        "6",
        "--test-good",
        "4",
        "--test-per-defect",
        "2",
        "--classes",
        "bolt,pine,pcb",
    ];
    said(ccnf(&sdk, &["data", "synth"]).args(sizes).arg("--out").arg(&images).output().unwrap());
    ["bolt", "pine", "pcb"].iter().for_each(|class| as_ok_and_ng(&images.join(class)));
    let cache = folder.path().join("cache");
    for name in ["template", "template-flow"] {
        let text =
            std::fs::read_to_string(source().join(format!("plugins/template/configs/{name}.toml"))).unwrap();
        let config = folder.path().join(format!("{name}.toml"));
        std::fs::write(&config, text.replace("template", "zoo")).unwrap();
        let out = folder.path().join(name);
        let mut run = ccnf(&sdk, &["--plugin", &file, "run"]);
        run.arg(&config).args(["--set", &format!("dataset.path={images:?}")]);
        run.args(["--set", "protocol.tasks=[[\"bolt\", \"pine\"], [\"pcb\"]]"]).arg("--out").arg(&out);
        said(run.env("CCNF_CACHE", &cache).output().unwrap());
        let metrics: serde_json::Value =
            serde_json::from_slice(&std::fs::read(out.join("metrics.json")).unwrap()).unwrap();
        assert_eq!(metrics["classes"].as_array().unwrap().len(), 3, "{name}: {metrics}");
        // Features of another build of the plugin are in another folder.
        let hash = said(ccnf(&sdk, &["--plugin", &file, "plugin", "list", "--json"]).output().unwrap());
        let hash: serde_json::Value = serde_json::from_str(&hash).unwrap();
        let of_plugin = format!("plugin-{}", &hash["loaded"][0]["sha256"].as_str().unwrap()[..16]);
        assert_eq!(std::fs::read_dir(cache.join(of_plugin)).unwrap().count(), 1, "{name}");
        // The folder alone is enough to go on with the run: its config names the plugin.
        let again = said(ccnf(&sdk, &["eval"]).arg(&out).env("CCNF_CACHE", &cache).output().unwrap());
        assert!(again.contains("pcb"), "{name}: {again}");
    }
}

/// A class's folder in MVTec AD layout as the template's dataset has it.
fn as_ok_and_ng(class: &Path) {
    let entries = |folder: &Path| -> Vec<PathBuf> {
        std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect()
    };
    let to = |part: &str| {
        let folder = class.join(part);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    };
    let (ok, ng, mask) = (to("ok"), to("ng"), to("mask"));
    for image in entries(&class.join("train/good")) {
        std::fs::rename(&image, class.join("train").join(image.file_name().unwrap())).unwrap();
    }
    std::fs::remove_dir(class.join("train/good")).unwrap();
    for kind in entries(&class.join("test")) {
        let name = kind.file_name().unwrap().to_string_lossy().into_owned();
        for image in entries(&kind) {
            let file = image.file_name().unwrap().to_string_lossy().into_owned();
            let into = if name == "good" { &ok } else { &ng };
            std::fs::rename(&image, into.join(format!("{name}-{file}"))).unwrap();
            let truth = class.join("ground_truth").join(&name).join(file.replace(".png", "_mask.png"));
            if truth.exists() {
                std::fs::rename(truth, mask.join(format!("{name}-{file}"))).unwrap();
            }
        }
    }
    std::fs::remove_dir_all(class.join("test")).unwrap();
    std::fs::remove_dir_all(class.join("ground_truth")).unwrap();
}
