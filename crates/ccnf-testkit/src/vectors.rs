//! Reference vectors: inputs, parameters and expected outputs in safetensors files.

use crate::folders::reference_folder;
use safetensors::SafeTensors;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// A tensor of a reference file.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Its shape.
    pub shape: Vec<usize>,
    /// Row-major values.
    pub data: Vec<f32>,
}

impl Tensor {
    /// The first value.
    pub fn scalar(&self) -> f32 {
        self.data[0]
    }
    /// The values as indices.
    pub fn indices(&self) -> Vec<u32> {
        self.data.iter().map(|v| *v as u32).collect()
    }
    /// Rows and columns; a vector is one row.
    pub fn dims2(&self) -> (usize, usize) {
        match self.shape.as_slice() {
            [n] => (1, *n),
            [r, c] => (*r, *c),
            s => panic!("a tensor of shape {s:?} is not a matrix"),
        }
    }
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct Tolerance {
    atol: f64,
    rtol: f64,
}

/// One reference file. Every expected tensor that was compared is remembered; [`finish`](Vectors::finish) fails for those that were not.
pub struct Vectors {
    name: String,
    tensors: BTreeMap<String, Tensor>,
    metadata: BTreeMap<String, String>,
    tolerances: BTreeMap<String, Tolerance>,
    expected: BTreeSet<String>,
    checked: BTreeSet<String>,
}

impl Vectors {
    /// Opens `name.safetensors`; `None` (and a loud line) where there are no reference vectors.
    pub fn open(name: &str) -> Option<Vectors> {
        let path = reference_folder()?.join(format!("{name}.safetensors"));
        let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display()));
        let (_, header) = SafeTensors::read_metadata(&bytes).expect("a safetensors header");
        let metadata: BTreeMap<String, String> =
            header.metadata().clone().expect("metadata").into_iter().collect();
        let file = SafeTensors::deserialize(&bytes).expect("a safetensors file");
        let tensors = file
            .tensors()
            .into_iter()
            .map(|(n, v)| {
                let data =
                    v.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
                (n, Tensor { shape: v.shape().to_vec(), data })
            })
            .collect();
        let json = |key: &str| metadata.get(key).unwrap_or_else(|| panic!("no metadata `{key}`")).clone();
        let tolerances = serde_json::from_str(&json("tolerances")).expect("tolerances");
        let expected = serde_json::from_str(&json("expected")).expect("expected names");
        Some(Vectors { name: name.into(), tensors, metadata, tolerances, expected, checked: BTreeSet::new() })
    }

    /// A tensor by name.
    pub fn get(&self, name: &str) -> &Tensor {
        self.tensors.get(name).unwrap_or_else(|| panic!("{} has no tensor `{name}`", self.name))
    }

    /// Whether the file has the tensor.
    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The names of all tensors.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The names of the expected tensors.
    pub fn expected(&self) -> impl Iterator<Item = &str> {
        self.expected.iter().map(String::as_str)
    }

    /// The metadata value `dims`.
    pub fn dims(&self) -> serde_json::Value {
        serde_json::from_str(&self.metadata["dims"]).expect("dims")
    }

    /// Compares a result with the expected tensor: `|a - b| <= atol + rtol |b|`, NaN where the expected value is NaN.
    pub fn check(&mut self, name: &str, actual: &[f32]) {
        let b = self.get(name).clone();
        assert!(self.expected.contains(name), "`{name}` is not an expected tensor of {}", self.name);
        assert_eq!(actual.len(), b.data.len(), "{}: `{name}` has another size", self.name);
        let t = self.tolerances.get(name).copied().unwrap_or_else(|| panic!("no tolerance for `{name}`"));
        for (i, (a, b)) in actual.iter().zip(&b.data).enumerate() {
            let (a, b) = (f64::from(*a), f64::from(*b));
            let ok = if b.is_nan() { a.is_nan() } else { (a - b).abs() <= t.atol + t.rtol * b.abs() };
            assert!(
                ok,
                "{}: `{name}`[{i}] is {a}, expected {b} (atol {}, rtol {})",
                self.name, t.atol, t.rtol
            );
        }
        self.checked.insert(name.to_owned());
    }

    /// Fails if an expected tensor was never compared, except those for which `left_out` gives true.
    pub fn finish(self, left_out: impl Fn(&str) -> bool) {
        let missed: Vec<&String> =
            self.expected.iter().filter(|n| !self.checked.contains(*n) && !left_out(n)).collect();
        assert!(missed.is_empty(), "{}: never compared: {missed:?}", self.name);
        assert!(!self.checked.is_empty(), "{}: nothing was compared", self.name);
    }
}
