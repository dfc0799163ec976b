//! The feature cache: every image is encoded once per encoder.
//!
//! One file per image, `<root>/<fingerprint>/<xx>/<content hash>.feat`: `<fingerprint>` is the first 16 hex digits of the
//! encoder's fingerprint, `<xx>` the first two of the content hash. A renamed or copied image is therefore not encoded
//! again, and a changed one is. Several processes may fill and read the same root at once.

mod format;
mod image;
#[cfg(test)]
mod tests;

pub use image::CachedImage;

use ccnf_core::{
    Dataset, EncodedImage, Encoder, EncoderInput, Error, ErrorKind, ImageFeatures, ImageSource, LevelSpec,
    Result, ResultExt, RgbImage,
};
use format::Layout;
use rayon::prelude::*;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

type Key = [u8; 32];

/// Stored features of one encoder.
pub struct FeatureCache {
    /// The folder of this encoder; `None` keeps everything in memory.
    folder: Option<PathBuf>,
    fingerprint: String,
    levels: Vec<LevelSpec>,
    layout: Layout,
    memory: Mutex<HashMap<Key, Arc<CachedImage>>>,
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
        Ok(FeatureCache { folder, fingerprint, levels, layout, memory: Mutex::default() })
    }

    /// The features of `sources`, in order. What is not stored yet is encoded in batches and stored; `progress` gets the
    /// number of images that are done, after the stored ones have been found and after every batch. Images of equal
    /// content are encoded once.
    ///
    /// Fails if an image cannot be read, if the encoder gives other shapes than it promised or a value that is not
    /// finite, and if a file cannot be written; batches finished before that are kept.
    pub fn get_or_encode(
        &self,
        dataset: &dyn Dataset,
        sources: &[&ImageSource],
        encoder: &dyn Encoder,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Vec<Arc<dyn ImageFeatures>>> {
        if encoder.fingerprint() != self.fingerprint {
            return Err(Error::new(ErrorKind::Contract, "the feature cache was opened for another encoder"));
        }
        let cached = encoder.cacheable();
        let mut keys = vec![None; sources.len()];
        let mut found: Vec<Option<Arc<CachedImage>>> = vec![None; sources.len()];
        if cached {
            keys = sources.par_iter().map(|s| self.key(dataset, s).map(Some)).collect::<Result<_>>()?;
            found = keys.par_iter().map(|k| k.and_then(|k| self.find(&k))).collect();
        }
        // the first image of each content that is missing, and for the others whose features to take
        let mut first: HashMap<Key, usize> = HashMap::new();
        let same: Vec<usize> =
            keys.iter().enumerate().map(|(i, k)| k.map_or(i, |k| *first.entry(k).or_insert(i))).collect();
        let missing: Vec<usize> =
            (0..sources.len()).filter(|&i| found[i].is_none() && same[i] == i).collect();
        let mut done = sources.len() - missing.len();
        progress(done);
        for batch in missing.chunks(encoder.batch().max(1)) {
            let batch_sources: Vec<_> = batch.iter().map(|&i| (sources[i], keys[i])).collect();
            let encoded = self.encode(dataset, &batch_sources, encoder)?;
            let stored = encoded.into_par_iter().zip(batch).map(|(e, &i)| self.store(keys[i], e));
            let stored: Vec<_> = stored.collect::<Result<_>>()?;
            for (&i, image) in batch.iter().zip(stored) {
                found[i] = Some(image);
            }
            done += batch.len();
            progress(done);
        }
        let of = |i: usize| found[i].clone().or_else(|| found[same[i]].clone());
        let all = (0..sources.len()).map(|i| of(i).map(|image| image as Arc<dyn ImageFeatures>));
        all.collect::<Option<Vec<_>>>()
            .ok_or_else(|| Error::new(ErrorKind::Contract, "an image was neither found nor encoded"))
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
            return self.memory.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned();
        };
        match CachedImage::open(&path, &self.layout, key) {
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
            self.memory.lock().unwrap_or_else(PoisonError::into_inner).insert(key, image.clone());
            return Ok(image);
        };
        CachedImage::write(&path, &self.layout, &key, &levels)?;
        // the mapped file can leave memory when that is short; the values just made cannot
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
