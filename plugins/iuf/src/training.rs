//! Training: what a stage may change, the losses of a step, the step.

use crate::batches::{ImageBatch, draw, images_of};
use crate::config::{Bases, CompressionMode, UpdateKind};
use crate::detector::Iuf;
use crate::increment::{Anchor, ConstrainedSgd};
use crate::layers::{BatchMoments, Noise, Normalisation, group_means};
use crate::losses::{cross_entropy, reconstruction_loss};
use crate::model::Inputs;
use crate::projection::{Basis, ramp};
use crate::transformer::jitter;
use ccnf::prelude::*;
use std::collections::BTreeMap;

/// The update of a later stage.
pub(crate) struct Increment {
    pub(crate) sgd: ConstrainedSgd,
    pub(crate) anchor: Anchor,
}

/// What a forward pass of a step leaves beside the loss.
struct Forward {
    reconstruction: Scalar,
    classes: Scalar,
    compression: Option<Scalar>,
    semantic: Vec<Var>,
    moments: Option<BatchMoments>,
}

fn value(s: &Scalar) -> f64 {
    s.as_vec().first().map_or(f64::NAN, |v| f64::from(*v))
}

impl Iuf {
    /// Trainable flags, a fresh optimiser, and for later stages what the tensors are now.
    pub(crate) fn arm(&mut self, view: &TrainView, scope: TrainScope) -> Result<()> {
        if scope == TrainScope::All && self.frozen {
            return Err(Error::new(ErrorKind::Contract, "a frozen model cannot be trained as a whole again"));
        }
        for p in self.model.params_mut() {
            let trainable = match (scope, p.owner()) {
                (TrainScope::All, _) => true,
                (TrainScope::NewClasses, Owner::Shared) => false,
                (TrainScope::NewClasses, Owner::Class(c)) => view.new_classes().any(|v| v.name() == c),
            };
            p.set_trainable(trainable);
        }
        self.scope = scope;
        self.adam = Adam::new(self.train.adam());
        self.compression.clear();
        self.increment = match (view.stage(), self.config.update) {
            (0, _) | (_, UpdateKind::Plain) => None,
            (_, UpdateKind::Projected) => Some(self.increment(scope)?),
        };
        Ok(())
    }

    fn increment(&self, scope: TrainScope) -> Result<Increment> {
        let mut sgd = ConstrainedSgd::new((self.train.clip > 0.0).then_some(self.train.clip));
        if self.config.bases == Bases::Collected && scope == TrainScope::All {
            for (k, layer) in self.model.transformer.projected().enumerate() {
                let rows = self.model.rows(k);
                if !rows.is_empty() {
                    let d = layer.weight().shape().0;
                    let names = std::iter::once(layer.weight()).chain(layer.bias()).map(Param::name);
                    sgd.project(names, Basis::new(rows.iter(), d, &ramp(d))?);
                }
            }
        }
        // All that training changes, running statistics included; nothing that belongs to what was computed from images.
        let statistics = scope == TrainScope::All;
        let running = |p: &Param| statistics && p.name().starts_with("discriminator.") && !p.is_trainable();
        Ok(Increment { sgd, anchor: Anchor::of(&self.model.params(), |p| p.is_trainable() || running(p)) })
    }

    /// The losses of a step: `inputs` with the class of each image, `noisy` the jittered features.
    fn forward(
        &self,
        inputs: &Inputs,
        class: &[usize],
        noisy: &Mat,
        compress: bool,
        noise: &mut Noise<'_>,
    ) -> Result<(Scalar, Forward)> {
        let by = match self.scope {
            TrainScope::All => Normalisation::Batch,
            TrainScope::NewClasses => Normalisation::Running,
        };
        let n = inputs.images;
        let judged = self.model.judge(inputs, by)?;
        let maps = self.model.class_maps(&judged, n)?;
        let out = self.model.transformer.forward(&constant(noisy), &maps, n, noise)?;
        let clean = constant(&self.model.tokens(inputs.features.clone())?);
        let reconstruction = reconstruction_loss(&out.features, &clean)?;
        let classes = cross_entropy(&judged.logits, class)?;
        let mut total = reconstruction.clone() + classes.clone();
        let semantic: Vec<Var> = out.semantic.iter().map(|f| group_means(f, n)).collect::<Result<_>>()?;
        let mut compression = None;
        if compress {
            let (mode, threshold) = (self.config.compression, 0.1 / self.config.width as f64);
            let loss = self.compression.loss(&semantic, threshold, mode)?.loss;
            if mode == CompressionMode::On {
                total = total + loss.clone() * self.config.compression_weight;
            }
            compression = Some(loss);
        }
        let moments = judged.moments;
        Ok((total, Forward { reconstruction, classes, compression, semantic, moments }))
    }

