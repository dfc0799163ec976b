//! The answer in words: what the numbers of a table allow to say, and no more.

use crate::results::Results;
use crate::statistics::{Interval, Row, Table, Verdict};
use ccnf_engine::Number;

/// A value in points (hundredths of an AUROC) with its interval.
fn points(i: &Interval) -> String {
    match (i.value.value, i.low.value, i.high.value) {
        (Some(v), Some(low), Some(high)) if high > low => {
            format!("{:.1} points ({:.1} to {:.1})", 100.0 * v, 100.0 * low, 100.0 * high)
        }
        (Some(v), ..) => format!("{:.1} points", 100.0 * v),
        _ => "–".into(),
    }
}

fn value(i: &Interval) -> String {
    match (i.value.value, i.low.value, i.high.value) {
        (Some(v), Some(low), Some(high)) => format!("{v:.3} ({low:.3} to {high:.3})"),
        (Some(v), ..) => format!("{v:.3}"),
        _ => "–".into(),
    }
}

/// `a`, `a and b`, `a, b and c`.
fn and(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [one] => one.clone(),
        [rest @ .., last] => format!("{} and {last}", rest.join(", ")),
    }
}

fn get(n: &Number) -> f64 {
    n.value.unwrap_or(f64::NAN)
}

/// Rows by accuracy with the class given, best first; rows without a value last.
pub(crate) fn ranked(table: &Table) -> Vec<&Row> {
    let accuracy =
        |r: &Row| r.quality.get("given").and_then(|q| q.accuracy.value.value).unwrap_or(f64::NEG_INFINITY);
    let mut rows: Vec<&Row> = table.rows.iter().collect();
    rows.sort_by(|a, b| accuracy(b).total_cmp(&accuracy(a)));
    rows
}

/// The first paragraph of a table: who is best, who forgets, and by how much.
pub(crate) fn of_table(table: &Table) -> String {
    let rows = ranked(table);
    let Some(best) = rows.first() else { return format!("No run of {} has finished.", table.name) };
    let Some(q) = best.quality.get("given") else { return String::new() };
    let classes: usize = table.tasks.iter().map(Vec::len).sum();
    let mut text = format!(
        "{} ({classes} classes in {} tasks): with the class given, {} has the highest mean image AUROC after the last task, {}",
        table.name,
        table.tasks.len(),
        best.model,
        value(&q.accuracy)
    );
    let equal: Vec<String> = table
        .pairs
        .iter()
        .filter(|p| p.class == "given" && p.accuracy.verdict == Verdict::NotDistinguishable)
        .filter_map(|p| match (p.first == best.model, p.second == best.model) {
            (true, _) => Some(p.second.clone()),
            (_, true) => Some(p.first.clone()),
            _ => None,
        })
        .collect();
    if !equal.is_empty() {
        text += &format!("; not distinguishable from it: {}", and(&equal));
    }
    text += ". ";
    let kept: Vec<String> =
        rows.iter().filter(|r| r.certificate == Some(true)).map(|r| r.model.clone()).collect();
    if !kept.is_empty() {
        text += &format!(
            "Nothing is forgotten by {}: every tensor and every anomaly map of earlier classes stayed bit for bit as it was. ",
            and(&kept)
        );
    }
    let mut losers: Vec<(&Row, &Interval)> = rows
        .iter()
        .filter(|r| r.certificate == Some(false))
        .filter_map(|r| Some((*r, &r.quality.get("given")?.forgetting)))
        .filter(|(_, f)| f.value.value.is_some())
        .collect();
    losers.sort_by(|a, b| get(&b.1.value).total_cmp(&get(&a.1.value)));
    let (sure, unsure): (Vec<_>, Vec<_>) = losers.into_iter().partition(|(_, f)| get(&f.low) > 0.0);
    let list = |rows: &[(&Row, &Interval)]| -> Vec<String> {
        rows.iter().map(|(r, f)| format!("{} {}", r.model, points(f))).collect()
    };
    if !sure.is_empty() {
        text +=
            &format!("Image AUROC lost on earlier classes since they were learnt: {}. ", and(&list(&sure)));
    }
    if !unsure.is_empty() {
        text += &format!("A loss that can be chance, or a gain: {}. ", and(&list(&unsure)));
    }
    let joint: Vec<String> = rows.iter().filter(|r| r.stages == 1).map(|r| r.model.clone()).collect();
    if !joint.is_empty() && table.tasks.len() > 1 {
        text += &format!("{} saw all classes at once and cannot forget. ", and(&joint));
    }
    text.trim_end().to_owned()
}

