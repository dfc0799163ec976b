//! Features that were made elsewhere and lie on disk.
//!
//! An image's features are found by the image's name:
//!
//! * an image file `…/CLASS/split/KIND/NAME.png` has them in `PATH/CLASS/split/KIND/NAME.safetensors` (the last four parts
//!   of its path, or as many as it has, the extension replaced);
//! * a generated image with the id `bolt/train/0` has them in `PATH/bolt/train/0.safetensors`.
//!
//! A `.safetensors` file holds one float32 tensor `[height][width][channels]` per level, by the level's name. Instead, there
//! may be a `.npy` file (C order, float32 or float64) when there is a single level.
//!
//! `PATH/levels.json` states the levels: `[{"name": "stride8", "height": 28, "width": 28, "channels": 40}, …]`. Without it
//! the first file in alphabetical order does: its tensors, the one with most cells first, equal ones by name; the level of a
//! `.npy` file is called `features`.

mod file;

use ccnf::core::read_file;
use ccnf::prelude::*;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::path::{Component as Part, Path, PathBuf};

/// Config of [`Features`].
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FeaturesConfig {
    /// The folder of the feature files; a relative path starts at the working directory.
    pub path: PathBuf,
    /// The levels to use, in this order. Empty = all.
    pub levels: Vec<String>,
}

/// Reads features that were made elsewhere; see the module's documentation for the files.
#[derive(Debug)]
pub struct Features {
    folder: PathBuf,
    levels: Vec<LevelSpec>,
    fingerprint: String,
}

impl Features {
    /// Finds the levels and hashes all feature files, so that the fingerprint stands for their content.
    pub fn new(config: FeaturesConfig, build: &Build<EncoderSpec>) -> Result<Self> {
        let FeaturesConfig { path: folder, levels: wanted } = config;
        if folder.as_os_str().is_empty() {
            return Err(build.error("path", "missing: which folder holds the features? Set path = \"…\""));
        }
        let place = || format!("key `{}.path`", build.section.path());
        let files = list(&folder).at(place)?;
        let stated = folder.join("levels.json");
        let all = match (stated.is_file(), files.first()) {
            (true, _) => read_levels(&stated).at(place)?,
            (false, Some(first)) => file::infer(first).at(place)?,
            (false, None) => {
                return Err(file::error(
                    &folder,
                    "holds no features: expected `.safetensors` or `.npy` files, found none",
                )
                .at(place()));
            }
        };
        let levels = choose(all, &wanted, build)?;
        let fingerprint = fingerprint(&folder, &files, &levels).at(place)?;
        Ok(Features { folder, levels, fingerprint })
    }

    /// The file with the features of an image, without its extension.
    fn stem(&self, source: &ImageSource) -> Result<PathBuf> {
        let (path, generated) = match source {
            ImageSource::File(p) => (p.with_extension(""), false),
            ImageSource::Generated(id) => (PathBuf::from(id), true),
        };
        let parts: Vec<_> = path.components().collect();
        let tail = if generated { &parts[..] } else { &parts[parts.len().saturating_sub(4)..] };
        let names: Vec<_> = tail
            .iter()
            .filter(|p| generated || matches!(p, Part::Normal(_)))
            .map(|p| if let Part::Normal(name) = p { Some(name) } else { None })
            .collect::<Option<_>>()
            .filter(|names: &Vec<_>| !names.is_empty())
            .ok_or_else(|| {
                Error::new(ErrorKind::Encoder, format!("`{}` does not name a feature file", source.label()))
                    .help("the id of a generated image must be a relative path without `..`")
            })?;
        Ok(names.into_iter().fold(self.folder.clone(), |folder, name| folder.join(name)))
    }

