//! One level: standardisation, projection, layers, flow, optimiser.

use crate::chain::Chain;
use crate::defects::{DefectBatch, DefectTokens, DefectsConfig};
use crate::episode::episode;
use crate::first_task::{FirstTaskConfig, Mixed, mixed};
use crate::flow::Flow;
use crate::groups::Conditions;
use crate::input::Source;
use crate::loss::{log_prior, output_under, step_loss};
use crate::prepared::Prepared;
use crate::projection::Projection;
use crate::pseudo::Pseudo;
use ccnf::core::{Standardization, Teacher, TokenBatch, TrainConfig, sample_maps, sample_tokens};
use ccnf::prelude::*;
use ccnf::rand::Rng;

/// The model of one level.
pub(crate) struct LevelFlow {
    pub(crate) number: usize,
    /// The level as the encoder gives it; the flow's has the projected channels.
    pub(crate) raw: LevelSpec,
    pub(crate) standard: Standardization,
    pub(crate) projection: Option<Projection>,
    pub(crate) chain: Chain,
    /// The running stage's images as the flow sees them, where that is not the standardised features.
    pub(crate) prepared: Option<Prepared>,
    /// The first stage's images with their clusters, while it runs and where clusters are asked for.
    pub(crate) pseudo: Option<Pseudo>,
    /// Per class of the running stage the defective tokens of its painted images.
    pub(crate) defects: Vec<DefectTokens>,
    /// The clusters that have a row.
    pub(crate) pseudo_rows: Vec<String>,
    pub(crate) flow: Flow,
    pub(crate) adam: Adam,
    /// Whose latents later steps are kept near.
    pub(crate) teacher: Option<Teacher>,
}

/// Rows of one forward when images are scored: enough that calls and what the rows share cost little, few enough that the layers'
/// outputs stay in the cache.
pub(crate) const ROWS: usize = 4096;

/// What a step needs to know beside the data.
pub(crate) struct StepContext<'a> {
    pub(crate) view: &'a TrainView,
    pub(crate) train: &'a TrainConfig,
    pub(crate) regularizers: &'a [Box<dyn Regularizer>],
    pub(crate) first_task: &'a FirstTaskConfig,
    pub(crate) defects: &'a DefectsConfig,
    pub(crate) streams: &'a Streams,
    pub(crate) step: u64,
}

impl LevelFlow {
    /// `log p(x | class)` of standardised tokens under one class.
    pub(crate) fn log_prob(&self, x: &Mat, position: &Index, class: usize) -> Result<Vec<f32>> {
        let token: Index = vec![0u32; position.len()].into();
        self.log_probs(x, position, &[class], &token)
    }

    /// `log p(x | class)` of standardised tokens; `token` gives each token's entry in `classes`.
    fn log_probs(&self, x: &Mat, position: &Index, classes: &[usize], token: &Index) -> Result<Vec<f32>> {
        if self.flow.is_identity() {
            return Ok(log_prior(&constant(x))?.as_vec());
        }
        let conditions = self.flow.condition(classes, token, position)?;
        let f = self.flow.forward(&constant(x), &conditions)?;
        let prior = self.flow.log_prior(&f.z)?.as_vec();
        Ok(prior.iter().zip(f.log_det.as_vec()).map(|(a, b)| a + b).collect())
    }

