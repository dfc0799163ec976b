//! `ccnf eval`.

use super::json;
use crate::args::EvalArgs;
use crate::exit::print;
use crate::progress::Bars;
use ccnf_core::{Error, ErrorKind, Result, write_atomic};

const COLUMNS: [&str; 6] = [
    "image_auroc.given",
    "image_auroc.routed",
    "image_ap.given",
    "pixel_auroc.given",
    "pixel_ap.given",
    "pixel_aupro.given",
];

pub(crate) fn eval(args: &EvalArgs) -> Result<()> {
    let stage = super::predict::stage_index(args.stage)?;
    let outcome = ccnf_engine::evaluate_run(&args.run, stage, &args.set, &Bars::new())?;
    if let Some(path) = &args.json {
        write_atomic(path, json(&outcome.evaluation).as_bytes())?;
    }
    let mut text = format!(
        "model after stage {}\n\n| class | {} |\n|---|{}\n",
        outcome.stage + 1,
        COLUMNS.join(" | "),
        "---|".repeat(COLUMNS.len())
    );
    let mut sums = [(0.0, 0usize); COLUMNS.len()];
    for c in &outcome.evaluation.classes {
        let mut cells = Vec::new();
        for (column, sum) in COLUMNS.iter().zip(&mut sums) {
            let value = c.metrics.get(*column).and_then(|n| n.value);
            if let Some(v) = value {
                *sum = (sum.0 + v, sum.1 + 1);
            }
            cells.push(value.map_or_else(|| "-".to_owned(), |v| format!("{v:.3}")));
        }
        text += &format!("| {} | {} |\n", c.class, cells.join(" | "));
    }
    if outcome.evaluation.classes.is_empty() {
        return Err(Error::new(ErrorKind::Usage, "the dataset has no class that the model has learnt")
            .help("set protocol.tasks to classes of the run"));
    }
    let means = sums.map(|(s, n)| if n == 0 { "-".to_owned() } else { format!("{:.3}", s / n as f64) });
    text += &format!("| mean | {} |\n", means.join(" | "));
    print(&text)
}
