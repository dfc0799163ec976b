//! What differs between two runs: configuration, data, weights, protocol, program; then the numbers.

use ccnf_core::{Error, ErrorKind, Result};
use ccnf_engine::FinishedRun;
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::Path;

/// Something that two runs have differently.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// What: a key path, or `protocol`, `data`, `weights`, `program`, `threads`, …
    pub what: String,
    /// In the first run; none where it has nothing of the kind.
    pub first: Option<String>,
    /// In the second run.
    pub second: Option<String>,
}

/// A number of both runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NumberPair {
    /// Its name in the summary.
    pub metric: String,
    /// In the first run.
    pub first: Option<f64>,
    /// In the second run.
    pub second: Option<f64>,
}

impl NumberPair {
    /// The second minus the first, where both are defined.
    pub fn change(&self) -> Option<f64> {
        Some(self.second? - self.first?)
    }
}

/// Two runs beside each other.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunDiff {
    /// Configuration keys, by path.
    pub config: Vec<Difference>,
    /// What the numbers rest on beside the configuration.
    pub provenance: Vec<Difference>,
    /// Program, machine and threads.
    pub environment: Vec<Difference>,
    /// Every number of the two summaries.
    pub numbers: Vec<NumberPair>,
}

fn open(path: &Path) -> Result<FinishedRun> {
    FinishedRun::open(path)?.ok_or_else(|| {
        Error::new(ErrorKind::Usage, format!("`{}` is not a finished run", path.display()))
            .help("give the folder that `ccnf run` printed, or one below a suite's runs/")
    })
}

fn differences(pairs: impl IntoIterator<Item = (String, Option<String>, Option<String>)>) -> Vec<Difference> {
    pairs
        .into_iter()
        .filter(|(_, a, b)| a != b)
        .map(|(what, first, second)| Difference { what, first, second })
        .collect()
}

/// Compares two finished runs.
pub fn diff(first: &Path, second: &Path) -> Result<RunDiff> {
    let (a, b) = (open(first)?, open(second)?);
    let (x, y) = (a.config()?, b.config()?);
    let keys: BTreeSet<&String> = x.keys().chain(y.keys()).collect();
    let value = |c: &std::collections::BTreeMap<String, ccnf_core::Resolved>, k: &String| {
        c.get(k).map(|r| r.value.to_string())
    };
    let config = differences(keys.into_iter().map(|k| (k.clone(), value(&x, k), value(&y, k))));
    let (p, q) = (a.provenance(), b.provenance());
    let hashes = [
        ("model", &p.model, &q.model),
        ("protocol", &p.protocol, &q.protocol),
        ("data", &p.data, &q.data),
        ("weights", &p.weights, &q.weights),
        ("program", &p.program, &q.program),
    ];
    let provenance =
        differences(hashes.map(|(what, a, b)| (what.to_owned(), Some(a.clone()), Some(b.clone()))));
    let (x, y) = (a.environment()?, b.environment()?);
    let places = ["ccnf", "executable", "os", "arch", "cpu", "threads", "debug_assertions"];
    let of = |v: &serde_json::Value, k: &str| v.get(k).map(ToString::to_string);
    let environment = differences(places.map(|k| (k.to_owned(), of(&x, k), of(&y, k))));
    let (x, y) = (&a.metrics.summary, &b.metrics.summary);
    let keys: BTreeSet<&String> = x.keys().chain(y.keys()).collect();
    let numbers = keys.into_iter().map(|k| NumberPair {
        metric: k.clone(),
        first: x.get(k).copied().flatten(),
        second: y.get(k).copied().flatten(),
    });
    Ok(RunDiff { config, provenance, environment, numbers: numbers.collect() })
}
