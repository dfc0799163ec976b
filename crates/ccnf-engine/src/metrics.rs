//! `metrics.json`: R matrices and summary of a run.

use crate::certificate::Certificate;
use crate::provenance::Provenance;
use crate::score_stage::{METRICS, StageEvaluation, Use};
use crate::shortlist::ShortlistCheck;
use ccnf_core::schemars::{JsonSchema, schema_for};
use ccnf_core::{Error, ErrorKind, Result};
use ccnf_metrics::{Metric, RMatrix, continual_summary};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A number, or nothing with the reason.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Number {
    /// The value; null when undefined.
    pub value: Option<f64>,
    /// Why it is undefined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How far the exact value can be away; left out when the value is exact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_bound: Option<f64>,
}

impl Number {
    /// An undefined number.
    pub fn undefined(reason: &str) -> Self {
        Number { value: None, reason: Some(reason.to_owned()), error_bound: None }
    }
}

impl From<Metric> for Number {
    fn from(m: Metric) -> Self {
        let error_bound = m.error_bound().filter(|bound| *bound > 0.0);
        Number { value: m.value(), reason: m.reason().map(str::to_owned), error_bound }
    }
}

/// A class and the stage in which it was learnt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClassEntry {
    /// The class.
    pub name: String,
    /// The stage, from 0.
    pub stage: usize,
}

/// What a stage cost in state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StageCost {
    /// Values that training could change in this stage.
    pub trainable: usize,
    /// Bytes of shared tensors after the stage.
    pub shared_bytes: usize,
    /// Bytes of the tensors of each class after the stage.
    pub class_bytes: BTreeMap<String, usize>,
}

/// The routing of the last stage.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Routing {
    /// Fraction of test images routed to their class, after every stage.
    pub accuracy: Vec<Option<f64>>,
    /// After the last stage: true class -> routed class -> number of images.
    pub confusion: BTreeMap<String, BTreeMap<String, usize>>,
    /// After every stage: the fraction of the compared test images that the router's shortlist sends to another class than an
    /// evaluation of all known classes does. Null for a router without a shortlist.
    #[serde(default)]
    pub shortlist_changed: Vec<Option<f64>>,
    /// After every stage: how many test images were compared (a fixed sample of at most 64).
    #[serde(default)]
    pub shortlist_images: Vec<usize>,
}

/// An R matrix: `[stage][class]`.
pub type Rows = Vec<Vec<Option<f64>>>;

/// The layout of `metrics.json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MetricsFile {
    /// `ccnf-metrics/1`.
    pub format: String,
    /// The run's id.
    pub run: String,
    /// What the numbers rest on.
    #[serde(default)]
    pub provenance: Provenance,
    /// The classes of the columns of every matrix, in the order in which they were learnt.
    pub classes: Vec<ClassEntry>,
    /// Metric -> use (`given`, `routed`) -> R matrix: `[stage][class]`, null for classes not yet learnt and undefined values.
    pub matrices: BTreeMap<String, BTreeMap<String, Rows>>,
    /// Flat map `metric.use.statistic` -> value; statistics: `acc_final`, `acc_avg`, `fm`, `fm_base`, `bwt`, and `base_final` /
    /// `new_final`, the means over the classes of the first and of the later stages after the last stage. Null = undefined.
    pub summary: BTreeMap<String, Option<f64>>,
    /// The reason of every undefined value, by its place.
    pub undefined: BTreeMap<String, String>,
    /// How far the exact value can be away from an entry of a matrix, by the entry's place; only for entries that are not exact
    /// (pixel metrics of classes with very many test pixels).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub error_bounds: BTreeMap<String, f64>,
    /// `levelN` -> mean negative log-likelihood of normal test images with the class given, in nats per dimension: `[stage][class]`. Empty
    /// for a detector without likelihoods.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub nll: BTreeMap<String, Rows>,
    /// Routing accuracy and confusion.
    pub routing: Routing,
    /// State per stage.
    pub cost: Vec<StageCost>,
    /// Decision thresholds by class.
    pub thresholds: BTreeMap<String, f64>,
    /// The forgetting certificate.
    pub certificate: Certificate,
}

