//! A diagnosis as Markdown.

use crate::diagnosis::Diagnosis;
use crate::part::Part;
use crate::tables;
use ccnf_chart::Table;

/// A heading and the tables of a part, or why there is none.
fn section<T>(out: &mut String, title: &str, part: &Part<T>, tables: impl Fn(&T) -> Vec<Table>) {
    *out += &format!("### {title}\n\n");
    match part {
        Part::Undefined(reason) => *out += &format!("Undefined: {reason}.\n\n"),
        Part::Found(found) => {
            out.extend(tables(found).iter().map(|table| format!("{}\n", table.to_markdown())));
        }
    }
}

impl Diagnosis {
    /// The main numbers and the verdicts as Markdown. Stages are counted from 1 here.
    pub fn summary(&self) -> String {
        let mut out = String::from("# Diagnosis\n\n");
        for run in &self.runs {
            out += &format!(
                "## {}\n\n`{}` in {} stages, run {}.\n\n",
                run.name, run.detector, run.stages, run.run
            );
            section(&mut out, "Swap test", &run.swap, |s| vec![tables::models(s), tables::contrasts(s)]);
            for remark in run.swap.found().iter().flat_map(|s| s.remarks()) {
                out += &format!("{remark}\n\n");
            }
            section(&mut out, "Change of tensors", &run.drift, |d| vec![tables::groups(d)]);
            section(&mut out, "Change of latents and class weights", &run.functional, |f| {
                vec![tables::functional(f)]
            });
            section(&mut out, "Separation of the classes", &run.latents, |m| vec![tables::separation(m)]);
        }
        out += "## Entropy over the classes\n\n";
        for run in &self.runs {
            if let Some(reason) = run.freeze.reason() {
                out += &format!("{}: undefined, {reason}.\n\n", run.name);
            }
        }
        let freeze = tables::freeze(self);
        if !freeze.rows.is_empty() {
            out += &format!("{}\n", freeze.to_markdown());
        }
        out + "`–` is an undefined value: diagnosis.json and the column `reason` of the tables say why.\n"
    }
}
