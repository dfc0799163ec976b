//! Scores single images with a finished run's model.

use crate::assembly::{Model, build_model};
use crate::checkpoint::read_checkpoint;
use crate::evaluate::{run_config, same_encoder, stage_path};
use crate::fuse::fuse;
use ccnf_core::{
    Encoder, EncoderInput, Error, ErrorKind, FusionConfig, ImageFeatures, ImageSource, Result, RgbImage,
    ScoreRequest, restore, unknown_class,
};
use ccnf_data::FloatMap;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A model ready to score images.
pub struct Predictor {
    encoder: Box<dyn Encoder>,
    detector: Box<dyn ccnf_core::Detector>,
    scoring: FusionConfig,
    thresholds: BTreeMap<String, f64>,
}

/// What the model says about one image.
#[derive(Debug, Clone, Serialize)]
pub struct Prediction {
    /// The image.
    pub image: String,
    /// The class under which it was scored.
    pub class: String,
    /// Whether that class was given or routed.
    pub class_from: &'static str,
    /// The image score; higher = more anomalous.
    pub score: f32,
    /// The class's decision threshold, if the run has one.
    pub threshold: Option<f64>,
    /// `anomalous` where the score is above the threshold, else `normal`; null without a threshold.
    pub verdict: Option<&'static str>,
    /// The anomaly map.
    #[serde(skip)]
    pub map: FloatMap,
    /// The image as it was read.
    #[serde(skip)]
    pub pixels: RgbImage,
}

impl Predictor {
    /// Loads the model of a run after `stage` (default: the last).
    pub fn open(folder: &Path, stage: Option<usize>, sets: &[String]) -> Result<Predictor> {
        let config = run_config(folder, sets)?;
        let Model { encoder, mut detector, scoring, .. } = build_model(&config)?;
        same_encoder(folder, encoder.as_ref())?;
        let checkpoint = read_checkpoint(&stage_path(folder, stage)?)?;
        restore(detector.as_mut(), &checkpoint.model)?;
        Ok(Predictor { encoder, detector, scoring, thresholds: checkpoint.thresholds })
    }

    /// The classes that the model knows.
    pub fn classes(&self) -> Vec<String> {
        self.detector.classes()
    }

    /// Scores one image file; without `class` the router chooses it.
    pub fn predict(&self, path: &Path, class: Option<&str>) -> Result<Prediction> {
        if let Some(c) = class {
            let known = self.classes();
            if !known.iter().any(|k| k == c) {
                return Err(unknown_class(c, &known));
            }
        }
        let source = ImageSource::File(path.to_owned());
        let pixels = ccnf_data::read_image(path)?;
        let open = || Ok(pixels.clone());
        let encoded = self.encoder.encode(&[EncoderInput { source: &source, open: &open }])?;
        let features = encoded
            .first()
            .ok_or_else(|| Error::new(ErrorKind::Contract, "an encoder returned no features"))?;
        let views: [&dyn ImageFeatures; 1] = [features];
        let scores = self.detector.score(&views, ScoreRequest { given: class, routed: class.is_none() })?;
        let scores =
            scores.first().ok_or_else(|| Error::new(ErrorKind::Contract, "a detector returned no score"))?;
        let (levels, term, name, class_from) = match class {
            Some(c) => (&scores.given, scores.given_image, c.to_owned(), "given"),
            None => (&scores.routed, scores.routed_image, scores.routed_class.clone(), "routed"),
        };
        let fused = fuse(levels, &self.scoring).and_then(|f| f.with(term));
        let fused = fused.map_err(|e| e.at(format!("image `{}`", path.display())))?;
        let threshold = self.thresholds.get(&name).copied();
        let verdict = threshold.map(|t| if f64::from(fused.score) > t { "anomalous" } else { "normal" });
        Ok(Prediction {
            image: path.display().to_string(),
            class: name,
            class_from,
            score: fused.score,
            threshold,
            verdict,
            map: fused.map,
            pixels,
        })
    }

    /// The range of a heat map: from well below the threshold to well above it.
    pub fn heat_range(&self, p: &Prediction) -> (f32, f32) {
        let (low, high) = p.map.range().unwrap_or((0.0, 1.0));
        match p.threshold {
            Some(t) => {
                let t = t as f32;
                let span = (t - low).abs().max(1e-6);
                (t - 0.5 * span, t + 2.0 * span)
            }
            None => (low, high.max(low + 1e-6)),
        }
    }
}

/// The image files that an argument of `predict` names: a file, a folder (searched deeply), or a glob pattern. Sorted.
pub fn expand_inputs(input: &str) -> Result<Vec<PathBuf>> {
    let path = Path::new(input);
    let is_image = |p: &Path| {
        let ext = p.extension().map(|e| e.to_string_lossy().to_lowercase());
        matches!(ext.as_deref(), Some("png" | "jpg" | "jpeg" | "bmp"))
    };
    let mut out = Vec::new();
    if path.is_file() {
        out.push(path.to_owned());
    } else if path.is_dir() {
        let mut folders = vec![path.to_owned()];
        while let Some(f) = folders.pop() {
            for entry in std::fs::read_dir(&f).map_err(|e| Error::io("list", &f, e))?.flatten() {
                let p = entry.path();
                if p.is_dir() {
                    folders.push(p);
                } else if is_image(&p) {
                    out.push(p);
                }
            }
        }
    } else {
        let pattern = glob::glob(input).map_err(|e| {
            Error::new(ErrorKind::Usage, format!("`{input}` is not a file, a folder or a pattern: {e}"))
        })?;
        out.extend(pattern.flatten().filter(|p| is_image(p)));
    }
    if out.is_empty() {
        return Err(Error::new(ErrorKind::Usage, format!("no image found at `{input}`"))
            .help("give an image file, a folder, or a quoted pattern such as 'parts/*.png'"));
    }
    out.sort();
    Ok(out)
}
