//! Scores the test images of every class learnt so far.

use crate::fuse::{FusedMap, fuse};
use crate::metrics::Number;
use crate::observer::Observer;
use crate::shortlist::ShortlistCheck;
use ccnf_core::{
    Dataset, Detector, Error, ErrorKind, FusionConfig, ImageFeatures, ImageScores, MaskSource, Result,
    ResultExt, ScoreRequest, Scored, TestIndex,
};
use ccnf_data::FloatMap;
use ccnf_data::cache::FeatureCache;
use ccnf_metrics::{
    AUPRO_FPR_LIMIT, Connectivity, PixelMap, PixelSet, PixelStream, auroc, average_precision, f1_max,
};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// How the class of a test image is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Use {
    /// The true class is given.
    Given,
    /// The router chooses the class.
    Routed,
}

impl Use {
    /// Both uses.
    pub const ALL: [Use; 2] = [Use::Given, Use::Routed];
}

impl fmt::Display for Use {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Use::Given => "given",
            Use::Routed => "routed",
        })
    }
}

/// One test image after one stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImageRow {
    /// The image.
    pub image: String,
    /// The kind of defect, `good` for normal images.
    pub kind: String,
    /// True for a defective image.
    pub anomalous: bool,
    /// Image score with the class given.
    pub given: f32,
    /// Image score under the routed class.
    pub routed: f32,
    /// The routed class.
    pub routed_class: String,
    /// BLAKE3 of the bits of the `given` level maps.
    pub map_hash: String,
}

/// The evaluation of one class after one stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassEvaluation {
    /// The class.
    pub class: String,
    /// The stage in which it was learnt.
    pub learnt: usize,
    /// `metric.use` -> value, such as `image_auroc.given`.
    pub metrics: BTreeMap<String, Number>,
    /// One row per test image.
    pub images: Vec<ImageRow>,
    /// Per level the mean negative log-likelihood of normal test images with the class given, in nats per dimension; `None` for a detector
    /// without likelihoods and for a class without normal test images.
    #[serde(default)]
    pub nll: Option<Vec<f64>>,
}

/// The evaluation after one stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageEvaluation {
    /// The stage.
    pub stage: usize,
    /// All classes learnt so far.
    pub classes: Vec<ClassEvaluation>,
    /// What the router's shortlist changes; `None` for a router without one.
    #[serde(default)]
    pub shortlist: Option<ShortlistCheck>,
}

impl StageEvaluation {
    /// Fraction of test images that are routed to their class; `None` without an image.
    pub fn routing_accuracy(&self) -> Option<f64> {
        let right = || self.classes.iter().flat_map(|c| c.images.iter().map(|i| i.routed_class == c.class));
        let images = right().count();
        (images > 0).then(|| right().filter(|r| *r).count() as f64 / images as f64)
    }
}

/// The metrics of every class and use, in the order of tables.
pub(crate) const METRICS: [&str; 7] =
    ["image_auroc", "image_ap", "image_f1max", "pixel_auroc", "pixel_ap", "pixel_f1max", "pixel_aupro"];

/// Why the pixel metrics of a class are undefined.
pub(crate) const NO_PIXEL_LABELS: &str = "the class has no pixel labels";

/// What scoring needs.
pub(crate) struct Scoring<'a> {
    pub(crate) dataset: &'a dyn Dataset,
    pub(crate) test: &'a TestIndex,
    pub(crate) encoder: &'a dyn ccnf_core::Encoder,
    pub(crate) cache: &'a FeatureCache,
    pub(crate) detector: &'a dyn Detector,
    pub(crate) config: &'a FusionConfig,
}

struct Answer {
    scores: ImageScores,
    given: FusedMap,
    routed: FusedMap,
}

/// Hash of level maps and of what the detector says of the image beside them: equal hashes mean bitwise equal maps and scores.
fn map_hash(scores: &ImageScores) -> String {
    let mut h = blake3::Hasher::new();
    for l in &scores.given {
        h.update(&(l.height as u64).to_le_bytes());
        h.update(&(l.width as u64).to_le_bytes());
        let bytes: Vec<u8> = l.data.iter().flat_map(|v| v.to_le_bytes()).collect();
        h.update(&bytes);
    }
    if let Some(term) = scores.given_image {
        h.update(&term.score.to_le_bytes());
        h.update(&term.weight.to_le_bytes());
    }
    h.finalize().to_hex()[..32].to_string()
}

