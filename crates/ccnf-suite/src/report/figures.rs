//! The charts of a table.

use super::answer::ranked;
use super::board::Seconds;
use crate::statistics::{Entry, Group, Quality, Row, Table, Verdict};
use ccnf_chart::{
    Axis, ColorScale, Figure, HeatCell, HeatMap, IntervalChart, IntervalRow, LineChart, Point, ScatterChart,
    Series,
};
use std::collections::BTreeMap;

const AUROC: &str = "image AUROC";

fn given(row: &Row) -> Option<&Quality> {
    row.quality.get("given")
}

/// Dots with intervals: accuracy and forgetting.
pub(crate) fn intervals(table: &Table) -> Vec<Figure> {
    let chart =
        |title: &str, axis: Axis, scale: f64, of: &dyn Fn(&Quality) -> &crate::statistics::Interval| {
            let mut chart = IntervalChart::new(title, axis);
            for row in ranked(table) {
                let Some(i) = given(row).map(of) else { continue };
                let line = match (i.value.value, i.low.value, i.high.value) {
                    (Some(v), Some(low), Some(high)) => {
                        IntervalRow::new(&row.model, scale * v).interval(scale * low, scale * high)
                    }
                    (Some(v), ..) => IntervalRow::new(&row.model, scale * v),
                    _ => IntervalRow::undefined(&row.model, i.value.reason.clone().unwrap_or_default()),
                };
                chart = chart.row(line);
            }
            chart
        };
    let accuracy = chart("Image AUROC after the last task", Axis::new(AUROC), 1.0, &|q| &q.accuracy)
        .reference(0.5, "chance")
        .digits(3);
    let forgetting =
        chart("Forgetting", Axis::new("lost since a class was learnt").unit("points"), 100.0, &|q| {
            &q.forgetting
        })
        .reference(0.0, "none")
        .digits(1);
    vec![
        Figure::new(&accuracy)
            .caption("Mean over all classes, class given; 95 % intervals over test images and seeds."),
        Figure::new(&forgetting).caption("Mean over earlier classes; right of 0 is forgotten."),
    ]
}

/// Mean over runs of an entry of the R matrix.
fn entry(entries: &[&Entry<'_>], stage: usize, class: &str) -> Option<f64> {
    let values: Option<Vec<f64>> = entries
        .iter()
        .map(|e| {
            let column = e.run.metrics.classes.iter().position(|c| c.name == class)?;
            *e.run.metrics.matrices.get("image_auroc")?.get("given")?.get(stage)?.get(column)?
        })
        .collect();
    values.filter(|v| !v.is_empty()).map(|v| v.iter().sum::<f64>() / v.len() as f64)
}

fn of_model<'a>(group: &'a Group<'_>, model: &str) -> Vec<&'a Entry<'a>> {
    group.entries.iter().filter(|e| e.planned.cell.model == model).collect()
}

fn task_names(table: &Table) -> Vec<String> {
    (1..=table.tasks.len()).map(|t| format!("task {t}")).collect()
}

/// Mean of defined values; none where one is missing.
fn mean(values: Vec<Option<f64>>) -> Option<f64> {
    let known: Option<Vec<f64>> = values.into_iter().collect();
    known.filter(|v| !v.is_empty()).map(|v| v.iter().sum::<f64>() / v.len() as f64)
}

/// Accuracy after every task, mean over the classes learnt so far.
pub(crate) fn over_tasks(table: &Table, group: &Group<'_>) -> Figure {
    let mut chart =
        LineChart::new("Accuracy over tasks", Axis::categories("after", task_names(table)), Axis::new(AUROC));
    for row in ranked(table).into_iter().filter(|r| r.stages == table.tasks.len()) {
        let entries = of_model(group, &row.model);
        let values = (0..table.tasks.len())
            .map(|t| mean(table.tasks[..=t].iter().flatten().map(|c| entry(&entries, t, c)).collect()));
        chart = chart.series(Series::over_index(&row.model, values.collect::<Vec<_>>()));
    }
    Figure::new(&chart).caption("Mean over the classes learnt so far, class given, mean over seeds. Later classes may be harder: a fall is not forgetting alone.")
}

