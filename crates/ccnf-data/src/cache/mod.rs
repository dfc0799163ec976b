//! The feature cache: every image is encoded once per encoder.
//!
//! One file per image, `<root>/<fingerprint>/<xx>/<content hash>.feat`: `<fingerprint>` is the first 16 hex digits of the
//! encoder's fingerprint, `<xx>` the first two of the content hash. A renamed or copied image is therefore not encoded
//! again, and a changed one is. Several processes may fill and read the same root at once.

mod format;
mod image;
mod maps;
#[cfg(test)]
mod tests;

pub use image::CachedImage;

use ccnf_core::{
    Dataset, EncodedImage, Encoder, EncoderInput, Error, ErrorKind, ImageFeatures, ImageSource, LevelSpec,
    Result, ResultExt, RgbImage,
};
use format::Layout;
use maps::{MAPS, MapBudget};
use rayon::prelude::*;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Key = [u8; 32];

/// Stored features of one encoder.
pub struct FeatureCache {
    /// The folder of this encoder; `None` keeps everything in memory.
    folder: Option<PathBuf>,
    fingerprint: String,
    levels: Vec<LevelSpec>,
    layout: Layout,
    memory: Mutex<HashMap<Key, Arc<CachedImage>>>,
    maps: MapBudget,
}

/// What all threads of one [`get_or_encode`](FeatureCache::get_or_encode) share.
struct Work<'a> {
    dataset: &'a dyn Dataset,
    encoder: &'a dyn Encoder,
    /// The image that takes care of a content.
    first: Mutex<HashMap<Key, usize>>,
}

