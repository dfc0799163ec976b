//! `ccnf run` and `ccnf check`.

use super::{compose, json};
use crate::args::{CheckArgs, RunArgs};
use crate::exit::print;
use crate::progress::Bars;
use ccnf_core::Result;
use ccnf_engine::{Assembly, summary_markdown};

pub(crate) fn run(args: &RunArgs) -> Result<()> {
    let assembly = Assembly::new(&compose(&args.config)?)?;
    let outcome = ccnf_engine::run(assembly, args.out.as_deref(), &Bars::new())?;
    let folder = outcome.folder.display();
    let state = if outcome.already_finished {
        "this run was finished before; nothing was computed"
    } else {
        "finished"
    };
    print(&format!(
        "{}\n{state}: {folder}\nlook at: {folder}/summary.md, {folder}/overlays\n",
        summary_markdown(&outcome.metrics)
    ))
}

pub(crate) fn check(args: &CheckArgs) -> Result<()> {
    let a = Assembly::new(&compose(&args.config)?)?;
    if args.json {
        return print(&json(&a.config.resolved()));
    }
    let mut text = String::from("the configuration is valid\n\n");
    for (key, r) in a.config.resolved() {
        text += &format!("{key} = {}    # {}\n", r.value, r.source);
    }
    text += "\nlevels:\n";
    for l in a.encoder.levels() {
        text += &format!("  {}: {} x {} tokens of {} channels\n", l.name, l.height, l.width, l.channels);
    }
    text += "\nstages:\n";
    for (i, s) in a.stages.iter().enumerate() {
        let count = |c: &String| {
            format!("{c} ({} train, {} test)", a.train_index.images(c).len(), a.test_index.images(c).len())
        };
        text += &format!("  {}: {}\n", i + 1, s.classes.iter().map(count).collect::<Vec<_>>().join(", "));
    }
    let trainable: usize = a.detector.params().iter().map(|p| p.len()).sum();
    text += &format!("\nvalues in the model before the first class: {trainable}\nrun id: {}\n", a.id());
    print(&text)
}
