//! A dataset and an encoder that count what they do.

use super::super::*;
use ccnf_core::{DatasetIndex, Mask, OpenedImage};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// All files below `folder`.
pub(super) fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path());
    entries.flat_map(|p| if p.is_dir() { files_below(&p) } else { vec![p] }).collect()
}

/// Images of one pixel whose value is the number after the last `/` of the id.
#[derive(Default)]
pub(super) struct Pixels {
    pub(super) opened: AtomicUsize,
    /// Opens other pixels than it hashed.
    pub(super) changing: bool,
    /// Opens image 0 only once this folder holds so many files.
    pub(super) patient: Option<(PathBuf, usize)>,
}

pub(super) fn value(source: &ImageSource) -> u8 {
    source.label().rsplit('/').next().and_then(|n| n.parse().ok()).unwrap_or(0)
}

impl Dataset for Pixels {
    fn index(&self) -> Result<DatasetIndex> {
        Ok(DatasetIndex::default())
    }
    fn open(&self, source: &ImageSource) -> Result<OpenedImage> {
        self.opened.fetch_add(1, Ordering::Relaxed);
        if value(source) == 255 {
            return Err(Error::new(ErrorKind::Image, format!("`{}` is damaged", source.label())));
        }
        if let (0, Some((folder, files))) = (value(source), &self.patient) {
            let patience = Instant::now() + Duration::from_secs(20);
            while files_below(folder).len() < *files {
                if Instant::now() > patience {
                    return Err(Error::new(ErrorKind::Image, "the other images are waiting for this one"));
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        let image = RgbImage { width: 1, height: 1, data: vec![value(source); 3] };
        let hashed = image.data[0].wrapping_add(u8::from(self.changing));
        Ok(OpenedImage { image, content_hash: *blake3::hash(&[hashed]).as_bytes() })
    }
    fn open_mask(&self, _: &ImageSource) -> Result<Mask> {
        Ok(Mask { width: 1, height: 1, data: vec![false] })
    }
    fn content_hash(&self, source: &ImageSource) -> Result<[u8; 32]> {
        Ok(*blake3::hash(&[value(source)]).as_bytes())
    }
}

/// Two levels whose values follow from the pixel; counts the images.
pub(super) struct Counting {
    pub(super) count: AtomicUsize,
    pub(super) fingerprint: String,
    pub(super) width: usize,
    pub(super) cacheable: bool,
    pub(super) batch: usize,
}

impl Counting {
    pub(super) fn new() -> Self {
        let fingerprint = blake3::hash(b"counting").to_hex().to_string();
        Counting { count: AtomicUsize::new(0), fingerprint, width: 2, cacheable: true, batch: 3 }
    }
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}

pub(super) fn features(value: u8, width: usize) -> EncodedImage {
    let scale = if value == 254 { f32::NAN } else { 1.0 };
    let level = |n: usize| (0..n).map(|i| (f32::from(value) + i as f32 / 8.0) * scale).collect();
    vec![level(3 * width * 4), level(5)]
}

impl Encoder for Counting {
    fn fingerprint(&self) -> String {
        self.fingerprint.clone()
    }
    fn levels(&self) -> Vec<LevelSpec> {
        vec![
            LevelSpec { name: "fine".into(), height: 3, width: self.width, channels: 4 },
            LevelSpec { name: "coarse".into(), height: 1, width: 1, channels: 5 },
        ]
    }
    fn encode(&self, images: &[EncoderInput<'_>]) -> Result<Vec<EncodedImage>> {
        assert!(images.len() <= self.batch());
        self.count.fetch_add(images.len(), Ordering::Relaxed);
        let one = |i: &EncoderInput<'_>| {
            Ok(features((i.open)()?.data[0], if value(i.source) == 253 { 1 } else { self.width }))
        };
        images.iter().map(one).collect()
    }
    fn batch(&self) -> usize {
        self.batch
    }
    fn cacheable(&self) -> bool {
        self.cacheable
    }
}

pub(super) fn sources(values: impl IntoIterator<Item = u8>) -> Vec<ImageSource> {
    values.into_iter().map(|v| ImageSource::Generated(format!("bolt/{v}"))).collect()
}

pub(super) type Features = Vec<Arc<dyn ImageFeatures>>;

pub(super) fn get(root: Option<&Path>, encoder: &Counting, sources: &[ImageSource]) -> Result<Features> {
    let cache = FeatureCache::open(root.map(PathBuf::from), encoder)?;
    cache.get_or_encode(&Pixels::default(), &sources.iter().collect::<Vec<_>>(), encoder, &mut |_| {})
}

pub(super) fn assert_features(got: &Features, sources: &[ImageSource], width: usize) {
    assert_eq!(got.len(), sources.len());
    for (image, source) in got.iter().zip(sources) {
        let expected = features(value(source), width);
        for (level, values) in expected.iter().enumerate() {
            assert_eq!(*image.level(level).unwrap(), values[..]);
            assert_eq!(*image.part(level, 1..3).unwrap(), values[1..3]);
            for none in [3..values.len() + 1, values.len()..values.len()] {
                assert!(image.part(level, none).unwrap().is_empty());
            }
        }
        assert!(image.level(2).unwrap().is_empty() && image.part(2, 0..1).unwrap().is_empty());
    }
}