    /// `log p(x | class)` of all tokens of each candidate. Many candidates share a forward, as rows of one matrix: what depends on
    /// the weights or the position only is computed once for all of them, what depends on the class once per class, and an image is
    /// standardised once for all its classes. A row's result does not depend on the others, so neither does a map. `names` are the
    /// known classes; with `layers_only` the flow is left out.
    pub(crate) fn candidates(
        &self,
        candidates: &[Candidate<'_>],
        names: &[String],
        layers_only: bool,
    ) -> Result<Vec<Vec<f32>>> {
        let (spec, d) = (self.flow.level(), self.flow.level().channels);
        let tokens = spec.tokens().max(1);
        let mut out = Vec::with_capacity(candidates.len());
        let (mut image, mut standardised): (Option<&dyn ImageFeatures>, _) = (None, Vec::new());
        for group in candidates.chunks((ROWS / tokens).max(1)) {
            let n = group.len() * tokens;
            let (mut x, mut token) = (Vec::with_capacity(n * d), Vec::with_capacity(n));
            let mut classes: Vec<usize> = Vec::new();
            for candidate in group {
                if !image.is_some_and(|same| std::ptr::addr_eq(same, candidate.image)) {
                    standardised = self.input(&candidate.image.level(self.number)?)?;
                    image = Some(candidate.image);
                }
                x.extend_from_slice(&standardised);
                let entry = classes.iter().position(|c| *c == candidate.class).unwrap_or_else(|| {
                    classes.push(candidate.class);
                    classes.len() - 1
                });
                token.resize(token.len() + tokens, entry as u32);
            }
            let layers = self.through_layers(group, names, &mut x)?;
            let position: Index = (0..group.len()).flat_map(|_| 0..tokens as u32).collect();
            let x = mat(x, n, d)?;
            let mut all = match layers_only {
                true => log_prior(&constant(&x))?.as_vec(),
                false => self.log_probs(&x, &position, &classes, &token.into())?,
            };
            all.iter_mut().zip(&layers).for_each(|(l, part)| *l += part);
            out.extend(all.chunks_exact(tokens).map(<[f32]>::to_vec));
        }
        Ok(out)
    }

    /// One optimiser step.
    pub(crate) fn step(
        &mut self,
        context: &StepContext<'_>,
        rule: &mut dyn UpdateRule,
        report: &mut StepReport,
    ) -> Result<()> {
        let StepContext { view, train, regularizers, step, streams, .. } = *context;
        let stage = view.stage();
        let mut rng = streams.stream(&format!("train.stage{stage}.level{}", self.number), step);
        let source = self.source(view)?;
        let tokens = train.phase(stage).tokens;
        let batch = match self.flow.needs_maps() {
            true => sample_maps(source.view, source.level, tokens, source.standard, &mut rng)?,
            false => sample_tokens(source.view, source.level, tokens, source.standard, &mut rng)?,
        };
        let known = self.flow.conditioner().classes();
        let classes = source.view.places_in(&known)?;
        self.flow.begin_step((stage == 0).then_some(step))?;
        let source = self.source(view)?;
        let negatives = self.negatives(&batch, &classes, known.len(), regularizers, &mut rng)?;
        let (mixed, gain) = self.mixed(context, &source, &batch, &classes, &mut rng)?;
        let batch = mixed.as_ref().map_or(&batch, |m| &m.batch);
        let x = constant(&batch.x);
        let conditions = |flow: &Flow| match &mixed {
            None => flow.condition(&classes, &batch.class, &batch.position),
            Some(m) => flow.condition_mixed(&classes, &m.rows, &batch.class, &batch.position),
        };
        let defective = self.defective(context, &classes, tokens, &mut rng)?;
        let rows = mixed.as_ref().map_or(classes.len(), Mixed::rows);
        let target = match &mut self.teacher {
            None => None,
            Some(t) => {
                let z = t.ask(&mut self.flow, |flow| {
                    let conditions = flow.condition(&classes, &batch.class, &batch.position)?;
                    Ok(flow.forward(&x, &conditions)?.z)
                })?;
                Some((z, t.weight()))
            }
        };
        let (loss, losses, mut grads) = gradients(|| {
            let (under, class) = (conditions(&self.flow)?, (&batch.class, rows));
            let output = output_under(&self.flow, &x, &under, class, &batch.position, negatives.as_deref())?;
            let mut losses = step_loss(output, regularizers)?;
            if let Some((target, weight)) = &target {
                losses.keep_near(target, *weight)?;
            }
            if let Some(tokens) = &defective {
                let under = self.flow.condition(&classes, &tokens.class, &tokens.position)?;
                let f = self.flow.forward(&constant(&tokens.x), &under)?;
                losses.tell_apart(&(self.flow.log_prior(&f.z)? + f.log_det), context.defects);
            }
            Ok::<_, Error>((losses.total.clone(), losses))
        })?;
        if !loss.is_finite() {
            return Err(self.diagnose(&x, &conditions(&self.flow)?, loss, stage, step));
        }
        let lr = train.lr(stage, step);
        let mut params = self.flow.params_mut();
        let norm = update(&mut self.adam, &mut params, &mut grads, lr, rule)
            .at(|| format!("level `{}`, stage {stage}, step {step}", view.levels()[self.number].name))?;
        let mut put = |key: &str, value: f64| report.insert(format!("level{}.{key}", self.number), value);
        put("loss", f64::from(loss));
        for t in &losses.terms {
            put(t.name, f64::from(t.value));
        }
        norm.map(|n| put("grad_norm", n));
        gain.map(|g| put("episode_gain", g));
        put("lr", lr);
        let mean = |v: &VarVec| {
            v.as_vec().iter().map(|v| f64::from(*v)).sum::<f64>() / batch.class.len().max(1) as f64
        };
        put("log_det_per_dim", mean(&losses.output.log_det) / losses.output.dim as f64);
        put("log_prior_per_dim", mean(&losses.output.log_prior) / losses.output.dim as f64);
        Ok(())
    }

    /// What a step of the first stage makes of its tokens and rows, and what an episode's row gains; nothing without such switches.
    fn mixed(
        &self,
        context: &StepContext<'_>,
        source: &Source<'_>,
        batch: &TokenBatch,
        classes: &[usize],
        rng: &mut impl Rng,
    ) -> Result<(Option<Mixed>, Option<f64>)> {
        let StepContext { view, first_task: config, streams, step, .. } = *context;
        // A teacher is asked about the tokens as they are.
        if view.stage() > 0 || !config.mixes() || self.teacher.is_some() {
            return Ok((None, None));
        }
        let held = if config.episodes > 0.0 && rng.r#gen::<f32>() < config.episodes {
            let tokens = batch.class.len() / classes.len().max(1);
            episode(self, config, source, classes, view.classes().len(), tokens, rng)?
        } else {
            None
        };
        let (fitted, gain) = held.map(|e| (e.fitted, e.gain)).unzip();
        let noise = |n| streams.normal(&format!("first_task.level{}.step{step}", self.number), n);
        let width = self.flow.conditioner().row_width();
        Ok((Some(mixed(config, batch, classes.len(), width, fitted, noise, rng)?), gain))
    }

