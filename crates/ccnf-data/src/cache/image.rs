//! The features of one image, on disk or in memory.

use super::format::Layout;
use ccnf_core::{EncodedImage, Error, ImageFeatures, Result, temporary_name};
use filebuffer::FileBuffer;
use std::ops::Range;
use std::path::Path;

enum Storage {
    /// The file, memory-mapped. Its offset is a multiple of 64, so the values are aligned.
    Mapped(FileBuffer),
    /// Copied, where the file could not be mapped.
    Read(Vec<f32>),
    /// Never written.
    Kept(EncodedImage),
}

/// The stored features of one image.
///
/// A mapped file must not change while it is in use. The cache never writes into a file: a new version is renamed over the
/// old one, whose mapping stays valid.
pub struct CachedImage {
    storage: Storage,
    /// Where each level is, in values from the start of the storage.
    levels: Vec<Range<usize>>,
}

impl CachedImage {
    /// Features that stay in memory.
    pub(super) fn kept(levels: EncodedImage) -> Self {
        CachedImage { storage: Storage::Kept(levels), levels: vec![] }
    }

    /// Opens the file; `Ok(None)` if there is none, `Err` with the reason if it is not the expected one.
    pub(super) fn open(path: &Path, layout: &Layout, content: &[u8; 32]) -> Result<Option<Self>, String> {
        let mapped = match FileBuffer::open(path) {
            Ok(m) => m,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            // no mapping to be had (a limit of the system, an odd file system): try to read it
            Err(_) => return Self::read(path, layout, content).map(Some),
        };
        layout.check(content, &mapped)?;
        if cfg!(target_endian = "big") || bytemuck::try_cast_slice::<u8, f32>(&mapped).is_err() {
            return Self::read(path, layout, content).map(Some);
        }
        let levels = ranges(layout, layout.payload_start() / 4);
        Ok(Some(CachedImage { storage: Storage::Mapped(mapped), levels }))
    }

    fn read(path: &Path, layout: &Layout, content: &[u8; 32]) -> Result<Self, String> {
        let file = std::fs::read(path).map_err(|e| e.to_string())?;
        layout.check(content, &file)?;
        let (values, _) = file[layout.payload_start()..].as_chunks::<4>();
        let values = values.iter().map(|b| f32::from_le_bytes(*b)).collect();
        Ok(CachedImage { storage: Storage::Read(values), levels: ranges(layout, 0) })
    }

    /// Writes `levels` to `path`: to a temporary name, then renamed, so that no reader sees half a file and two writers do
    /// not disturb each other. Not synced: a file that a power cut tore is found by its checksum and made again.
    pub(super) fn write(
        path: &Path,
        layout: &Layout,
        content: &[u8; 32],
        levels: &EncodedImage,
    ) -> Result<()> {
        let bytes = layout.write(content, levels);
        let tmp = temporary_name(path);
        let folder = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)
            .map_err(|e| Error::io("create the cache folder", folder, e))
            .and_then(|()| {
                std::fs::write(&tmp, bytes)
                    .and_then(|()| std::fs::rename(&tmp, path))
                    .map_err(|e| Error::io("write the cached features", path, e))
            })
            .inspect_err(|_| {
                let _ = std::fs::remove_file(&tmp);
            })
    }
}

fn ranges(layout: &Layout, mut start: usize) -> Vec<Range<usize>> {
    let next = |len| {
        start += len;
        start - len..start
    };
    layout.lengths().map(next).collect()
}

impl ImageFeatures for CachedImage {
    fn level(&self, level: usize) -> &[f32] {
        let all: &[f32] = match &self.storage {
            Storage::Kept(levels) => return levels.get(level).map_or(&[], Vec::as_slice),
            Storage::Mapped(file) => bytemuck::try_cast_slice(file).unwrap_or_default(),
            Storage::Read(values) => values,
        };
        self.levels.get(level).and_then(|r| all.get(r.clone())).unwrap_or_default()
    }
}
