//! The dataset `mvtec`: the folder layout of MVTec AD, which many other datasets use too.

use crate::tree::{Names, Tree};
use ccnf::prelude::*;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Config of the `mvtec` dataset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MvtecConfig {
    /// The folder that holds one folder per class.
    pub path: PathBuf,
}

impl Default for MvtecConfig {
    fn default() -> Self {
        MvtecConfig { path: PathBuf::from("data/mvtec") }
    }
}

/// Images in the layout of MVTec AD:
///
/// ```text
/// CLASS/train/good/NAME.png
/// CLASS/test/good/NAME.png
/// CLASS/test/KIND/NAME.png
/// CLASS/ground_truth/KIND/NAME_mask.png     (or NAME.png)
/// ```
///
/// A class without the folder `ground_truth` has image labels only. A class with it must have a mask for every defective
/// image. Images are PNG, JPEG or BMP and come sorted by name; hidden files and files of other types are ignored. The files
/// are looked for when the dataset is listed, not when it is built.
pub struct Mvtec(Tree);

const NAMES: Names =
    Names { dataset: "mvtec", normal: "good", mask_suffixes: &["_mask", ""], mask_extensions: &["png"] };

impl Mvtec {
    /// The dataset in `config.path`.
    pub fn new(config: MvtecConfig) -> Result<Self> {
        Ok(Mvtec(Tree::new(config.path, &NAMES)?))
    }
}

hands_on!(Mvtec);

// registration:
ccnf::register_component!(
    Dataset,
    "mvtec",
    MvtecConfig,
    |config, _: &Build<'_, DatasetSpec>| Mvtec::new(config),
    "images in the folder layout of MVTec AD"
);
