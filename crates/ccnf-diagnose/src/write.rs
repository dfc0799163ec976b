//! The files of a diagnosis.

use crate::charts::{RunFigures, freeze};
use crate::diagnosis::Diagnosis;
use crate::page::page;
use ccnf_core::{Error, ErrorKind, Result, write_atomic};
use std::path::Path;

/// A name as part of a file name.
fn safe(name: &str) -> String {
    name.chars().map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '-' }).collect()
}

impl Diagnosis {
    /// Writes the diagnosis into a folder, replacing an earlier one:
    ///
    /// ```text
    /// diagnosis.html          tables, verdicts and figures
    /// diagnosis.md            tables and verdicts
    /// diagnosis.json          everything
    /// drift.csv               change of every tensor; drift_summary.csv: of blocks, parts and groups
    /// functional.csv          change of latents and class weights
    /// swap.csv                models put together from two states; swap_differences.csv: contrasts with intervals
    /// freeze.csv              entropies over the classes, and AUROC, before and after
    /// latents.csv             separation of the classes; embeddings.csv: the points of the pictures
    /// figures/                every figure as SVG
    /// ```
    ///
    /// Stages are counted from 0 in JSON and CSV, from 1 elsewhere. An empty cell is undefined; the column `reason` says why.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let mut json =
            serde_json::to_string_pretty(self).map_err(|e| Error::new(ErrorKind::Contract, e.to_string()))?;
        json.push('\n');
        write_atomic(&folder.join("diagnosis.json"), json.as_bytes())?;
        write_atomic(&folder.join("diagnosis.md"), self.summary().as_bytes())?;
        for (name, table) in self.csv() {
            write_atomic(&folder.join(name), table.as_bytes())?;
        }
        let by_run: Vec<RunFigures> = self.runs.iter().map(RunFigures::of).collect();
        let to = folder.join("figures");
        for (run, drawn) in self.runs.iter().zip(&by_run) {
            for d in drawn.all() {
                let name = format!("{}-{}.svg", safe(&run.name), d.name);
                write_atomic(&to.join(name), d.chart.svg().standalone().as_bytes())?;
            }
        }
        for d in freeze(self) {
            write_atomic(&to.join(format!("{}.svg", d.name)), d.chart.svg().standalone().as_bytes())?;
        }
        write_atomic(&folder.join("diagnosis.html"), page(self, &by_run).to_html().as_bytes())
    }
}
