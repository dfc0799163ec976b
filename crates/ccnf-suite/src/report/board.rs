//! The tables of a report.

use super::answer::ranked;
use crate::statistics::{Comparison, Interval, LEVEL, Row, Table, Verdict};
use ccnf_chart::{Cell, Column, Table as Sheet};
use ccnf_engine::Number;
use std::collections::BTreeMap;

/// Processor seconds of a run by model: training and scoring, mean over runs.
pub(crate) type Seconds = BTreeMap<String, f64>;

fn number(n: &Number, scale: f64, digits: usize) -> Cell {
    Cell::number_or(n.value.map(|v| scale * v), digits, n.reason.clone().unwrap_or_default())
}

fn interval(i: &Interval, scale: f64, digits: usize) -> Cell {
    let cell = number(&i.value, scale, digits);
    match (i.low.value, i.high.value) {
        (Some(low), Some(high)) => cell.interval(scale * low, scale * high),
        _ => cell,
    }
}

fn spread(row: &Row, key: &str, digits: usize) -> Cell {
    let Some(s) = row.summary.get(key) else { return Cell::undefined("the run has no such number") };
    let cell = number(&s.mean, 1.0, digits);
    match s.deviation.value {
        Some(d) => cell.plus_minus(d),
        None => cell,
    }
}

/// `900 B`, `1.5 kB`, `2.10 MB`.
pub(crate) fn bytes(v: f64) -> String {
    match v {
        v if v < 1e3 => format!("{v:.0} B"),
        v if v < 1e6 => format!("{:.1} kB", v / 1e3),
        v => format!("{:.2} MB", v / 1e6),
    }
}

/// The leader board of a table, best first.
pub(crate) fn leader_board(table: &Table, seconds: &Seconds) -> Sheet {
    let columns = [
        Column::text("model"),
        Column::number("runs").help("seeds"),
        Column::number("image AUROC").help("mean over all classes after the last task, class given; 95 % interval over test images and seeds"),
        Column::number("forgetting (points)").help("points of image AUROC that earlier classes lost since they were learnt, class given; 95 % interval"),
        Column::number("base").help("image AUROC after the last task, classes of the first task"),
        Column::number("new").help("image AUROC after the last task, classes of later tasks"),
        Column::number("FM").help("forgetting measure of Chaudhry et al. 2018: best value before the last task minus the last"),
        Column::number("routed AUROC").help("the model chooses the class"),
        Column::number("routing").help("fraction of test images sent to their class"),
        Column::number("pixel AUROC"),
        Column::number("AUPRO"),
        Column::number("bytes per class").help("state that a class adds"),
        Column::number("CPU seconds").help("training and scoring of a run, over all threads"),
        Column::text("certificate").help("whether every tensor and map of earlier classes stayed bit for bit"),
    ];
    let mut sheet = Sheet::new(table.name.clone(), columns);
    let rows = ranked(table);
    let value = |r: &Row| r.quality.get("given").and_then(|q| q.accuracy.value.value);
    let highest = rows.first().and_then(|r| value(r));
    let first = |r: &Row| highest.is_some() && value(r) == highest;
    for row in rows {
        let of = |class: &str, f: &dyn Fn(&crate::statistics::Quality) -> Cell| {
            row.quality.get(class).map_or_else(|| Cell::undefined("no run"), f)
        };
        let accuracy = of("given", &|q| interval(&q.accuracy, 1.0, 3));
        let certificate = match row.certificate {
            None => "one stage",
            Some(true) => "holds",
            Some(false) => "does not hold",
        };
        sheet.push([
            Cell::text(row.model.clone()),
            Cell::number(row.runs.len() as f64, 0),
            if first(row) { accuracy.best() } else { accuracy },
            of("given", &|q| interval(&q.forgetting, 100.0, 1)),
            spread(row, "image_auroc.given.base_final", 3),
            spread(row, "image_auroc.given.new_final", 3),
            spread(row, "image_auroc.given.fm", 3),
            of("routed", &|q| interval(&q.accuracy, 1.0, 3)),
            spread(row, "routing.accuracy", 3),
            spread(row, "pixel_auroc.given.acc_final", 3),
            spread(row, "pixel_aupro.given.acc_final", 3),
            Cell::shown(row.class_bytes, bytes(row.class_bytes)),
            Cell::number_or(seconds.get(&row.model).copied(), 0, "not known on this system"),
            Cell::text(certificate),
        ]);
    }
    sheet
}

/// The columns that a terminal has room for.
const SHORT: [&str; 6] =
    ["model", "image AUROC", "forgetting (points)", "routed AUROC", "bytes per class", "certificate"];

/// What terminals show of a leader board.
pub(crate) fn short_board(board: &Sheet) -> Sheet {
    let keep: Vec<usize> =
        (0..board.columns.len()).filter(|c| SHORT.contains(&board.columns[*c].title.as_str())).collect();
    let mut sheet = Sheet::new(board.caption.clone(), keep.iter().map(|c| board.columns[*c].clone()));
    for row in &board.rows {
        sheet.push(keep.iter().filter_map(|c| row.get(*c).cloned()));
    }
    sheet
}

/// All pairs of a table for one quantity, `accuracy` or `forgetting`, class given.
pub(crate) fn pairs(
    table: &Table,
    quantity: &str,
    of: impl Fn(&crate::statistics::Pair) -> &Comparison,
) -> Sheet {
    let columns = [
        Column::text("first"),
        Column::text("second"),
        Column::number("difference")
            .help("first minus second in points of image AUROC, with its 95 % interval"),
        Column::number("p").help("of the bootstrap over images and seeds, corrected for all pairs (Holm)"),
        Column::number("Wilcoxon p").help(
            "signed-rank test over classes, corrected for all pairs (Holm): does it hold for other classes?",
        ),
        Column::number("detectable")
            .help("the smallest difference, in points, that these images and seeds find 4 times in 5"),
        Column::text("verdict"),
    ];
    let mut sheet = Sheet::new(format!("{}: {quantity}, class given", table.name), columns);
    for p in table.pairs.iter().filter(|p| p.class == "given") {
        let c = of(p);
        let small = |n: &Number| match n.value {
            Some(v) if v < 1e-4 => Cell::shown(v, "< 0.0001"),
            _ => number(n, 1.0, 4),
        };
        sheet.push([
            Cell::text(p.first.clone()),
            Cell::text(p.second.clone()),
            interval(&c.difference, 100.0, 1),
            small(&c.p_holm),
            small(&c.wilcoxon_holm),
            number(&c.detectable, 100.0, 1),
            Cell::text(verdict(p, c)),
        ]);
    }
    sheet
}

fn verdict(p: &crate::statistics::Pair, c: &Comparison) -> String {
    let general = match c.wilcoxon_holm.value {
        Some(w) if w < LEVEL => "",
        _ => ", on these classes",
    };
    match c.verdict {
        Verdict::FirstHigher => format!("{} is higher{general}", p.first),
        Verdict::SecondHigher => format!("{} is higher{general}", p.second),
        Verdict::NotDistinguishable => "not distinguishable".into(),
        Verdict::Undefined => "not defined".into(),
    }
}
