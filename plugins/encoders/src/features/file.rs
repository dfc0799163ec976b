//! One file of features.

use ccnf::core::read_file;
use ccnf::prelude::*;
use npyz::{DType, NpyFile, Order};
use safetensors::{Dtype, SafeTensors};
use std::path::Path;

/// An error about the file `path`.
pub(super) fn error(path: &Path, message: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Encoder, format!("`{}` {message}", path.display()))
}

/// The levels of a file that no `levels.json` describes.
pub(super) fn infer(path: &Path) -> Result<Vec<LevelSpec>> {
    let bytes = read_file(path)?;
    if path.extension().is_some_and(|e| e == "npy") {
        let npy = open_npy(path, &bytes)?;
        let shape: Vec<usize> = npy.shape().iter().map(|&n| n as usize).collect();
        return Ok(vec![level(path, "features", &shape)?]);
    }
    let tensors = open_safetensors(path, &bytes)?;
    let mut levels =
        tensors.iter().map(|(name, t)| level(path, name, t.shape())).collect::<Result<Vec<_>>>()?;
    if levels.is_empty() {
        return Err(error(path, "holds no tensor"));
    }
    levels.sort_by(|a, b| b.tokens().cmp(&a.tokens()).then_with(|| a.name.cmp(&b.name)));
    Ok(levels)
}

fn level(path: &Path, name: &str, shape: &[usize]) -> Result<LevelSpec> {
    match *shape {
        [height, width, channels] if height * width * channels > 0 => {
            Ok(LevelSpec { name: name.to_owned(), height, width, channels })
        }
        _ => Err(error(
            path,
            format!("has a level `{name}` of shape {shape:?}; expected [height, width, channels]"),
        )),
    }
}

fn open_safetensors<'a>(path: &Path, bytes: &'a [u8]) -> Result<SafeTensors<'a>> {
    SafeTensors::deserialize(bytes).map_err(|e| error(path, format!("is not a safetensors file: {e}")))
}

fn open_npy<'a>(path: &Path, bytes: &'a [u8]) -> Result<NpyFile<&'a [u8]>> {
    NpyFile::new(bytes).map_err(|e| error(path, format!("is not a .npy file: {e}")))
}

/// The wanted levels of a `.safetensors` file.
pub(super) fn read_safetensors(path: &Path, levels: &[LevelSpec]) -> Result<EncodedImage> {
    let bytes = read_file(path).map_err(|e| {
        error(path, "cannot be read").with_source(e).help(
            "every image needs a file CLASS/split/KIND/NAME.safetensors (or .npy) below the encoder's `path`",
        )
    })?;
    let tensors = open_safetensors(path, &bytes)?;
    let read = |level: &LevelSpec| {
        let tensor = tensors.tensor(&level.name).map_err(|_| {
            let names: Vec<String> = tensors.names().into_iter().map(|n| format!("`{n}`")).collect();
            error(path, format!("has no level `{}`; it has {}", level.name, names.join(", ")))
        })?;
        check_shape(path, level, tensor.shape())?;
        if tensor.dtype() != Dtype::F32 {
            return Err(error(
                path,
                format!("has level `{}` as {}; expected F32", level.name, tensor.dtype()),
            ));
        }
        let (values, _) = tensor.data().as_chunks::<4>();
        finite(path, level, values.iter().map(|b| f32::from_le_bytes(*b)).collect())
    };
    levels.iter().map(read).collect()
}

/// The only level, from a `.npy` file.
pub(super) fn read_npy(path: &Path, levels: &[LevelSpec]) -> Result<EncodedImage> {
    let [level] = levels else {
        return Err(error(path, format!("holds a single level, but {} are expected", levels.len()))
            .help("store several levels as .safetensors"));
    };
    let bytes = read_file(path)?;
    let npy = open_npy(path, &bytes)?;
    let shape: Vec<usize> = npy.shape().iter().map(|&n| n as usize).collect();
    check_shape(path, level, &shape)?;
    if npy.order() != Order::C {
        return Err(error(path, "is in Fortran order; expected C order")
            .help("save numpy.ascontiguousarray(features)"));
    }
    let kind = match npy.dtype() {
        DType::Plain(t) => t.to_string(),
        other => other.descr(),
    };
    let damaged = |e: std::io::Error| error(path, format!("is damaged: {e}"));
    let values = match kind.trim_start_matches(['<', '>', '=', '|']) {
        "f4" => npy.into_vec::<f32>().map_err(damaged)?,
        "f8" => npy.into_vec::<f64>().map_err(damaged)?.into_iter().map(|v| v as f32).collect(),
        _ => return Err(error(path, format!("holds values of type {kind}; expected float32 or float64"))),
    };
    Ok(vec![finite(path, level, values)?])
}

fn check_shape(path: &Path, level: &LevelSpec, found: &[usize]) -> Result<()> {
    let expected = [level.height, level.width, level.channels];
    if found == expected {
        return Ok(());
    }
    Err(error(path, format!("has level `{}` of shape {found:?}; expected {expected:?}", level.name))
        .help("all images need features of the same [height, width, channels]"))
}

fn finite(path: &Path, level: &LevelSpec, values: Vec<f32>) -> Result<Vec<f32>> {
    match values.iter().position(|v| !v.is_finite()) {
        None => Ok(values),
        Some(i) => Err(Error::new(
            ErrorKind::NonFinite,
            format!("`{}`, level `{}` holds {} at position {i}", path.display(), level.name, values[i]),
        )
        .help("features must be finite: make them again")),
    }
}
