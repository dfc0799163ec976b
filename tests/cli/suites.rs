//! Comparison suites, end to end.

use crate::place::Place;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A flow with two seeds and a Gaussian with one on small generated images.
const SUITE: &str = r#"
name = "small"
seeds = [3, 4]

[config]
dataset = { kind = "synthetic", size = 64, train = 6, test_good = 3, test_per_defect = 1 }
encoder = { size = 64 }
scoring = { map_size = 32, blur_sigma = 1.0 }
run = { overlays = 1 }

[[models]]
name = "flow"
config = "small.toml"

[[models]]
name = "gauss"
model = "mahalanobis"
seeded = false

[[protocols]]
name = "three"
tasks = [["bolt", "pine"], ["granite"], ["capsule"]]
"#;

fn place() -> Place {
    let p = Place::new();
    std::fs::write(p.path("suite.toml"), SUITE).unwrap();
    p
}

fn read(path: PathBuf) -> String {
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The tables, which must not depend on when and how often a suite was interrupted.
fn tables(folder: &Path) -> [String; 3] {
    ["results.json", "results.csv", "pairs.csv"].map(|f| read(folder.join(f)))
}

/// The ids of the runs of a model.
fn ids(p: &Place, suite: &str, model: &str) -> Vec<String> {
    let lines = read(p.path(suite).join("runs.jsonl"));
    let runs = lines.lines().map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap());
    runs.filter(|r| r["model"] == model).map(|r| r["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_suite_ends_with_a_leader_board_and_its_second_call_runs_nothing() {
    let p = place();
    let out = p.ok(&["compare", "suite.toml", "--out", "s"]);
    assert!(
        out.contains("| gauss ") && out.contains("image AUROC") && out.contains("Nothing is forgotten by"),
        "{out}"
    );
    let folder = p.path("s");
    for f in [
        "suite.json",
        "runs.jsonl",
        "results.json",
        "results.csv",
        "pairs.csv",
        "timing.csv",
        "report.html",
        "report.md",
        "report.tex",
    ] {
        assert!(folder.join(f).exists(), "{f} is missing");
    }
    assert_eq!(std::fs::read_dir(folder.join("runs")).unwrap().count(), 3, "the unseeded model runs once");
    let results: serde_json::Value = serde_json::from_str(&read(folder.join("results.json"))).unwrap();
    let table = &results["tables"][0];
    assert_eq!(table["rows"].as_array().unwrap().len(), 2);
    assert_eq!(table["rows"][0]["seeds"], serde_json::json!([3, 4]));
    assert_eq!(table["rows"][0]["quality"]["given"]["forgetting"]["value"]["value"], 0.0);
    assert_eq!(results["missing"], serde_json::json!([]));
    // One row per run and metric, with the hashes that it rests on.
    let csv = read(folder.join("results.csv"));
    let id = &ids(&p, "s", "gauss")[0];
    assert!(
        csv.lines().any(|l| l.starts_with(id.as_str()) && l.contains("image_auroc.given.acc_final")),
        "{csv}"
    );
    // A number of the table is that of the run it comes from.
    let metrics: serde_json::Value =
        serde_json::from_str(&read(folder.join(format!("runs/{id}/metrics.json")))).unwrap();
    let accuracy = table["rows"][1]["quality"]["given"]["accuracy"]["value"]["value"].as_f64().unwrap();
    let own = metrics["summary"]["image_auroc.given.acc_final"].as_f64().unwrap();
    assert!((accuracy - own).abs() < 1e-12, "{accuracy} {own}");
    assert_eq!(metrics["provenance"]["protocol"], table["protocol"]);

    let before = tables(&folder);
    let log = std::fs::metadata(folder.join(format!("logs/{id}.log"))).unwrap().modified().unwrap();
    p.ok(&["compare", "suite.toml", "--out", "s"]);
    assert_eq!(tables(&folder), before);
    assert_eq!(
        std::fs::metadata(folder.join(format!("logs/{id}.log"))).unwrap().modified().unwrap(),
        log,
        "it ran again"
    );

    let html = read(folder.join("report.html"));
    assert!(html.contains("data:image/jpeg;base64,"), "no pictures");
    p.ok(&["report", "s", "--out", "published", "--no-pictures", "--tensorboard", "logs"]);
    assert_eq!(std::fs::read_dir(p.path("logs/three/flow/seed4")).unwrap().count(), 1, "no event file");
    p.ok(&["report", "s", "--out", "published"]);
    std::fs::create_dir(p.path("mine")).unwrap();
    std::fs::write(p.path("mine/report.md"), "a year of work").unwrap();
    assert!(p.fails(2, &["report", "s", "--out", "mine"]).contains("nothing was overwritten"));
    assert_eq!(read(p.path("mine/report.md")), "a year of work");
    p.ok(&["report", "s", "--out", "published", "--no-pictures"]);
    assert!(!read(p.path("published/report.html")).contains("data:image"));

    let said = p.fails(3, &["eval", &format!("s/runs/{id}"), "--set", "encoder.pool=5"]);
    assert!(said.contains("not the one that the model was trained with"), "{said}");

    let [a, b] = [0, 1].map(|i| format!("s/runs/{}", ids(&p, "s", "flow")[i]));
    let said = p.ok(&["diff", &a, &b]);
    assert!(said.contains("seed: 3 -> 4") && said.contains("provenance: the same"), "{said}");
    let said = p.ok(&["diff", &a, &format!("s/runs/{id}"), "--json"]);
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert!(said["config"].as_array().unwrap().iter().any(|d| d["what"] == "detector.kind"), "{said}");
    assert_eq!(said["provenance"][0]["what"], "model");
}

#[test]
fn a_suite_that_was_killed_again_and_again_ends_with_the_same_tables() {
    let p = place();
    p.ok(&["compare", "suite.toml", "--out", "whole"]);
    for pause in [300, 1200, 700, 2500] {
        let mut child = p
            .command(&["compare", "suite.toml", "--out", "killed"])
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(pause) && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(20));
        }
        // The suite's process alone: its runs end because it is gone.
        let _ = child.kill();
        child.wait().unwrap();
    }
    p.ok(&["compare", "suite.toml", "--out", "killed"]);
    assert_eq!(tables(&p.path("killed")), tables(&p.path("whole")));
}

