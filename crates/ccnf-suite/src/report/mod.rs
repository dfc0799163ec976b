//! The report of a suite: one HTML file for people, and its tables as Markdown, CSV and LaTeX.

mod answer;
mod board;
mod figures;
mod gallery;
mod training;

use crate::collect::Collected;
use crate::folder::SuiteFolder;
use crate::results::Results;
use crate::statistics::{Group, Table, groups};
use board::Seconds;
use ccnf_chart::{Page, Text};
use ccnf_core::{Result, write_atomic};
use std::collections::{BTreeMap, BTreeSet};

/// What goes into a report.
#[derive(Debug, Clone, Copy)]
pub struct ReportOptions {
    /// Whether pictures of the dataset are shown: leave them out of what is published unless the dataset's licence allows it.
    pub pictures: bool,
}

impl Default for ReportOptions {
    fn default() -> Self {
        ReportOptions { pictures: true }
    }
}

/// The report of a suite in all its forms.
struct Forms {
    /// A self-contained page.
    page: Page,
    /// Answer and tables for a README or a notebook.
    markdown: String,
    /// The tables for a paper (booktabs).
    latex: String,
    /// The leader boards as CSV, by file name.
    csv: BTreeMap<String, String>,
    /// Leader board and answer for a terminal.
    text: String,
}

/// Writes tables and report of what has been collected into `folder`: results.json, results.csv, pairs.csv, timing.csv, report.html, report.md,
/// report.tex and a CSV file per leader board. Returns them with what a terminal shows: leader boards and answers.
pub fn write_report(
    collected: &Collected,
    folder: &SuiteFolder,
    options: ReportOptions,
) -> Result<(Results, String)> {
    let groups = groups(collected)?;
    let results = Results::new(collected, &groups)?;
    results.write(folder, collected)?;
    let forms = Forms::new(collected, &results, &groups, options)?;
    write_atomic(&folder.file("report.html"), forms.page.to_html().as_bytes())?;
    write_atomic(&folder.file("report.md"), forms.markdown.as_bytes())?;
    write_atomic(&folder.file("report.tex"), forms.latex.as_bytes())?;
    forms.csv.iter().try_for_each(|(name, text)| write_atomic(&folder.file(name), text.as_bytes()))?;
    Ok((results, forms.text))
}

