//! The command line, end to end.

use crate::place::{Place, assert_same};
use std::path::Path;
use std::time::Duration;

fn json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn a_run_writes_everything_and_the_second_call_computes_nothing() {
    let p = Place::new();
    let out = p.ok(&["run", "small.toml", "--out", "a"]);
    assert!(out.contains("| stage | bolt | pine | granite | capsule |"), "{out}");
    assert!(out.contains("holds"), "{out}");
    for f in [
        "config.toml",
        "config.json",
        "environment.json",
        "timing.json",
        "events.jsonl",
        "metrics.json",
        "certificate.json",
        "summary.md",
        "scores/stage2.csv",
        "checkpoints/stage0.safetensors",
        "overlays/bolt",
    ] {
        assert!(p.path("a").join(f).exists(), "{f} is missing");
    }
    assert!(!p.path("a/checkpoints/partial.safetensors").exists());
    let m = json(&p.path("a/metrics.json"));
    assert_eq!(m["certificate"]["holds"], true);
    assert_eq!(m["summary"]["image_auroc.given.fm"], 0.0);
    assert!(m["summary"]["image_auroc.given.acc_final"].is_number());
    assert_eq!(m["summary"]["routing.shortlist_changed"], serde_json::Value::Null);
    assert_eq!(m["undefined"]["routing.shortlist_changed"], "the router has no shortlist");
    assert_eq!(m["matrices"]["image_auroc"]["given"][0][2], serde_json::Value::Null);
    let before = crate::place::results(&p.path("a"));
    let again = p.ok(&["run", "small.toml", "--out", "a"]);
    assert!(again.contains("finished before"), "{again}");
    assert_eq!(before, crate::place::results(&p.path("a")));
    // The resolved configuration runs again to the same id, and the same bits.
    std::fs::copy(p.path("a/config.toml"), p.path("again.toml")).unwrap();
    p.ok(&["run", "again.toml", "--out", "b"]);
    assert_eq!(json(&p.path("a/metrics.json")), json(&p.path("b/metrics.json")));
}

#[test]
fn what_a_shortlist_changes_is_reported_and_given_scores_stay() {
    let p = Place::new();
    p.ok(&["run", "small.toml", "--out", "all"]);
    let router = "detector.router={kind=\"likelihood\",top=1,shortlist={kind=\"prototype\"}}";
    p.ok(&["run", "small.toml", "--set", router, "--out", "short"]);
    let (all, short) = (json(&p.path("all/metrics.json")), json(&p.path("short/metrics.json")));
    assert_eq!(short["certificate"]["holds"], true);
    assert_eq!(short["matrices"]["image_auroc"]["given"], all["matrices"]["image_auroc"]["given"]);
    // Recount from the scores of both runs: few enough test images that all are compared.
    let routes = |run: &str, stage: usize| -> Vec<String> {
        let text = std::fs::read_to_string(p.path(run).join(format!("scores/stage{stage}.csv"))).unwrap();
        text.lines().skip(1).map(|l| l.rsplit(',').next().unwrap_or_default().to_owned()).collect()
    };
    for stage in 0..3 {
        let (a, b) = (routes("all", stage), routes("short", stage));
        let changed = a.iter().zip(&b).filter(|(a, b)| a != b).count() as f64 / a.len() as f64;
        assert_eq!(short["routing"]["shortlist_images"][stage], a.len());
        assert_eq!(short["routing"]["shortlist_changed"][stage], changed);
        if stage == 2 {
            assert_eq!(short["summary"]["routing.shortlist_changed"], changed);
        }
    }
}

#[test]
fn the_same_config_gives_the_same_bits() {
    let p = Place::new();
    p.ok(&["run", "small.toml", "--out", "a"]);
    p.ok(&["run", "small.toml", "--out", "b"]);
    assert_same(&p.path("a"), &p.path("b"));
}

