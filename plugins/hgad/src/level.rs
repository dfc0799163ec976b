//! One level: standardisation, flow, mixture, optimiser.

use crate::chain::{Chain, ChainOutput};
use crate::config::{HgadConfig, Later};
use crate::loss::losses;
use crate::mixture::Mixture;
use crate::schedule::{learning_rate, phase};
use ccnf::core::{Schedule, Standardization, Teacher, TrainConfig, check_size, sample_tokens};
use ccnf::prelude::*;

/// The model of one level.
pub(crate) struct Level {
    pub(crate) number: usize,
    pub(crate) spec: LevelSpec,
    pub(crate) standard: Standardization,
    pub(crate) chain: Chain,
    pub(crate) mixture: Mixture,
    pub(crate) adam: Adam,
    /// Whose latents later steps are kept near.
    pub(crate) teacher: Option<Teacher>,
}

/// Tokens of one forward when images are scored.
const ROWS: usize = 4096;

/// What a step needs to know beside the data.
pub(crate) struct StepContext<'a> {
    pub(crate) view: &'a TrainView,
    pub(crate) config: &'a HgadConfig,
    pub(crate) train: &'a TrainConfig,
    pub(crate) streams: &'a Streams,
    pub(crate) step: u64,
}

/// The latents of one image.
pub(crate) struct Latents {
    pub(crate) z: Mat,
    pub(crate) log_det: Vec<f32>,
}

impl Latents {
    /// `ln p(x | class)` per token, without the constant of the standardisation.
    pub(crate) fn log_likelihood(&self, mixture: &Mixture, class: usize) -> Result<Vec<f32>> {
        let density = mixture.log_density(&self.z, class)?;
        Ok(density.iter().zip(&self.log_det).map(|(a, j)| a + j).collect())
    }

    /// See [`Mixture::negative_entropy`].
    pub(crate) fn negative_entropy(&self, mixture: &Mixture, classes: usize) -> Result<Vec<f32>> {
        mixture.negative_entropy(&self.z, classes)
    }
}

impl Level {
    /// Builds the level number `number`.
    pub(crate) fn new(config: &HgadConfig, build: &Build<'_, DetectorSpec>, number: usize) -> Result<Self> {
        let spec = build.levels[number].clone();
        let scope = format!("level{number}");
        Ok(Level {
            number,
            standard: Standardization::new(&scope, spec.channels)?,
            chain: Chain::new(config, build, &scope, &spec)?,
            mixture: Mixture::new(&scope, spec.channels, config.intra, build.streams),
            adam: Adam::new(build.train.adam()),
            teacher: None,
            spec,
        })
    }

    /// The latents of whole images. An image's bits do not depend on the others.
    pub(crate) fn latents(&self, images: &[&dyn ImageFeatures]) -> Result<Vec<Latents>> {
        let (tokens, d) = (self.spec.tokens(), self.spec.channels);
        let mut out = Vec::with_capacity(images.len());
        for group in images.chunks((ROWS / tokens.max(1)).max(1)) {
            let mut x = Vec::with_capacity(group.len() * self.spec.len());
            for image in group {
                let values = image.level(self.number)?;
                check_size(&values, &self.spec)?;
                self.standard.push(&values, &mut x);
            }
            let position: Index = group.iter().flat_map(|_| 0..tokens as u32).collect();
            let x = mat(x, group.len() * tokens, d)?;
            let ChainOutput { z, log_det } = self.chain.forward(&constant(&x), &position)?;
            let (z, log_det) = (z.as_vec(), log_det.as_vec());
            for (z, log_det) in z.chunks_exact(self.spec.len()).zip(log_det.chunks_exact(tokens)) {
                out.push(Latents { z: mat(z.to_vec(), tokens, d)?, log_det: log_det.to_vec() });
            }
        }
        Ok(out)
    }

