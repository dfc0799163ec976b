//! What a finished run says.

use crate::Result;
use ccnf::serde_json::{self, Value};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The numbers of one run.
pub(crate) struct Finished {
    metrics: Value,
    timing: Value,
    /// Per class the images' labels and scores after the last stage, class given, in the order of the file.
    pub(crate) scores: BTreeMap<String, Scores>,
}

/// Scores of one class.
#[derive(Default)]
pub(crate) struct Scores {
    pub(crate) images: Vec<String>,
    pub(crate) labels: Vec<bool>,
    pub(crate) given: Vec<f32>,
}

impl Finished {
    /// Reads a run folder; `None` where the run is missing or has not finished.
    pub(crate) fn read(folder: &Path) -> Result<Option<Finished>> {
        let read = |name: &str| -> Result<Value> {
            let path = folder.join(name);
            let text = fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
            Ok(serde_json::from_slice(&text).map_err(|e| format!("{}: {e}", path.display()))?)
        };
        if !folder.join("run.json").is_file() || read("run.json")?["finished"] != true {
            return Ok(None);
        }
        let metrics = read("metrics.json")?;
        let stages = metrics["cost"].as_array().map_or(0, Vec::len);
        let scores = scores(&folder.join(format!("scores/stage{}.csv", stages.saturating_sub(1))))?;
        Ok(Some(Finished { timing: read("timing.json")?, metrics, scores }))
    }

    /// An entry of the summary, such as `image_auroc.given.acc_final`.
    pub(crate) fn summary(&self, key: &str) -> Option<f64> {
        self.metrics["summary"][key].as_f64()
    }

    /// Mean over classes of the image AUROC right after the class's own stage, class given.
    pub(crate) fn learnt(&self) -> Option<f64> {
        let rows = self.metrics["matrices"]["image_auroc"]["given"].as_array()?;
        let classes = self.metrics["classes"].as_array()?;
        let own = |(i, c): (usize, &Value)| rows.get(c["stage"].as_u64()? as usize)?.get(i)?.as_f64();
        let values: Option<Vec<f64>> = classes.iter().enumerate().map(own).collect();
        values.map(|v| v.iter().sum::<f64>() / v.len() as f64)
    }

    /// Whether all tensors and maps of earlier classes stayed bit for bit.
    pub(crate) fn certified(&self) -> bool {
        self.metrics["certificate"]["holds"] == true
    }

    /// The stages' costs.
    pub(crate) fn stages(&self) -> Vec<Cost> {
        let stages = self.metrics["cost"].as_array().map_or(&[][..], Vec::as_slice);
        stages
            .iter()
            .enumerate()
            .map(|(t, cost)| {
                let bytes: Vec<u64> = cost["class_bytes"]
                    .as_object()
                    .into_iter()
                    .flatten()
                    .filter_map(|(_, v)| v.as_u64())
                    .collect();
                Cost {
                    trainable: cost["trainable"].as_u64().unwrap_or(0),
                    shared_bytes: cost["shared_bytes"].as_u64().unwrap_or(0),
                    class_bytes: bytes.iter().sum::<u64>() / bytes.len().max(1) as u64,
                    seconds: self.timing[t.to_string()]["training_seconds"].as_f64().unwrap_or(f64::NAN),
                }
            })
            .collect()
    }
}

/// What a stage took.
pub(crate) struct Cost {
    /// Trainable values.
    pub(crate) trainable: u64,
    /// Bytes of the state that all classes share.
    pub(crate) shared_bytes: u64,
    /// Mean bytes of a class.
    pub(crate) class_bytes: u64,
    /// Training time.
    pub(crate) seconds: f64,
}

fn scores(path: &Path) -> Result<BTreeMap<String, Scores>> {
    let at = |e: csv::Error| format!("{}: {e}", path.display());
    let mut reader = csv::Reader::from_path(path).map_err(at)?;
    let header = reader.headers().map_err(at)?.clone();
    let column = |name: &str| {
        let found = header.iter().position(|h| h == name);
        found.ok_or_else(|| format!("{}: no column `{name}`", path.display()))
    };
    let [class, image, label, score] =
        [column("class")?, column("image")?, column("anomalous")?, column("score_given")?];
    let mut all: BTreeMap<String, Scores> = BTreeMap::new();
    for record in reader.records() {
        let record = record.map_err(at)?;
        let scores = all.entry(record[class].to_owned()).or_default();
        scores.images.push(record[image].to_owned());
        scores.labels.push(&record[label] == "1");
        scores.given.push(record[score].parse().unwrap_or(f32::NAN));
    }
    Ok(all)
}
