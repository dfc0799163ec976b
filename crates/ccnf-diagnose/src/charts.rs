//! The figures of a diagnosis.

use crate::diagnosis::{Diagnosis, RunDiagnosis};
use crate::drift::{Drift, DriftScope, DriftSummary};
use crate::freeze::{Entropies, Over, Posterior};
use crate::functional::{FunctionalChange, Quantity};
use crate::latents::LatentMap;
use crate::part::Part;
use crate::swap::SwapTest;
use crate::tables::{called, step};
use ccnf_chart::{
    Axis, Chart, ColorScale, HeatCell, HeatMap, IntervalChart, IntervalRow, LineChart, Point, ScatterChart,
    Series,
};
use ccnf_engine::Number;
use std::collections::BTreeSet;

/// A figure with its name, which is fit for a file.
pub(crate) struct Drawn {
    pub(crate) name: String,
    pub(crate) chart: Box<dyn Chart>,
    /// What to see in it.
    pub(crate) caption: String,
}

fn drawn(name: impl Into<String>, chart: impl Chart + 'static, caption: impl Into<String>) -> Drawn {
    Drawn { name: name.into(), chart: Box::new(chart), caption: caption.into() }
}

/// The figures of one run, part by part.
#[derive(Default)]
pub(crate) struct RunFigures {
    pub(crate) swap: Vec<Drawn>,
    pub(crate) drift: Vec<Drawn>,
    pub(crate) functional: Vec<Drawn>,
    pub(crate) latents: Vec<Drawn>,
}