    /// The images of a step, and the number of each one's class.
    fn take(&self, view: &TrainView, batch: &ImageBatch) -> Result<(Inputs, Vec<usize>)> {
        let places = view.places_in(&self.model.classes())?;
        let image = |(c, i): &(usize, usize)| view.classes()[*c].images()[*i].as_ref();
        let images: Vec<&dyn ImageFeatures> = batch.images.iter().map(image).collect();
        Ok((self.model.inputs(&images)?, batch.images.iter().map(|(c, _)| places[*c]).collect()))
    }

    fn jittered(&self, inputs: &Inputs, stage: usize, step: u64) -> Result<Mat> {
        let mut noisy = inputs.features.clone();
        if self.config.jitter > 0.0 {
            let name = format!("iuf.stage{stage}.step{step}.jitter");
            let noise = self.streams.normal(&name, noisy.len());
            jitter(&mut noisy, &noise, self.model.neck.channels(), self.config.jitter);
        }
        self.model.tokens(noisy)
    }

    /// One step: images, noise, losses, update.
    pub(crate) fn make_step(
        &mut self,
        view: &TrainView,
        step: u64,
        rule: &mut dyn UpdateRule,
    ) -> Result<StepReport> {
        let stage = view.stage();
        let size = images_of(self.train.phase(stage).tokens, &self.model.neck);
        let batch = draw(view, step, size, &self.streams);
        let (inputs, class) = self.take(view, &batch)?;
        let noisy = self.jittered(&inputs, stage, step)?;
        if batch.first_of_epoch {
            self.compression.clear();
        }
        // Without a gradient the compression is a number in the report: once an epoch will do.
        let compress = stage == 0 && (self.config.compression == CompressionMode::On || batch.last_of_epoch);
        let before = match &self.increment {
            Some(i) => i.anchor.pull(&mut self.model.params_mut(), self.config.pull)?,
            None => BTreeMap::new(),
        };
        let mut source = self.streams.stream(&format!("iuf.stage{stage}.dropout"), step);
        let mut noise = Noise { dropout: self.config.dropout, source: Some(&mut source) };
        let (loss, out, mut grads) =
            gradients(|| self.forward(&inputs, &class, &noisy, compress, &mut noise))?;
        if !loss.is_finite() {
            let message = format!("the loss is not finite ({loss}) in stage {stage}, step {step}");
            return Err(Error::new(ErrorKind::NonFinite, message).help(
                "lower the learning rate (train.first.lr, train.later.lr), clip harder (train.clip) or look at the features",
            ));
        }
        let lr = self.train.lr(stage, step);
        let mut params = self.model.params_mut();
        let norm = match &self.increment {
            Some(i) => update_with(&mut params, &mut grads, rule, |p, g| i.sgd.step(p, g, lr)),
            None => update(&mut self.adam, &mut params, &mut grads, lr, rule),
        };
        let norm = norm.at(|| format!("stage {stage}, step {step}"))?;
        match norm {
            // The update was not made, so that nothing may have changed.
            None => params.into_iter().try_for_each(|p| match before.get(p.name()) {
                Some(values) => p.set(values.clone()),
                None => Ok(()),
            })?,
            Some(_) => {
                out.moments.iter().try_for_each(|m| self.model.discriminator.observe(m))?;
                if stage == 0 {
                    self.compression.push(&out.semantic);
                }
            }
        }
        let mut report = StepReport::new();
        let mut put = |key: &str, value: f64| report.insert(format!("iuf.{key}"), value);
        put("loss", f64::from(loss));
        put("reconstruction", value(&out.reconstruction));
        put("cross_entropy", value(&out.classes));
        if let Some(c) = &out.compression {
            put("compression", value(c));
        }
        norm.map(|n| put("grad_norm", n));
        put("lr", lr);
        Ok(report)
    }
}
