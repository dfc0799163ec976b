//! The answer in words: what the numbers of a table allow to say, and no more.

use super::counted;
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
    let head = format!(
        "{} ({} in {})",
        table.name,
        counted(classes, "class", "classes"),
        counted(table.tasks.len(), "task", "tasks")
    );
    let Some(highest) = q.accuracy.value.value else {
        let why: Vec<String> = table.left_out.iter().map(|(c, why)| format!("{c}: {why}")).collect();
        return format!("{head}: image AUROC is not defined ({}).", and(&why));
    };
    let tied = |r: &&Row| r.quality.get("given").and_then(|q| q.accuracy.value.value) == Some(highest);
    let first: Vec<String> = rows.iter().filter(|r| tied(r)).map(|r| r.model.clone()).collect();
    let mut text = match (rows.len(), first.len()) {
        (1, _) => format!(
            "{head}: with the class given, {} has a mean image AUROC of {}",
            best.model,
            value(&q.accuracy)
        ),
        (_, 1) => format!(
            "{head}: with the class given, {} has the highest mean image AUROC after the last task, {}",
            best.model,
            value(&q.accuracy)
        ),
        _ => format!(
            "{head}: with the class given, {} share the highest mean image AUROC after the last task, {}",
            and(&first),
            value(&q.accuracy)
        ),
    };
    let equal: Vec<String> = table
        .pairs
        .iter()
        .filter(|p| p.class == "given" && p.accuracy.verdict == Verdict::NotDistinguishable)
        .filter_map(|p| match (p.first == best.model, p.second == best.model) {
            (true, _) => Some(p.second.clone()),
            (_, true) => Some(p.first.clone()),
            _ => None,
        })
        .filter(|name| !first.contains(name))
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

/// Below so many images of a kind the bootstrap is not to be trusted.
const FEW_IMAGES: usize = 10;

/// What the seeds and images of a table allow.
pub(crate) fn of_seeds(table: &Table) -> String {
    let counts = || table.rows.iter().map(|r| r.seeds.len());
    let mut text = match (counts().min().unwrap_or(0), counts().max().unwrap_or(0)) {
        (_, 0 | 1) => {
            "One seed: intervals cover the choice of test images and not that of the seed.".to_owned()
        }
        (least, most) => {
            let mut text = format!(
                "Intervals cover the choice of test images and of up to {most} seeds; so few seeds show less spread than there is."
            );
            if least < 2 {
                text += " Of models with a single run (column runs) they do not cover the seed.";
            }
            text
        }
    };
    if table.least_images < FEW_IMAGES && table.least_images > 0 {
        text += &format!(
            " Some class has only {} normal or defective test images: the bootstrap knows no others, and its intervals are too narrow.",
            table.least_images
        );
    }
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
            least_images: 3,
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
        assert!(of_seeds(&table).contains("only 3 normal or defective test images"), "{}", of_seeds(&table));
        let tie =
            Table { rows: vec![row("a", 1, 0.5, None, None), row("b", 1, 0.5, None, None)], ..table.clone() };
        assert!(of_table(&tie).contains("a and b share the highest"), "{}", of_table(&tie));
        let mut none = Table { rows: vec![row("a", 1, 0.5, None, None)], ..table };
        assert!(of_table(&none).contains("a has a mean image AUROC of 0.500"), "{}", of_table(&none));
        none.left_out.insert("a".into(), "no anomalous test image".into());
        none.rows[0].quality.get_mut("given").unwrap().accuracy.value = Number::undefined("none");
        assert!(
            of_table(&none).contains("is not defined (a: no anomalous test image)"),
            "{}",
            of_table(&none)
        );
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
