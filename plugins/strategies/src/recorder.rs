//! A detector for the tests that writes down what is asked of it.

use ccnf::core::{Config, PhaseConfig, TrainConfig, build};
use ccnf::prelude::*;
use serde_json::json;

/// Learns nothing and records every call.
#[derive(Default)]
pub(crate) struct Recorder {
    /// The calls, in order.
    pub(crate) calls: Vec<String>,
    /// Makes `freeze_shared` fail.
    pub(crate) fail_to_freeze: bool,
    /// The classes trained on, in order.
    pub(crate) classes: Vec<String>,
}

ccnf::stateless!(Recorder);

fn names(view: &TrainView) -> String {
    view.classes().iter().map(|c| c.name()).collect::<Vec<_>>().join(", ")
}

impl Detector for Recorder {
    fn begin_stage(&mut self, view: &TrainView, scope: TrainScope) -> Result<()> {
        self.calls.push(format!("begin [{}] {scope:?}", names(view)));
        Ok(())
    }
    fn steps(&self, _stage: usize) -> u64 {
        0
    }
    fn step(&mut self, _: &TrainView, _: u64, _: &mut dyn UpdateRule) -> Result<StepReport> {
        Ok(StepReport::new())
    }
    fn end_stage(&mut self, view: &TrainView) -> Result<()> {
        self.calls.push(format!("end [{}]", names(view)));
        self.classes.extend(view.classes().iter().map(|c| c.name().to_owned()));
        Ok(())
    }
    fn freeze_shared(&mut self) -> Result<()> {
        if self.fail_to_freeze {
            return Err(Error::new(ErrorKind::Contract, "told to fail"));
        }
        self.calls.push("freeze".into());
        Ok(())
    }
    fn classes(&self) -> Vec<String> {
        self.classes.clone()
    }
    fn score(&self, _images: &[&dyn ImageFeatures], _request: ScoreRequest<'_>) -> Result<Vec<ImageScores>> {
        Ok(vec![])
    }
    fn meta(&self) -> serde_json::Value {
        json!(self.classes)
    }
    fn prepare(&mut self, _meta: &serde_json::Value) -> Result<()> {
        Ok(())
    }
}

/// The spec of the tests' strategies.
pub(crate) fn spec() -> StrategySpec {
    let phase = PhaseConfig { tokens: 4, ..PhaseConfig::default() };
    let train = TrainConfig { first: phase.clone(), later: phase, ..TrainConfig::default() };
    StrategySpec { train, streams: Streams::new(1) }
}

/// The strategy of this name with these keys, from the registry.
pub(crate) fn built(name: &str, config: serde_json::Value) -> Result<Box<dyn Strategy>> {
    built_with(name, config, &spec())
}

/// The same with another spec.
pub(crate) fn built_with(
    name: &str,
    mut config: serde_json::Value,
    spec: &StrategySpec,
) -> Result<Box<dyn Strategy>> {
    config["kind"] = json!(name);
    let root = Config::from_json("test", &json!({ "strategy": config }))?.root()?;
    build::<dyn Strategy>(&root.child("strategy"), spec)
}

/// The strategy of this name with its defaults.
pub(crate) fn strategy(name: &str) -> Box<dyn Strategy> {
    built(name, json!({})).unwrap()
}

/// Three tasks with four classes.
pub(crate) fn tasks() -> Vec<Vec<String>> {
    [vec!["a", "b"], vec!["c"], vec!["d"]].map(|t| t.into_iter().map(String::from).collect()).to_vec()
}

/// Takes a detector through the stages for [`tasks`], as the engine does.
pub(crate) fn run(strategy: &mut dyn Strategy, detector: &mut dyn Detector) {
    for (i, stage) in strategy.stages(&tasks()).into_iter().enumerate() {
        let classes = stage.classes.iter().map(|c| TrainClass::new(c, vec![])).collect();
        let view = TrainView::new(i, vec![], classes);
        let rehearsed = strategy.rehearsal(&view).unwrap();
        let view = view.with(rehearsed);
        detector.begin_stage(&view, stage.scope).unwrap();
        strategy.begin_stage(i, detector).unwrap();
        detector.end_stage(&view).unwrap();
        strategy.end_stage(&view, detector).unwrap();
    }
    let all: Vec<String> = tasks().concat();
    assert_eq!(detector.classes(), all, "every class is new exactly once");
}
