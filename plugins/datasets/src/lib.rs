//! Datasets: `mvtec` (folders), `folder` (a CSV manifest) and `synthetic` (generated product photos).

mod files;
mod folder;
mod manifest;
mod mvtec;
mod synthetic;

pub use folder::{Folder, FolderConfig};
pub use mvtec::{Mvtec, MvtecConfig};
pub use synthetic::{Synthetic, SyntheticConfig};
