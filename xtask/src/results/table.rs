//! The tables as Markdown.

use super::finished::{Finished, Scores};
use super::methods::{LEFT_OUT, PAIRS, SECTIONS};
use crate::Result;
use ccnf_metrics::{Metric, PairedScores, paired_auroc_difference};
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Draws of the paired bootstrap.
const DRAWS: usize = 1000;

/// Finished runs by method, one per seed.
pub(crate) type Runs = BTreeMap<&'static str, Vec<Finished>>;

/// Mean, and with several values the standard deviation of the sample.
fn spread(values: &[f64], digits: usize) -> String {
    if values.is_empty() {
        return "-".into();
    }
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let mean_text =
        format!("{:.*}", digits, if mean.abs() < 0.5 * 10f64.powi(-(digits as i32)) { 0.0 } else { mean });
    if values.len() < 2 {
        return mean_text;
    }
    let deviation = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
    format!("{mean_text} ± {deviation:.digits$}")
}

fn column(runs: &[Finished], of: impl Fn(&Finished) -> Option<f64>) -> String {
    let values: Option<Vec<f64>> = runs.iter().map(of).collect();
    values.map_or_else(|| "-".into(), |v| spread(&v, 3))
}

/// `1.5 k`, `2.1 M`.
fn amount(v: u64) -> String {
    match v {
        0..1000 => v.to_string(),
        1000..1_000_000 => format!("{:.1} k", v as f64 / 1e3),
        _ => format!("{:.2} M", v as f64 / 1e6),
    }
}

/// All tables.
pub(crate) fn markdown(runs: &Runs) -> Result<String> {
    let mut text = String::new();
    for section in SECTIONS {
        writeln!(text, "### {}\n", section.title)?;
        quality(&mut text, section.methods.iter().map(|m| m.name), runs)?;
        writeln!(text)?;
        cost(&mut text, section.methods.iter().map(|m| m.name), runs)?;
        writeln!(text)?;
    }
    for (model, why) in LEFT_OUT {
        writeln!(text, "Left out: `{model}` ({why}).\n")?;
    }
    writeln!(text, "### Paired differences\n")?;
    pairs(&mut text, runs)?;
    Ok(text)
}

fn quality(text: &mut String, names: impl Iterator<Item = &'static str>, runs: &Runs) -> Result<()> {
    writeln!(
        text,
        "| model | seeds | ACC_final | base | new | right after its task | ACC_avg | FM | FM_base | routed ACC_final | routed FM | \
         pixel ACC_final | pixel routed | pixel FM | certificate |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|"
    )?;
    for name in names {
        let Some(runs) = runs.get(name).filter(|r| !r.is_empty()) else {
            writeln!(text, "| `{name}` | not run | | | | | | | | | | | | | |")?;
            continue;
        };
        write!(text, "| `{name}` | {} |", runs.len())?;
        let one = |key: &str| column(runs, |r| r.summary(key));
        for value in [
            one("image_auroc.given.acc_final"),
            one("image_auroc.given.base_final"),
            one("image_auroc.given.new_final"),
            column(runs, Finished::learnt),
            one("image_auroc.given.acc_avg"),
            one("image_auroc.given.fm"),
            one("image_auroc.given.fm_base"),
            one("image_auroc.routed.acc_final"),
            one("image_auroc.routed.fm"),
            one("pixel_auroc.given.acc_final"),
            one("pixel_auroc.routed.acc_final"),
            one("pixel_auroc.given.fm"),
        ] {
            write!(text, " {value} |")?;
        }
        let stages = runs.iter().map(|r| r.stages().len()).max().unwrap_or(0);
        let holds = match (stages, runs.iter().all(Finished::certified)) {
            (0 | 1, _) => "one stage",
            (_, true) => "holds",
            (_, false) => "does not hold",
        };
        writeln!(text, " {holds} |")?;
    }
    Ok(())
}