/// The first task's classes after every task.
pub(crate) fn first_task(table: &Table, group: &Group<'_>) -> Figure {
    let mut chart = LineChart::new(
        "What becomes of the first task",
        Axis::categories("after", task_names(table)),
        Axis::new(AUROC),
    );
    for row in ranked(table).into_iter().filter(|r| r.stages == table.tasks.len()) {
        let entries = of_model(group, &row.model);
        let values = (0..table.tasks.len())
            .map(|t| mean(table.tasks[0].iter().map(|c| entry(&entries, t, c)).collect()));
        chart = chart.series(Series::over_index(&row.model, values.collect::<Vec<_>>()));
    }
    Figure::new(&chart).caption("Mean over the classes of the first task, class given, mean over seeds.")
}

/// R matrices of a model: by task (square) and by class.
pub(crate) fn r_matrices(table: &Table, group: &Group<'_>, row: &Row) -> [Figure; 2] {
    let entries = of_model(group, &row.model);
    let tasks = task_names(table);
    let scale = ColorScale::Sequential { low: Some(0.5), high: Some(1.0) };
    let learnt_later = || HeatCell::Undefined("not yet learnt".into());
    let mut square =
        HeatMap::new(&row.model, AUROC, &tasks).axes("after", "classes of").scale(scale).digits(2);
    let classes: Vec<&String> = table.tasks.iter().flatten().collect();
    let mut grouped = HeatMap::new(&row.model, AUROC, classes.iter().map(|c| c.as_str()))
        .axes("after", "class")
        .scale(scale)
        .digits(2);
    // Joint training has one stage, in which all classes are learnt.
    let joint = row.stages == 1 && table.tasks.len() > 1;
    for (stage, name) in tasks.iter().enumerate().take(row.stages) {
        let seen = |task: usize| joint || task <= stage;
        square = square.row(
            name,
            table.tasks.iter().enumerate().map(|(t, classes)| match seen(t) {
                true => HeatCell::from(mean(classes.iter().map(|c| entry(&entries, stage, c)).collect())),
                false => learnt_later(),
            }),
        );
        let cells =
            table.tasks.iter().enumerate().flat_map(|(t, classes)| classes.iter().map(move |c| (t, c)));
        grouped = grouped.row(
            name,
            cells.map(
                |(t, c)| if seen(t) { HeatCell::from(entry(&entries, stage, c)) } else { learnt_later() },
            ),
        );
    }
    [Figure::new(&square), Figure::new(&grouped)]
}

/// Accuracy and forgetting per class, models by classes.
pub(crate) fn per_class(table: &Table) -> Vec<Figure> {
    let classes: Vec<&String> = table.tasks.iter().flatten().collect();
    let map = |title: &str,
               what: &str,
               scale: ColorScale,
               factor: f64,
               digits,
               of: &dyn Fn(&Quality) -> &BTreeMap<String, f64>| {
        let mut map = HeatMap::new(title, what, classes.iter().map(|c| c.as_str()))
            .axes("model", "class")
            .scale(scale)
            .digits(digits);
        for row in ranked(table) {
            let Some(values) = given(row).map(of) else { continue };
            map = map.row(
                &row.model,
                classes.iter().map(|c| match values.get(*c) {
                    Some(v) => HeatCell::from(factor * v),
                    None => HeatCell::Undefined("learnt in the last task, or not defined".into()),
                }),
            );
        }
        map
    };
    let accuracy = map(
        "Image AUROC per class after the last task",
        AUROC,
        ColorScale::Sequential { low: Some(0.5), high: Some(1.0) },
        1.0,
        2,
        &|q| &q.class_accuracy,
    );
    let forgetting = map(
        "Forgetting per class",
        "points lost since the class was learnt",
        ColorScale::Diverging { center: 0.0, reach: None },
        100.0,
        0,
        &|q| &q.class_forgetting,
    );
    vec![
        Figure::new(&accuracy).caption("Class given, mean over seeds."),
        Figure::new(&forgetting).caption("Class given, mean over seeds."),
    ]
}

