//! Training curves from a run's log of steps.

use ccnf_chart::{Axis, Figure, LineChart, Point, Series};
use ccnf_core::Result;
use ccnf_engine::FinishedRun;
use std::collections::BTreeMap;

/// Points of a curve: more cannot be seen.
const POINTS: usize = 200;

/// The losses of a run, one curve per level, over the steps of all stages. `None` for a model that is not trained by steps.
pub(crate) fn curves(model: &str, run: &FinishedRun) -> Result<Option<Figure>> {
    if !run.files().any(|f| f == "events.jsonl") {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&run.read("events.jsonl")?).into_owned();
    let mut curves: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    let (mut steps, mut stages) = (0usize, vec![]);
    for line in text.lines() {
        let Ok(serde_json::Value::Object(event)) = serde_json::from_str(line) else { continue };
        let stage = event.get("stage").and_then(serde_json::Value::as_u64);
        if stages.last().map(|(s, _)| *s) != stage {
            stages.extend(stage.map(|s| (s, steps)));
        }
        for (key, value) in event.iter().filter(|(k, _)| *k == "loss" || k.ends_with(".loss")) {
            let curve = curves.entry(key.clone()).or_default();
            curve.resize(steps, f64::NAN);
            curve.push(value.as_f64().unwrap_or(f64::NAN));
        }
        steps += 1;
    }
    if curves.is_empty() {
        return Ok(None);
    }
    let every = steps.div_ceil(POINTS).max(1);
    let mut chart = LineChart::new(format!("{model}: loss"), Axis::new("step"), Axis::new("loss"));
    for (name, values) in curves {
        let mean = |part: &[f64]| {
            let known: Vec<f64> = part.iter().copied().filter(|v| v.is_finite()).collect();
            (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
        };
        let points =
            values.chunks(every).enumerate().map(|(i, part)| Point::new((i * every) as f64, mean(part)));
        chart = chart.series(Series::new(name.trim_end_matches(".loss"), points.collect::<Vec<_>>()));
    }
    let starts: Vec<String> = stages.iter().skip(1).map(|(_, step)| step.to_string()).collect();
    let caption = match starts.is_empty() {
        true => format!("First seed, means of {every} steps."),
        false => {
            format!("First seed, means of {every} steps. Later tasks begin at step {}.", starts.join(", "))
        }
    };
    Ok(Some(Figure::new(&chart).caption(caption).without_data()))
}
