//! The training images of a stage with defects painted on.

use crate::assembly::Assembly;
use crate::observer::Observer;
use ccnf_core::{
    Dataset, DatasetIndex, Error, ErrorKind, ImageSource, Mask, OpenedImage, PaintedImage, Result, ResultExt,
    RgbImage, TrainClass,
};
use ccnf_data::cache::FeatureCache;
use ccnf_data::synthetic::paint;
use rayon::prelude::*;
use std::sync::Arc;

/// Enters every key and every draw; changes when the painter does.
const VERSION: &[u8] = b"ccnf-painted-1";

/// The images as a dataset of their own: version `v` of image `i` is called `v/i`.
///
/// What is painted follows from the contents of the image and of the other image that it may show, and from the version: it is not the
/// run's seed that draws it, so that runs with other seeds share the features.
pub(crate) struct Painted<'a> {
    pub(crate) dataset: &'a dyn Dataset,
    pub(crate) sources: &'a [&'a ImageSource],
}

/// A painted image before it is painted.
struct Plan<'a> {
    image: &'a ImageSource,
    other: &'a ImageSource,
    seed: [u8; 32],
}

impl Painted<'_> {
    fn plan(&self, source: &ImageSource) -> Result<Plan<'_>> {
        let label = source.label();
        let parsed =
            label.split_once('/').and_then(|(v, i)| Some((v.parse::<u64>().ok()?, i.parse::<usize>().ok()?)));
        let Some((version, Some(image))) = parsed.map(|(v, i)| (v, self.sources.get(i))) else {
            return Err(Error::new(ErrorKind::Contract, format!("there is no painted image `{label}`")));
        };
        let mut hash = blake3::Hasher::new();
        hash.update(VERSION).update(&version.to_le_bytes()).update(&self.dataset.content_hash(image)?);
        let draw = u64::from_le_bytes(hash.finalize().as_bytes()[..8].try_into().unwrap_or_default());
        let other = self.sources[(draw % self.sources.len() as u64) as usize];
        hash.update(&self.dataset.content_hash(other)?);
        Ok(Plan { image, other, seed: hash.finalize().into() })
    }

    /// The seed of a painted image, the image, and the mask of its defect.
    pub(crate) fn painted(&self, source: &ImageSource) -> Result<([u8; 32], RgbImage, Mask)> {
        let plan = self.plan(source)?;
        let open = |s: &ImageSource| {
            Ok::<_, Error>(self.dataset.open(s).at(|| format!("image `{}`", s.label()))?.image)
        };
        let (image, mask) = paint(&open(plan.image)?, &open(plan.other)?, plan.seed)?;
        Ok((plan.seed, image, mask))
    }
}

impl Dataset for Painted<'_> {
    fn index(&self) -> Result<DatasetIndex> {
        Ok(DatasetIndex::default())
    }
    fn open(&self, source: &ImageSource) -> Result<OpenedImage> {
        let (content_hash, image, _) = self.painted(source)?;
        Ok(OpenedImage { image, content_hash })
    }
    fn open_mask(&self, source: &ImageSource) -> Result<Mask> {
        Ok(self.painted(source)?.2)
    }
    fn content_hash(&self, source: &ImageSource) -> Result<[u8; 32]> {
        Ok(self.plan(source)?.seed)
    }
}

/// How many painted images per training image the detector wants in a stage.
///
/// # Errors
/// If it wants any, and the encoder does not look at pixels.
pub(crate) fn versions(a: &Assembly, stage: usize) -> Result<usize> {
    let versions = a.detector.painted_defects(stage);
    if versions > 0 && !a.encoder.cacheable() {
        return Err(Error::new(
            ErrorKind::Usage,
            "the detector wants defects painted on images, and this encoder reads stored features",
        )
        .help("use an encoder that computes features from images, or set detector.defects.versions to 0"));
    }
    Ok(versions)
}

