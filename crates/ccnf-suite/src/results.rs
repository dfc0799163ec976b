//! The results of a suite as data: results.json, results.csv, pairs.csv, timing.csv.

use crate::collect::Collected;
use crate::folder::SuiteFolder;
use crate::plan::PlannedRun;
use crate::statistics::{Comparison, DRAWS, Group, Table, table};
use ccnf_core::schemars::{JsonSchema, schema_for};
use ccnf_core::{Error, ErrorKind, Result, write_atomic};
use ccnf_engine::Number;
use serde::{Deserialize, Serialize};

const FORMAT: &str = "ccnf-results/1";

/// The layout of `results.json`. Nothing in it depends on how long runs took or how often they were interrupted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Results {
    /// `ccnf-results/1`.
    pub format: String,
    /// The suite's name.
    pub suite: String,
    /// What it asks.
    pub about: String,
    /// Draws of every bootstrap.
    pub draws: usize,
    /// One table per protocol, class order and data.
    pub tables: Vec<Table>,
    /// Runs that are in no table, with the reason.
    pub missing: Vec<Missing>,
}

/// A run that is in no table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Missing {
    /// Which run.
    pub run: String,
    /// Why.
    pub reason: String,
}

/// The JSON schema of `results.json`.
pub fn results_schema() -> serde_json::Value {
    schema_for!(Results).to_value()
}

