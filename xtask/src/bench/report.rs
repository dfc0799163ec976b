//! Results as a line, a flat JSON map and docs/performance.md.

use super::stats::Samples;
use super::turns::QUIET;
use super::{Outcome, Settings, THREADS, machine, targets};
use crate::Result;
use ccnf::serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt::Write;

fn times(s: &Samples) -> String {
    let quartiles = [s.quantile_ms(0.25), s.quantile_ms(0.75)];
    format!("{:.1} ({:.1}; {:.1}-{:.1})", s.median_ms(), s.min_ms(), quartiles[0], quartiles[1])
}

/// One line for the terminal.
pub(crate) fn line(o: &Outcome) -> String {
    let mut line = o.name.clone();
    if !o.turns.ours.is_empty() {
        let _ = write!(line, ": ours {} ms", times(&o.turns.ours));
    }
    for p in &o.turns.peers {
        let ratio = p.times.median_ms() / o.turns.ours.median_ms();
        let _ = write!(line, "; {} ({}) {} ms, ratio {ratio:.2}", p.version, p.key, times(&p.times));
    }
    if o.turns.disturbed > 0 {
        let counted = if o.turns.noisy { "and COUNTED: the machine is busy" } else { "and left out" };
        let _ = write!(line, "; {} turns disturbed {counted}", o.turns.disturbed);
    }
    for (k, v) in &o.values {
        let _ = write!(line, "\n  {k} {}", rounded(*v));
    }
    line
}

fn rounded(v: f64) -> f64 {
    (v * 1e3).round() / 1e3
}

/// All values by key: times in milliseconds (median, minimum, interquartile range), ratios `vs_*` (the peer's median by ours: above
/// 1 this project is faster), and what the benches add.
pub(crate) fn values(outcomes: &[Outcome]) -> BTreeMap<String, f64> {
    let mut map = BTreeMap::new();
    for o in outcomes {
        let mut side = |who: &str, s: &Samples| {
            map.insert(format!("{}.{who}_ms", o.name), s.median_ms());
            map.insert(format!("{}.{who}_min_ms", o.name), s.min_ms());
            map.insert(format!("{}.{who}_iqr_ms", o.name), s.quantile_ms(0.75) - s.quantile_ms(0.25));
        };
        if !o.turns.ours.is_empty() {
            side("ours", &o.turns.ours);
        }
        o.turns.peers.iter().for_each(|p| side(p.key, &p.times));
        for p in &o.turns.peers {
            map.insert(format!("{}.vs_{}", o.name, p.key), p.times.median_ms() / o.turns.ours.median_ms());
        }
        if !o.turns.ours.is_empty() {
            map.insert(format!("{}.turns", o.name), o.turns.ours.len() as f64);
            map.insert(format!("{}.disturbed_turns", o.name), o.turns.disturbed as f64);
        }
        map.extend(o.values.iter().cloned());
    }
    map
}

/// The flat map as JSON; a value that is not finite is null.
pub(crate) fn json(values: &BTreeMap<String, f64>) -> Result<String> {
    let map: Map<String, Value> = values.iter().map(|(k, v)| (k.clone(), Value::from(rounded(*v)))).collect();
    Ok(ccnf::serde_json::to_string_pretty(&Value::Object(map))? + "\n")
}

/// Where the measured part of docs/performance.md begins and ends; the rest is written by hand.
pub(crate) const MARKS: [&str; 2] = ["<!-- measured by `cargo xtask bench` -->\n", "<!-- /measured -->"];

/// The measured part of docs/performance.md.
pub(crate) fn markdown(outcomes: &[Outcome], settings: &Settings) -> Result<String> {
    let mut versions: Vec<&str> =
        outcomes.iter().flat_map(|o| &o.turns.peers).map(|p| p.version.as_str()).collect();
    versions.sort_unstable();
    versions.dedup();
    let mut text = String::new();
    writeln!(
        text,
        "Machine: {}, {THREADS} threads on each side; {}, dfdx 0.13.0; {}.\n",
        machine::processor(),
        machine::compiler(),
        versions.join(", "),
    )?;
    text += "## Targets\n\n";
    text += &targets::table(&values(outcomes));
    writeln!(
        text,
        "\n## Times\n\nOurs and the peers take turns in one run and never run at the same time; {} turns each after a warm-up. \
         A turn during which other processes used more than {QUIET} cores is left out, for all sides, unless the machine is \
         never quiet. Times are median (minimum; quartiles) in milliseconds. The ratio is the peer's median by ours: above 1 \
         this project is faster.\n",
        settings.rounds
    )?;
    text += "| bench | work | ours, ms | peer | peer, ms | ratio |\n|---|---|---|---|---|---|\n";
    for o in outcomes.iter().filter(|o| !o.turns.ours.is_empty()) {
        let noisy = if o.turns.noisy { " (busy machine)" } else { "" };
        let ours = times(&o.turns.ours);
        if o.turns.peers.is_empty() {
            writeln!(text, "| `{}` | {} | {ours}{noisy} | - | - | - |", o.name, o.work)?;
        }
        for p in &o.turns.peers {
            let ratio = p.times.median_ms() / o.turns.ours.median_ms();
            writeln!(
                text,
                "| `{}` | {} | {ours}{noisy} | {} (`{}`) | {} | {ratio:.2} |",
                o.name,
                o.work,
                p.version,
                p.key,
                times(&p.times)
            )?;
        }
    }
    text += "\n## Further values\n\n| key | value |\n|---|---|\n";
    for (k, v) in outcomes.iter().flat_map(|o| &o.values) {
        writeln!(text, "| `{k}` | {} |", rounded(*v))?;
    }
    for o in outcomes.iter().filter(|o| !o.notes.is_empty()) {
        writeln!(text, "\n## `{}`\n\n{}", o.name, o.notes.join("\n\n"))?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::root;
    use crate::document::updated;

    #[test]
    fn the_document_has_a_place_for_what_is_measured() {
        let document = std::fs::read_to_string(root().join("docs/performance.md")).unwrap();
        assert!(updated("docs/performance.md", &document, MARKS, "").is_ok());
    }
}
