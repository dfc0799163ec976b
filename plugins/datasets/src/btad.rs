//! The dataset `btad`: the folder layout of BTAD (beanTech Anomaly Detection).

use crate::tree::{Names, Tree};
use ccnf::prelude::*;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Config of the `btad` dataset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BtadConfig {
    /// The folder that holds the folders `01`, `02` and `03`.
    pub path: PathBuf,
}

impl Default for BtadConfig {
    fn default() -> Self {
        BtadConfig { path: PathBuf::from("data/BTech_Dataset_transformed") }
    }
}

/// Images in the layout of BTAD (Mishra et al. 2021), whose classes are the products `01`, `02` and `03`:
///
/// ```text
/// CLASS/train/ok/NAME.bmp
/// CLASS/test/ok/NAME.bmp
/// CLASS/test/ko/NAME.bmp
/// CLASS/ground_truth/ko/NAME.png            (or NAME.bmp)
/// ```
///
/// The kind of a defective image is `ko`: BTAD does not tell kinds apart. The rest is as in [`Mvtec`](crate::Mvtec).
pub struct Btad(Tree);

const NAMES: Names =
    Names { dataset: "btad", normal: "ok", mask_suffixes: &[""], mask_extensions: &["png", "bmp"] };

impl Btad {
    /// The dataset in `config.path`.
    pub fn new(config: BtadConfig) -> Result<Self> {
        Ok(Btad(Tree::new(config.path, &NAMES)?))
    }
}

hands_on!(Btad);

// registration:
ccnf::register_component!(
    Dataset,
    "btad",
    BtadConfig,
    |config, _: &Build<'_, DatasetSpec>| Btad::new(config),
    "images in the folder layout of BTAD"
);
