//! Folders that datasets are written into.

use ccnf_core::{Error, ErrorKind, Result};
use std::path::Path;

/// Fails for a folder that holds anything; one that does not exist is fine.
pub fn refuse_content(folder: &Path) -> Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    let mut content = std::fs::read_dir(folder).map_err(|e| Error::io("open the folder", folder, e))?;
    match content.next() {
        None => Ok(()),
        Some(_) => {
            Err(Error::new(ErrorKind::Usage, format!("the folder `{}` is not empty", folder.display()))
                .help("name a new or an empty folder: existing files are never overwritten"))
        }
    }
}
