//! The names and values of curves.

use super::proto::Value;
use crate::events::total_loss;
use crate::score_stage::StageEvaluation;
use crate::shortlist::ShortlistCheck;
use ccnf_core::StepReport;
use std::collections::BTreeMap;

/// The curves of a training step: every value of the report, `level0.loss` as `train/level0/loss`; the stage; and where the report has
/// losses by part only, their sum as `train/loss`. A value that is not finite is left out.
pub(super) fn of_step(stage: usize, values: &StepReport) -> Vec<Value> {
    let mut all = vec![("stage".to_owned(), stage as f64)];
    if let Some(loss) = total_loss(values).filter(|_| !values.contains_key("loss")) {
        all.push(("loss".to_owned(), loss));
    }
    all.extend(values.iter().map(|(key, value)| (key.replace('.', "/"), *value)));
    let finite = all.into_iter().filter(|(_, value)| value.is_finite());
    finite.map(|(name, value)| Value::scalar(format!("train/{name}"), value)).collect()
}

/// The curves of an evaluation: `GROUP/METRIC.USE/CLASS`, the mean over the classes as `GROUP_mean/METRIC.USE`, and routing. What is
/// undefined is left out, of the means, too.
pub(super) fn of_evaluation(group: &str, evaluation: &StageEvaluation) -> Vec<Value> {
    let mut by_metric: BTreeMap<String, Vec<(&str, f64)>> = BTreeMap::new();
    for class in &evaluation.classes {
        let numbers = class.metrics.iter().map(|(name, number)| (name.clone(), number.value));
        let levels = class.nll.iter().flatten().enumerate();
        let likelihoods = levels.map(|(level, value)| (format!("nll.level{level}"), Some(*value)));
        for (name, value) in numbers.chain(likelihoods) {
            if let Some(value) = value.filter(|v| v.is_finite()) {
                by_metric.entry(name).or_default().push((&class.class, value));
            }
        }
    }
    let mut out = Vec::new();
    for (name, values) in &by_metric {
        let mean = values.iter().map(|(_, v)| v).sum::<f64>() / values.len() as f64;
        out.push(Value::scalar(format!("{group}_mean/{name}"), mean));
        out.extend(values.iter().map(|(class, v)| Value::scalar(format!("{group}/{name}/{class}"), *v)));
    }
    let routing = [
        ("accuracy", evaluation.routing_accuracy()),
        ("shortlist_changed", evaluation.shortlist.and_then(ShortlistCheck::fraction)),
    ];
    for (name, value) in routing {
        out.extend(value.map(|v| Value::scalar(format!("{group}_mean/routing.{name}"), v)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Number;
    use crate::score_stage::{ClassEvaluation, ImageRow};

    fn pairs(values: &[Value]) -> Vec<(&str, f32)> {
        values.iter().map(|v| (v.tag.as_str(), v.simple_value.unwrap())).collect()
    }

    #[test]
    fn a_step_has_a_curve_per_value_and_none_where_there_is_no_number() {
        let report = |values: &[(&str, f64)]| values.iter().map(|(k, v)| ((*k).to_owned(), *v)).collect();
        let levels = report(&[("level0.loss", 1.0), ("level1.loss", 0.5), ("level1.grad_norm", 0.0)]);
        let found = of_step(2, &levels);
        let expected = [
            ("train/stage", 2.0),
            ("train/loss", 1.5),
            ("train/level0/loss", 1.0),
            ("train/level1/grad_norm", 0.0),
            ("train/level1/loss", 0.5),
        ];
        assert_eq!(pairs(&found), expected);
        let own = of_step(0, &report(&[("loss", 2.0), ("part.loss", f64::NAN)]));
        assert_eq!(pairs(&own), [("train/stage", 0.0), ("train/loss", 2.0)]);
    }

    #[test]
    fn an_evaluation_has_a_curve_per_class_and_means_of_what_is_defined() {
        let number = |value: f64| Number { value: Some(value), reason: None, error_bound: None };
        let row = |routed: &str| ImageRow {
            image: "a.png".into(),
            kind: "good".into(),
            anomalous: false,
            given: 0.0,
            routed: 0.0,
            routed_class: routed.into(),
            map_hash: String::new(),
        };
        let class = |name: &str, metrics: Vec<(&str, Number)>| ClassEvaluation {
            class: name.into(),
            learnt: 0,
            metrics: metrics.into_iter().map(|(k, v)| (k.to_owned(), v)).collect(),
            images: vec![row("bolt")],
            nll: Some(vec![1.5]),
        };
        let bolt = class("bolt", vec![("image_auroc.given", number(0.5)), ("pixel_ap.given", number(0.0))]);
        let none = Number::undefined("no mask");
        let pine = class("pine", vec![("image_auroc.given", number(1.0)), ("pixel_ap.given", none.clone())]);
        let mut evaluation = StageEvaluation { stage: 0, classes: vec![bolt, pine], shortlist: None };
        let expected = [
            ("eval_mean/image_auroc.given", 0.75),
            ("eval/image_auroc.given/bolt", 0.5),
            ("eval/image_auroc.given/pine", 1.0),
            ("eval_mean/nll.level0", 1.5),
            ("eval/nll.level0/bolt", 1.5),
            ("eval/nll.level0/pine", 1.5),
            ("eval_mean/pixel_ap.given", 0.0),
            ("eval/pixel_ap.given/bolt", 0.0),
            ("eval_mean/routing.accuracy", 0.5),
        ];
        assert_eq!(pairs(&of_evaluation("eval", &evaluation)), expected);
        evaluation.shortlist = Some(ShortlistCheck { images: 8, changed: 2 });
        evaluation.classes.iter_mut().for_each(|c| c.images.clear());
        let found = of_evaluation("tasks", &evaluation);
        assert_eq!(pairs(&found).last(), Some(&("tasks_mean/routing.shortlist_changed", 0.25)));
        assert!(!pairs(&found).iter().any(|(tag, _)| tag.contains("accuracy")), "of no image");
    }
}
