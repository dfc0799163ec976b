//! The forgetting certificate: what is bitwise unchanged since a class was learnt.

use crate::score_stage::StageEvaluation;
use ccnf_core::schemars::JsonSchema;
use ccnf_core::{Detector, hashes};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Hashes of all tensors after a stage, by name.
pub(crate) type TensorHashes = BTreeMap<String, String>;

/// The hashes of a detector's tensors.
pub(crate) fn tensor_hashes(d: &dyn Detector) -> TensorHashes {
    let hex = |h: [u8; 32]| h.iter().take(16).map(|b| format!("{b:02x}")).collect::<String>();
    hashes(d).into_iter().map(|(name, _, hash)| (name, hex(hash))).collect()
}

/// What was compared after one stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StageCertificate {
    /// The stage, from 1 (after the first there is nothing to compare).
    pub stage: usize,
    /// Tensors that existed after the stage before.
    pub tensors: usize,
    /// Those of them that changed or vanished.
    pub changed_tensors: Vec<String>,
    /// Test images of earlier classes.
    pub maps: usize,
    /// Those of them whose `given` score maps differ in any bit from the maps made when the class was learnt.
    pub changed_maps: Vec<String>,
}

impl StageCertificate {
    /// True when nothing changed.
    pub fn holds(&self) -> bool {
        self.changed_tensors.is_empty() && self.changed_maps.is_empty()
    }
}

/// The certificate of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Certificate {
    /// Whether the strategy promises that it holds.
    pub promised: bool,
    /// Whether every stage's comparison found everything unchanged; true for a single stage.
    pub holds: bool,
    /// The comparisons.
    pub stages: Vec<StageCertificate>,
}

/// Compares every stage's tensors with those after the stage before, and the maps of every class with those made when it was learnt.
pub(crate) fn certify(
    promised: bool,
    tensors: &[TensorHashes],
    evaluations: &[StageEvaluation],
) -> Certificate {
    let mut stages = Vec::new();
    for s in 1..tensors.len().min(evaluations.len()) {
        let changed_tensors = tensors[s - 1]
            .iter()
            .filter(|(name, hash)| tensors[s].get(*name) != Some(hash))
            .map(|(name, _)| name.clone())
            .collect();
        let (mut maps, mut changed_maps) = (0, Vec::new());
        for class in evaluations[s].classes.iter().filter(|c| c.learnt < s) {
            let first = evaluations[class.learnt].classes.iter().find(|c| c.class == class.class);
            for row in &class.images {
                maps += 1;
                let before = first.and_then(|c| c.images.iter().find(|r| r.image == row.image));
                if before.is_none_or(|b| b.map_hash != row.map_hash) {
                    changed_maps.push(row.image.clone());
                }
            }
        }
        stages.push(StageCertificate {
            stage: s,
            tensors: tensors[s - 1].len(),
            changed_tensors,
            maps,
            changed_maps,
        });
    }
    Certificate { promised, holds: stages.iter().all(StageCertificate::holds), stages }
}