/// The features of an image.
enum Found {
    Image(Arc<CachedImage>),
    /// Those of the image of this number, which has the same content.
    SameAs(usize),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FeatureCache {
    /// A cache for `encoder` below `root`, or in memory without one. The folder of an encoder that is not
    /// [cacheable](Encoder::cacheable) is not made. Fails if the folder cannot be made.
    pub fn open(root: Option<PathBuf>, encoder: &dyn Encoder) -> Result<FeatureCache> {
        let fingerprint = encoder.fingerprint();
        let folder = root.filter(|_| encoder.cacheable()).map(|r| r.join(folder_name(&fingerprint)));
        if let Some(f) = &folder {
            std::fs::create_dir_all(f).map_err(|e| Error::io("create the cache folder", f, e))?;
        }
        let levels = encoder.levels();
        let layout = Layout::new(&fingerprint, &levels);
        let maps = MapBudget::new(MAPS);
        Ok(FeatureCache { folder, fingerprint, levels, layout, memory: Mutex::default(), maps })
    }

    /// Maps at most `files` files into memory, by default 50,000: Linux allows a process some more. Beyond that, files are read
    /// for every use, so that features never have to fit into memory.
    pub fn with_maps(mut self, files: usize) -> Self {
        self.maps = MapBudget::new(files);
        self
    }

    /// The features of `sources`, in order. Every image goes its own way (hash, look up, and where it is not stored: decode,
    /// encode, write) on the threads of the pool, so that one image's arithmetic overlaps with another's files; what is in
    /// memory at once is one [batch](Encoder::batch) per thread. Images of equal content are encoded once. `progress` gets the
    /// number of images that are done.
    ///
    /// Fails if an image cannot be read, if the encoder gives other shapes than it promised or a value that is not
    /// finite, and if a file cannot be written. No image is begun after that; what was stored before is kept.
    pub fn get_or_encode(
        &self,
        dataset: &dyn Dataset,
        sources: &[&ImageSource],
        encoder: &dyn Encoder,
        progress: &mut (dyn FnMut(usize) + Send),
    ) -> Result<Vec<Arc<dyn ImageFeatures>>> {
        if encoder.fingerprint() != self.fingerprint {
            return Err(Error::new(ErrorKind::Contract, "the feature cache was opened for another encoder"));
        }
        let batch = encoder.batch().max(1);
        let work = Work { dataset, encoder, first: Mutex::default() };
        let done = Mutex::new((0, progress));
        let parts = sources.par_chunks(batch).enumerate().with_max_len(1).map(|(n, part)| {
            let found = self.part(&work, n * batch, part)?;
            let (count, progress) = &mut *lock(&done);
            *count += part.len();
            progress(*count);
            Ok(found)
        });
        let found: Vec<Found> = parts.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
        let image = |f: &Found| match f {
            Found::Image(image) => Some(image.clone() as Arc<dyn ImageFeatures>),
            Found::SameAs(first) => match found.get(*first) {
                Some(Found::Image(image)) => Some(image.clone() as Arc<dyn ImageFeatures>),
                _ => None,
            },
        };
        let all: Option<Vec<_>> = found.iter().map(image).collect();
        all.ok_or_else(|| Error::new(ErrorKind::Contract, "an image was neither found nor encoded"))
    }

    /// Some neighbouring images, the first of which has the number `start`.
    fn part(&self, work: &Work<'_>, start: usize, sources: &[&ImageSource]) -> Result<Vec<Found>> {
        let mut found: Vec<Option<Found>> = Vec::with_capacity(sources.len());
        let mut missing: Vec<(usize, (&ImageSource, Option<Key>))> = vec![];
        for (i, source) in sources.iter().enumerate() {
            let key = work.encoder.cacheable().then(|| self.key(work.dataset, source)).transpose()?;
            let first = key.map_or(start + i, |k| *lock(&work.first).entry(k).or_insert(start + i));
            let known = match key {
                _ if first != start + i => Some(Found::SameAs(first)),
                Some(key) => self.find(&key).map(Found::Image),
                None => None,
            };
            if known.is_none() {
                missing.push((i, (source, key)));
            }
            found.push(known);
        }
        let batch: Vec<_> = missing.iter().map(|(_, image)| *image).collect();
        if !batch.is_empty() {
            let encoded = self.encode(work.dataset, &batch, work.encoder)?;
            for ((i, (_, key)), levels) in missing.into_iter().zip(encoded) {
                found[i] = Some(Found::Image(self.store(key, levels)?));
            }
        }
        Ok(found.into_iter().flatten().collect())
    }

    fn key(&self, dataset: &dyn Dataset, source: &ImageSource) -> Result<Key> {
        dataset.content_hash(source).at(|| format!("image `{}`", source.label()))
    }

    fn path(&self, key: &Key) -> Option<PathBuf> {
        let hex = blake3::Hash::from_bytes(*key).to_hex();
        self.folder.as_ref().map(|f| f.join(&hex[..2]).join(format!("{hex}.feat")))
    }

    fn find(&self, key: &Key) -> Option<Arc<CachedImage>> {
        let Some(path) = self.path(key) else {
            return lock(&self.memory).get(key).cloned();
        };
        match CachedImage::open(&path, &self.layout, key, self.maps.take()) {
            Ok(image) => image.map(Arc::new),
            Err(why) => {
                tracing::warn!(file = %path.display(), why, "the cached features are unusable and are made again");
                None
            }
        }
    }

    /// Encodes one batch and checks what the encoder promised.
    fn encode(
        &self,
        dataset: &dyn Dataset,
        batch: &[(&ImageSource, Option<Key>)],
        encoder: &dyn Encoder,
    ) -> Result<Vec<EncodedImage>> {
        let openers: Vec<_> =
            batch.iter().map(|&(source, key)| move || open_unchanged(dataset, source, key)).collect();
        let inputs: Vec<EncoderInput<'_>> =
            batch.iter().zip(&openers).map(|((source, _), open)| EncoderInput { source, open }).collect();
        let encoded = encoder.encode(&inputs)?;
        if encoded.len() != batch.len() {
            let found = format!("the encoder gave {} results for {} images", encoded.len(), batch.len());
            return Err(Error::new(ErrorKind::Contract, found));
        }
        for (image, (source, _)) in encoded.iter().zip(batch) {
            self.check(image).at(|| format!("image `{}`", source.label()))?;
        }
        Ok(encoded)
    }

    fn check(&self, image: &EncodedImage) -> Result<()> {
        if image.len() != self.levels.len() {
            let found = format!("the encoder gave {} levels instead of {}", image.len(), self.levels.len());
            return Err(Error::new(ErrorKind::Contract, found));
        }
        for (values, level) in image.iter().zip(&self.levels) {
            if values.len() != level.len() {
                let expected = format!("{} x {} x {}", level.height, level.width, level.channels);
                let found =
                    format!("level `{}` has {} values instead of {expected}", level.name, values.len());
                return Err(Error::new(ErrorKind::Contract, found));
            }
            if let Some(i) = values.iter().position(|v| !v.is_finite()) {
                let (cell, channel) = (i / level.channels, i % level.channels);
                let place = format!("row {}, column {}", cell / level.width, cell % level.width);
                return Err(Error::new(
                    ErrorKind::NonFinite,
                    format!("level `{}` holds {} at {place}, channel {channel}", level.name, values[i]),
                )
                .help("check the image and the encoder's preprocessing; features must be finite"));
            }
        }
        Ok(())
    }

    fn store(&self, key: Option<Key>, levels: EncodedImage) -> Result<Arc<CachedImage>> {
        let Some(key) = key else { return Ok(Arc::new(CachedImage::kept(levels))) };
        let Some(path) = self.path(&key) else {
            let image = Arc::new(CachedImage::kept(levels));
            lock(&self.memory).insert(key, image.clone());
            return Ok(image);
        };
        CachedImage::write(&path, &self.layout, &key, &levels)?;
        // the file can leave memory when that is short; the values just made cannot
        Ok(self.find(&key).unwrap_or_else(|| Arc::new(CachedImage::kept(levels))))
    }
}

/// Opens the pixels and makes sure that they belong to the key under which the features will be stored.
fn open_unchanged(dataset: &dyn Dataset, source: &ImageSource, key: Option<Key>) -> Result<RgbImage> {
    let opened = dataset.open(source)?;
    if key.is_some_and(|k| k != opened.content_hash) {
        return Err(Error::new(
            ErrorKind::Image,
            format!("`{}` changed while it was being encoded", source.label()),
        )
        .help("run again when the dataset is complete"));
    }
    Ok(opened.image)
}

/// The first 16 hex digits of the fingerprint; of its hash, if it does not start with so many.
fn folder_name(fingerprint: &str) -> String {
    match fingerprint.get(..16) {
        Some(head) if head.bytes().all(|b| b.is_ascii_hexdigit()) => head.to_ascii_lowercase(),
        _ => blake3::hash(fingerprint.as_bytes()).to_hex()[..16].to_owned(),
    }
}
