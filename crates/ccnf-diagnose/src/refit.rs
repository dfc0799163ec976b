//! A Gaussian per class in the place of what a model says of a class: after a refit recovery is evidence only against its control.

use crate::Options;
use crate::gaussian::FullGaussian;
use crate::part::Part;
use ccnf_core::{
    Error, ErrorKind, ImageFeatures, ImageScores, LevelMap, LevelNorm, LevelSpec, Result, ResultExt,
    TokenLatents,
};
use ccnf_engine::Reopened;
use ccnf_tensor::Streams;
use ccnf_tensor::rand::seq::index::sample;
use std::sync::Arc;

/// What the Gaussian is fitted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// The latents of the state that the run is in.
    Latents,
    /// The features as they are, without any flow: the identity control.
    Features,
}

impl Source {
    fn vectors(
        self,
        run: &Reopened,
        images: &[&dyn ImageFeatures],
        class: &str,
        level: usize,
        spec: &LevelSpec,
    ) -> Result<Vec<TokenLatents>> {
        match self {
            Source::Latents => {
                let probe = run.detector().probe();
                let probe = probe.ok_or_else(|| Error::new(ErrorKind::Contract, "no probe"))?;
                probe.latents(images, class, level)
            }
            Source::Features => {
                let of = |image: &&dyn ImageFeatures| {
                    let z = image.level(level)?.into_owned();
                    Ok(TokenLatents { dim: spec.channels, z, log_det: vec![0.0; spec.tokens()] })
                };
                images.iter().map(of).collect()
            }
        }
    }
}

struct LevelFit {
    gaussian: FullGaussian,
    /// Mean and std of the maps of training images that the Gaussian was not fitted on.
    statistics: (f64, f64),
}

/// `-(ln N(z; m, S') + J) / D` per token, with the Gaussian of `refit_images` training images of the class. Where the run makes its levels
/// comparable, each level's map is standardised with mean and std of the maps of as many as twice that number of other training images (of
/// the same ones where there are no others).
pub(crate) struct Refit<'a> {
    run: &'a Reopened,
    class: &'a str,
    source: Source,
    levels: Vec<(LevelSpec, LevelFit)>,
}

/// Images that go through the flow at once.
const BATCH: usize = 16;

impl<'a> Refit<'a> {
    /// Fits the Gaussians of a class in the state that `run` is in.
    pub(crate) fn fit(
        run: &'a Reopened,
        class: &'a str,
        source: Source,
        options: &Options,
    ) -> Result<Part<Refit<'a>>> {
        let n = run.training_images(class);
        let mut rng = Streams::new(options.seed).stream(&format!("diagnose.refit.{class}"), 0);
        let fitted_on = options.refit_images.min(n);
        let order = sample(&mut rng, n, (3 * options.refit_images).min(n)).into_vec();
        let (own, others) = order.split_at(fitted_on);
        let held = if others.is_empty() { own } else { others };
        let (own, held) = (run.training(class, own)?, run.training(class, held)?);
        let mut levels = Vec::new();
        for (level, spec) in run.assembly().encoder.levels().into_iter().enumerate() {
            let at = || format!("level `{}` of class `{class}`", spec.name);
            let vectors = |images: &[Arc<dyn ImageFeatures>]| {
                source.vectors(run, &refs(images), class, level, &spec).at(at)
            };
            let fit = vectors(&own)?;
            if fit.iter().any(|l| l.rows() != spec.tokens()) {
                return Ok(Part::Undefined("the latents are not one for every token".into()));
            }
            let dim = fit.first().map_or(0, |l| l.dim);
            let rows: Vec<f32> = fit.iter().flat_map(|l| l.z.iter().copied()).collect();
            let gaussian = FullGaussian::fit(&rows, dim).at(at)?;
            let statistics = match run.assembly().scoring.levels {
                LevelNorm::Mean => (0.0, 1.0),
                LevelNorm::ZNorm | LevelNorm::Position => {
                    let maps =
                        vectors(&held)?.iter().map(|l| raw(&gaussian, l)).collect::<Result<Vec<_>>>()?;
                    mean_and_std(&maps.concat())
                }
            };
            levels.push((spec, LevelFit { gaussian, statistics }));
        }
        Ok(Part::Found(Refit { run, class, source, levels }))
    }

    /// The maps of images under the class given.
    pub(crate) fn score(&self, images: &[&dyn ImageFeatures]) -> Result<Vec<ImageScores>> {
        let mut out: Vec<ImageScores> = images.iter().map(|_| ImageScores::default()).collect();
        for (number, (spec, fit)) in self.levels.iter().enumerate() {
            for (images, scores) in images.chunks(BATCH).zip(out.chunks_mut(BATCH)) {
                let vectors = self.source.vectors(self.run, images, self.class, number, spec)?;
                for (latents, scores) in vectors.iter().zip(scores) {
                    let (mean, std) = fit.statistics;
                    let data = raw(&fit.gaussian, latents)?;
                    let data = data.iter().map(|s| ((f64::from(*s) - mean) / std) as f32).collect();
                    scores.given.push(LevelMap { height: spec.height, width: spec.width, data });
                }
            }
        }
        Ok(out)
    }
}

fn refs(images: &[Arc<dyn ImageFeatures>]) -> Vec<&dyn ImageFeatures> {
    images.iter().map(|i| i.as_ref()).collect()
}

fn raw(gaussian: &FullGaussian, latents: &TokenLatents) -> Result<Vec<f32>> {
    let density = gaussian.log_density(&latents.z)?;
    Ok(density.iter().zip(&latents.log_det).map(|(l, j)| -(l + j) / latents.dim as f32).collect())
}

fn mean_and_std(values: &[f32]) -> (f64, f64) {
    let n = values.len().max(1) as f64;
    let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
    let variance = values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / n;
    (mean, variance.sqrt().max(1e-12))
}
