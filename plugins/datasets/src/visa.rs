//! The dataset `visa`: VisA with its split table.

use crate::folder::Folder;
use crate::manifest::Columns;
use ccnf::prelude::*;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Config of the `visa` dataset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct VisaConfig {
    /// The folder that holds one folder per class and `split_csv`.
    pub path: PathBuf,
    /// The table that says which images are for training; relative paths start at `path`.
    pub split: PathBuf,
}

impl Default for VisaConfig {
    fn default() -> Self {
        VisaConfig { path: PathBuf::from("data/visa"), split: PathBuf::from("split_csv/1cls.csv") }
    }
}

/// VisA (Zou et al. 2022) as it is distributed: images somewhere below `path`, listed by a table with the header
/// `object,split,label,image,mask`, whose paths start at `path`:
///
/// ```text
/// object,split,label,image,mask
/// candle,train,normal,candle/Data/Images/Normal/0000.JPG,
/// candle,test,normal,candle/Data/Images/Normal/0007.JPG,
/// candle,test,anomaly,candle/Data/Images/Anomaly/000.JPG,candle/Data/Masks/Anomaly/000.png
/// ```
///
/// `1cls.csv` is the split for one class at a time. The few-shot splits have defective training images and are refused. Masks number their
/// kinds of defects: every value above 0 is one. The kind of a defective image is `anomalous`.
pub struct Visa(Folder);

/// Kinds are not in the table.
const COLUMNS: Columns = ["image", "object", "split", "label", "kind", "mask"];

impl Visa {
    /// The dataset in `config.path`.
    pub fn new(config: VisaConfig) -> Result<Self> {
        if config.path.as_os_str().is_empty() || config.split.as_os_str().is_empty() {
            return Err(Error::new(ErrorKind::Config, "the dataset `visa` has no path or no split").help(
                "set `path` to the folder that holds one folder per class, and `split` to the table in it, such as split_csv/1cls.csv",
            ));
        }
        Ok(Visa(Folder::with_columns(config.path.join(config.split), config.path, &COLUMNS)))
    }
}

hands_on!(Visa);

// registration:
ccnf::register_component!(
    Dataset,
    "visa",
    VisaConfig,
    |config, _: &Build<'_, DatasetSpec>| Visa::new(config),
    "VisA with its split table"
);