impl Scoring<'_> {
    /// Features of the test images of a class.
    pub(crate) fn features(&self, class: &str) -> Result<Vec<Arc<dyn ImageFeatures>>> {
        let sources: Vec<_> = self.test.images(class).into_iter().map(|i| &i.source).collect();
        self.cache.get_or_encode(self.dataset, &sources, self.encoder, &mut |_| {})
    }

    /// Scores all classes, in order. `before` is the evaluation of the stage before: where no map of a class has changed, neither have
    /// its numbers with the class given.
    pub(crate) fn stage(
        &self,
        stage: usize,
        classes: &[(String, usize)],
        before: Option<&StageEvaluation>,
        observer: &dyn Observer,
    ) -> Result<StageEvaluation> {
        let classes: Vec<_> = classes.iter().filter(|(_, learnt)| *learnt <= stage).collect();
        observer.start(&format!("stage {}: scoring", stage + 1), classes.len() as u64);
        let mut out = Vec::with_capacity(classes.len());
        for (i, (class, learnt)) in classes.into_iter().enumerate() {
            let before = before.and_then(|b| b.classes.iter().find(|c| c.class == *class));
            out.push(self.class(class, *learnt, before).at(|| format!("class `{class}`"))?);
            observer.advance(i as u64 + 1, class);
        }
        observer.finish();
        let shortlist =
            self.shortlist(&out).at(|| "the comparison of routes with and without the shortlist".into())?;
        Ok(StageEvaluation { stage, classes: out, shortlist })
    }

    fn class(&self, class: &str, learnt: usize, before: Option<&ClassEvaluation>) -> Result<ClassEvaluation> {
        let features = self.features(class)?;
        let scored = self.test.score_class(class, |_| {
            let images: Vec<&dyn ImageFeatures> = features.iter().map(|f| f.as_ref()).collect();
            let scores = self.detector.score(&images, ScoreRequest { given: Some(class), routed: true })?;
            scores
                .into_par_iter()
                .map(|scores| {
                    let given = fuse(&scores.given, self.config)?.with(scores.given_image)?;
                    let routed = if scores.routed_class == class {
                        given.clone()
                    } else {
                        fuse(&scores.routed, self.config)?.with(scores.routed_image)?
                    };
                    Ok(Answer { scores, given, routed })
                })
                .collect()
        })?;
        let images: Vec<ImageRow> = scored.iter().map(image_row).collect();
        // Pixel metrics are a large part of scoring: nothing is computed twice.
        let same_maps = |b: &&ClassEvaluation| {
            b.images.len() == images.len()
                && b.images.iter().zip(&images).all(|(b, i)| b.image == i.image && b.map_hash == i.map_hash)
        };
        let unchanged = before.filter(same_maps);
        let at_home = images.iter().all(|i| i.routed_class == class);
        let masks = if unchanged.is_some() && at_home { None } else { self.masks(&scored)? };
        let mut metrics = BTreeMap::new();
        for u in Use::ALL {
            let known = match u {
                Use::Given => unchanged.map(|b| (b.metrics.clone(), Use::Given)),
                Use::Routed => at_home.then(|| (metrics.clone(), Use::Given)),
            };
            if let Some((known, from)) = known {
                for name in METRICS {
                    let same = known.get(&format!("{name}.{from}")).cloned().ok_or_else(|| {
                        Error::new(ErrorKind::Contract, format!("an evaluation lacks {name}.{from}"))
                    })?;
                    metrics.insert(format!("{name}.{u}"), same);
                }
            } else {
                image_metrics(&scored, u, &mut metrics)?;
                pixel_metrics(&scored, &masks, u, &mut metrics)?;
            }
        }
        // What gave the same maps has the same likelihoods.
        let nll = match unchanged {
            Some(before) => before.nll.clone(),
            None => self.likelihood(class, &features)?,
        };
        Ok(ClassEvaluation { class: class.to_owned(), learnt, metrics, images, nll })
    }

    /// The mean negative log-likelihood of the normal test images per level.
    fn likelihood(&self, class: &str, features: &[Arc<dyn ImageFeatures>]) -> Result<Option<Vec<f64>>> {
        let images: Vec<&dyn ImageFeatures> = features.iter().map(|f| f.as_ref()).collect();
        let Some(all) = self.detector.negative_log_likelihood(&images, class)? else { return Ok(None) };
        let scored = self.test.score_class(class, |_| Ok(all))?;
        let normal: Vec<&Vec<f64>> = scored.iter().filter(|s| !s.label.anomalous).map(|s| &s.score).collect();
        let Some(first) = normal.first() else { return Ok(None) };
        let mean = |level: usize| normal.iter().map(|of| of[level]).sum::<f64>() / normal.len() as f64;
        Ok(Some((0..first.len()).map(mean).collect()))
    }

    /// Masks at map size; `None` for a class without pixel labels.
    pub(crate) fn masks<S: Sync>(&self, scored: &[Scored<S>]) -> Result<Option<Vec<Vec<bool>>>> {
        if scored.iter().any(|s| s.label.mask == MaskSource::Unknown) {
            return Ok(None);
        }
        let side = self.config.map_size;
        let masks: Vec<Vec<bool>> = scored
            .par_iter()
            .map(|s| match &s.label.mask {
                // The dataset promises that a mask has the size of its image, which is therefore not opened.
                MaskSource::At(source) => {
                    Ok(ccnf_data::resize_mask(&self.dataset.open_mask(source)?, side, side)?.data)
                }
                _ => Ok(vec![false; side * side]),
            })
            .collect::<Result<_>>()?;
        Ok(Some(masks))
    }
}

