//! Checkpoints: safetensors files with names, owners and hashes.

use ccnf_core::{Error, ErrorKind, Result, Snapshot, StoredTensor, read_file, write_atomic};
use ccnf_tensor::Owner;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

const FORMAT: &str = "ccnf-checkpoint/2";
const OPTIMIZER: &str = "optimizer/";
const STRATEGY: &str = "strategy/";

/// A model's state, and where in the run it was taken.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Checkpoint {
    /// The run it belongs to.
    pub run: String,
    /// The stage, from 0.
    pub stage: usize,
    /// Steps made in this stage; `None` after the stage.
    pub step: Option<u64>,
    /// Tensors and the model's description of them.
    pub model: Snapshot,
    /// The optimiser's tensors, within a stage.
    pub optimizer: BTreeMap<String, StoredTensor>,
    /// What the strategy keeps.
    pub strategy: Snapshot,
    /// Decision thresholds by class (a quantile of image scores of normal training images).
    pub thresholds: BTreeMap<String, f64>,
}

#[derive(Serialize, Deserialize)]
struct Header {
    format: String,
    run: String,
    stage: usize,
    step: Option<u64>,
    meta: serde_json::Value,
    strategy: serde_json::Value,
    /// Class of every tensor that belongs to one; the others are shared.
    classes: BTreeMap<String, String>,
    /// BLAKE3 of every tensor's bytes but the optimiser's.
    hashes: BTreeMap<String, String>,
    thresholds: BTreeMap<String, f64>,
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// Writes a checkpoint; the file is replaced as a whole or not at all.
pub fn write_checkpoint(path: &Path, c: &Checkpoint) -> Result<()> {
    let mut data: BTreeMap<String, (Vec<usize>, Vec<u8>)> = BTreeMap::new();
    let mut classes = BTreeMap::new();
    let mut hashes = BTreeMap::new();
    let kept = c.strategy.tensors.iter().map(|(name, t)| (format!("{STRATEGY}{name}"), t));
    for (name, t) in c.model.tensors.iter().map(|(name, t)| (name.clone(), t)).chain(kept) {
        let b = bytes(&t.values);
        hashes.insert(name.clone(), blake3::hash(&b).to_hex().to_string());
        if let Owner::Class(class) = &t.owner {
            classes.insert(name.clone(), class.clone());
        }
        data.insert(name.clone(), (vec![t.shape.0, t.shape.1], b));
    }
    for (name, t) in &c.optimizer {
        data.insert(format!("{OPTIMIZER}{name}"), (vec![t.shape.0, t.shape.1], bytes(&t.values)));
    }
    let header = Header {
        format: FORMAT.into(),
        run: c.run.clone(),
        stage: c.stage,
        step: c.step,
        meta: c.model.meta.clone(),
        strategy: c.strategy.meta.clone(),
        classes,
        hashes,
        thresholds: c.thresholds.clone(),
    };
    let header =
        serde_json::to_string(&header).map_err(|e| Error::new(ErrorKind::Contract, e.to_string()))?;
    // One metadata key only: safetensors keeps metadata in a hash map, and the file must be the same every time.
    let metadata = HashMap::from([("ccnf".to_owned(), header)]);
    let views = data
        .iter()
        .map(|(name, (shape, b))| {
            Ok((
                name.clone(),
                TensorView::new(Dtype::F32, shape.clone(), b).map_err(|e| damaged(path, &e.to_string()))?,
            ))
        })
        .collect::<Result<Vec<_>>>()?;
    let file = safetensors::serialize(views, Some(metadata))
        .map_err(|e| Error::new(ErrorKind::Contract, e.to_string()))?;
    write_atomic(path, &file)
}

fn damaged(path: &Path, why: &str) -> Error {
    Error::new(ErrorKind::Checkpoint, format!("`{}` is not a usable checkpoint: {why}", path.display())).help(
        "remove the file and run the same command again: the stage is repeated from the last good checkpoint",
    )
}

/// Reads a checkpoint and checks format and hashes.
pub fn read_checkpoint(path: &Path) -> Result<Checkpoint> {
    let file = read_file(path)?;
    let (_, metadata) = SafeTensors::read_metadata(&file).map_err(|e| damaged(path, &e.to_string()))?;
    let header = metadata
        .metadata()
        .as_ref()
        .and_then(|m| m.get("ccnf"))
        .ok_or_else(|| damaged(path, "it was not written by ccnf"))?;
    let header: Header = serde_json::from_str(header).map_err(|e| damaged(path, &e.to_string()))?;
    if header.format != FORMAT {
        return Err(damaged(path, &format!("format `{}`, this version reads `{FORMAT}`", header.format)));
    }
    let tensors = SafeTensors::deserialize(&file).map_err(|e| damaged(path, &e.to_string()))?;
    let mut c = Checkpoint {
        run: header.run,
        stage: header.stage,
        step: header.step,
        model: Snapshot { tensors: BTreeMap::new(), meta: header.meta },
        optimizer: BTreeMap::new(),
        strategy: Snapshot { tensors: BTreeMap::new(), meta: header.strategy },
        thresholds: header.thresholds,
    };
    for (name, view) in tensors.tensors() {
        let [rows, cols] = view.shape() else {
            return Err(damaged(path, &format!("the tensor `{name}` has {} dims", view.shape().len())));
        };
        if view.dtype() != Dtype::F32 {
            return Err(damaged(path, &format!("the tensor `{name}` is not f32")));
        }
        let values =
            view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        let owner = header.classes.get(&name).map_or(Owner::Shared, |c| Owner::Class(c.clone()));
        let stored = StoredTensor { owner, shape: (*rows, *cols), values };
        match name.strip_prefix(OPTIMIZER) {
            Some(n) => {
                c.optimizer.insert(n.to_owned(), stored);
            }
            None => {
                let hash = blake3::hash(view.data()).to_hex().to_string();
                if header.hashes.get(&name) != Some(&hash) {
                    return Err(damaged(path, &format!("the tensor `{name}` does not match its hash")));
                }
                match name.strip_prefix(STRATEGY) {
                    Some(n) => c.strategy.tensors.insert(n.to_owned(), stored),
                    None => c.model.tensors.insert(name, stored),
                };
            }
        }
    }
    let has = |name: &str| match name.strip_prefix(STRATEGY) {
        Some(n) => c.strategy.tensors.contains_key(n),
        None => c.model.tensors.contains_key(name),
    };
    if let Some(missing) = header.hashes.keys().find(|n| !has(n)) {
        return Err(damaged(path, &format!("the tensor `{missing}` is missing")));
    }
    Ok(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Checkpoint {
        let t = |v: f32, owner| StoredTensor { owner, shape: (1, 2), values: vec![v, -v] };
        let tensors = BTreeMap::from([
            ("a".to_owned(), t(1.5, Owner::Shared)),
            ("row.bolt".to_owned(), t(f32::MIN_POSITIVE, Owner::Class("bolt".into()))),
        ]);
        Checkpoint {
            run: "r".into(),
            stage: 1,
            step: Some(7),
            model: Snapshot { tensors, meta: serde_json::json!({"classes": ["bolt"]}) },
            optimizer: BTreeMap::from([("a.first".to_owned(), t(2.0, Owner::Shared))]),
            strategy: Snapshot {
                tensors: BTreeMap::from([("kept.0".to_owned(), t(3.0, Owner::Class("nut".into())))]),
                meta: serde_json::json!([1, 2]),
            },
            thresholds: BTreeMap::from([("bolt".to_owned(), 0.25)]),
        }
    }

    #[test]
    fn a_checkpoint_comes_back_bit_for_bit_and_the_file_is_the_same_every_time() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        write_checkpoint(&a, &example()).unwrap();
        write_checkpoint(&b, &example()).unwrap();
        assert_eq!(std::fs::read(&a).unwrap(), std::fs::read(&b).unwrap());
        assert_eq!(read_checkpoint(&a).unwrap(), example());
    }

    #[test]
    fn a_damaged_checkpoint_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c");
        write_checkpoint(&path, &example()).unwrap();
        let good = std::fs::read(&path).unwrap();
        for damage in [good[..good.len() / 2].to_vec(), b"text".to_vec(), vec![]] {
            std::fs::write(&path, damage).unwrap();
            assert_eq!(read_checkpoint(&path).unwrap_err().kind(), ErrorKind::Checkpoint);
        }
        let mut flipped = good.clone();
        let last = flipped.len() - 1;
        flipped[last] ^= 1;
        std::fs::write(&path, flipped).unwrap();
        assert!(read_checkpoint(&path).unwrap_err().to_string().contains("hash"));
    }
}