/// The JSON schema of `metrics.json`.
pub fn metrics_schema() -> serde_json::Value {
    schema_for!(MetricsFile).to_value()
}

/// Everything the file is made of.
pub(crate) struct Parts<'a> {
    pub(crate) run: &'a str,
    pub(crate) provenance: Provenance,
    pub(crate) classes: &'a [(String, usize)],
    pub(crate) evaluations: &'a [StageEvaluation],
    pub(crate) cost: Vec<StageCost>,
    pub(crate) thresholds: BTreeMap<String, f64>,
    pub(crate) certificate: Certificate,
}

impl MetricsFile {
    pub(crate) fn new(parts: Parts<'_>) -> Result<MetricsFile> {
        let Parts { run, provenance, classes, evaluations, cost, thresholds, certificate } = parts;
        let mut file = MetricsFile {
            format: "ccnf-metrics/1".into(),
            run: run.to_owned(),
            provenance,
            classes: classes
                .iter()
                .map(|(name, stage)| ClassEntry { name: name.clone(), stage: *stage })
                .collect(),
            matrices: BTreeMap::new(),
            summary: BTreeMap::new(),
            undefined: BTreeMap::new(),
            error_bounds: BTreeMap::new(),
            nll: likelihoods(classes, evaluations),
            routing: routing(evaluations),
            cost,
            thresholds,
            certificate,
        };
        for metric in METRICS {
            for u in Use::ALL {
                file.matrix(metric, u, classes, evaluations)?;
            }
        }
        file.summary.insert("routing.accuracy".into(), file.routing.accuracy.last().copied().flatten());
        let changed = file.routing.shortlist_changed.last().copied().flatten();
        file.summary.insert("routing.shortlist_changed".into(), changed);
        if changed.is_none() {
            let none = evaluations.last().is_none_or(|e| e.shortlist.is_none());
            let reason = if none { "the router has no shortlist" } else { "there is no test image" };
            file.undefined.insert("routing.shortlist_changed".into(), reason.into());
        }
        Ok(file)
    }

    fn matrix(
        &mut self,
        metric: &str,
        u: Use,
        classes: &[(String, usize)],
        evaluations: &[StageEvaluation],
    ) -> Result<()> {
        let failed = |e: ccnf_metrics::MetricsError| Error::new(ErrorKind::Contract, e.to_string());
        let key = format!("{metric}.{u}");
        let mut r =
            RMatrix::new(evaluations.len(), classes.iter().map(|(_, s)| *s).collect()).map_err(failed)?;
        let mut rows = vec![vec![None; classes.len()]; evaluations.len()];
        for e in evaluations {
            for c in &e.classes {
                let Some(column) = classes.iter().position(|(n, _)| *n == c.class) else { continue };
                let Some(n) = c.metrics.get(&key) else { continue };
                rows[e.stage][column] = n.value;
                let place = format!("{key}.stage{}.{}", e.stage, c.class);
                if let Some(bound) = n.error_bound {
                    self.error_bounds.insert(place.clone(), bound);
                }
                let value = match (n.value, &n.reason) {
                    (Some(v), _) => Metric::of(v),
                    (None, reason) => {
                        let reason = reason.clone().unwrap_or_default();
                        self.undefined.insert(place, reason.clone());
                        Metric::undefined(reason)
                    }
                };
                r.set(e.stage, column, value).map_err(failed)?;
            }
        }
        let s = continual_summary(&r);
        let mut put = |name: &str, m: &Metric| {
            let name = format!("{key}.{name}");
            if let Some(reason) = m.reason() {
                self.undefined.insert(name.clone(), reason.to_owned());
            }
            self.summary.insert(name, m.value());
        };
        put("acc_final", &s.acc_final);
        put("acc_avg", &s.acc_avg);
        put("fm", &s.fm);
        put("fm_base", &s.fm_base);
        put("bwt", &s.bwt);
        let last = rows.last().cloned().unwrap_or_default();
        let mean_of = |base: bool| -> Metric {
            let values: Vec<f64> = classes
                .iter()
                .zip(&last)
                .filter(|((_, s), _)| (*s == 0) == base)
                .filter_map(|(_, v)| *v)
                .collect();
            if values.is_empty() {
                return Metric::undefined(if base {
                    "no defined value"
                } else {
                    "no class of a later stage has a value"
                });
            }
            Metric::of(values.iter().sum::<f64>() / values.len() as f64)
        };
        put("base_final", &mean_of(true));
        put("new_final", &mean_of(false));
        self.matrices.entry(metric.to_owned()).or_default().insert(u.to_string(), rows);
        Ok(())
    }
}

