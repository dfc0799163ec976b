//! `ccnf diff`.

use super::json;
use crate::args::DiffArgs;
use crate::exit::print;
use ccnf_core::Result;
use ccnf_suite::Difference;

pub(crate) fn diff(args: &DiffArgs) -> Result<()> {
    let d = ccnf_suite::diff(&args.first, &args.second)?;
    if args.json {
        return print(&json(&d));
    }
    let mut text = String::new();
    for (title, differences) in
        [("configuration", &d.config), ("provenance", &d.provenance), ("environment", &d.environment)]
    {
        text += &format!("{title}: {}\n", if differences.is_empty() { "the same" } else { "" }.trim_end());
        differences.iter().for_each(|d| text += &line(d));
    }
    let changed: Vec<_> = d.numbers.iter().filter(|n| n.first != n.second).collect();
    text += &format!("\nnumbers: {} of {} differ\n", changed.len(), d.numbers.len());
    for n in changed {
        let show = |v: Option<f64>| v.map_or_else(|| "-".into(), |v| format!("{v:.4}"));
        let change = n.change().map_or_else(String::new, |c| format!("  ({c:+.4})"));
        text += &format!("  {:36} {:>8} -> {:>8}{change}\n", n.metric, show(n.first), show(n.second));
    }
    print(&text)
}

fn line(d: &Difference) -> String {
    let show = |v: &Option<String>| v.clone().unwrap_or_else(|| "nothing".into());
    format!("  {}: {} -> {}\n", d.what, show(&d.first), show(&d.second))
}
