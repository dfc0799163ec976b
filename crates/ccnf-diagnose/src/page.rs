//! A diagnosis as one HTML page.

use crate::charts::{Drawn, RunFigures, freeze};
use crate::diagnosis::{Diagnosis, RunDiagnosis};
use crate::part::Part;
use crate::tables;
use ccnf_chart::{Blocks, Figure, Page, Table};

fn figures(drawn: &[Drawn]) -> impl Iterator<Item = Figure> {
    drawn.iter().map(|d| Figure::new(d.chart.as_ref()).caption(d.caption.as_str()))
}

/// A subsection with the tables and figures of a part, or why there is none.
fn part<T>(
    blocks: &mut Blocks,
    title: &str,
    part: &Part<T>,
    drawn: &[Drawn],
    tables: impl Fn(&T) -> Vec<Table>,
) {
    let section = blocks.section(title);
    match part {
        Part::Undefined(reason) => {
            section.paragraph(format!("Undefined: {reason}."));
        }
        Part::Found(found) => {
            tables(found).into_iter().for_each(|table| {
                section.table(table);
            });
            section.figures(figures(drawn));
        }
    }
}

fn run_section(blocks: &mut Blocks, run: &RunDiagnosis, drawn: &RunFigures) {
    let of = |stage: usize| {
        let own = run.classes.iter().filter(|c| c.stage == stage).map(|c| c.name.as_str());
        format!("{}: {}", stage + 1, own.collect::<Vec<_>>().join(", "))
    };
    blocks.facts([
        ("Detector", run.detector.clone()),
        ("Classes by stage", (0..run.stages).map(of).collect::<Vec<_>>().join("; ")),
        ("Folder", run.folder.display().to_string()),
    ]);
    for remark in run.swap.found().iter().flat_map(|s| s.remarks()) {
        blocks.notice(remark);
    }
    part(blocks, "Swap test", &run.swap, &drawn.swap, |s| vec![tables::models(s), tables::contrasts(s)]);
    part(blocks, "Change of tensors", &run.drift, &drawn.drift, |d| vec![tables::groups(d)]);
    let title = "Change of latents and class weights";
    part(blocks, title, &run.functional, &drawn.functional, |f| vec![tables::functional(f)]);
    part(blocks, "Separation of the classes", &run.latents, &drawn.latents, |m| vec![tables::separation(m)]);
}

/// The page, with the figures of every run and those over all runs.
pub(crate) fn page(diagnosis: &Diagnosis, by_run: &[RunFigures]) -> Page {
    let mut page = Page::new("Diagnosis");
    page.lead("What changed in a model between tasks, and what that does to the classes it learnt first.");
    page.lead("Change of parameters alone says nothing about a cause; only the swap test does.");
    let section = page.section("Entropy over the classes");
    for run in &diagnosis.runs {
        if let Some(reason) = run.freeze.reason() {
            section.paragraph(format!("{}: undefined, {reason}.", run.name));
        }
    }
    let table = tables::freeze(diagnosis);
    if !table.rows.is_empty() {
        section.table(table).figures(figures(&freeze(diagnosis)));
    }
    for (run, drawn) in diagnosis.runs.iter().zip(by_run) {
        run_section(page.section(&*run.name), run, drawn);
    }
    let options = &diagnosis.options;
    page.provenance([
        ("Seed of the draws", options.seed.to_string()),
        ("Tokens per class and level", options.tokens.to_string()),
        ("Bootstrap draws", options.draws.to_string()),
        ("Training images of a refit", options.refit_images.to_string()),
    ]);
    page
}