impl Forms {
    fn new(
        collected: &Collected,
        results: &Results,
        groups: &[Group<'_>],
        options: ReportOptions,
    ) -> Result<Forms> {
        let title = format!("{}: comparison of {} models", results.suite, collected.spec.models.len());
        let mut forms = Forms {
            page: Page::new(title.clone()),
            markdown: format!("# {title}\n\n"),
            latex: String::new(),
            csv: BTreeMap::new(),
            text: String::new(),
        };
        let Forms { page, markdown, latex, csv, text } = &mut forms;
        if !results.about.is_empty() {
            page.lead(results.about.clone());
            *markdown += &format!("{}\n\n", results.about);
        }
        let answers: Vec<String> = results.tables.iter().map(answer::of_table).collect();
        for answer in &answers {
            page.lead(answer.clone());
            *markdown += &format!("{answer}\n\n");
        }
        if !results.missing.is_empty() {
            let lead = format!(
                "{} in no table: ",
                counted(results.missing.len(), "run of the suite is", "runs of the suite are")
            );
            page.lead(Text::from(lead).link("see why", "#not-in-the-tables"));
        }
        for (i, (table, group)) in results.tables.iter().zip(groups).enumerate() {
            let seconds = seconds(group)?;
            let board = board::leader_board(table, &seconds);
            section(page, table, group, &board, &seconds, options)?;
            *markdown += &format!("{}\n{}\n\n", board.to_markdown(), answer::of_seeds(table));
            *latex += &format!("{}\n", board.to_latex());
            csv.insert(format!("board-{}-{}.csv", i + 1, file_name(&table.name)), board.to_csv());
            *text += &format!("{}\n{}\n\n", board::short_board(&board).to_markdown().trim_end(), answers[i]);
        }
        let orders = answer::of_orders(results);
        if !orders.is_empty() {
            page.section("Class order")
                .paragraph("The same classes in another order, each with its 95 % interval.")
                .list(orders.clone());
            *markdown += "## Class order\n\n";
            orders.iter().for_each(|o| *markdown += &format!("- {o}\n"));
        }
        missing(page, markdown, results);
        method(page, results);
        provenance(page, collected, results)?;
        Ok(forms)
    }
}

/// `1 class`, `3 classes`.
pub(crate) fn counted(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

fn file_name(name: &str) -> String {
    name.chars().map(|c| if c.is_alphanumeric() || "-_.+".contains(c) { c } else { '_' }).collect()
}

fn missing(page: &mut Page, markdown: &mut String, results: &Results) {
    if results.missing.is_empty() {
        return;
    }
    let lines: Vec<String> = results.missing.iter().map(|m| format!("{}: {}", m.run, m.reason)).collect();
    let section = page.section("Not in the tables");
    let runs = counted(lines.len(), "run of the suite is", "runs of the suite are");
    section.notice(format!("{runs} in no table and in no mean."));
    section.list(lines.clone());
    *markdown += &format!("{runs} in no table:\n\n");
    lines.iter().for_each(|l| *markdown += &format!("- {}\n", l.replace('\n', " ")));
    markdown.push('\n');
}

/// Processor seconds of a run by model, where the system tells them.
fn seconds(group: &Group<'_>) -> Result<Seconds> {
    let mut all: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for e in &group.entries {
        let stages = e.run.timing()?;
        let total: Option<f64> =
            stages.values().map(|t| Some(t.training_cpu_seconds? + t.scoring_cpu_seconds?)).sum();
        all.entry(e.planned.cell.model.clone()).or_default().extend(total);
    }
    let mean = |v: Vec<f64>| (!v.is_empty()).then(|| v.iter().sum::<f64>() / v.len() as f64);
    Ok(all.into_iter().filter_map(|(m, v)| Some((m, mean(v)?))).collect())
}

fn section(
    page: &mut Page,
    table: &Table,
    group: &Group<'_>,
    board: &ccnf_chart::Table,
    seconds: &Seconds,
    options: ReportOptions,
) -> Result<()> {
    let ranked = answer::ranked(table);
    let s = page.section(format!("Leader board: {}", table.name));
    s.table(board.clone());
    s.paragraph(answer::of_seeds(table));
    for figure in figures::intervals(table) {
        s.figure(figure);
    }
    s.section("Over tasks").figures([figures::over_tasks(table, group), figures::first_task(table, group)]);
    s.section("Per class").figures(figures::per_class(table));
    s.section("Cost").figures(figures::cost(table, seconds));
    let pairs = s.section("Differences");
    match figures::differences(table) {
        Some(figure) => pairs.figure(figure),
        None => {
            pairs.paragraph("No two models can be told apart by their accuracy with these images and seeds.")
        }
    };
    pairs.details("All pairs: accuracy").table(board::pairs(table, "accuracy", |p| &p.accuracy));
    pairs.details("All pairs: forgetting").table(board::pairs(table, "forgetting", |p| &p.forgetting));
    let matrices = s.section("R matrices");
    matrices.paragraph("Image AUROC of the classes of each task (columns) after each task (rows), class given, mean over seeds. What forgets fades downwards.");
    let both: Vec<_> = ranked.iter().map(|row| figures::r_matrices(table, group, row)).collect();
    matrices.figures(both.iter().map(|[square, _]| square.clone()));
    matrices.details("By class").figures(both.iter().map(|[_, grouped]| grouped.clone()));
    let routing = s.section("Routing");
    routing.paragraph("Which class the model takes a test image for when nobody tells it.");
    routing
        .details("Confusion of every model")
        .figures(ranked.iter().filter_map(|row| figures::confusion(table, group, row)));
    let curves: Vec<_> = ranked
        .iter()
        .filter_map(|row| group.entries.iter().find(|e| e.planned.cell.model == row.model))
        .map(|e| training::curves(&e.planned.cell.model, e.run))
        .collect::<Result<_>>()?;
    if curves.iter().any(Option::is_some) {
        s.section("Training").details("Losses of every model").figures(curves.into_iter().flatten());
    }
    if options.pictures {
        let galleries: Vec<_> = ranked
            .iter()
            .map(|row| gallery::of_model(group, &row.model))
            .collect::<Result<Vec<_>>>()?
            .into_iter()
            .flatten()
            .collect();
        if !galleries.is_empty() {
            let s = s.section("Anomaly maps");
            s.paragraph("The worst misses first: of the classes with the lowest image AUROC the defect with the lowest score, then the normal image with the highest, then what was found best. A white line is the contour of the true defect.");
            for gallery in galleries {
                s.gallery(gallery);
            }
        }
    }
    Ok(())
}

fn method(page: &mut Page, results: &Results) {
    let s = page.section("How the numbers were made");
    s.list([
        format!("Intervals: bootstrap over test images (stratified by class and label) and seeds, {} draws, the same draws for all models; 2.5 % and 97.5 % quantiles.", results.draws),
        "Verdicts: difference over its bootstrap standard error under a normal distribution, two-sided, Holm's correction over all pairs of a table, level 0.05. “Not distinguishable” is not “equal”: see the smallest detectable difference.".to_owned(),
        "Wilcoxon: signed-rank test over classes (means over seeds), exact, Holm-corrected. It asks whether a difference holds for classes in general; with few classes and many pairs it cannot be significant.".to_owned(),
        "Forgetting: mean over earlier classes of image AUROC right after the class's own task minus that after the last (the negative of backward transfer).".to_owned(),
        "No model, threshold or number of steps was chosen on test images by the program; training never sees a label.".to_owned(),
    ]);
}

fn provenance(page: &mut Page, collected: &Collected, results: &Results) -> Result<()> {
    let s = page.section("Where every number comes from");
    s.paragraph("Every run is a folder named by its id, the hash of what determines it; its files are sealed with their hashes when it finishes, and were compared with them for this report.");
    let columns = [
        "run",
        "model",
        "protocol",
        "seed",
        "model hash",
        "protocol hash",
        "data hash",
        "weights",
        "program",
    ];
    let mut builds = BTreeSet::new();
    let mut sheet = ccnf_chart::Table::new("Runs", columns.map(ccnf_chart::Column::text));
    for (planned, run) in collected.finished() {
        let p = run.provenance();
        let weights: String = p.weights.chars().take(16).collect();
        let cells = [
            planned.id.clone(),
            planned.cell.model.clone(),
            planned.cell.column(),
            planned.cell.seed.to_string(),
            p.model.clone(),
            p.protocol.clone(),
            p.data.clone(),
            weights,
            p.program.clone(),
            run.environment()?["executable"].as_str().unwrap_or("not recorded").to_owned(),
        ];
        builds.insert(cells[9].clone());
        sheet.push(cells.map(ccnf_chart::Cell::text));
    }
    if builds.len() > 1 {
        let found =
            format!("These runs were made by {} builds of the program (column executable).", builds.len());
        s.notice(format!(
            "{found} Numbers of one version should be the same; after a change of the code they need not be."
        ));
    }
    s.details("All runs").table(sheet);
    let mut configs = BTreeMap::new();
    for (planned, _) in collected.finished() {
        configs.entry(&planned.cell.model).or_insert(&planned.config);
    }
    let models = s.details("Configuration of every model, first seed");
    for (model, config) in configs {
        models.code(model.clone(), toml::to_string(config).unwrap_or_default());
    }
    let facts: Vec<(String, Text)> = vec![
        ("suite".into(), results.suite.clone().into()),
        ("runs".into(), collected.finished().count().to_string().into()),
        ("program".into(), format!("ccnf {}", env!("CARGO_PKG_VERSION")).into()),
    ];
    page.provenance(facts);
    Ok(())
}
