//! A detector with a few numbers, small enough to be led through all stages by every strategy, and what happens to it.

use super::common::Must;
use ccnf::prelude::*;
use ccnf::tensor::ops;
use serde_json::{Value, json};

/// Steps of every stage.
pub(super) const STEPS: u64 = 6;
/// Training images of a class: more than a small buffer keeps.
const IMAGES: usize = 14;
const CHANNELS: usize = 3;
const LR: f32 = 0.1;

fn level() -> LevelSpec {
    LevelSpec { name: "small".into(), height: 2, width: 2, channels: CHANNELS }
}

/// The training images of a stage, a few tokens around each class's mean.
pub(super) fn view(number: usize, stage: &Stage) -> TrainView {
    let class = |name: &String| {
        let s = Streams::new(17);
        let mean = s.normal(&format!("{name}.mean"), CHANNELS);
        let image = |i: usize| -> std::sync::Arc<dyn ImageFeatures> {
            let noise = s.normal(&format!("{name}.{i}"), level().len());
            let token = noise.iter().enumerate().map(|(k, n)| mean[k % CHANNELS] + 0.3 * n);
            std::sync::Arc::new(vec![token.collect::<Vec<f32>>()])
        };
        TrainClass::new(name.clone(), (0..IMAGES).map(image).collect())
    };
    TrainView::new(number, vec![level()], stage.classes.iter().map(class).collect())
}

/// Two shared rows with an optimiser each, a row per class with that of the first, and a shared buffer that every step moves until the
/// shared part is frozen.
///
/// The loss of a step is the mean square distance of every row to the tokens of one image per class: shared rows to those of all
/// classes of the view, rehearsed ones too, a class's row to its own. The optimiser is gradient
/// descent, clipped at a norm of 1 over its rows, since penalties may be steep. The outputs are the
/// shared rows.
pub(super) struct Small {
    shared: [Param; 2],
    moving: Param,
    own: Vec<Param>,
    frozen: bool,
    teacher: Option<Distillation>,
}

impl Small {
    pub(super) fn new() -> Small {
        let zero = |name: &str| Param::weight(name, Owner::Shared, vec![0.0; CHANNELS], 1, CHANNELS);
        Small {
            shared: ["fine.w", "coarse.w"].map(|n| zero(n).expect("a row")),
            moving: Param::buffer("moving", Owner::Shared, vec![0.0], 1, 1).expect("a number"),
            own: vec![],
            frozen: false,
            teacher: None,
        }
    }

    fn add(&mut self, class: &str) -> Result<()> {
        if !self.classes().iter().any(|c| c == class) {
            let name = format!("class.{class}");
            self.own.push(Param::weight(name, Owner::Class(class.into()), vec![0.0; CHANNELS], 1, CHANNELS)?);
        }
        Ok(())
    }

    /// The target of a row in a step: the mean token of the classes it belongs to.
    fn target(view: &TrainView, step: u64, of: Option<&Owner>) -> Result<Option<Vec<f32>>> {
        let mine = |c: &&TrainClass| of.is_none_or(|o| *o == Owner::Class(c.name().into()));
        let (mut sum, mut tokens) = (vec![0.0; CHANNELS], 0usize);
        for class in view.classes().iter().filter(mine).filter(|c| !c.is_empty()) {
            let image = class.image(step as usize % class.len(), 0)?;
            image.iter().enumerate().for_each(|(k, v)| sum[k % CHANNELS] += v);
            tokens += image.len() / CHANNELS;
        }
        sum.iter_mut().for_each(|s| *s /= tokens.max(1) as f32);
        Ok((tokens > 0).then_some(sum))
    }

    /// One update of some rows.
    fn update(
        rows: &mut [&mut Param],
        view: &TrainView,
        step: u64,
        teacher: Option<&Distillation>,
        rule: &mut dyn UpdateRule,
    ) -> Result<f64> {
        // Which row is drawn to which values, how strongly.
        let mut terms: Vec<(usize, Vec<f32>, f32)> = vec![];
        for (i, row) in rows.iter().enumerate().filter(|(_, r)| r.is_trainable()) {
            let shared = *row.owner() == Owner::Shared;
            let target = Small::target(view, step, (!shared).then_some(row.owner()))?;
            terms.extend(target.map(|t| (i, t, 1.0)));
            let taught = teacher.filter(|_| shared);
            let taught = taught.and_then(|t| Some((t.teacher.tensors.get(row.name())?, t.weight)));
            terms.extend(taught.map(|(stored, weight)| (i, stored.values.clone(), weight)));
        }
        let (value, (), mut grads) = gradients(|| {
            let mut loss: Option<Scalar> = None;
            for (i, to, weight) in terms {
                let away = rows[i].var() - constant(&mat(to, 1, CHANNELS)?);
                let term = ops::mean_square(&away)? * weight;
                loss = Some(match loss {
                    Some(sum) => sum + term,
                    None => term,
                });
            }
            let loss = loss.ok_or_else(|| Error::new(ErrorKind::Contract, "no row has a target"))?;
            Ok::<_, Error>((loss, ()))
        })?;
        update_with(rows, &mut grads, rule, |rows, grads| {
            let mut squares = 0.0;
            for row in rows.iter().filter(|r| r.is_trainable()) {
                squares += grads.sum_of_squares(row.value())?;
            }
            let norm = squares.sqrt();
            let lr = LR / norm.max(1.0) as f32;
            for row in rows.iter_mut().filter(|r| r.is_trainable()) {
                let g = grads.of(row.value())?;
                row.set(row.to_vec().iter().zip(&g).map(|(w, g)| w - lr * g).collect())?;
            }
            Ok(norm)
        })?;
        Ok(f64::from(value))
    }
}