/// How much the class order matters: the models that have runs in several orders of the same classes.
pub(crate) fn of_orders(results: &Results) -> Vec<String> {
    let sorted = |t: &Table| {
        let mut all: Vec<String> = t.tasks.iter().flatten().cloned().collect();
        all.sort();
        (all, t.tasks.iter().map(Vec::len).collect::<Vec<_>>())
    };
    let mut out = vec![];
    for (i, a) in results.tables.iter().enumerate() {
        for b in results.tables[i + 1..].iter().filter(|b| sorted(a) == sorted(b)) {
            for row in &a.rows {
                let Some(other) = b.rows.iter().find(|r| r.model == row.model) else { continue };
                let (Some(x), Some(y)) = (row.quality.get("given"), other.quality.get("given")) else {
                    continue;
                };
                out.push(format!(
                    "{}: accuracy {} in the order {}, {} in the order {}; forgetting {} and {}",
                    row.model,
                    value(&x.accuracy),
                    a.name,
                    value(&y.accuracy),
                    b.name,
                    points(&x.forgetting),
                    points(&y.forgetting)
                ));
            }
        }
    }
    out
}

/// What the seeds of a table allow.
pub(crate) fn of_seeds(table: &Table) -> String {
    let most = table.rows.iter().map(|r| r.seeds.len()).max().unwrap_or(0);
    let mut text = match most {
        0 | 1 => "One seed: intervals cover the choice of test images and not that of the seed.".to_owned(),
        n => format!(
            "Intervals cover the choice of test images and of {n} seeds; so few seeds show less spread than there is."
        ),
    };
    if !table.left_out.is_empty() {
        let all: Vec<String> = table.left_out.iter().map(|(c, why)| format!("{c} ({why})")).collect();
        text += &format!(" Left out of intervals and comparisons: {}.", and(&all));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::Quality;
    use std::collections::BTreeMap;

    fn exact(value: f64, spread: f64) -> Interval {
        let n = |v: f64| Number { value: Some(v), reason: None, error_bound: None };
        Interval {
            value: n(value),
            standard_error: n(spread),
            low: n(value - 2.0 * spread),
            high: n(value + 2.0 * spread),
        }
    }

    fn row(
        model: &str,
        stages: usize,
        accuracy: f64,
        forgetting: Option<Interval>,
        certificate: Option<bool>,
    ) -> Row {
        let none = || Number::undefined("one stage");
        let undefined = Interval { value: none(), standard_error: none(), low: none(), high: none() };
        let quality = Quality {
            accuracy: exact(accuracy, 0.01),
            forgetting: forgetting.unwrap_or(undefined),
            class_accuracy: BTreeMap::new(),
            class_forgetting: BTreeMap::new(),
        };
        Row {
            model: model.into(),
            seeds: vec![7],
            runs: vec!["id".into()],
            stages,
            quality: BTreeMap::from([("given".to_owned(), quality)]),
            summary: BTreeMap::new(),
            certificate,
            trainable: [0.0, 0.0],
            shared_bytes: 0.0,
            class_bytes: 0.0,
        }
    }

    #[test]
    fn the_answer_names_who_keeps_who_loses_and_who_cannot() {
        let table = Table {
            name: "p".into(),
            protocol: String::new(),
            data: String::new(),
            tasks: vec![vec!["a".into()], vec!["b".into()]],
            left_out: BTreeMap::new(),
            rows: vec![
                row("loser", 2, 0.6, Some(exact(0.3, 0.02)), Some(false)),
                row("frozen", 2, 0.9, Some(exact(0.0, 0.0)), Some(true)),
                row("unsure", 2, 0.8, Some(exact(0.01, 0.02)), Some(false)),
                row("joint", 1, 0.7, None, None),
            ],
            pairs: vec![],
        };
        let text = of_table(&table);
        assert!(
            text.contains(
                "frozen has the highest mean image AUROC after the last task, 0.900 (0.880 to 0.920)"
            ),
            "{text}"
        );
        assert!(text.contains("Nothing is forgotten by frozen:"), "{text}");
        assert!(text.contains("since they were learnt: loser 30.0 points (26.0 to 34.0)."), "{text}");
        assert!(text.contains("can be chance, or a gain: unsure 1.0 points (-3.0 to 5.0)."), "{text}");
        assert!(text.contains("joint saw all classes at once"), "{text}");
    }

    #[test]
    fn lists_read_as_sentences() {
        let names = |n: &[&str]| and(&n.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>());
        assert_eq!(
            (names(&["a"]), names(&["a", "b"]), names(&["a", "b", "c"])),
            ("a".into(), "a and b".into(), "a, b and c".into())
        );
    }
}