    fn read(&self, source: &ImageSource) -> Result<EncodedImage> {
        let stem = self.stem(source)?;
        let with = |extension: &str| {
            let mut name = stem.clone().into_os_string();
            name.push(extension);
            PathBuf::from(name)
        };
        let (tensors, array) = (with(".safetensors"), with(".npy"));
        if !tensors.is_file() && array.is_file() {
            return file::read_npy(&array, &self.levels);
        }
        file::read_safetensors(&tensors, &self.levels)
    }
}

/// All feature files below `folder`, sorted.
fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let failed = |e| Error::io("list the features in", folder, e);
    let mut files = vec![];
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            files.extend(list(&path)?);
        } else if path.extension().is_some_and(|e| e == "safetensors" || e == "npy") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read_levels(path: &Path) -> Result<Vec<LevelSpec>> {
    let levels: Vec<LevelSpec> = ccnf::serde_json::from_slice(&read_file(path)?).map_err(|e| {
        file::error(path, format!("does not state levels: {e}"))
            .help(r#"expected [{"name": "stride8", "height": 28, "width": 28, "channels": 40}, …]"#)
    })?;
    match levels.iter().find(|l| l.is_empty()) {
        Some(l) => Err(file::error(path, format!("states the level `{}` without values", l.name))),
        None if levels.is_empty() => Err(file::error(path, "states no level")),
        None => Ok(levels),
    }
}

fn choose(all: Vec<LevelSpec>, wanted: &[String], build: &Build<EncoderSpec>) -> Result<Vec<LevelSpec>> {
    if wanted.is_empty() {
        return Ok(all);
    }
    let names: Vec<&str> = all.iter().map(|l| l.name.as_str()).collect();
    let pick = |(i, name): (usize, &String)| {
        if wanted[..i].contains(name) {
            return Err(build.error("levels", format!("`{name}` is listed twice")));
        }
        all.iter().find(|l| l.name == *name).cloned().ok_or_else(|| {
            let hint = ccnf::core::did_you_mean(name, names.iter().copied());
            let hint = hint.map(|g| format!(" (did you mean `{g}`?)")).unwrap_or_default();
            build.error(
                "levels",
                format!("the features have no level `{name}`{hint}; they have `{}`", names.join("`, `")),
            )
        })
    };
    wanted.iter().enumerate().map(pick).collect()
}

/// BLAKE3 over the names and contents of all files, and the levels in use.
fn fingerprint(folder: &Path, files: &[PathBuf], levels: &[LevelSpec]) -> Result<String> {
    let hash = |path: &PathBuf| {
        let mut hasher = blake3::Hasher::new();
        let read = std::fs::File::open(path).and_then(|f| hasher.update_reader(f).map(|_| ()));
        read.map(|()| hasher.finalize()).map_err(|e| Error::io("read", path, e))
    };
    let hashes: Vec<blake3::Hash> = files.par_iter().map(hash).collect::<Result<_>>()?;
    let mut all = blake3::Hasher::new();
    all.update(ccnf::serde_json::to_string(levels).unwrap_or_default().as_bytes());
    for (path, hash) in files.iter().zip(hashes) {
        let name = path.strip_prefix(folder).unwrap_or(path).to_string_lossy().replace('\\', "/");
        all.update(&(name.len() as u64).to_le_bytes()).update(name.as_bytes()).update(hash.as_bytes());
    }
    Ok(all.finalize().to_hex().to_string())
}

impl Encoder for Features {
    fn fingerprint(&self) -> String {
        self.fingerprint.clone()
    }
    fn levels(&self) -> Vec<LevelSpec> {
        self.levels.clone()
    }
    fn encode(&self, images: &[EncoderInput<'_>]) -> Result<Vec<EncodedImage>> {
        images
            .par_iter()
            .map(|i| self.read(i.source).at(|| format!("image `{}`", i.source.label())))
            .collect()
    }
    fn batch(&self) -> usize {
        32
    }
    fn cacheable(&self) -> bool {
        false
    }
}

ccnf::register_component!(
    Encoder,
    "features",
    FeaturesConfig,
    Features::new,
    "features made elsewhere, read from .safetensors or .npy files"
);
