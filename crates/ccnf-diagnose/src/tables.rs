//! The main numbers of a diagnosis as tables for people. Stages are counted from 1 here.

use crate::diagnosis::{Diagnosis, RunDiagnosis};
use crate::drift::{Drift, DriftScope, DriftSummary};
use crate::freeze::{Entropies, Freeze, Over, Posterior};
use crate::functional::{FunctionalChange, Quantity};
use crate::latents::LatentMap;
use crate::swap::SwapTest;
use crate::variants::{Difference, Variant};
use ccnf_chart::{Cell, Column, Table};
use ccnf_engine::Number;
use std::collections::BTreeSet;

fn cell(n: &Number) -> Cell {
    Cell::number_or(n.value, 3, n.reason.clone().unwrap_or_default())
}

/// A number that may be very small.
fn small(n: &Number) -> Cell {
    match n.value {
        Some(v) => Cell::shown(v, format!("{v:.2e}")),
        None => cell(n),
    }
}

/// Columns of texts, then columns of numbers.
fn columns<const T: usize, const N: usize>(texts: [&str; T], numbers: [&str; N]) -> Vec<Column> {
    texts.map(Column::text).into_iter().chain(numbers.map(Column::number)).collect()
}

/// From one stage to the next.
pub(crate) fn step(from: usize, to: usize) -> String {
    format!("{} to {}", from + 1, to + 1)
}

/// The models of a swap test.
pub(crate) fn models(swap: &SwapTest) -> Table {
    let caption = format!(
        "The classes of the first stage under models put together from two states; 0 is the state after stage 1, T that after stage {}. Mean \
         AUROC with the class given.",
        swap.last + 1
    );
    let mut table = Table::new(caption, columns(["model"], ["image AUROC", "pixel AUROC"]));
    let row = |v: &Variant| [Cell::text(&*v.name), cell(&v.image_auroc), cell(&v.pixel_auroc)];
    swap.recorded.iter().chain(&swap.variants).for_each(|v| {
        table.push(row(v));
    });
    table
}

/// The contrasts of a swap test.
pub(crate) fn contrasts(swap: &SwapTest) -> Table {
    let caption = "Image AUROC of one model minus that of another, with 95 % intervals of a paired bootstrap over test images.";
    let mut table = Table::new(caption, columns(["contrast", "model", "minus"], ["image AUROC"]));
    let value = |d: &Difference| match (d.low.value, d.high.value) {
        (Some(low), Some(high)) => cell(&d.difference).interval(low, high),
        _ => cell(&d.difference),
    };
    swap.differences.iter().for_each(|d| {
        table.push([Cell::text(&*d.name), Cell::text(&*d.first), Cell::text(&*d.second), value(d)]);
    });
    table
}

/// The change of the groups of tensors.
pub(crate) fn groups(drift: &Drift) -> Table {
    let names = ["tensors", "mean relative", "pooled relative", "RMS", "began at zero"];
    let mut table =
        Table::new("Change of the tensors that both stages have.", columns(["stages", "group"], names));
    let row = |s: &DriftSummary| {
        [
            Cell::text(step(s.from, s.to)),
            Cell::text(s.group.to_string()),
            Cell::number(s.tensors as f64, 0),
            cell(&s.mean_relative),
            cell(&s.pooled_relative),
            small(&s.rms),
            Cell::number(s.from_zero as f64, 0),
        ]
    };
    drift.summaries.iter().filter(|s| s.scope == DriftScope::Group).for_each(|s| {
        table.push(row(s));
    });
    table
}

/// The change of latents and class weights.
pub(crate) fn functional(all: &[FunctionalChange]) -> Table {
    let caption =
        "Change of the latents of fixed tokens of known classes, and of the weights of the known classes.";
    let names = ["level", "mean |z change|^2 / D", "KL of class weights"];
    let mut table = Table::new(caption, columns(["stages"], names));
    let steps: BTreeSet<(usize, usize, usize)> = all.iter().map(|f| (f.from, f.to, f.level)).collect();
    for (from, to, level) in steps {
        let of = |quantity| {
            let found = all.iter().find(|f| {
                (f.from, f.to, f.level) == (from, to, level) && f.class.is_none() && f.quantity == quantity
            });
            found.map_or_else(|| Cell::undefined("not measured"), |f| small(&f.value))
        };
        let (latents, weights) = (of(Quantity::LatentChange), of(Quantity::ClassWeights));
        table.push([Cell::text(step(from, to)), Cell::number(level as f64, 0), latents, weights]);
    }
    table
}

/// The separation of the classes.
pub(crate) fn separation(maps: &[LatentMap]) -> Table {
    let caption = "Separation of the classes, measured in the latents and not in their pictures.";
    let names = ["level", "classes", "tokens", "nearest-neighbour accuracy", "silhouette"];
    let mut table = Table::new(caption, columns(["after stage"], names));
    for m in maps {
        table.push([
            Cell::text((m.stage + 1).to_string()),
            Cell::number(m.level as f64, 0),
            Cell::number(m.classes.len() as f64, 0),
            Cell::number(m.tokens as f64, 0),
            cell(&m.accuracy),
            cell(&m.silhouette),
        ]);
    }
    table
}

/// What a posterior is called.
pub(crate) fn called(posterior: Posterior) -> &'static str {
    match posterior {
        Posterior::Likelihood => "likelihoods",
        Posterior::Method => "the method's own",
    }
}

/// One table over the runs: entropies and AUROC after the last stage against after the first.
pub(crate) fn freeze(diagnosis: &Diagnosis) -> Table {
    let caption = "After the last stage against after the first, mean over the classes of the first stage and the levels: dH over these classes \
                   in nats, dH / ln K over all known ones; image AUROC with the class given.";
    let names = ["dH normal", "dH defect", "dH normal / ln K", "dH defect / ln K", "dAUROC"];
    let mut table = Table::new(caption, columns(["run", "posterior"], names));
    for run in &diagnosis.runs {
        if let Some(found) = run.freeze.found() {
            table.rows.extend(freeze_rows(run, found));
        }
    }
    table
}

fn freeze_rows(run: &RunDiagnosis, freeze: &Freeze) -> Vec<Vec<Cell>> {
    let last = run.stages.saturating_sub(1);
    let auroc = freeze.auroc.iter().find(|a| a.stage == last && a.class.is_none());
    let of = |posterior| {
        let old = freeze.mean_of(last, posterior, Over::FirstClasses)?;
        let all = freeze.mean_of(last, posterior, Over::AllClassesNormalised);
        let normalised = |number: fn(&Entropies) -> &Number| {
            all.map_or_else(|| Cell::undefined("not measured"), |a| cell(number(a)))
        };
        Some(vec![
            Cell::text(&*run.name),
            Cell::text(called(posterior)),
            cell(&old.d_normal),
            cell(&old.d_anomalous),
            normalised(|e| &e.d_normal),
            normalised(|e| &e.d_anomalous),
            auroc.map_or_else(|| Cell::undefined("not measured"), |a| cell(&a.d_image)),
        ])
    };
    [Posterior::Likelihood, Posterior::Method].into_iter().filter_map(of).collect()
}