    /// `ln p(x | class)` of all tokens of each candidate; an image goes through the flow once for all its classes.
    pub(crate) fn candidates(&self, candidates: &[Candidate<'_>]) -> Result<Vec<Vec<f32>>> {
        let mut images: Vec<&dyn ImageFeatures> = Vec::new();
        let mut number = Vec::with_capacity(candidates.len());
        for c in candidates {
            if !images.last().is_some_and(|last| std::ptr::addr_eq(*last, c.image)) {
                images.push(c.image);
            }
            number.push(images.len() - 1);
        }
        let latents = self.latents(&images)?;
        candidates
            .iter()
            .zip(number)
            .map(|(c, image)| latents[image].log_likelihood(&self.mixture, c.class))
            .collect()
    }

    /// One optimiser step.
    pub(crate) fn step(
        &mut self,
        context: &StepContext<'_>,
        rule: &mut dyn UpdateRule,
        report: &mut StepReport,
    ) -> Result<()> {
        let StepContext { view, config, train, streams, step } = *context;
        let (stage, settings) = (view.stage(), train.phase(view.stage()));
        let mut rng = streams.stream(&format!("train.stage{stage}.level{}", self.number), step);
        let batch = sample_tokens(view, self.number, settings.tokens, &self.standard, &mut rng)?;
        let known = self.mixture.classes();
        let numbers = view.places_in(&known)?;
        let class: Index = batch.class.iter().map(|c| numbers[*c as usize] as u32).collect();
        if self.chain.params().iter().any(|p| p.is_trainable()) {
            self.chain.begin_step((stage == 0).then_some(step))?;
        }
        let x = constant(&batch.x);
        let target = match &mut self.teacher {
            None => None,
            Some(t) => Some((t.ask(&mut self.chain, |c| Ok(c.forward(&x, &batch.position)?.z))?, t.weight())),
        };
        let phase = phase(step, settings.steps);
        let (loss, (values, log_det), mut grads) = gradients(|| {
            let ChainOutput { z, log_det } = self.chain.forward(&x, &batch.position)?;
            let mut terms = losses(&self.mixture, &z, &log_det, &class, config.label_smoothing, phase)?;
            let mut total = terms.total(config.information_weight);
            if let Some((target, weight)) = &target {
                let distance = ops::mean_square(&(z - target.clone()))?;
                total = total + distance.clone() * *weight;
                terms.distillation = Some(distance);
            }
            Ok::<_, Error>((total, (terms.values(), log_det.as_vec())))
        })?;
        if !loss.is_finite() {
            return Err(self.diagnose(&batch.x, &batch.position, loss, stage, step));
        }
        self.decay(&mut grads, config.weight_decay)?;
        let lr = match train.schedule {
            Schedule::Constant => settings.lr,
            Schedule::Cosine => learning_rate(settings.lr, step, settings.steps),
        };
        let mut params = self.chain.params_mut();
        params.extend(self.mixture.params_mut());
        let norm = update(&mut self.adam, &mut params, &mut grads, lr, rule)
            .at(|| format!("level `{}`, stage {stage}, step {step}", self.spec.name))?;
        let mut put = |key: &str, value: f64| report.insert(format!("level{}.{key}", self.number), value);
        put("loss", f64::from(loss));
        for (name, value) in values {
            put(name, f64::from(value));
        }
        norm.map(|n| put("grad_norm", n));
        put("lr", lr);
        let sum = log_det.iter().map(|v| f64::from(*v)).sum::<f64>();
        put("log_det_per_dim", sum / (log_det.len().max(1) * self.spec.channels) as f64);
        Ok(())
    }

    /// Adds the gradient of `weight / 2 * |w|^2` for every trainable tensor of the flow.
    fn decay(&self, grads: &mut Grads, weight: f32) -> Result<()> {
        if weight == 0.0 {
            return Ok(());
        }
        for p in self.chain.params().into_iter().filter(|p| p.is_trainable()) {
            let values: Vec<f32> = p.to_vec().iter().map(|v| v * weight).collect();
            grads.add(p.value(), &values)?;
        }
        Ok(())
    }

    /// Finds where a loss stopped being finite.
    fn diagnose(&self, x: &Mat, position: &Index, loss: f32, stage: usize, step: u64) -> Error {
        let place = || format!("level `{}`, stage {stage}, step {step}", self.spec.name);
        let looked = check_finite("the input", place, &x.as_vec()).map_err(Error::from).and_then(|()| {
            self.chain.forward_with(&constant(x), position, |b, z| {
                Ok(check_finite(&format!("the output of block {b}"), place, &z.as_vec())?)
            })
        });
        let error = match looked {
            Err(e) => e,
            Ok(_) => {
                Error::new(ErrorKind::NonFinite, format!("the loss is not finite ({loss}) in {}", place()))
            }
        };
        error.help("lower the learning rate (train.first.lr, train.later.lr), clip harder (train.clip) or look at the features")
    }

    /// Which tensors the next steps may change, and a fresh optimiser.
    pub(crate) fn arm(
        &mut self,
        view: &TrainView,
        scope: TrainScope,
        config: &HgadConfig,
        train: &TrainConfig,
    ) {
        let all = scope == TrainScope::All;
        let flow = all && (view.stage() == 0 || config.later_flow == Later::Update);
        let old = all && config.later_mixture == Later::Update;
        self.chain.params_mut().into_iter().for_each(|p| p.set_trainable(flow));
        self.mixture.set_trainable(|class| old || view.new_classes().any(|c| c.name() == class));
        self.adam = Adam::new(train.adam());
    }
}