#[test]
fn a_failed_run_is_reported_and_the_others_finish() {
    let p = place();
    // A learning rate at which the flow's values leave the range of numbers.
    let broken = SUITE.replace(
        "config = \"small.toml\"",
        "config = \"small.toml\"\nset = { train.first.lr = 1e30, train.clip = 0.0 }",
    );
    std::fs::write(p.path("broken.toml"), &broken).unwrap();
    let said = p.fails(6, &["compare", "broken.toml", "--out", "s"]);
    assert!(said.contains("2 runs of the suite are in no table"), "{said}");
    let results: serde_json::Value = serde_json::from_str(&read(p.path("s/results.json"))).unwrap();
    assert_eq!(results["tables"][0]["rows"][0]["model"], "gauss");
    let why = results["missing"][0].to_string();
    assert!(
        why.contains("flow on three, seed 3") && why.contains("failed") && why.contains("stage"),
        "{why}"
    );
}

#[test]
fn edited_missing_and_older_runs_are_left_out_and_nothing_is_overwritten() {
    let p = place();
    p.ok(&["compare", "suite.toml", "--out", "s"]);
    let flow = ids(&p, "s", "flow");
    let gauss = ids(&p, "s", "gauss")[0].clone();
    let file = |id: &str, name: &str| p.path("s/runs").join(id).join(name);
    // An edited score of the same length, a missing file, an older version.
    let scores = file(&flow[0], "evaluations/stage2.json");
    let text = read(scores.clone());
    let edited = text.replacen("\"anomalous\": true", "\"anomalous\": !rue", 1);
    std::fs::write(&scores, &edited).unwrap();
    std::fs::remove_file(file(&flow[1], "scores/stage0.csv")).unwrap();
    let run = read(file(&gauss, "run.json"));
    std::fs::write(file(&gauss, "run.json"), run.replace("ccnf-run/2", "ccnf-run/1")).unwrap();
    let said = p.ccnf(&["compare", "suite.toml", "--out", "s"]);
    assert_eq!(said.status.code(), Some(6));
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("stage2.json` is not what the run wrote"), "{said}");
    assert!(said.contains("scores/stage0.csv") && said.contains("another version"), "{said}");
    let results: serde_json::Value = serde_json::from_str(&read(p.path("s/results.json"))).unwrap();
    assert_eq!(results["tables"], serde_json::json!([]));
    assert_eq!(read(scores), edited, "overwritten");
    assert!(read(file(&gauss, "run.json")).contains("ccnf-run/1"), "overwritten");
}

#[test]
fn a_folder_takes_one_suite_and_one_process() {
    let p = place();
    let mut first = p
        .command(&["compare", "suite.toml", "--out", "s"])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while !p.path("s/suite.json").exists() && start.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(20));
    }
    let said = p.fails(6, &["compare", "suite.toml", "--out", "s"]);
    assert!(said.contains("another process is running in `s`"), "{said}");
    let _ = first.kill();
    first.wait().unwrap();
    std::fs::write(p.path("other.toml"), SUITE.replace("name = \"small\"", "name = \"other\"")).unwrap();
    let said = p.fails(2, &["compare", "other.toml", "--out", "s"]);
    assert!(said.contains("holds the suite `small`"), "{said}");
}