    /// Defective tokens for a step of `tokens` normal ones, half as many; none where none were painted.
    fn defective(
        &self,
        context: &StepContext<'_>,
        classes: &[usize],
        tokens: usize,
        rng: &mut impl Rng,
    ) -> Result<Option<DefectBatch>> {
        if context.defects.versions == 0 || classes.is_empty() {
            return Ok(None);
        }
        DefectBatch::sample(&self.defects, self.flow.level().channels, (tokens / 2).max(1), rng)
    }

    /// One wrong class per token (index of a known class), the same for a whole map where the flow needs whole maps; where a regulariser
    /// with weight asks for it and another class is known.
    fn negatives(
        &self,
        batch: &TokenBatch,
        classes: &[usize],
        known: usize,
        regularizers: &[Box<dyn Regularizer>],
        rng: &mut impl Rng,
    ) -> Result<Option<Vec<u32>>> {
        let wanted = regularizers.iter().filter(|r| r.weight() > 0.0).filter_map(|r| r.negative()).max();
        // A cluster counts as its class, and is nobody's wrong class.
        let known = known - self.pseudo_rows.len();
        let (Some(kind), true) = (wanted, known > 1) else { return Ok(None) };
        // Tokens that go together.
        let group = if self.flow.needs_maps() { self.flow.level().tokens().max(1) } else { 1 };
        let parent = |c: usize| self.pseudo.as_ref().map_or(c, |p| p.parents[c]);
        let truth = batch.class.iter().step_by(group).map(|c| classes[parent(*c as usize)] as u32);
        let spread = |chosen: Vec<u32>| -> Vec<u32> {
            chosen.into_iter().flat_map(|c| std::iter::repeat_n(c, group)).collect()
        };
        if kind == Negative::Uniform {
            let other = |t: u32| {
                let other = rng.gen_range(0..known as u32 - 1);
                other + u32::from(other >= t)
            };
            return Ok(Some(spread(truth.map(other).collect())));
        }
        let of_group = |all: Vec<f32>| all.chunks(group).map(|g| g.iter().sum()).collect::<Vec<f32>>();
        let likelihoods = (0..known)
            .map(|c| self.log_prob(&batch.x, &batch.position, c).map(of_group))
            .collect::<Result<Vec<_>>>()?;
        let hardest = |(n, t): (usize, u32)| {
            let others = (0..known as u32).filter(|c| *c != t);
            others.fold(u32::from(t == 0), |best, c| {
                if likelihoods[c as usize][n] > likelihoods[best as usize][n] { c } else { best }
            })
        };
        Ok(Some(spread(truth.enumerate().map(hardest).collect())))
    }

    /// Finds where a loss stopped being finite.
    fn diagnose(&self, x: &Var, conditions: &Conditions, loss: f32, stage: usize, step: u64) -> Error {
        let place = || format!("level `{}`, stage {stage}, step {step}", self.flow.level().name);
        let looked = check_finite("the input", place, &x.as_vec()).map_err(Error::from).and_then(|()| {
            self.flow.forward_with(x, conditions, |b, h| {
                Ok(check_finite(&format!("the output of block {b}"), place, &h.as_vec())?)
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
}
