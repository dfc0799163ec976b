//! A detector with one parameter whose training has an analytic result.

use crate::recorder::built;
use ccnf::core::{restore, snapshot};
use ccnf::prelude::*;
use ccnf::tensor::ops;
use serde_json::{Value, json};

/// In stage `t` the loss is `c_t/2 (w - m_t)^2`, plus a gradient of `+1` in even and `-1` in odd steps, which averages out (its square
/// does not). Plain gradient descent, `w` starts at 0. The output is `w`.
pub(crate) struct Toy {
    w: Param,
    tasks: Vec<(f32, f32)>,
    noise: f32,
    outputs: bool,
    stage: usize,
    teacher: Option<(f32, f32)>,
}

/// Steps of a stage and their size: small enough for the path integral, long enough to arrive.
const STEPS: u64 = 4000;
const LR: f64 = 2e-3;

impl Toy {
    pub(crate) fn new(tasks: &[(f32, f32)]) -> Toy {
        let w = Param::weight("w", Owner::Shared, vec![0.0], 1, 1).unwrap();
        Toy { w, tasks: tasks.to_vec(), noise: 1.0, outputs: true, stage: 0, teacher: None }
    }
    /// Without the alternating gradient.
    pub(crate) fn calm(self) -> Toy {
        Toy { noise: 0.0, ..self }
    }
    pub(crate) fn without_outputs(self) -> Toy {
        Toy { outputs: false, ..self }
    }
    pub(crate) fn w(&self) -> f32 {
        self.w.to_vec()[0]
    }
}

impl Stateful for Toy {
    fn params(&self) -> Vec<&Param> {
        vec![&self.w]
    }
    fn params_mut(&mut self) -> Vec<&mut Param> {
        vec![&mut self.w]
    }
}

impl Detector for Toy {
    fn begin_stage(&mut self, view: &TrainView, _: TrainScope) -> Result<()> {
        self.stage = view.stage();
        Ok(())
    }
    fn resume_stage(&mut self, view: &TrainView, scope: TrainScope) -> Result<()> {
        self.begin_stage(view, scope)
    }
    fn steps(&self, _: usize) -> u64 {
        STEPS
    }
    fn step(&mut self, _: &TrainView, step: u64, rule: &mut dyn UpdateRule) -> Result<StepReport> {
        let (c, m) = self.tasks[self.stage];
        let w = self.w();
        let mut g = c * (w - m) + if step.is_multiple_of(2) { self.noise } else { -self.noise };
        if let Some((teacher, weight)) = self.teacher {
            g += 2.0 * weight * (w - teacher);
        }
        let (_, (), mut grads) = gradients(|| Ok::<_, Error>((ops::mean_square(&self.w.var())?, ())))?;
        grads.scale(self.w.value(), 0.0)?;
        grads.add(self.w.value(), &[g])?;
        update_with(&mut [&mut self.w], &mut grads, rule, |params, grads| {
            let g = grads.of(params[0].value())?[0];
            params[0].set(vec![w - LR as f32 * g])?;
            Ok(f64::from(g.abs()))
        })?;
        Ok(StepReport::new())
    }
    fn end_stage(&mut self, _: &TrainView) -> Result<()> {
        Ok(())
    }
    fn freeze_shared(&mut self) -> Result<()> {
        Ok(())
    }
    fn classes(&self) -> Vec<String> {
        vec![]
    }
    fn score(&self, _: &[&dyn ImageFeatures], _: ScoreRequest<'_>) -> Result<Vec<ImageScores>> {
        Ok(vec![])
    }
    fn meta(&self) -> Value {
        json!(null)
    }
    fn prepare(&mut self, _: &Value) -> Result<()> {
        Ok(())
    }
    fn distils(&self) -> bool {
        self.outputs
    }

    fn distil(&mut self, teacher: Option<Distillation>) -> Result<()> {
        let Some(d) = teacher else {
            self.teacher = None;
            return Ok(());
        };
        if !self.outputs {
            return Err(Error::new(ErrorKind::Usage, "this detector has no outputs to distil"));
        }
        self.teacher = Some((d.teacher.tensors["w"].values[0], d.weight));
        Ok(())
    }
}

fn view(stage: usize) -> TrainView {
    TrainView::new(stage, vec![], vec![])
}

/// Takes the toy through its stages as the engine does.
pub(crate) fn try_learn(s: &mut dyn Strategy, toy: &mut Toy, stages: usize) -> Result<()> {
    for stage in 0..stages {
        toy.begin_stage(&view(stage), TrainScope::All)?;
        s.begin_stage(stage, toy)?;
        for step in 0..toy.steps(stage) {
            toy.step(&view(stage), step, s)?;
        }
        toy.end_stage(&view(stage))?;
        s.end_stage(&view(stage), toy)?;
    }
    Ok(())
}

pub(crate) fn learn(s: &mut dyn Strategy, toy: &mut Toy, stages: usize) {
    try_learn(s, toy, stages).unwrap();
}

/// Stops in the middle of the second stage, goes on with a strategy and a toy that were restored, and compares all bits.
pub(crate) fn resumed(kind: &str, config: Value) {
    let tasks = [(1.0, 3.0), (2.0, -1.0), (0.5, 1.0)];
    let (mut s, mut toy) = (built(kind, config.clone()).unwrap(), Toy::new(&tasks));
    let half = STEPS / 2;
    let mut kept = None;
    for stage in 0..3 {
        toy.begin_stage(&view(stage), TrainScope::All).unwrap();
        s.begin_stage(stage, &mut toy).unwrap();
        for step in 0..STEPS {
            if stage == 1 && step == half {
                kept = Some((snapshot(&toy), s.state().unwrap()));
            }
            toy.step(&view(stage), step, &mut *s).unwrap();
        }
        let ended = toy.w();
        s.end_stage(&view(stage), &mut toy).unwrap();
        assert_eq!(toy.w(), ended, "the end of a stage has changed the model");
    }
    let (model, state) = kept.unwrap();
    let (mut again, mut second) = (built(kind, config).unwrap(), Toy::new(&tasks));
    restore(&mut second, &model).unwrap();
    again.restore(&state).unwrap();
    assert_eq!(again.state().unwrap(), state);
    for stage in 1..3 {
        second.begin_stage(&view(stage), TrainScope::All).unwrap();
        again.begin_stage(stage, &mut second).unwrap();
        for step in if stage == 1 { half } else { 0 }..STEPS {
            second.step(&view(stage), step, &mut *again).unwrap();
        }
        again.end_stage(&view(stage), &mut second).unwrap();
    }
    assert_eq!(second.w().to_bits(), toy.w().to_bits());
    assert_eq!(again.state().unwrap(), s.state().unwrap());
}