fn likelihoods(classes: &[(String, usize)], evaluations: &[StageEvaluation]) -> BTreeMap<String, Rows> {
    let mut out: BTreeMap<String, Rows> = BTreeMap::new();
    for e in evaluations {
        for c in &e.classes {
            let Some(column) = classes.iter().position(|(n, _)| *n == c.class) else { continue };
            for (level, value) in c.nll.iter().flatten().enumerate() {
                let rows = out
                    .entry(format!("level{level}"))
                    .or_insert_with(|| vec![vec![None; classes.len()]; evaluations.len()]);
                rows[e.stage][column] = Some(*value);
            }
        }
    }
    out
}

fn routing(evaluations: &[StageEvaluation]) -> Routing {
    let mut confusion: BTreeMap<String, BTreeMap<String, usize>> = BTreeMap::new();
    for c in evaluations.last().into_iter().flat_map(|e| &e.classes) {
        for r in &c.images {
            *confusion.entry(c.class.clone()).or_default().entry(r.routed_class.clone()).or_default() += 1;
        }
    }
    let checks = || evaluations.iter().map(|e| e.shortlist);
    Routing {
        accuracy: evaluations.iter().map(StageEvaluation::routing_accuracy).collect(),
        confusion,
        shortlist_changed: checks().map(|c| c.and_then(ShortlistCheck::fraction)).collect(),
        shortlist_images: checks().map(|c| c.map_or(0, |c| c.images)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provenance::Provenance;
    use crate::score_stage::ClassEvaluation;

    #[test]
    fn a_value_that_is_not_exact_is_recorded_with_its_bound() {
        let numbers = [("pixel_auroc.given", Metric::within(0.9, 1e-6)), ("pixel_ap.given", Metric::of(0.5))];
        let class = ClassEvaluation {
            class: "cable".into(),
            learnt: 0,
            metrics: numbers.map(|(name, metric)| (name.to_owned(), metric.into())).into(),
            images: vec![],
            nll: None,
        };
        let parts = Parts {
            run: "id",
            provenance: Provenance::default(),
            classes: &[("cable".into(), 0)],
            evaluations: &[StageEvaluation { stage: 0, classes: vec![class], shortlist: None }],
            cost: vec![],
            thresholds: BTreeMap::new(),
            certificate: Certificate::default(),
        };
        let file = MetricsFile::new(parts).unwrap();
        assert_eq!(file.error_bounds, BTreeMap::from([("pixel_auroc.given.stage0.cable".to_owned(), 1e-6)]));
        assert_eq!(file.matrices["pixel_auroc"]["given"], [[Some(0.9)]]);
        assert!(file.nll.is_empty(), "a detector without likelihoods");
    }

    #[test]
    fn likelihoods_are_recorded_per_level_stage_and_class() {
        let class = |name: &str, learnt, nll: [f64; 2]| ClassEvaluation {
            class: name.into(),
            learnt,
            metrics: BTreeMap::new(),
            images: vec![],
            nll: Some(nll.to_vec()),
        };
        let classes = [("cable".into(), 0), ("pill".into(), 1)];
        let both = vec![class("cable", 0, [1.5, 0.25]), class("pill", 1, [2.0, -1.0])];
        let evaluations = [vec![class("cable", 0, [1.5, 0.5])], both];
        let stage = |(stage, classes)| StageEvaluation { stage, classes, shortlist: None };
        let found =
            likelihoods(&classes, &evaluations.into_iter().enumerate().map(stage).collect::<Vec<_>>());
        assert_eq!(found["level0"], [[Some(1.5), None], [Some(1.5), Some(2.0)]]);
        assert_eq!(found["level1"], [[Some(0.5), None], [Some(0.25), Some(-1.0)]]);
    }
}
