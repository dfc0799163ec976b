//! `summary.md`: the numbers of a run for people.

use crate::metrics::MetricsFile;
use std::fmt::Write;

fn number(v: Option<f64>) -> String {
    v.map_or_else(|| "-".into(), |v| format!("{v:.3}"))
}

/// The R matrix of image AUROC, a table per class, and the certificate, as Markdown.
pub fn summary_markdown(m: &MetricsFile) -> String {
    let mut out = String::new();
    let get = |k: &str| number(m.summary.get(k).copied().flatten());
    let _ = writeln!(out, "# Run {}\n", m.run);
    for (metric, u) in [("image_auroc", "given"), ("image_auroc", "routed"), ("pixel_auroc", "given")] {
        let _ = writeln!(
            out,
            "- {metric}, class {u}: final {} (base {}, new {}), average over stages {}, forgetting {}",
            get(&format!("{metric}.{u}.acc_final")),
            get(&format!("{metric}.{u}.base_final")),
            get(&format!("{metric}.{u}.new_final")),
            get(&format!("{metric}.{u}.acc_avg")),
            get(&format!("{metric}.{u}.fm")),
        );
    }
    let _ = writeln!(out, "- routing accuracy: {}", get("routing.accuracy"));
    if let (Some(Some(changed)), Some(n)) =
        (m.routing.shortlist_changed.last(), m.routing.shortlist_images.last())
    {
        let _ = writeln!(
            out,
            "- the router's shortlist changes the routed class of {} of {n} test images compared",
            (changed * *n as f64).round()
        );
    }
    let c = &m.certificate;
    let state = match (c.stages.is_empty(), c.holds) {
        (true, _) => "nothing to compare (one stage)".to_owned(),
        (_, true) => {
            let (t, i) = c.stages.last().map_or((0, 0), |s| (s.tensors, s.maps));
            format!("holds: {t} tensors and {i} maps of earlier classes are bit for bit what they were")
        }
        (_, false) => {
            let tensors: usize = c.stages.iter().map(|s| s.changed_tensors.len()).sum();
            let maps: usize = c.stages.iter().map(|s| s.changed_maps.len()).sum();
            format!("does not hold: {tensors} tensors and {maps} maps changed")
        }
    };
    let promised = if c.promised { "promised by the strategy" } else { "not promised by the strategy" };
    let _ = writeln!(out, "- forgetting certificate ({promised}): {state}\n");
    let _ = writeln!(out, "## Image AUROC after each stage (class given)\n");
    let _ = writeln!(
        out,
        "| stage | {} |",
        m.classes.iter().map(|c| c.name.clone()).collect::<Vec<_>>().join(" | ")
    );
    let _ = writeln!(out, "|---|{}", "---|".repeat(m.classes.len()));
    if let Some(rows) = m.matrices.get("image_auroc").and_then(|u| u.get("given")) {
        for (s, row) in rows.iter().enumerate() {
            let cells: Vec<String> = row.iter().map(|v| number(*v)).collect();
            let _ = writeln!(out, "| {} | {} |", s + 1, cells.join(" | "));
        }
    }
    let _ = writeln!(out, "\n## After the last stage\n");
    let columns = [
        ("image AUROC", "image_auroc", "given"),
        ("routed", "image_auroc", "routed"),
        ("image AP", "image_ap", "given"),
        ("F1-max", "image_f1max", "given"),
        ("pixel AUROC", "pixel_auroc", "given"),
        ("pixel AP", "pixel_ap", "given"),
        ("AUPRO", "pixel_aupro", "given"),
    ];
    let _ = writeln!(out, "| class | stage | {} |", columns.map(|c| c.0).join(" | "));
    let _ = writeln!(out, "|---|---|{}", "---|".repeat(columns.len()));
    for (i, class) in m.classes.iter().enumerate() {
        let cells: Vec<String> = columns
            .iter()
            .map(|(_, metric, u)| {
                let last = m.matrices.get(*metric).and_then(|x| x.get(*u)).and_then(|r| r.last());
                number(last.and_then(|r| r.get(i).copied().flatten()))
            })
            .collect();
        let _ = writeln!(out, "| {} | {} | {} |", class.name, class.stage + 1, cells.join(" | "));
    }
    let _ = writeln!(out, "\n`-` is an undefined value; `undefined` in metrics.json gives the reason.");
    out
}
