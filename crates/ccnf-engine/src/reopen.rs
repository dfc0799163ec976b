//! A finished run with its components built again, to look at its models and to score with changed ones.

use crate::assembly::{Assembly, build_model};
use crate::checkpoint::{Checkpoint, read_checkpoint};
use crate::evaluate::{run_config, same_encoder, stage_path};
use crate::finished::FinishedRun;
use crate::fuse::{FusedMap, fuse};
use crate::metrics::{MetricsFile, Number};
use crate::score_stage::{NO_PIXEL_LABELS, Scoring, metric_error, pixels};
use ccnf_core::{
    Detector, Error, ErrorKind, ImageFeatures, ImageScores, ImageSource, Result, ResultExt, Scored, Snapshot,
    restore,
};
use ccnf_data::cache::FeatureCache;
use ccnf_metrics::auroc;
use rayon::prelude::*;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A finished run: its numbers, its checkpoints, and its components built anew from its configuration. Nothing is written to its folder.
pub struct Reopened {
    folder: PathBuf,
    assembly: Assembly,
    cache: FeatureCache,
    metrics: MetricsFile,
}

/// The test images of one class scored with the class given.
#[derive(Debug, Clone)]
pub struct GivenEvaluation {
    /// The images.
    pub images: Vec<String>,
    /// Whether each is defective.
    pub anomalous: Vec<bool>,
    /// Their image scores.
    pub scores: Vec<f32>,
    /// Image AUROC.
    pub image_auroc: Number,
    /// Pixel AUROC.
    pub pixel_auroc: Number,
}

impl Reopened {
    /// Opens the folder of a finished run; `sets` override values of its configuration, such as the place of the images.
    pub fn open(folder: &Path, sets: &[String]) -> Result<Reopened> {
        let config = run_config(folder, sets)?;
        let metrics = FinishedRun::open(folder)?.map(|run| run.metrics).ok_or_else(|| {
            Error::new(ErrorKind::Usage, format!("the run in `{}` has not finished", folder.display()))
                .help("run it to its end first: `ccnf run … --out DIR`")
        })?;
        let assembly = Assembly::new(&config)?;
        same_encoder(folder, assembly.encoder.as_ref())?;
        let cache = assembly.open_cache()?;
        Ok(Reopened { folder: folder.to_owned(), assembly, cache, metrics })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The components; the detector is in the state that was [loaded](Self::load) last.
    pub fn assembly(&self) -> &Assembly {
        &self.assembly
    }

    /// The numbers that the run wrote.
    pub fn metrics(&self) -> &MetricsFile {
        &self.metrics
    }

    /// The number of stages.
    pub fn stages(&self) -> usize {
        self.metrics.cost.len()
    }

    /// The checkpoint after a stage.
    pub fn checkpoint(&self, stage: usize) -> Result<Checkpoint> {
        let c = read_checkpoint(&stage_path(&self.folder, Some(stage))?)?;
        if c.run == self.metrics.run {
            return Ok(c);
        }
        let message =
            format!("the checkpoint of stage {stage} belongs to run {}, not to {}", c.run, self.metrics.run);
        Err(Error::new(ErrorKind::Checkpoint, message).at(format!("run `{}`", self.folder.display())))
    }

    /// Puts the detector into a state. One with fewer tensors than the detector has, such as that of an earlier stage, costs building
    /// encoder and detector again.
    pub fn load(&mut self, state: &Snapshot) -> Result<()> {
        if self.detector().params().iter().any(|p| !state.tensors.contains_key(p.name())) {
            self.assembly.detector = build_model(&self.assembly.config)?.detector;
        }
        restore(self.assembly.detector.as_mut(), state).at(|| format!("run `{}`", self.folder.display()))
    }

    /// The detector.
    pub fn detector(&self) -> &dyn Detector {
        self.assembly.detector.as_ref()
    }

    fn scoring(&self) -> Scoring<'_> {
        Scoring {
            dataset: self.assembly.dataset.as_ref(),
            test: &self.assembly.test_index,
            encoder: self.assembly.encoder.as_ref(),
            cache: &self.cache,
            detector: self.detector(),
            config: &self.assembly.scoring,
        }
    }

    /// Features of the test images of a class, in their order, without labels.
    pub fn features(&self, class: &str) -> Result<Vec<Arc<dyn ImageFeatures>>> {
        self.scoring().features(class).at(|| format!("class `{class}`"))
    }

    /// What `answer` says of the test images of a class, which it sees without labels, joined to their labels.
    pub fn test<S>(
        &self,
        class: &str,
        answer: impl FnOnce(&[&dyn ImageFeatures]) -> Result<Vec<S>>,
    ) -> Result<Vec<Scored<S>>> {
        let features = self.features(class)?;
        let images: Vec<&dyn ImageFeatures> = features.iter().map(|f| f.as_ref()).collect();
        self.assembly.test_index.score_class(class, |_| answer(&images)).at(|| format!("class `{class}`"))
    }

    /// The masks of test images at the size of fused maps, as pixel metrics see them; `None` for a class without pixel labels.
    pub fn masks<S: Sync>(&self, scored: &[Scored<S>]) -> Result<Option<Vec<Vec<bool>>>> {
        self.scoring().masks(scored)
    }

    /// The number of training images of a class.
    pub fn training_images(&self, class: &str) -> usize {
        self.assembly.train_index.images(class).len()
    }

    /// Features of the training images `which` of a class, by their numbers.
    pub fn training(&self, class: &str, which: &[usize]) -> Result<Vec<Arc<dyn ImageFeatures>>> {
        let all = self.assembly.train_index.images(class);
        let missing = |i: &usize| {
            Error::new(
                ErrorKind::Contract,
                format!("image {i} of {} training images of `{class}`", all.len()),
            )
        };
        let source = |i: &usize| all.get(*i).map(|image| &image.source).ok_or_else(|| missing(i));
        let sources = which.iter().map(source).collect::<Result<Vec<&ImageSource>>>()?;
        let a = &self.assembly;
        self.cache.get_or_encode(a.dataset.as_ref(), &sources, a.encoder.as_ref(), &mut |_| {})
    }

    /// Evaluates what `answer` says of the test images of a class with the class given: fused and measured as the run did it.
    pub fn evaluate(
        &self,
        class: &str,
        answer: impl FnOnce(&[&dyn ImageFeatures]) -> Result<Vec<ImageScores>>,
    ) -> Result<GivenEvaluation> {
        let config = &self.assembly.scoring;
        let scored: Vec<Scored<FusedMap>> = self.test(class, |images| {
            let fused = |s: ImageScores| fuse(&s.given, config)?.with(s.given_image);
            answer(images)?.into_par_iter().map(fused).collect()
        })?;
        let scores: Vec<f32> = scored.iter().map(|s| s.score.score).collect();
        let anomalous: Vec<bool> = scored.iter().map(|s| s.label.anomalous).collect();
        let pixel_auroc = match self.masks(&scored)? {
            None => Number::undefined(NO_PIXEL_LABELS),
            Some(masks) => pixels(scored.iter().map(|s| &s.score.map), &masks)?.auroc().into(),
        };
        Ok(GivenEvaluation {
            images: scored.iter().map(|s| s.image.source.label()).collect(),
            image_auroc: auroc(&scores, &anomalous).map_err(metric_error)?.into(),
            pixel_auroc,
            anomalous,
            scores,
        })
    }
}
