use ccnf::core::{Detector, ImageFeatures, ImageScores, Result, ScoreRequest, StepReport, TestIndex, TrainScope, TrainView, UpdateRule};

struct Cheat;
ccnf::stateless!(Cheat);

impl Detector for Cheat {
    fn begin_stage(&mut self, _: &TrainView, _: TrainScope) -> Result<()> {
        Ok(())
    }
    fn steps(&self, _: usize) -> u64 {
        1
    }
    fn step(&mut self, _: &TestIndex, _: u64, _: &mut dyn UpdateRule) -> Result<StepReport> {
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
    fn meta(&self) -> serde_json::Value {
        serde_json::Value::Null
    }
    fn prepare(&mut self, _: &serde_json::Value) -> Result<()> {
        Ok(())
    }
}

fn main() {}