#[test]
fn what_cannot_be_planned_is_said_before_anything_runs() {
    let p = place();
    let fails = |text: &str| {
        std::fs::write(p.path("bad.toml"), text).unwrap();
        let said = p.fails(2, &["compare", "bad.toml", "--out", "bad"]);
        assert!(!p.path("bad/runs").exists(), "something ran");
        said
    };
    assert!(
        fails(&SUITE.replace("model = \"mahalanobis\"", "model = \"mahalanobs\""))
            .contains("did you mean `mahalanobis`")
    );
    assert!(fails(&SUITE.replace("seeds = [3, 4]", "seeds = []")).contains("the grid is empty"));
    let unknown = fails(&SUITE.replace("run = { overlays = 1 }", "run = { overlay = 1 }"));
    assert!(unknown.contains("overlay") && unknown.contains("suite `small`"), "{unknown}");
    assert!(
        p.fails(2, &["run-one", "0123456789abcdef", "--suite", "nowhere"]).contains("not a suite's folder")
    );
}

#[test]
fn a_buffer_gets_the_bytes_that_another_model_adds() {
    let p = place();
    let equal = "[[models]]\nname = \"replay\"\nconfig = \"small.toml\"\nset = { strategy = { kind = \"replay\" } }\n\
                 equal_memory = { to = \"gauss\" }\n";
    let at = SUITE.find("[[protocols]]").unwrap();
    let text = format!("{}{equal}{}", &SUITE[..at], &SUITE[at..]).replace("seeds = [3, 4]", "seeds = [3]");
    std::fs::write(p.path("equal.toml"), text).unwrap();
    let plan = p.ok(&["compare", "equal.toml", "--out", "s", "--plan"]);
    assert!(plan.contains("replay on three, seed 3: waits for a finished run of gauss"), "{plan}");
    p.ok(&["compare", "equal.toml", "--out", "s"]);
    let metrics = |model: &str| -> serde_json::Value {
        serde_json::from_str(&read(p.path(&format!("s/runs/{}/metrics.json", ids(&p, "s", model)[0]))))
            .unwrap()
    };
    let bytes: u64 = metrics("gauss")["cost"][2]["class_bytes"]
        .as_object()
        .unwrap()
        .values()
        .map(|v| v.as_u64().unwrap())
        .sum();
    let config = read(p.path(&format!("s/runs/{}/config.toml", ids(&p, "s", "replay")[0])));
    assert!(config.contains(&format!("bytes = {bytes}")), "{bytes}\n{config}");
}

#[test]
fn another_class_order_is_a_table_of_its_own() {
    let p = place();
    let text = SUITE.replace(
        "[[\"bolt\", \"pine\"], [\"granite\"], [\"capsule\"]]",
        "[[\"bolt\", \"pine\"], [\"granite\"], [\"capsule\"]]\norders = [0, 1]\nmodels = [\"gauss\"]",
    );
    std::fs::write(p.path("orders.toml"), text).unwrap();
    p.ok(&["compare", "orders.toml", "--out", "s"]);
    let results: serde_json::Value = serde_json::from_str(&read(p.path("s/results.json"))).unwrap();
    let tables = results["tables"].as_array().unwrap();
    assert_eq!(tables.len(), 2);
    assert_eq!(tables[1]["name"], "three, order 1");
    assert_ne!(tables[0]["protocol"], tables[1]["protocol"]);
    assert_eq!(tables[0]["data"], tables[1]["data"]);
    assert_ne!(tables[0]["tasks"], tables[1]["tasks"]);
    assert!(read(p.path("s/report.md")).contains("## Class order"));
    // Of two classes one after the other some shuffles are the same: a run that stands in two places of the grid counts once.
    let text = read(p.path("orders.toml"))
        .replace("[[\"bolt\", \"pine\"], [\"granite\"], [\"capsule\"]]", "[[\"bolt\"], [\"pine\"]]");
    std::fs::write(p.path("two.toml"), text.replace("orders = [0, 1]", "orders = [0, 1, 2, 3]")).unwrap();
    p.ok(&["compare", "two.toml", "--out", "two"]);
    let results: serde_json::Value = serde_json::from_str(&read(p.path("two/results.json"))).unwrap();
    let tables = results["tables"].as_array().unwrap();
    assert_eq!(tables.len(), 2, "two classes have two orders");
    assert!(tables.iter().all(|t| t["rows"][0]["runs"].as_array().unwrap().len() == 1), "{tables:?}");
    assert!(tables[0]["name"].as_str().unwrap().contains(" = "), "{}", tables[0]["name"]);
    std::fs::write(p.path("two/runs.jsonl"), "").unwrap();
    let before = read(p.path("two/report.md"));
    assert!(p.fails(6, &["collect", "two"]).contains("runs.jsonl` is damaged"));
    assert_eq!(read(p.path("two/report.md")), before, "overwritten");
}
