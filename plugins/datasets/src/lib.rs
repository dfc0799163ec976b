//! Datasets: `mvtec` and `btad` (folders), `visa` and `folder` (a table of files) and `synthetic` (generated product photos).

#[macro_use]
mod delegate;

mod btad;
mod files;
mod folder;
mod manifest;
mod mvtec;
mod synthetic;
mod tree;
mod visa;

pub use btad::{Btad, BtadConfig};
pub use folder::{Folder, FolderConfig};
pub use mvtec::{Mvtec, MvtecConfig};
pub use synthetic::{Synthetic, SyntheticConfig};
pub use visa::{Visa, VisaConfig};