impl RunFigures {
    pub(crate) fn of(run: &RunDiagnosis) -> RunFigures {
        RunFigures {
            swap: run.swap.found().map(swap).unwrap_or_default(),
            drift: run.drift.found().map(drift).unwrap_or_default(),
            functional: run.functional.found().map(|f| functional(f)).unwrap_or_default(),
            latents: run.latents.found().map(|m| m.iter().filter_map(scatter).collect()).unwrap_or_default(),
        }
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Drawn> {
        [&self.swap, &self.drift, &self.functional, &self.latents].into_iter().flatten()
    }
}

fn heat(n: &Number) -> HeatCell {
    match (n.value, &n.reason) {
        (Some(v), _) => HeatCell::Value(v),
        (None, reason) => HeatCell::Undefined(reason.clone().unwrap_or_default()),
    }
}

fn drift(drift: &Drift) -> Vec<Drawn> {
    let mut out = Vec::new();
    let of_scope = |scope| drift.summaries.iter().filter(move |s| s.scope == scope);
    let steps: BTreeSet<(usize, usize)> = drift.summaries.iter().map(|s| (s.from, s.to)).collect();
    // One scale for all, so that stages can be compared.
    let largest = of_scope(DriftScope::Block).filter_map(|s| s.mean_relative.value).reduce(f64::max);
    for (from, to) in &steps {
        let here: Vec<_> = of_scope(DriftScope::Block).filter(|s| s.to == *to).collect();
        let levels: BTreeSet<Option<usize>> = here.iter().map(|s| s.level).collect();
        let blocks: BTreeSet<Option<usize>> = here.iter().map(|s| s.block).collect();
        if here.is_empty() {
            continue;
        }
        let title = format!("Change of blocks, stages {}", step(*from, *to));
        let named = levels.iter().map(|l| l.map_or_else(|| "no level".into(), |l| format!("level {l}")));
        let mut map = HeatMap::new(title, "mean relative change", named.collect::<Vec<String>>())
            .axes("coupling block", "level")
            .scale(ColorScale::Sequential { low: Some(0.0), high: largest });
        for block in &blocks {
            let cell = |level: &Option<usize>| {
                // Of shared tensors and those of classes in one block the shared ones come first.
                let found = here.iter().find(|s| s.level == *level && s.block == *block);
                found.map_or_else(|| HeatCell::Undefined("no such block".into()), |s| heat(&s.mean_relative))
            };
            let label = block.map_or_else(String::new, |b| format!("block {b}"));
            map = map.row(label, levels.iter().map(cell).collect::<Vec<_>>());
        }
        let caption =
            "Mean over a block's weights of |change| / |before|; weights that began at zero are left out.";
        out.push(drawn(format!("drift-blocks-{}-{}", from + 1, to + 1), map, caption));
    }
    let names: Vec<String> = steps.iter().map(|(from, to)| step(*from, *to)).collect();
    let line = |title: &str, y: &str| {
        LineChart::new(title, Axis::categories("stages", names.clone()), Axis::new(y).include(0.0))
    };
    type Of = fn(&DriftSummary) -> &Number;
    let series = |name: String, own: &dyn Fn(&DriftSummary) -> bool, scope, value: Of| {
        let at = |to: usize| of_scope(scope).find(|s| s.to == to && own(s)).and_then(|s| value(s).value);
        Series::over_index(name, steps.iter().map(|(_, to)| at(*to)).collect::<Vec<_>>())
    };
    let groups: BTreeSet<_> = of_scope(DriftScope::Group).map(|s| s.group).collect();
    let mut chart = line("Relative change of groups of tensors", "|change| / |before|");
    for group in groups {
        let own = move |s: &DriftSummary| s.group == group;
        chart = chart.series(series(group.to_string(), &own, DriftScope::Group, |s| &s.pooled_relative));
    }
    out.push(drawn(
        "drift-groups",
        chart,
        "All values of a group as one vector; tensors that both stages have.",
    ));
    let parts: BTreeSet<_> = of_scope(DriftScope::Part).map(|s| (s.part.clone(), s.level)).collect();
    if !parts.is_empty() {
        let mut chart = line("Change of what belongs to classes", "RMS change");
        for (part, level) in parts {
            let place = level.map_or_else(String::new, |l| format!(", level {l}"));
            let name = format!("{}{place}", part.clone().unwrap_or_default());
            let own = move |s: &DriftSummary| s.part == part && s.level == level;
            chart = chart.series(series(name, &own, DriftScope::Part, |s| &s.rms));
        }
        let caption = "Root mean square of the change, which a start at zero does not inflate.";
        out.push(drawn("drift-classes", chart, caption));
    }
    out
}

fn functional(all: &[FunctionalChange]) -> Vec<Drawn> {
    let steps: BTreeSet<(usize, usize)> = all.iter().map(|f| (f.from, f.to)).collect();
    let names: Vec<String> = steps.iter().map(|(from, to)| step(*from, *to)).collect();
    let levels: BTreeSet<usize> = all.iter().map(|f| f.level).collect();
    let mut out = Vec::new();
    for (quantity, name, title, y) in [
        (
            Quantity::LatentChange,
            "latent-change",
            "Change of the latents of old classes",
            "mean |z change|^2 / D",
        ),
        (Quantity::ClassWeights, "class-weights", "Change of the weights of old classes", "KL (nats)"),
    ] {
        let own = || all.iter().filter(|f| f.quantity == quantity && f.class.is_none());
        if own().all(|f| f.value.value.is_none()) {
            continue;
        }
        let mut chart =
            LineChart::new(title, Axis::categories("stages", names.clone()), Axis::new(y).include(0.0));
        for level in &levels {
            let at = |to: usize| own().find(|f| f.to == to && f.level == *level).and_then(|f| f.value.value);
            let values: Vec<Option<f64>> = steps.iter().map(|(_, to)| at(*to)).collect();
            chart = chart.series(Series::over_index(format!("level {level}"), values));
        }
        out.push(drawn(name, chart, "On the same tokens of normal test images after every stage."));
    }
    // Weights are of the model, not of tokens.
    if let Some(weights) = out.iter_mut().find(|d| d.name == "class-weights") {
        weights.caption = "Restricted to the classes that both stages know and normalised over them.".into();
    }
    out
}

fn swap(test: &SwapTest) -> Vec<Drawn> {
    let axis = Axis::new("image AUROC").limits(0.0, 1.0);
    let mut models = IntervalChart::new("Models put together from two states", axis).reference(0.5, "chance");
    for v in &test.variants {
        let row = match v.image_auroc.value {
            Some(value) => IntervalRow::new(&*v.name, value)
                .points(v.classes.iter().filter_map(|c| c.image_auroc.value).collect::<Vec<_>>()),
            None => IntervalRow::undefined(&*v.name, v.image_auroc.reason.clone().unwrap_or_default()),
        };
        models = models.row(row);
    }
    let axis = Axis::new("difference of image AUROC").include(0.0);
    let mut contrasts =
        IntervalChart::new("What each part does to the first classes", axis).reference(0.0, "nothing");
    for d in &test.differences {
        let row = match (d.difference.value, d.low.value, d.high.value) {
            (Some(value), Some(low), Some(high)) => IntervalRow::new(&*d.name, value).interval(low, high),
            _ => IntervalRow::undefined(&*d.name, d.difference.reason.clone().unwrap_or_default()),
        };
        contrasts = contrasts.row(row);
    }
    vec![
        drawn(
            "swap-models",
            models,
            "The mean over the classes of the first stage, and each of them as a ring.",
        ),
        drawn("swap-contrasts", contrasts, "95 % intervals of a paired bootstrap over the test images."),
    ]
}

/// A look whose colour says the class and whose marker says the task: looks are numbered so that colours repeat after 8 and markers
/// after 7.
fn look(class: usize, task: usize) -> usize {
    let colour = class % 8;
    colour + 8 * ((7 + task % 7 - colour % 7) % 7)
}

fn scatter(map: &LatentMap) -> Option<Drawn> {
    let points = map.points.found()?;
    let (stage, level) = (map.stage + 1, map.level);
    let axis = || Axis::new("").without_ticks();
    let mut chart = ScatterChart::new(format!("Latents after stage {stage}, level {level}"), axis(), axis());
    for (number, class) in map.classes.iter().enumerate() {
        let own = points.iter().filter(|p| p.class == number).map(|p| Point::new(p.x, p.y));
        let name = format!("{} (task {})", class.name, class.stage + 1);
        chart = chart.group(Series::new(name, own.collect::<Vec<_>>()).style(look(number, class.stage)));
    }
    let caption = format!(
        "t-SNE of {} tokens of normal test images, coloured by class, marked by task. Distances between clusters mean nothing; the table has \
         the numbers.",
        map.tokens
    );
    Some(drawn(format!("latents-stage{stage}-level{level}"), chart, caption))
}

/// The entropies of all runs after every stage.
pub(crate) fn freeze(diagnosis: &Diagnosis) -> Vec<Drawn> {
    let mut out = Vec::new();
    let last = diagnosis.runs.iter().map(|r| r.stages).max().unwrap_or(0);
    let stages: Vec<String> = (1..=last).map(|s| s.to_string()).collect();
    type Of = fn(&Entropies) -> &Number;
    let pixels: [(&str, Of); 2] = [("normal", |e| &e.d_normal), ("defective", |e| &e.d_anomalous)];
    for posterior in [Posterior::Likelihood, Posterior::Method] {
        for (kind, value) in pixels {
            let title = format!("Change of the entropy on {kind} pixels ({})", called(posterior));
            let axes = (Axis::categories("after stage", stages.clone()), Axis::new("dH (nats)").include(0.0));
            let mut chart = LineChart::new(title, axes.0, axes.1);
            let mut any = false;
            for run in &diagnosis.runs {
                let Part::Found(freeze) = &run.freeze else { continue };
                let at = |stage| freeze.mean_of(stage, posterior, Over::FirstClasses).map(value)?.value;
                let values: Vec<Option<f64>> = (0..run.stages).map(at).collect();
                any |= values.iter().any(Option::is_some);
                chart = chart.series(Series::over_index(&*run.name, values));
            }
            if any {
                let word = if posterior == Posterior::Likelihood { "likelihood" } else { "method" };
                let caption = "Over the classes of the first stage, mean over them and the levels, against after the first stage.";
                out.push(drawn(format!("entropy-{kind}-{word}"), chart, caption));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_say_class_by_colour_and_task_by_marker() {
        for class in 0..8 {
            for task in 0..7 {
                assert_eq!((look(class, task) % 8, look(class, task) % 7), (class, task));
            }
        }
    }
}