fn image_row(s: &Scored<Answer>) -> ImageRow {
    ImageRow {
        image: s.image.source.label(),
        kind: s.label.kind.clone(),
        anomalous: s.label.anomalous,
        given: s.score.given.score,
        routed: s.score.routed.score,
        routed_class: s.score.scores.routed_class.clone(),
        map_hash: map_hash(&s.score.scores),
    }
}

pub(crate) fn metric_error(e: ccnf_metrics::MetricsError) -> Error {
    Error::new(ErrorKind::Contract, e.to_string())
}

fn fused(s: &Scored<Answer>, u: Use) -> &FusedMap {
    match u {
        Use::Given => &s.score.given,
        Use::Routed => &s.score.routed,
    }
}

fn image_metrics(scored: &[Scored<Answer>], u: Use, out: &mut BTreeMap<String, Number>) -> Result<()> {
    let scores: Vec<f32> = scored.iter().map(|s| fused(s, u).score).collect();
    let labels: Vec<bool> = scored.iter().map(|s| s.label.anomalous).collect();
    let mut put = |name: &str, m: ccnf_metrics::Metric| out.insert(format!("{name}.{u}"), Number::from(m));
    put("image_auroc", auroc(&scores, &labels).map_err(metric_error)?);
    put("image_ap", average_precision(&scores, &labels).map_err(metric_error)?);
    put("image_f1max", f1_max(&scores, &labels).map_err(metric_error)?.f1);
    Ok(())
}

fn pixel_metrics(
    scored: &[Scored<Answer>],
    masks: &Option<Vec<Vec<bool>>>,
    u: Use,
    out: &mut BTreeMap<String, Number>,
) -> Result<()> {
    let mut put = |name: &str, n: Number| out.insert(format!("{name}.{u}"), n);
    let Some(masks) = masks else {
        for m in METRICS.iter().filter(|m| m.starts_with("pixel")) {
            put(m, Number::undefined(NO_PIXEL_LABELS));
        }
        return Ok(());
    };
    let set = pixels(scored.iter().map(|s| &fused(s, u).map), masks)?;
    let ((roc, pr), (f1, pro)) = rayon::join(
        || rayon::join(|| set.auroc(), || set.average_precision()),
        || rayon::join(|| set.f1_max().f1, || set.aupro(AUPRO_FPR_LIMIT)),
    );
    put("pixel_auroc", roc.into());
    put("pixel_ap", pr.into());
    put("pixel_f1max", f1.into());
    put("pixel_aupro", pro.map_err(metric_error)?.into());
    Ok(())
}

/// All pixels of the maps of a class.
pub(crate) fn pixels<'a>(
    maps: impl Iterator<Item = &'a FloatMap>,
    masks: &'a [Vec<bool>],
) -> Result<PixelSet> {
    let with_mask =
        |(map, mask): (&'a FloatMap, &'a Vec<bool>)| PixelMap::new(map.height, map.width, &map.data, mask);
    let maps = maps.zip(masks).map(with_mask).collect::<Result<Vec<_>, _>>().map_err(metric_error)?;
    let mut stream = PixelStream::new(Connectivity::Eight);
    stream.push(&maps).map_err(metric_error)?;
    Ok(stream.finish())
}

/// The per-image scores of a stage as CSV.
pub(crate) fn scores_csv(e: &StageEvaluation) -> Result<Vec<u8>> {
    let mut w = csv::Writer::from_writer(Vec::new());
    let failed = |e: csv::Error| Error::new(ErrorKind::Contract, e.to_string());
    w.write_record([
        "stage",
        "class",
        "image",
        "kind",
        "anomalous",
        "score_given",
        "score_routed",
        "routed_class",
    ])
    .map_err(failed)?;
    for c in &e.classes {
        for r in &c.images {
            w.write_record([
                &e.stage.to_string(),
                &c.class,
                &r.image,
                &r.kind,
                &u8::from(r.anomalous).to_string(),
                &r.given.to_string(),
                &r.routed.to_string(),
                &r.routed_class,
            ])
            .map_err(failed)?;
        }
    }
    w.into_inner().map_err(|e| Error::new(ErrorKind::Contract, e.to_string()))
}
