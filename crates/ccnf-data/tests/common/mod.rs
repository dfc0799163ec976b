//! Finds and reads the conformance vectors.

use std::collections::BTreeMap;
use std::env;
use std::error::Error;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};

/// What a conformance test returns.
pub(crate) type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// `CCNF_REFERENCE`, else `$CCNF_SHARED/reference`, else `shared/reference` beside the workspace. Relative
/// paths start at the workspace root, whatever directory the test runs in.
fn candidate() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    if let Some(directory) = env::var_os("CCNF_REFERENCE") {
        return workspace.join(directory);
    }
    match env::var_os("CCNF_SHARED") {
        Some(shared) => workspace.join(shared).join("reference"),
        None => workspace.join("../shared/reference"),
    }
}

/// The directory of the vectors. Where there is none: an error if `CI=true`, otherwise `None` and a line on
/// stderr that the test harness does not capture.
pub(crate) fn reference_directory(test: &str) -> Outcome<Option<PathBuf>> {
    let directory = candidate();
    if directory.is_dir() {
        return Ok(Some(directory));
    }
    let message = format!("{test}: no conformance vectors at {} (set CCNF_REFERENCE)", directory.display());
    if env::var("CI").is_ok_and(|value| value == "true") {
        return Err(message.into());
    }
    writeln!(io::stderr(), "SKIPPED: {message}")?;
    Ok(None)
}

/// A tensor of a vector file; everything is stored as `f32`.
pub(crate) struct Tensor {
    pub(crate) shape: Vec<usize>,
    pub(crate) data: Vec<f32>,
}

/// Allowed deviation from an expected value b: atol + rtol |b|.
#[derive(Clone, Copy)]
pub(crate) struct Tolerance {
    atol: f64,
    rtol: f64,
}

impl Tolerance {
    /// The pass rule for one element: NaN where NaN is expected, otherwise within the tolerance.
    pub(crate) fn accepts(self, actual: f64, expected: f64) -> bool {
        if expected.is_nan() {
            return actual.is_nan();
        }
        (actual - expected).abs() <= self.atol + self.rtol * expected.abs()
    }
}

/// One vector file with its metadata.
pub(crate) struct Vectors {
    tensors: BTreeMap<String, Tensor>,
    tolerances: BTreeMap<String, Tolerance>,
    dims: serde_json::Value,
}

impl Vectors {
    /// Reads a file; every expected tensor must be there with a tolerance.
    pub(crate) fn read(path: &Path) -> Outcome<Self> {
        let bytes = fs::read(path)?;
        let (_, header) = SafeTensors::read_metadata(&bytes)?;
        let metadata = header.metadata().clone().ok_or("no metadata")?;
        let field = |key: &str| metadata.get(key).ok_or_else(|| format!("no metadata key {key}"));

        let mut tensors = BTreeMap::new();
        for (name, view) in SafeTensors::deserialize(&bytes)?.tensors() {
            if view.dtype() != Dtype::F32 {
                return Err(format!("{name} is {:?}, not F32", view.dtype()).into());
            }
            let (words, _) = view.data().as_chunks::<4>();
            let data = words.iter().map(|&word| f32::from_le_bytes(word)).collect();
            tensors.insert(name, Tensor { shape: view.shape().to_vec(), data });
        }
        let expected: Vec<String> = serde_json::from_str(field("expected")?)?;
        let stored: BTreeMap<String, BTreeMap<String, f64>> = serde_json::from_str(field("tolerances")?)?;
        let mut tolerances = BTreeMap::new();
        for name in expected {
            let entry = stored.get(&name).ok_or_else(|| format!("no tolerance for {name}"))?;
            let part = |key: &str| entry.get(key).copied().ok_or_else(|| format!("no {key} for {name}"));
            tolerances.insert(name.clone(), Tolerance { atol: part("atol")?, rtol: part("rtol")? });
        }
        Ok(Self { tensors, tolerances, dims: serde_json::from_str(field("dims")?)? })
    }

    /// A tensor by name.
    pub(crate) fn tensor(&self, name: &str) -> Outcome<&Tensor> {
        Ok(self.tensors.get(name).ok_or_else(|| format!("no tensor {name}"))?)
    }

    /// A number of the metadata key `dims`.
    pub(crate) fn dim(&self, name: &str) -> Outcome<usize> {
        Ok(self.dims[name].as_u64().ok_or_else(|| format!("no number {name} in dims"))? as usize)
    }

    /// Names and tolerances of the expected tensors, sorted.
    pub(crate) fn expected(&self) -> impl Iterator<Item = (&str, Tolerance)> {
        self.tolerances.iter().map(|(name, &tolerance)| (name.as_str(), tolerance))
    }
}
