//! The dataset `folder`: images anywhere, listed by a CSV manifest.

use crate::files::{self, path_of};
use crate::manifest::{self, Columns, Row};
use ccnf::prelude::*;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Config of the `folder` dataset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FolderConfig {
    /// The CSV file that lists the images.
    pub manifest: PathBuf,
    /// Where relative paths in the manifest start; by default the folder of the manifest.
    pub root: Option<PathBuf>,
}

impl Default for FolderConfig {
    fn default() -> Self {
        FolderConfig { manifest: PathBuf::from("data/manifest.csv"), root: None }
    }
}

/// Images listed by a CSV file with the header `path,class,split,label` and, if wanted, `kind` and `mask`, in any order;
/// other columns are ignored:
///
/// ```text
/// path,class,split,label,kind,mask
/// a/0.png,bolt,train,normal,,
/// a/1.png,bolt,test,0,,
/// a/2.png,bolt,test,1,rust,masks/2.png
/// ```
///
/// `split` is train or test, `label` 0 or normal, 1, anomalous or anomaly. Either all defective test images of a class have a mask or
/// none: the class has image labels only then. Images keep the order of the manifest, which is read when the dataset is
/// listed, not when it is built.
pub struct Folder {
    manifest: PathBuf,
    root: PathBuf,
    columns: &'static Columns,
    rows: OnceLock<Vec<Row>>,
}

const COLUMNS: Columns = ["path", "class", "split", "label", "kind", "mask"];

impl Folder {
    /// The dataset that `config.manifest` lists.
    pub fn new(config: FolderConfig) -> Result<Self> {
        if config.manifest.as_os_str().is_empty() {
            return Err(Error::new(ErrorKind::Config, "the dataset `folder` has no manifest")
                .help("set `manifest` to a CSV file with the header path,class,split,label,kind,mask"));
        }
        let beside = || config.manifest.parent().unwrap_or(Path::new("")).to_owned();
        let root = config.root.clone().unwrap_or_else(beside);
        Ok(Folder::with_columns(config.manifest, root, &COLUMNS))
    }

    /// The dataset of a manifest whose columns have other names.
    pub(crate) fn with_columns(manifest: PathBuf, root: PathBuf, columns: &'static Columns) -> Self {
        Folder { manifest, root, columns, rows: OnceLock::new() }
    }

    /// The manifest, read once.
    fn rows(&self) -> Result<&[Row]> {
        if self.rows.get().is_none() {
            let rows = manifest::read(&self.manifest, &self.root, self.columns)?;
            return Ok(self.rows.get_or_init(|| rows));
        }
        Ok(self.rows.get().map_or(&[], Vec::as_slice))
    }
}

impl Dataset for Folder {
    fn index(&self) -> Result<DatasetIndex> {
        let rows = self.rows()?;
        let labelled = manifest::labelled(rows);
        let mut index = DatasetIndex::default();
        for row in rows {
            let image = ImageSource::File(row.image.clone());
            if row.train {
                index.add_train(&row.class, image);
                continue;
            }
            let mask = match (&row.mask, labelled.contains(row.class.as_str())) {
                (_, false) => MaskSource::Unknown,
                (Some(mask), true) => MaskSource::At(ImageSource::File(mask.clone())),
                (None, true) => MaskSource::AllNormal,
            };
            index.add_test(&row.class, image, &row.kind, mask);
        }
        if rows.is_empty() {
            return Err(Error::new(
                ErrorKind::Dataset,
                format!("the manifest `{}` lists no image", self.manifest.display()),
            )
            .help("add one row per image below the header"));
        }
        Ok(index)
    }

    fn open(&self, source: &ImageSource) -> Result<OpenedImage> {
        files::open(source)
    }

    fn open_mask(&self, source: &ImageSource) -> Result<Mask> {
        let path = path_of(source)?;
        let row = self.rows()?.iter().find(|r| r.mask.as_deref() == Some(path));
        files::open_mask(path, row.map(|r| r.image.as_path()))
    }

    fn content_hash(&self, source: &ImageSource) -> Result<[u8; 32]> {
        files::content_hash(source)
    }
}

// registration:
ccnf::register_component!(
    Dataset,
    "folder",
    FolderConfig,
    |config, _: &Build<'_, DatasetSpec>| Folder::new(config),
    "images listed by a CSV manifest"
);
