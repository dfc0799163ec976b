//! The table of a group of runs.

use super::compare::all_pairs;
use super::groups::{Entry, Group};
use super::numbers::{interval, spread};
use super::types::{DRAWS, Quality, Row, Table};
use ccnf_core::{Error, ErrorKind, Result, ResultExt};
use ccnf_engine::{StageEvaluation, Use};
use ccnf_metrics::{MethodDraws, RunScores, joint_bootstrap};
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;

/// Makes the table of a group.
pub(crate) fn table(group: &Group<'_>, order: &[String]) -> Result<Table> {
    let first =
        group.entries.first().ok_or_else(|| Error::new(ErrorKind::Contract, "a table without a run"))?;
    let longest = group.entries.iter().max_by_key(|e| e.run.stages()).unwrap_or(first);
    let mut tasks: Vec<Vec<String>> = vec![vec![]; longest.run.stages()];
    for class in &longest.run.metrics.classes {
        if let Some(task) = tasks.get_mut(class.stage) {
            task.push(class.name.clone());
        }
    }
    let models: Vec<Vec<&Entry<'_>>> = order
        .iter()
        .map(|name| group.entries.iter().filter(|e| e.planned.cell.model == *name).collect::<Vec<_>>())
        .filter(|entries| !entries.is_empty())
        .collect();
    let (labels, left_out) = labels(&longest.evaluations);
    let mut rows: Vec<Row> = models.iter().map(|entries| row(entries)).collect();
    let mut pairs = vec![];
    let truth: Vec<Vec<bool>> = labels.iter().map(|l| l.labels.clone()).collect();
    let least = |l: &Vec<bool>| l.iter().filter(|a| **a).count().min(l.iter().filter(|a| !**a).count());
    for u in Use::ALL {
        let runs = models
            .iter()
            .map(|entries| entries.iter().map(|e| scores(e, &labels, u)).collect::<Result<Vec<_>>>())
            .collect::<Result<Vec<_>>>()?;
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(0);
        let draws = joint_bootstrap(&truth, &runs, DRAWS, |n| rng.gen_range(0..n))
            .map_err(|e| Error::new(ErrorKind::Checkpoint, e.to_string()))
            .at(|| format!("protocol `{}`", group.name))?;
        for (row, d) in rows.iter_mut().zip(&draws) {
            row.quality.insert(u.to_string(), quality(d, &labels));
        }
        pairs.extend(all_pairs(&rows, &draws, u));
    }
    Ok(Table {
        name: group.name.clone(),
        protocol: first.run.provenance().protocol.clone(),
        data: first.run.provenance().data.clone(),
        tasks,
        left_out,
        least_images: truth.iter().map(least).min().unwrap_or(0),
        rows,
        pairs,
    })
}

/// A class that can be drawn from.
struct Labelled {
    class: String,
    images: Vec<String>,
    labels: Vec<bool>,
}

fn labels(evaluations: &[StageEvaluation]) -> (Vec<Labelled>, BTreeMap<String, String>) {
    let (mut out, mut left_out) = (vec![], BTreeMap::new());
    for c in evaluations.last().map_or(&[][..], |e| &e.classes) {
        let labels: Vec<bool> = c.images.iter().map(|i| i.anomalous).collect();
        let missing = [(true, "no anomalous test image"), (false, "no normal test image")];
        match missing.iter().find(|(label, _)| !labels.contains(label)) {
            Some((_, why)) => drop(left_out.insert(c.class.clone(), (*why).to_owned())),
            None => out.push(Labelled {
                class: c.class.clone(),
                images: c.images.iter().map(|i| i.image.clone()).collect(),
                labels,
            }),
        }
    }
    (out, left_out)
}

fn scores(e: &Entry<'_>, labels: &[Labelled], u: Use) -> Result<RunScores> {
    let of = |stage: &StageEvaluation, l: &Labelled| -> Result<Option<Vec<f32>>> {
        let Some(c) = stage.classes.iter().find(|c| c.class == l.class) else { return Ok(None) };
        if !c.images.iter().map(|i| &i.image).eq(&l.images) {
            return Err(Error::new(
                ErrorKind::Checkpoint,
                format!("class `{}` has other test images than in other runs", l.class),
            )
            .at(format!("run `{}`", e.planned.cell)));
        }
        Ok(Some(c.images.iter().map(|i| if u == Use::Given { i.given } else { i.routed }).collect()))
    };
    let learnt = labels
        .iter()
        .map(|l| e.run.metrics.classes.iter().find(|c| c.name == l.class).map_or(0, |c| c.stage));
    Ok(RunScores {
        learnt: learnt.collect(),
        scores: e
            .evaluations
            .iter()
            .map(|stage| labels.iter().map(|l| of(stage, l)).collect::<Result<Vec<_>>>())
            .collect::<Result<Vec<_>>>()?,
    })
}

fn row(entries: &[&Entry<'_>]) -> Row {
    let mut summary: BTreeMap<String, Vec<Option<f64>>> = BTreeMap::new();
    let mut reasons: BTreeMap<String, String> = BTreeMap::new();
    for e in entries {
        for (key, value) in &e.run.metrics.summary {
            summary.entry(key.clone()).or_default().push(*value);
        }
        reasons.extend(e.run.metrics.undefined.clone());
    }
    let reason = |key: &String| reasons.get(key).map_or("a run has no value", String::as_str);
    let stages = entries.iter().map(|e| e.run.stages()).max().unwrap_or(0);
    let mean =
        |of: &dyn Fn(&Entry<'_>) -> f64| entries.iter().map(|e| of(e)).sum::<f64>() / entries.len() as f64;
    let average = |v: Vec<f64>| v.iter().sum::<f64>() / v.len().max(1) as f64;
    Row {
        model: entries[0].planned.cell.model.clone(),
        seeds: entries.iter().map(|e| e.planned.cell.seed).collect(),
        runs: entries.iter().map(|e| e.planned.id.clone()).collect(),
        stages,
        quality: BTreeMap::new(),
        summary: summary.iter().map(|(k, v)| (k.clone(), spread(v, reason(k)))).collect(),
        certificate: (stages > 1).then(|| entries.iter().all(|e| e.run.metrics.certificate.holds)),
        trainable: [
            mean(&|e| e.run.metrics.cost.first().map_or(0.0, |c| c.trainable as f64)),
            mean(&|e| average(e.run.metrics.cost.iter().skip(1).map(|c| c.trainable as f64).collect())),
        ],
        shared_bytes: mean(&|e| e.run.metrics.cost.last().map_or(0.0, |c| c.shared_bytes as f64)),
        class_bytes: mean(&|e| {
            average(
                e.run
                    .metrics
                    .cost
                    .last()
                    .map_or(vec![], |c| c.class_bytes.values().map(|b| *b as f64).collect()),
            )
        }),
    }
}

fn quality(d: &MethodDraws, labels: &[Labelled]) -> Quality {
    let accuracy: Vec<f64> = d.draws.iter().map(|v| v.accuracy).collect();
    let forgetting: Vec<f64> = d.draws.iter().map(|v| v.forgetting).collect();
    let names = || labels.iter().map(|l| l.class.clone());
    Quality {
        accuracy: interval(d.value.accuracy, &accuracy),
        forgetting: interval(d.value.forgetting, &forgetting),
        class_accuracy: names().zip(d.class_accuracy.iter().copied()).collect(),
        class_forgetting: names().zip(&d.class_forgetting).filter_map(|(n, f)| Some((n, (*f)?))).collect(),
    }
}
