//! The features of one image, on disk or in memory.

use super::format::Layout;
use super::maps::MapSlot;
use ccnf_core::{EncodedImage, Error, ImageFeatures, Result, Values, temporary_name};
use filebuffer::FileBuffer;
use std::borrow::Cow;
use std::fs::File;
use std::io::{ErrorKind::NotFound, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

enum Storage {
    /// The file, memory-mapped. Its offset is a multiple of 64, so the values are aligned.
    Mapped(FileBuffer, #[expect(dead_code, reason = "given back when the mapping goes")] MapSlot),
    /// The file, read anew for every use: there are too many mappings, or the file cannot be mapped.
    Unmapped(PathBuf),
    /// Never written.
    Kept(EncodedImage),
}

/// The stored features of one image.
///
/// A mapped file must not change while it is in use. The cache never writes into a file: a new version is renamed over the
/// old one, whose mapping stays valid.
pub struct CachedImage {
    storage: Storage,
    /// Where each level is, in values from the start of the file.
    levels: Vec<Range<usize>>,
}

impl CachedImage {
    /// Features that stay in memory.
    pub(super) fn kept(levels: EncodedImage) -> Self {
        CachedImage { storage: Storage::Kept(levels), levels: vec![] }
    }

    /// Opens the file and checks all of it; `Ok(None)` if there is none, `Err` with the reason if it is not the expected one.
    /// It is mapped where there is a `slot` for that.
    pub(super) fn open(
        path: &Path,
        layout: &Layout,
        content: &[u8; 32],
        slot: Option<MapSlot>,
    ) -> Result<Option<Self>, String> {
        let levels = layout.ranges();
        // A file that cannot be mapped, for whatever reason, is read: that tells the reason, or works.
        let map = |slot| Some((slot, FileBuffer::open(path).ok()?));
        if let Some((slot, mapped)) = slot.filter(|_| cfg!(target_endian = "little")).and_then(map) {
            layout.check(content, &mapped)?;
            if bytemuck::try_cast_slice::<u8, f32>(&mapped).is_ok() {
                return Ok(Some(CachedImage { storage: Storage::Mapped(mapped, slot), levels }));
            }
        }
        match std::fs::read(path) {
            Ok(file) => layout.check(content, &file)?,
            Err(e) if e.kind() == NotFound => return Ok(None),
            Err(e) => return Err(e.to_string()),
        }
        Ok(Some(CachedImage { storage: Storage::Unmapped(path.to_owned()), levels }))
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
        let write = || std::fs::write(&tmp, &bytes);
        write()
            .or_else(|e| match e.kind() {
                // the first file of its folder
                NotFound => std::fs::create_dir_all(folder).and_then(|()| write()),
                _ => Err(e),
            })
            .and_then(|()| std::fs::rename(&tmp, path))
            .map_err(|e| {
                let _ = std::fs::remove_file(&tmp);
                Error::io("write the cached features", path, e)
            })
    }

    /// Reads some values of the file.
    fn read(path: &Path, values: Range<usize>) -> std::io::Result<Vec<f32>> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(4 * values.start as u64))?;
        let mut found = vec![0.0f32; values.len()];
        file.read_exact(bytemuck::cast_slice_mut(&mut found))?;
        // the file is little endian; on such a machine this changes nothing
        found.iter_mut().for_each(|v| *v = f32::from_bits(u32::from_le(v.to_bits())));
        Ok(found)
    }
}

impl ImageFeatures for CachedImage {
    fn level(&self, level: usize) -> Result<Values<'_>> {
        let all = match &self.storage {
            Storage::Kept(levels) => levels.get(level).map_or(0, Vec::len),
            _ => self.levels.get(level).map_or(0, Range::len),
        };
        self.part(level, 0..all)
    }

    fn part(&self, level: usize, range: Range<usize>) -> Result<Values<'_>> {
        let inside = |l: &Range<usize>| range.start <= range.end && range.end <= l.len();
        let in_file = || {
            let level = self.levels.get(level).filter(|l| inside(l))?;
            Some(level.start + range.start..level.start + range.end)
        };
        match &self.storage {
            Storage::Kept(levels) => {
                let values = levels.get(level).and_then(|l| l.get(range));
                Ok(Cow::Borrowed(values.unwrap_or_default()))
            }
            Storage::Mapped(file, _) => {
                let all: &[f32] = bytemuck::try_cast_slice(file).unwrap_or_default();
                Ok(Cow::Borrowed(in_file().and_then(|r| all.get(r)).unwrap_or_default()))
            }
            Storage::Unmapped(path) => match in_file() {
                None => Ok(Cow::default()),
                Some(values) => CachedImage::read(path, values)
                    .map(Cow::Owned)
                    .map_err(|e| Error::io("read the cached features", path, e)),
            },
        }
    }
}