#[test]
fn killed_runs_go_on_to_the_same_numbers() {
    let p = Place::new();
    p.ok(&["run", "small.toml", "--out", "whole"]);
    // Killed again and again at whatever moment, then finished.
    for pause in [40u64, 300, 700, 1100, 1500, 2000] {
        let mut child = p
            .command(&["run", "small.toml", "--out", "killed"])
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(pause));
        let _ = child.kill();
        let _ = child.wait();
    }
    p.ok(&["run", "small.toml", "--out", "killed"]);
    assert_same(&p.path("whole"), &p.path("killed"));
}

#[test]
fn a_run_stopped_between_training_and_scoring_goes_on_to_the_same_numbers() {
    let p = Place::new();
    p.ok(&["run", "small.toml", "--out", "whole"]);
    // What is there when a process dies right after it has written the first stage's checkpoint; without the file that comes before it.
    let text = |file: &str| std::fs::read_to_string(p.path("whole").join(file)).unwrap();
    let first = text("events.jsonl")
        .lines()
        .filter(|l| l.contains("\"stage\":0"))
        .map(|l| format!("{l}\n"))
        .collect();
    for (file, content) in [("run.json", text("run.json").replace("true", "false")), ("events.jsonl", first)]
    {
        for run in ["part", "lost"] {
            std::fs::create_dir_all(p.path(run).join("checkpoints")).unwrap();
            std::fs::write(p.path(run).join(file), &content).unwrap();
        }
    }
    for (file, runs) in [("stage0.safetensors", &["part", "lost"][..]), ("trainable.json", &["part"])] {
        for run in runs {
            let of = |run: &str| p.path(run).join("checkpoints").join(file);
            std::fs::copy(of("whole"), of(run)).unwrap();
        }
    }
    p.ok(&["run", "small.toml", "--out", "part"]);
    assert_same(&p.path("whole"), &p.path("part"));
    let e = p.fails(6, &["run", "small.toml", "--out", "lost"]);
    assert!(e.contains("trainable.json` says nothing about stage 0"), "{e}");
}

#[test]
fn a_strategy_s_penalty_has_a_curve() {
    let p = Place::new();
    p.ok(&["run", "small.toml", "--out", "a", "--set", "strategy.kind=\"ewc\""]);
    let events = std::fs::read_to_string(p.path("a/events.jsonl")).unwrap();
    let curve = |stage: u64| -> Vec<f64> {
        let rows = events.lines().map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap());
        let own = rows.filter(|r| r["stage"] == stage);
        own.map(|r| r["strategy.penalty"].as_f64().expect("a penalty")).collect()
    };
    // Nothing holds the first task back, and the second begins where the first ended.
    assert!(curve(0).iter().all(|v| *v == 0.0));
    let second = curve(1);
    assert!(second[0] < 1e-9 && second[1..].iter().all(|v| *v > 0.0), "{second:?}");
}

#[test]
fn a_memory_of_all_patches_does_not_take_normal_images_for_defects() {
    let p = Place::new();
    let set = "detector={ kind = \"patch-memory\", patches = 100000 }";
    p.ok(&["run", "small.toml", "--out", "a", "--set", set]);
    let thresholds = json(&p.path("a/metrics.json"))["thresholds"].clone();
    let scores = std::fs::read_to_string(p.path("a/scores/stage2.csv")).unwrap();
    let header: Vec<&str> = scores.lines().next().unwrap().split(',').collect();
    let column = |name: &str| header.iter().position(|h| *h == name).unwrap();
    for row in scores.lines().skip(1).map(|l| l.split(',').collect::<Vec<_>>()) {
        let class = row[column("class")];
        if row[column("anomalous")] == "0" {
            let score: f64 = row[column("score_given")].parse().unwrap();
            let threshold = thresholds[class].as_f64().unwrap();
            assert!(score < threshold + 20.0, "{class}: {score} at a threshold of {threshold}");
        }
    }
}