fn cost(text: &mut String, names: impl Iterator<Item = &'static str>, runs: &Runs) -> Result<()> {
    writeln!(
        text,
        "| model | trainable values, first task | later tasks | shared bytes | bytes per class | training seconds per task |\n\
         |---|---|---|---|---|---|"
    )?;
    for name in names {
        let Some(runs) = runs.get(name).filter(|r| !r.is_empty()) else { continue };
        let stages: Vec<_> = runs.iter().map(Finished::stages).collect();
        let first = &stages[0];
        let later: Vec<String> = first.iter().skip(1).map(|s| amount(s.trainable)).collect();
        let seconds: Vec<String> = (0..first.len())
            .map(|t| {
                let all: Vec<f64> = stages.iter().filter_map(|s| s.get(t)).map(|s| s.seconds).collect();
                format!("{:.0}", all.iter().sum::<f64>() / all.len() as f64)
            })
            .collect();
        let last = first.last();
        writeln!(
            text,
            "| `{name}` | {} | {} | {} | {} | {} |",
            first.first().map_or_else(|| "-".into(), |s| amount(s.trainable)),
            if later.is_empty() { "-".into() } else { later.join(", ") },
            last.map_or_else(|| "-".into(), |s| amount(s.shared_bytes)),
            last.map_or_else(|| "-".into(), |s| amount(s.class_bytes)),
            seconds.join(", "),
        )?;
    }
    Ok(())
}

fn pairs(text: &mut String, runs: &Runs) -> Result<()> {
    writeln!(
        text,
        "Mean image AUROC after the last task, class given, of the first minus that of the second, in points; in brackets the standard \
         error and the 95 % interval of a paired bootstrap over test images ({DRAWS} draws, first seed of each).\n\n\
         | first | second | difference |\n|---|---|---|"
    )?;
    for pair in PAIRS {
        let run = |name: &str| runs.get(name).and_then(|r| r.first());
        let (Some(first), Some(second)) = (run(pair.first), run(pair.second)) else {
            writeln!(text, "| `{}` | `{}` | not run |", pair.first, pair.second)?;
            continue;
        };
        writeln!(text, "| `{}` | `{}` | {} |", pair.first, pair.second, difference(first, second)?)?;
    }
    Ok(())
}

fn difference(first: &Finished, second: &Finished) -> Result<String> {
    let mut classes = Vec::new();
    for (class, a) in &first.scores {
        let same = |b: &&Scores| b.images == a.images && b.labels == a.labels;
        let b = second.scores.get(class).filter(same);
        let b = b.ok_or_else(|| format!("the two runs have not the same test images of class `{class}`"))?;
        classes.push(PairedScores { labels: &a.labels, first: &a.given, second: &b.given });
    }
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(0);
    let d = paired_auroc_difference(&classes, DRAWS, |n| rng.gen_range(0..n))?;
    let points = |m: &Metric| m.value().map_or_else(|| "-".into(), |v| format!("{:+.1}", 100.0 * v));
    let error = d.standard_error.value().map_or_else(|| "-".into(), |v| format!("{:.1}", 100.0 * v));
    let (low, high) = (points(&d.interval.0), points(&d.interval.1));
    Ok(format!("{} (± {error}; {low} to {high})", points(&d.difference)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_seeds_are_a_mean_with_their_standard_deviation() {
        assert_eq!(spread(&[0.5], 3), "0.500");
        assert_eq!(spread(&[0.4, 0.6], 3), "0.500 ± 0.141");
        assert_eq!(spread(&[-1e-9], 3), "0.000");
        assert_eq!(spread(&[], 3), "-");
    }

    #[test]
    fn amounts_are_short() {
        assert_eq!(
            (amount(12), amount(1540), amount(2_100_000)),
            ("12".into(), "1.5 k".into(), "2.10 M".into())
        );
    }

    #[test]
    fn a_method_that_was_not_run_is_said_to_be_so() {
        let text = markdown(&Runs::new()).unwrap();
        assert!(
            text.contains("| `ccnf` | not run |")
                && text.contains("| `ccnf-best` | `mahalanobis` | not run |")
        );
    }
}