/// Gives every class of a stage `versions` painted images per training image.
pub(crate) fn paint_defects(
    a: &Assembly,
    cache: &FeatureCache,
    (stage, versions): (usize, usize),
    classes: Vec<TrainClass>,
    observer: &dyn Observer,
) -> Result<Vec<TrainClass>> {
    if versions == 0 {
        return Ok(classes);
    }
    let of_class = |class: &TrainClass| a.train_index.images(class.name());
    let sources: Vec<&ImageSource> = classes.iter().flat_map(of_class).map(|i| &i.source).collect();
    let dataset = Painted { dataset: a.dataset.as_ref(), sources: &sources };
    observer.start(&format!("stage {}: painting defects", stage + 1), (versions * sources.len()) as u64);
    let (mut first, mut done, mut out) = (0, 0, Vec::new());
    for class in classes {
        let n = of_class(&class).len();
        let mut painted = Vec::with_capacity(versions * n);
        for version in 0..versions {
            let ids: Vec<_> =
                (first..first + n).map(|i| ImageSource::Generated(format!("{version}/{i}"))).collect();
            let images: Vec<&ImageSource> = ids.iter().collect();
            let features = cache
                .get_or_encode(&dataset, &images, a.encoder.as_ref(), &mut |k| {
                    observer.advance((done + k) as u64, class.name());
                })
                .at(|| format!("painted images of class `{}`", class.name()))?;
            done += n;
            let masks = ids.par_iter().map(|id| dataset.open_mask(id)).collect::<Result<Vec<_>>>()?;
            let pairs = features.into_iter().zip(masks).enumerate();
            painted.extend(pairs.map(|(of, (features, mask))| PaintedImage {
                of,
                features,
                mask: Arc::new(mask),
            }));
        }
        first += n;
        out.push(class.with_painted(painted));
    }
    observer.finish();
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Images of one colour, named by it.
    struct Plain;

    impl Dataset for Plain {
        fn index(&self) -> Result<DatasetIndex> {
            Ok(DatasetIndex::default())
        }
        fn open(&self, source: &ImageSource) -> Result<OpenedImage> {
            let grey =
                source.label().parse::<u8>().map_err(|e| Error::new(ErrorKind::Image, e.to_string()))?;
            let image = RgbImage { width: 40, height: 30, data: vec![grey; 40 * 30 * 3] };
            Ok(OpenedImage { content_hash: blake3::hash(&image.data).into(), image })
        }
        fn open_mask(&self, source: &ImageSource) -> Result<Mask> {
            Err(Error::new(ErrorKind::Contract, source.label()))
        }
    }

    #[test]
    fn what_is_painted_depends_on_content_and_version_and_the_key_is_that_of_the_pixels() {
        let sources: Vec<_> = ["90", "90", "200"].map(|g| ImageSource::Generated(g.into())).into();
        let sources: Vec<_> = sources.iter().collect();
        let painted = Painted { dataset: &Plain, sources: &sources };
        let open = |id: &str| painted.open(&ImageSource::Generated(id.into()));
        let first = open("0/0").unwrap();
        assert_eq!(first.content_hash, painted.content_hash(&ImageSource::Generated("0/0".into())).unwrap());
        assert_eq!(first.image, open("0/1").unwrap().image, "the same content");
        assert_ne!(first.content_hash, open("1/0").unwrap().content_hash);
        assert_ne!(first.content_hash, open("0/2").unwrap().content_hash);
        let mask = painted.open_mask(&ImageSource::Generated("0/0".into())).unwrap();
        assert!(mask.data.iter().any(|m| *m), "no defect can be seen");
        for (i, m) in mask.data.iter().enumerate() {
            assert!(*m || first.image.data[3 * i].abs_diff(90) <= 8, "pixel {i} changed beside the mask");
        }
        for id in ["0/3", "0", "x/0", "0/-1"] {
            assert!(open(id).is_err(), "{id}");
        }
    }
}