#[test]
fn a_run_stopped_within_a_stage_resumes_there() {
    let p = Place::new();
    p.ok(&["run", "small.toml", "--out", "whole"]);
    let mut child = p
        .command(&["run", "small.toml", "--out", "part", "--set", "train.checkpoint_every=1"])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let partial = p.path("part/checkpoints/partial.safetensors");
    for _ in 0..4000 {
        if partial.exists() || child.try_wait().unwrap().is_some() {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let _ = child.kill();
    let _ = child.wait();
    let out = p
        .command(&[
            "run",
            "small.toml",
            "--out",
            "part",
            "--set",
            "train.checkpoint_every=1",
            "--log",
            "info",
        ])
        .output()
        .unwrap();
    assert!(out.status.success());
    let log = String::from_utf8_lossy(&out.stderr);
    assert!(log.contains("resuming"), "{log}");
    // How often checkpoints are written has no influence on the numbers.
    let numbers = |f: &str| std::fs::read(p.path(f)).unwrap();
    for f in ["scores/stage0.csv", "scores/stage1.csv", "scores/stage2.csv", "events.jsonl"] {
        assert_eq!(numbers(&format!("whole/{f}")), numbers(&format!("part/{f}")), "{f}");
    }
}

#[test]
fn fine_tuning_breaks_the_certificate_and_says_so() {
    let p = Place::new();
    let out = p.ok(&["run", "small.toml", "--set", "strategy.kind=fine-tune", "--out", "a"]);
    assert!(out.contains("does not hold"), "{out}");
    let c = json(&p.path("a/certificate.json"));
    assert_eq!((&c["promised"], &c["holds"]), (&false.into(), &false.into()));
    assert!(!c["stages"][0]["changed_maps"].as_array().unwrap().is_empty());
    assert!(!c["stages"][0]["changed_tensors"].as_array().unwrap().is_empty());
}

#[test]
fn a_scorer_that_looks_at_later_classes_makes_no_promise() {
    let p = Place::new();
    p.ok(&["run", "small.toml", "--set", "detector.scorer.kind=likelihood-entropy", "--out", "a"]);
    let c = json(&p.path("a/certificate.json"));
    assert_eq!((&c["promised"], &c["holds"]), (&false.into(), &false.into()));
    let fixed =
        ["--set", "detector.scorer.kind=likelihood-entropy", "--set", "detector.scorer.classes=fixed-set"];
    p.ok(&[&["run", "small.toml"], &fixed[..], &["--out", "b"]].concat());
    let c = json(&p.path("b/certificate.json"));
    assert_eq!((&c["promised"], &c["holds"]), (&true.into(), &true.into()));
}

#[test]
fn likelihoods_of_an_untrained_start_can_be_compared_with_those_of_a_trained_row() {
    let p = Place::new();
    p.ok(&["run", "small.toml", "--out", "row"]);
    p.ok(&["run", "small.toml", "--set", "train.later.steps=0", "--out", "init"]);
    let [row, init] = ["row", "init"].map(|run| json(&p.path(run).join("metrics.json")));
    assert_eq!(init["certificate"]["holds"], true);
    for level in ["level0", "level1"] {
        let (row, init) = (&row["nll"][level], &init["nll"][level]);
        assert!(row[0][0].is_f64() && row[0] == init[0], "{level}: the first stages differ: {row}, {init}");
        for (class, stage) in [(2, 1), (3, 2)] {
            let (row, init) = (&row[stage][class], &init[stage][class]);
            assert!(
                row.as_f64() < init.as_f64(),
                "{level}, class {class}: {row} trained, {init} at the start"
            );
        }
        assert_eq!(row[1][2], row[2][2], "{level}: what was learnt before has changed");
    }
}

#[test]
fn joint_training_is_one_stage_with_undefined_forgetting() {
    let p = Place::new();
    p.ok(&["run", "small.toml", "--set", "strategy.kind=joint", "--out", "a"]);
    let m = json(&p.path("a/metrics.json"));
    assert_eq!(m["summary"]["image_auroc.given.fm"], serde_json::Value::Null);
    assert!(m["undefined"]["image_auroc.given.fm"].as_str().is_some_and(|r| !r.is_empty()));
}

#[test]
fn eval_and_predict_use_a_finished_run() {
    let p = Place::new();
    p.ok(&[
        "run",
        "small.toml",
        "--set",
        "detector={ kind = \"mahalanobis\", mode = \"pooled\" }",
        "--out",
        "a",
    ]);
    let table = p.ok(&["eval", "a", "--json", "e.json"]);
    assert!(table.contains("| capsule |") && table.contains("| mean |"), "{table}");
    let e = json(&p.path("e.json"));
    let m = json(&p.path("a/metrics.json"));
    let evaluated = e["classes"][0]["metrics"]["image_auroc.given"]["value"].as_f64().unwrap();
    assert_eq!(evaluated, m["matrices"]["image_auroc"]["given"][2][0].as_f64().unwrap());
    let first = p.ok(&["eval", "a", "--stage", "1"]);
    assert!(!first.contains("capsule"), "{first}");

    p.ok(&[
        "data",
        "synth",
        "--out",
        "images",
        "--size",
        "64",
        "--train",
        "1",
        "--test-good",
        "2",
        "--test-per-defect",
        "1",
        "--classes",
        "bolt,pine",
    ]);
    let lines = p.ok(&["predict", "a", "images/bolt/test", "--class", "bolt", "--out", "pictures", "--npy"]);
    let lines: Vec<serde_json::Value> = lines.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert!(lines.len() >= 6);
    for l in &lines {
        assert_eq!(l["class"], "bolt");
        assert!(l["score"].is_number() && l["threshold"].is_number());
        assert!(["normal", "anomalous"].contains(&l["verdict"].as_str().unwrap()));
    }
    let files = std::fs::read_dir(p.path("pictures")).unwrap().count();
    assert_eq!(files, 2 * lines.len());
    let routed = p.ok(&["predict", "a", "images/*/test/good/*.png"]);
    assert!(routed.lines().all(|l| l.contains("\"class_from\":\"routed\"")), "{routed}");
}

#[test]
fn every_model_config_is_valid() {
    let p = Place::new();
    let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs");
    let mut n = 0;
    for f in std::fs::read_dir(configs.join("models")).unwrap().flatten() {
        let out = p.ok(&["check", f.path().to_str().unwrap()]);
        assert!(out.contains("the configuration is valid"), "{}", f.path().display());
        n += 1;
    }
    assert!(n >= 9);
    assert!(p.ok(&["check"]).contains("# built-in config quickstart"));
}

#[test]
fn lists_descriptions_and_schemas_come_from_the_registry() {
    let p = Place::new();
    let list = p.ok(&["list"]);
    for name in ["affine", "film", "mahalanobis", "freeze-expand", "efficientnet-lite0", "synthetic"] {
        assert!(list.contains(name), "{list}");
    }
    assert!(p.ok(&["list", "coupling"]).lines().count() == 6);
    assert!(p.ok(&["list", "protocols"]).contains("realad"));
    let all: Vec<serde_json::Value> = serde_json::from_str(&p.ok(&["list", "--json"])).unwrap();
    for c in &all {
        let page =
            p.ok(&["describe", &format!("{}/{}", c["kind"].as_str().unwrap(), c["name"].as_str().unwrap())]);
        assert!(page.contains(c["doc"].as_str().unwrap()), "{page}");
    }
    assert!(p.ok(&["describe", "affine"]).contains("clamp = 0.7"));
    for what in ["config", "metrics"] {
        let s: serde_json::Value = serde_json::from_str(&p.ok(&["schema", what])).unwrap();
        assert!(s["properties"].is_object());
    }
    assert!(p.ok(&["completions", "bash"]).contains("complete"));
    for command in ["run", "eval", "predict", "list", "describe", "check", "schema", "data", "completions"] {
        assert!(p.ok(&[command, "--help"]).contains("Usage"));
    }
}

#[test]
fn every_layer_sets_keys_and_the_resolved_config_names_it() {
    let p = Place::new();
    let mut c = p.command(&["check", "small.toml", "--json", "--set", "train.clip=0.25"]);
    let out = c.env("CCNF_CONFIG__TRAIN__EPS", "1e-7").output().unwrap();
    let r: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(r["train.clip"]["value"], 0.25);
    assert_eq!(r["train.clip"]["source"], "--set train.clip");
    assert_eq!(r["train.eps"]["value"], 1e-7);
    assert!(r["train.eps"]["source"].as_str().unwrap().contains("environment"));
    assert!(r["train.first.steps"]["source"].as_str().unwrap().contains("small.toml"));
    assert_eq!(r["train.schedule"]["source"], "default");
    assert_eq!(r["detector.coupling.subnet.hidden"]["value"], 16);
    assert_eq!(r["detector.coupling.clamp"]["source"], "default");
}

#[test]
fn generated_images_on_disk_train_like_any_dataset() {
    let p = Place::new();
    let sets = p.on_disk();
    let table = p.ok(&[&["data", "inspect", "small.toml"], &sets[..]].concat());
    assert!(table.contains("| bolt | 3 | 2 |") && table.contains("64 x 64"), "{table}");
    p.ok(&[&["run", "small.toml", "--out", "a"], &sets[..]].concat());
    assert!(json(&p.path("a/metrics.json"))["summary"]["pixel_auroc.given.acc_final"].is_number());
}

#[test]
fn a_validation_set_holds_training_images_only_and_can_be_run_on() {
    let p = Place::new();
    let make = |out: &str, more: &[&str]| {
        let args = ["data", "validation", "small.toml", "--out", out, "--parts", "3", "--part", "1"];
        p.ok(&[&args, more].concat())
    };
    let said = make("split", &["--painted", "2", "--set", "train.first.steps=3"]);
    let command =
        "ccnf run small.toml --set train.first.steps=3 --set dataset.kind=mvtec --set dataset.path=split";
    assert!(said.contains(command), "{said}");
    let sets = ["--set", "dataset={ kind = \"mvtec\", path = \"split\" }"];
    let table = p.ok(&[&["data", "inspect", "small.toml"], &sets[..]].concat());
    // Six training images, of which numbers 1 and 4 are held out; one that cannot be seen is left out.
    for class in ["bolt", "pine", "granite", "capsule"] {
        let row = table.lines().find(|l| l.starts_with(&format!("| {class} |"))).expect("a row");
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let defective: usize = cells[4].parse().unwrap();
        assert_eq!((cells[2], cells[3], cells[4]), ("4", "2", cells[5]), "{row}");
        assert!((3..=4).contains(&defective), "{row}");
    }
    // To the last bit the images that training sees otherwise.
    p.ok(&["data", "synth", "--size", "64", "--train", "6", "--classes", "bolt", "--out", "all"]);
    let pixels = |file: &str| {
        let image = ccnf_data::read_image(&p.path(file)).unwrap();
        (image.width, image.data)
    };
    for (held, of) in [("test/good/0001", 1), ("test/good/0004", 4), ("train/good/0002", 2)] {
        let original = pixels(&format!("all/bolt/train/good/{of:03}.png"));
        assert!(pixels(&format!("split/bolt/{held}.png")) == original, "{held} is not number {of}");
    }
    let (painted, held) = ("split/bolt/test/painted/0000.png", "split/bolt/test/good/0001.png");
    assert!(pixels(painted) != pixels(held), "nothing is painted");
    p.ok(&[&["run", "small.toml", "--out", "a"], &sets[..]].concat());
    assert!(json(&p.path("a/metrics.json"))["summary"]["pixel_auroc.given.acc_final"].is_number());
}