impl Results {
    /// The tables of everything that has finished.
    pub(crate) fn new(collected: &Collected, groups: &[Group<'_>]) -> Result<Results> {
        let order: Vec<String> = collected.spec.models.iter().map(|m| m.name.clone()).collect();
        let missing = collected.missing().map(|(run, reason)| Missing { run, reason });
        Ok(Results {
            format: FORMAT.into(),
            suite: collected.spec.name.clone(),
            about: collected.spec.about.clone(),
            draws: DRAWS,
            tables: groups.iter().map(|g| table(g, &order)).collect::<Result<_>>()?,
            missing: missing.collect(),
        })
    }

    /// Writes results.json, results.csv, pairs.csv and timing.csv.
    pub(crate) fn write(&self, folder: &SuiteFolder, collected: &Collected) -> Result<()> {
        let text = serde_json::to_string_pretty(self)
            .map_err(|e| Error::new(ErrorKind::Contract, e.to_string()))?
            + "\n";
        write_atomic(&folder.file("results.json"), text.as_bytes())?;
        write_atomic(&folder.file("results.csv"), &runs_csv(collected)?)?;
        write_atomic(&folder.file("pairs.csv"), &self.pairs_csv()?)?;
        write_atomic(&folder.file("timing.csv"), &timing_csv(collected)?)
    }

    fn pairs_csv(&self) -> Result<Vec<u8>> {
        let mut w = csv::Writer::from_writer(vec![]);
        let head = [
            "protocol",
            "class",
            "quantity",
            "first",
            "second",
            "difference",
            "standard_error",
            "low",
            "high",
            "p",
            "p_holm",
            "wilcoxon",
            "wilcoxon_holm",
            "detectable",
            "verdict",
        ];
        put(&mut w, head)?;
        for t in &self.tables {
            for p in &t.pairs {
                for (quantity, c) in [("accuracy", &p.accuracy), ("forgetting", &p.forgetting)] {
                    let Comparison { difference: d, .. } = c;
                    let numbers = [
                        &d.value,
                        &d.standard_error,
                        &d.low,
                        &d.high,
                        &c.p,
                        &c.p_holm,
                        &c.wilcoxon,
                        &c.wilcoxon_holm,
                        &c.detectable,
                    ];
                    let verdict = serde_json::to_value(c.verdict).unwrap_or_default();
                    let texts = [&t.name, &p.class, quantity, &p.first, &p.second].map(str::to_owned);
                    let all = texts
                        .into_iter()
                        .chain(numbers.map(plain))
                        .chain([verdict.as_str().unwrap_or_default().to_owned()]);
                    put(&mut w, all)?;
                }
            }
        }
        finish(w)
    }
}

fn plain(n: &Number) -> String {
    n.value.map(|v| v.to_string()).unwrap_or_default()
}

fn put<I: IntoIterator<Item = T>, T: AsRef<[u8]>>(w: &mut csv::Writer<Vec<u8>>, record: I) -> Result<()> {
    w.write_record(record).map_err(|e| Error::new(ErrorKind::Contract, e.to_string()))
}

fn finish(w: csv::Writer<Vec<u8>>) -> Result<Vec<u8>> {
    w.into_inner().map_err(|e| Error::new(ErrorKind::Contract, e.to_string()))
}

/// The run's id and its place in the grid: the first columns of a row.
fn place(run: &PlannedRun) -> [String; 5] {
    let cell = &run.cell;
    let (order, seed) = (cell.order.to_string(), cell.seed.to_string());
    [run.id.clone(), cell.model.clone(), cell.protocol.clone(), order, seed]
}

/// One row per run and number: every entry of the run's summary and of its R matrices, and what it costs in state.
fn runs_csv(collected: &Collected) -> Result<Vec<u8>> {
    let mut w = csv::Writer::from_writer(vec![]);
    let head = [
        "run",
        "model",
        "protocol",
        "order",
        "seed",
        "protocol_hash",
        "data_hash",
        "model_hash",
        "weights",
        "program",
        "metric",
        "value",
        "reason",
    ];
    put(&mut w, head)?;
    for (planned, run) in collected.finished() {
        let (from, m) = (run.provenance(), &run.metrics);
        let hashes =
            [&from.protocol, &from.data, &from.model, &from.weights, &from.program].map(String::clone);
        let fixed: Vec<String> = place(planned).into_iter().chain(hashes).collect();
        let mut line = |metric: &str, value: Option<f64>| {
            let reason = if value.is_none() {
                m.undefined.get(metric).cloned().unwrap_or_default()
            } else {
                String::new()
            };
            let own = [metric.to_owned(), value.map(|v| v.to_string()).unwrap_or_default(), reason];
            put(&mut w, fixed.iter().chain(&own))
        };
        for (key, value) in &m.summary {
            line(key, *value)?;
        }
        for (metric, uses) in &m.matrices {
            for (u, rows) in uses {
                for (stage, row) in rows.iter().enumerate() {
                    for (class, value) in m.classes.iter().zip(row).filter(|(c, _)| c.stage <= stage) {
                        line(&format!("{metric}.{u}.stage{stage}.{}", class.name), *value)?;
                    }
                }
            }
        }
        for (stage, cost) in m.cost.iter().enumerate() {
            line(&format!("cost.trainable.stage{stage}"), Some(cost.trainable as f64))?;
            line(&format!("cost.shared_bytes.stage{stage}"), Some(cost.shared_bytes as f64))?;
            line(
                &format!("cost.class_bytes.stage{stage}"),
                Some(cost.class_bytes.values().sum::<usize>() as f64),
            )?;
        }
    }
    finish(w)
}

/// One row per run and stage.
fn timing_csv(collected: &Collected) -> Result<Vec<u8>> {
    let mut w = csv::Writer::from_writer(vec![]);
    let head = [
        "run",
        "model",
        "protocol",
        "order",
        "seed",
        "threads",
        "stage",
        "training_seconds",
        "training_cpu_seconds",
        "scoring_seconds",
        "scoring_cpu_seconds",
    ];
    put(&mut w, head)?;
    let known = |v: Option<f64>| v.map(|v| format!("{v:.2}")).unwrap_or_default();
    for (planned, run) in collected.finished() {
        let threads = run.environment()?["threads"].to_string();
        for (stage, t) in run.timing()? {
            let seconds = [
                Some(t.training_seconds),
                t.training_cpu_seconds,
                Some(t.scoring_seconds),
                t.scoring_cpu_seconds,
            ];
            let own = [threads.clone(), stage.to_string()].into_iter().chain(seconds.map(known));
            put(&mut w, place(planned).into_iter().chain(own))?;
        }
    }
    finish(w)
}
