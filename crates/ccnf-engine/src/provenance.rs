//! What a result rests on, as hashes: two results may stand in one table where these agree.

use crate::assembly::{Assembly, section};
use ccnf_core::schemars::JsonSchema;
use ccnf_core::{ImageSource, Result, ResultExt, read_file};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Hashes of what determined a run's numbers. Each is the first 16 hex digits of a BLAKE3 but `weights`, which is the encoder's own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Provenance {
    /// The model: every configuration value but those of `seed`, `dataset`, `protocol` and `run`, with the contents of plugins for their paths.
    pub model: String,
    /// The classes of every task in their order, and how many training images later classes have at most.
    pub protocol: String,
    /// The contents of all images of the protocol's classes, their labels and masks. Paths do not enter.
    pub data: String,
    /// The encoder's fingerprint: architecture, weights, preprocessing.
    pub weights: String,
    /// The seed.
    pub seed: u64,
    /// The program's version.
    pub program: String,
    /// Name and SHA-256 of the run-time plugins that the configuration names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub plugins: BTreeMap<String, String>,
}

fn short(h: &blake3::Hasher) -> String {
    h.finalize().to_hex()[..16].to_owned()
}

/// Every part is hashed with its length, so that no two lists of parts look alike.
fn put(h: &mut blake3::Hasher, part: &[u8]) {
    h.update(&(part.len() as u64).to_le_bytes());
    h.update(part);
}

/// The hash of a protocol: its tasks and the number of images of later classes.
pub(crate) fn protocol_hash(tasks: &[Vec<String>], later_images: Option<usize>) -> String {
    let mut h = blake3::Hasher::new();
    put(&mut h, b"ccnf-protocol-1");
    put(&mut h, format!("{later_images:?}").as_bytes());
    for task in tasks {
        put(&mut h, &(task.len() as u64).to_le_bytes());
        task.iter().for_each(|class| put(&mut h, class.as_bytes()));
    }
    short(&h)
}

impl Provenance {
    /// The hashes of an assembly, without those of images: quick.
    pub fn without_data(a: &Assembly) -> Provenance {
        let mut model = blake3::Hasher::new();
        put(&mut model, b"ccnf-model-1");
        for (key, r) in a.config.resolved() {
            if !["seed", "dataset", "protocol", "run", "plugins"].contains(&section(&key)) {
                put(&mut model, key.as_bytes());
                put(&mut model, r.value.to_string().as_bytes());
            }
        }
        for p in &a.plugins {
            put(&mut model, p.sha256.as_bytes());
        }
        Provenance {
            model: short(&model),
            protocol: protocol_hash(&a.tasks, a.later_images),
            data: String::new(),
            weights: a.encoder.fingerprint(),
            seed: a.seed,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            plugins: a
                .plugins
                .iter()
                .map(|p| (format!("{} {}", p.name, p.version), p.sha256.clone()))
                .collect(),
        }
    }

    /// All hashes of an assembly; reads every image and mask.
    pub fn of(a: &Assembly) -> Result<Provenance> {
        let content = |source: &ImageSource| {
            a.dataset.content_hash(source).at(|| format!("image `{}`", source.label()))
        };
        let mask = |source: &ImageSource| match source {
            ImageSource::File(path) => Ok(*blake3::hash(&read_file(path)?).as_bytes()),
            generated => content(generated),
        };
        let mut h = blake3::Hasher::new();
        put(&mut h, b"ccnf-data-1");
        let mut classes: Vec<&String> = a.tasks.iter().flatten().collect();
        classes.sort();
        for class in classes {
            put(&mut h, class.as_bytes());
            for image in a.train_index.images(class) {
                put(&mut h, &content(&image.source)?);
            }
            put(&mut h, b"test");
            a.test_index.fingerprint(class, &mut |part| put(&mut h, part), mask)?;
        }
        Ok(Provenance { data: short(&h), ..Provenance::without_data(a) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_protocol_is_its_classes_their_tasks_and_their_order() {
        let tasks = |t: &[&[&str]]| -> Vec<Vec<String>> {
            t.iter().map(|t| t.iter().map(|c| (*c).to_owned()).collect()).collect()
        };
        let one = tasks(&[&["a", "b"], &["c"]]);
        let hashes = [
            protocol_hash(&one, None),
            protocol_hash(&one, Some(3)),
            protocol_hash(&tasks(&[&["a"], &["b", "c"]]), None),
            protocol_hash(&tasks(&[&["b", "a"], &["c"]]), None),
            protocol_hash(&tasks(&[&["ab"], &["c"]]), None),
        ];
        let mut distinct = hashes.to_vec();
        distinct.sort();
        distinct.dedup();
        assert_eq!(distinct.len(), hashes.len());
        assert_eq!(protocol_hash(&one, None), hashes[0]);
    }
}
