//! `cargo xtask gap ROW FULL INIT`: how much of what a new class needs its row cannot say.

use crate::Result;
use ccnf::serde_json::{Value, from_slice};
use clap::Args;
use std::fmt::Write;
use std::path::{Path, PathBuf};

#[derive(Args)]
pub(crate) struct Options {
    /// Run folder of the model to be judged, such as the plain method's.
    row: PathBuf,
    /// Run folder of the same model with a private copy of the whole flow for every later class.
    full: PathBuf,
    /// Run folder of the same model whose later classes were not trained (`train.later.steps = 0`).
    init: PathBuf,
    /// The other two runs are those of a reference model on the same features: their first stages may differ from the judged model's.
    /// G then also contains what the first stages differ in; it can be above 1 or below 0.
    #[arg(long)]
    reference: bool,
}

/// A class of a later stage at one level: nats per dimension of its normal test images when it was learnt.
#[derive(Debug, PartialEq)]
struct Gap {
    class: String,
    level: String,
    init: f64,
    row: f64,
    full: f64,
}

impl Gap {
    /// `G = (NLL_row - NLL_full) / (NLL_init - NLL_full)`: 0 where the row says all that a flow of its own would, 1 where training it was in
    /// vain; none where the flow of its own is no better than the start.
    fn ratio(&self) -> Option<f64> {
        let room = self.init - self.full;
        (room > 1e-6).then(|| (self.row - self.full) / room)
    }
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let read = |folder: &Path| -> Result<Value> {
        let path = folder.join("metrics.json");
        let bytes = std::fs::read(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
        Ok(from_slice(&bytes).map_err(|e| format!("{}: {e}", path.display()))?)
    };
    let gaps = gaps(&read(&options.row)?, &read(&options.full)?, &read(&options.init)?, options.reference)?;
    print!("{}", table(&gaps));
    Ok(())
}

/// The later classes of three runs that differ in their later stages only or, with `reference`, of which only the last two must.
fn gaps(row: &Value, full: &Value, init: &Value, reference: bool) -> Result<Vec<Gap>> {
    let classes = row["classes"].as_array().ok_or("the first run's metrics.json names no classes")?;
    for (other, which) in [(full, "second"), (init, "third")] {
        if other["classes"] != row["classes"] {
            return Err(format!("the {which} run has other classes or stages than the first").into());
        }
    }
    let levels = row["nll"].as_object().ok_or("the first run has no likelihoods: its detector has none")?;
    let mut out = Vec::new();
    for level in levels.keys() {
        for (column, class) in classes.iter().enumerate() {
            let stage = class["stage"].as_u64().unwrap_or(0) as usize;
            let name = class["name"].as_str().unwrap_or_default();
            let of = |run: &Value| -> Result<f64> {
                let value = &run["nll"][level][stage][column];
                Ok(value.as_f64().ok_or(format!("a run has no likelihood of class `{name}` at {level}"))?)
            };
            let (row, full, init) = (of(row)?, of(full)?, of(init)?);
            if stage > 0 {
                out.push(Gap { class: name.into(), level: level.clone(), init, row, full });
            } else if full != init || (row != full && !reference) {
                let message = format!("the runs differ in the first stage already (class `{name}`)");
                return Err(format!(
                    "{message}: use the same configuration but for what later classes have, or --reference"
                )
                .into());
            }
        }
    }
    if out.is_empty() {
        return Err("no class was learnt after the first stage".into());
    }
    Ok(out)
}

/// A Markdown table with the mean ratio of every level.
fn table(gaps: &[Gap]) -> String {
    let mut out =
        String::from("| class | level | NLL start | NLL | NLL full flow | G |\n|---|---|---|---|---|---|\n");
    let shown = |g: Option<f64>| g.map_or("-".into(), |g| format!("{g:.3}"));
    for g in gaps {
        let Gap { class, level, init, row, full } = g;
        let _ =
            writeln!(out, "| {class} | {level} | {init:.4} | {row:.4} | {full:.4} | {} |", shown(g.ratio()));
    }
    let mut levels: Vec<&str> = gaps.iter().map(|g| g.level.as_str()).collect();
    levels.dedup();
    for level in levels {
        let all: Vec<f64> = gaps.iter().filter(|g| g.level == level).filter_map(Gap::ratio).collect();
        let mean = (!all.is_empty()).then(|| all.iter().sum::<f64>() / all.len() as f64);
        let _ = writeln!(out, "| mean | {level} | | | | {} |", shown(mean));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use ccnf::serde_json::json;

    fn metrics(base: f64, pill: [f64; 2], zip: [f64; 2]) -> Value {
        let classes = json!([{ "name": "bolt", "stage": 0 }, { "name": "pill", "stage": 1 }, { "name": "zip", "stage": 2 }]);
        let level = |l: usize| json!([[base, null, null], [base, pill[l], null], [base, 9.0, zip[l]]]);
        json!({ "classes": classes, "nll": { "level0": level(0), "level1": level(1) } })
    }

    #[test]
    fn the_ratio_is_taken_when_a_class_is_learnt_and_averaged_per_level() {
        let row = metrics(1.0, [1.5, 2.0], [1.0, 1.0]);
        let full = metrics(1.0, [1.0, 1.0], [1.0, 2.0]);
        let init = metrics(1.0, [3.0, 2.0], [2.0, 2.0]);
        let found = gaps(&row, &full, &init, false).unwrap();
        let ratios: Vec<_> = found.iter().map(|g| (g.class.as_str(), g.level.as_str(), g.ratio())).collect();
        let expected = [
            ("pill", "level0", Some(0.25)),
            ("zip", "level0", Some(0.0)),
            ("pill", "level1", Some(1.0)),
            ("zip", "level1", None),
        ];
        assert_eq!(ratios, expected);
        let shown = table(&found);
        assert!(shown.contains("| pill | level0 | 3.0000 | 1.5000 | 1.0000 | 0.250 |"), "{shown}");
        assert!(
            shown.contains("| mean | level0 | | | | 0.125 |\n| mean | level1 | | | | 1.000 |"),
            "{shown}"
        );
    }

    #[test]
    fn runs_that_cannot_be_compared_are_refused() {
        let good = metrics(1.0, [1.5, 2.0], [1.0, 1.0]);
        let said = |full: Value, init: Value| gaps(&good, &full, &init, false).unwrap_err().to_string();
        assert!(said(metrics(1.1, [1.0, 1.0], [1.0, 1.0]), good.clone()).contains("first stage"));
        let reference = |base: f64| metrics(base, [1.0, 1.0], [3.0, 3.0]);
        assert!(gaps(&good, &reference(1.1), &reference(1.2), true).is_err(), "two references");
        assert_eq!(gaps(&good, &reference(1.1), &reference(1.1), true).unwrap().len(), 4);
        let mut other = good.clone();
        other["classes"][0]["name"] = "nut".into();
        assert!(said(good.clone(), other).contains("third run has other classes"));
        let mut none = good.clone();
        none.as_object_mut().unwrap().remove("nll");
        assert!(gaps(&none, &good, &good, true).unwrap_err().to_string().contains("no likelihoods"));
    }
}
