//! `ccnf diagnose`.

use crate::args::DiagnoseArgs;
use crate::exit::print;
use crate::progress::Bars;
use ccnf_core::{Error, ErrorKind, Result};
use ccnf_diagnose::{Analysis, Options};
use ccnf_engine::outside_of_run;

pub(crate) fn diagnose(args: &DiagnoseArgs) -> Result<()> {
    let defaults = Options::default();
    let analyses = match args.only.is_empty() {
        true => defaults.analyses.clone(),
        false => args.only.iter().map(|name| analysis(name)).collect::<Result<_>>()?,
    };
    let options = Options { seed: args.seed, analyses, sets: args.set.clone(), ..defaults };
    // Known before minutes of work, and not after.
    args.runs.iter().filter(|run| run.exists()).try_for_each(|run| outside_of_run(run, &args.out))?;
    let diagnosis = ccnf_diagnose::diagnose(&args.runs, &options, &Bars::new())?;
    diagnosis.write(&args.out)?;
    let out = args.out.display();
    print(&format!("{}\nlook at: {out}/diagnosis.html; numbers: {out}/*.csv\n", diagnosis.summary()))
}

fn analysis(name: &str) -> Result<Analysis> {
    let all = Analysis::ALL.map(|a| (serde_json::to_value(a).unwrap_or_default(), a));
    all.iter().find(|(known, _)| known == name).map(|(_, a)| *a).ok_or_else(|| {
        let names: Vec<&str> = all.iter().filter_map(|(known, _)| known.as_str()).collect();
        Error::new(ErrorKind::Usage, format!("`--only {name}`: there is no such analysis"))
            .help(format!("there are: {}", names.join(", ")))
    })
}