impl Stateful for Small {
    fn params(&self) -> Vec<&Param> {
        self.shared.iter().chain([&self.moving]).chain(&self.own).collect()
    }
    fn params_mut(&mut self) -> Vec<&mut Param> {
        self.shared.iter_mut().chain([&mut self.moving]).chain(&mut self.own).collect()
    }
}

impl Detector for Small {
    fn begin_stage(&mut self, view: &TrainView, scope: TrainScope) -> Result<()> {
        view.new_classes().try_for_each(|c| self.add(c.name()))?;
        self.resume_stage(view, scope)
    }
    fn resume_stage(&mut self, view: &TrainView, scope: TrainScope) -> Result<()> {
        let all = scope == TrainScope::All;
        let frozen = self.frozen;
        self.shared.iter_mut().for_each(|p| p.set_trainable(all && !frozen));
        for p in &mut self.own {
            // A row is trained where the view has images for it.
            let seen = |c: &TrainClass| *p.owner() == Owner::Class(c.name().into());
            let trained = if all { view.classes().iter().any(seen) } else { view.new_classes().any(seen) };
            p.set_trainable(trained);
        }
        Ok(())
    }
    fn steps(&self, _: usize) -> u64 {
        STEPS
    }
    fn step(&mut self, view: &TrainView, step: u64, rule: &mut dyn UpdateRule) -> Result<StepReport> {
        if !self.frozen {
            self.moving.set(vec![(view.stage() as u64 * STEPS + step + 1) as f32])?;
        }
        let ([first, second], own) = (&mut self.shared, &mut self.own);
        let teacher = self.teacher.as_ref();
        let mut report = StepReport::new();
        let mut fine: Vec<&mut Param> = std::iter::once(first).chain(own).collect();
        for (name, rows) in [("fine", &mut fine[..]), ("coarse", &mut [second][..])] {
            if rows.iter().any(|r| r.is_trainable()) {
                report.insert(format!("{name}.loss"), Small::update(rows, view, step, teacher, rule)?);
            }
        }
        Ok(report)
    }
    fn end_stage(&mut self, _: &TrainView) -> Result<()> {
        Ok(())
    }
    fn freeze_shared(&mut self) -> Result<()> {
        self.frozen = true;
        self.shared.iter_mut().for_each(|p| p.set_trainable(false));
        Ok(())
    }
    fn classes(&self) -> Vec<String> {
        self.own.iter().filter_map(|p| p.name().strip_prefix("class.")).map(str::to_owned).collect()
    }
    fn score(&self, images: &[&dyn ImageFeatures], request: ScoreRequest<'_>) -> Result<Vec<ImageScores>> {
        let class = request.given.unwrap_or_default();
        let Some(row) = self.own.iter().find(|p| *p.owner() == Owner::Class(class.into())) else {
            return Err(ccnf::core::unknown_class(class, &self.classes()));
        };
        let row = row.to_vec();
        let score = |image: &&dyn ImageFeatures| -> Result<ImageScores> {
            let values = image.level(0)?;
            let far = |t: &[f32]| t.iter().zip(&row).map(|(a, b)| (a - b).powi(2)).sum::<f32>();
            let data = values.chunks(CHANNELS).map(far).collect();
            let map = LevelMap { height: level().height, width: level().width, data };
            Ok(ImageScores { given: vec![map], ..ImageScores::default() })
        };
        images.iter().map(score).collect()
    }
    fn meta(&self) -> Value {
        json!({ "classes": self.classes(), "frozen": self.frozen })
    }
    fn prepare(&mut self, meta: &Value) -> Result<()> {
        self.frozen = meta["frozen"] == true;
        let classes = meta["classes"].as_array().into_iter().flatten().filter_map(Value::as_str);
        classes.into_iter().try_for_each(|c| self.add(c))
    }
    fn distils(&self) -> bool {
        true
    }
    fn distil(&mut self, teacher: Option<Distillation>) -> Result<()> {
        self.teacher = teacher;
        Ok(())
    }
}

/// A strategy that is watched.
pub(super) struct Watched<'a> {
    pub(super) strategy: &'a mut dyn Strategy,
    /// The gradients as the strategy left them, all in one.
    pub(super) gradients: Vec<f32>,
    pub(super) at: &'a str,
}

impl UpdateRule for Watched<'_> {
    fn gradients(&mut self, params: &[&mut Param], grads: &mut Grads) -> Result<Update> {
        let update = self.strategy.gradients(params, grads)?;
        for p in params.iter().filter(|p| p.is_trainable()) {
            let g = grads.of(p.value()).must(self.at);
            super::common::finite(&g, &format!("{}: the gradient of `{}`", self.at, p.name()));
            self.gradients.extend(g);
        }
        Ok(update)
    }
    fn updated(&mut self, params: &[&mut Param]) -> Result<()> {
        self.strategy.updated(params)
    }
}