/// Accuracy against what it costs.
pub(crate) fn cost(table: &Table, seconds: &Seconds) -> Vec<Figure> {
    let chart = |title: &str, axis: Axis, cost: &dyn Fn(&Row) -> Option<f64>| {
        let mut chart = ScatterChart::new(title, axis.log(), Axis::new(AUROC));
        for row in ranked(table) {
            let (Some(x), Some(q)) = (cost(row).filter(|x| *x > 0.0), given(row)) else { continue };
            let mut point = Point::new(x, q.accuracy.value.value).label(&row.model);
            if let (Some(low), Some(high)) = (q.accuracy.low.value, q.accuracy.high.value) {
                point = point.interval(low, high);
            }
            chart = chart.group(Series::new(&row.model, [point]));
        }
        chart
    };
    let memory = chart("Quality against memory", Axis::new("state that a class adds").unit("bytes"), &|r| {
        Some(r.class_bytes)
    });
    let time = chart("Quality against time", Axis::new("processor time of a run").unit("s"), &|r| {
        seconds.get(&r.model).copied()
    });
    vec![
        Figure::new(&memory)
            .caption("Models whose classes add nothing are not shown: a logarithmic axis has no 0."),
        Figure::new(&time).caption("Training and scoring over all threads."),
    ]
}

/// Differences of all pairs; those that can be chance are not coloured. `None` where all can be.
pub(crate) fn differences(table: &Table) -> Option<Figure> {
    let sure = |v: Verdict| matches!(v, Verdict::FirstHigher | Verdict::SecondHigher);
    if !table.pairs.iter().any(|p| p.class == "given" && sure(p.accuracy.verdict)) {
        return None;
    }
    let rows = ranked(table);
    let names: Vec<&str> = rows.iter().map(|r| r.model.as_str()).collect();
    let mut map = HeatMap::new("Differences in image AUROC", "points, row minus column", &names)
        .axes("row", "column")
        .scale(ColorScale::Diverging { center: 0.0, reach: None })
        .digits(1);
    for a in &names {
        let cell = |b: &&str| -> HeatCell {
            if a == b {
                return HeatCell::Undefined("the same model".into());
            }
            let found = table.pairs.iter().filter(|p| p.class == "given").find_map(|p| {
                match (p.first == *a, p.second == *b) {
                    (true, true) => Some((p, 1.0)),
                    _ if p.first == *b && p.second == *a => Some((p, -1.0)),
                    _ => None,
                }
            });
            match found {
                Some((p, sign)) if p.accuracy.verdict != Verdict::NotDistinguishable => {
                    HeatCell::from(p.accuracy.difference.value.value.map(|v| 100.0 * sign * v))
                }
                Some((p, sign)) => HeatCell::Undefined(format!(
                    "not distinguishable: {:+.1} points",
                    100.0 * sign * p.accuracy.difference.value.value.unwrap_or(f64::NAN)
                )),
                None => HeatCell::Undefined("not compared".into()),
            }
        };
        map = map.row(*a, names.iter().map(cell).collect::<Vec<_>>());
    }
    Some(Figure::new(&map).caption("Class given, after the last task. Hatched: not distinguishable after Holm's correction for all pairs."))
}

/// Where a model's router sends the test images of every class, first seed.
pub(crate) fn confusion(table: &Table, group: &Group<'_>, row: &Row) -> Option<Figure> {
    let run = of_model(group, &row.model).first()?.run;
    let confusion = &run.metrics.routing.confusion;
    let classes: Vec<&String> = table.tasks.iter().flatten().collect();
    let mut map = HeatMap::new(
        format!("{}: routing", row.model),
        "fraction of test images",
        classes.iter().map(|c| c.as_str()),
    )
    .axes("class of the image", "class chosen")
    .scale(ColorScale::Sequential { low: Some(0.0), high: Some(1.0) })
    .digits(2);
    for class in &classes {
        let sent = confusion.get(*class);
        let total: usize = sent.map_or(0, |s| s.values().sum());
        map = map.row(
            class.as_str(),
            classes.iter().map(|to| match total {
                0 => HeatCell::Undefined("no test image".into()),
                _ => HeatCell::from(sent.and_then(|s| s.get(*to)).map_or(0.0, |n| *n as f64) / total as f64),
            }),
        );
    }
    Some(Figure::new(&map).caption("After the last task, first seed."))
}
