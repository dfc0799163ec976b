//! The speeds that this project promises itself, and whether this run has reached them.

use std::collections::BTreeMap;
use std::fmt::Write;

/// Which side of the target is good.
enum Good {
    AtLeast(f64),
    AtMost(f64),
}

struct Target {
    /// What is compared, in words.
    what: &'static str,
    /// The key of the measured value.
    key: &'static str,
    good: Good,
}

const fn at_least(what: &'static str, key: &'static str, value: f64) -> Target {
    Target { what, key, good: Good::AtLeast(value) }
}

const fn at_most(what: &'static str, key: &'static str, value: f64) -> Target {
    Target { what, key, good: Good::AtMost(value) }
}

const TARGETS: &[Target] = &[
    at_least("training step D = 64 against PyTorch eager", "train_step.d64.vs_torch_eager", 2.5),
    at_least("training step D = 112 against PyTorch eager", "train_step.d112.vs_torch_eager", 2.5),
    at_least("training step D = 272 against PyTorch eager", "train_step.d272.vs_torch_eager", 2.5),
    at_least("training step D = 64 against torch.compile", "train_step.d64.vs_torch_compile", 1.5),
    at_least("training step D = 112 against torch.compile", "train_step.d112.vs_torch_compile", 1.5),
    at_least("training step D = 272 against torch.compile", "train_step.d272.vs_torch_compile", 1.5),
    at_least("share of the GEMM ceiling, D = 64", "train_step.d64.gemm_share", 0.70),
    at_least("share of the GEMM ceiling, D = 112", "train_step.d112.gemm_share", 0.70),
    at_least("share of the GEMM ceiling, D = 272", "train_step.d272.gemm_share", 0.70),
    at_least("training step of HGAD against PyTorch eager", "hgad_step.vs_torch_eager", 2.0),
    at_most("row-only step against our full step, D = 112", "train_step.rows_vs_full", 0.5),
    at_most(
        "realad run of plain CCNF, features cached, against the commit before",
        "run.realad_vs_before",
        0.4,
    ),
    at_most("scoring an image with 100 classes against 1, routed", "score.k100_vs_k1", 3.0),
    at_most("the same, all classes evaluated", "score.k100_exhaustive_vs_k1", 40.0),
    at_least("encoding against ONNX Runtime, images per second", "encode.vs_onnxruntime", 1.2),
    at_least(
        "pixel AUROC and AUPRO of 10^8 pixels against scikit-learn and anomalib",
        "metrics.vs_sklearn",
        20.0,
    ),
    at_most("peak memory of it, MiB", "metrics.ours_peak_mib", 1024.0),
    at_most("peak memory of a training step D = 272, MiB", "train_step.d272.ours_peak_mib", 600.0),
    at_most("quickstart run, seconds", "run.quickstart_s", 60.0),
];

/// The targets as a Markdown table; values that this run did not measure are left out.
pub(crate) fn table(values: &BTreeMap<String, f64>) -> String {
    let mut text = String::from("| what | target | measured | |\n|---|---|---|---|\n");
    for t in TARGETS {
        let Some(value) = values.get(t.key) else { continue };
        let (sign, bound, met) = match t.good {
            Good::AtLeast(b) => (">=", b, *value >= b),
            Good::AtMost(b) => ("<=", b, *value <= b),
        };
        let met = if met { "met" } else { "**missed**" };
        let digits = if bound >= 100.0 { 0 } else { 2 };
        let _ = writeln!(text, "| {} | {sign} {bound} | {value:.digits$} | {met} |", t.what);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_miss_is_shown_as_a_miss() {
        let values = BTreeMap::from([
            ("train_step.d64.vs_torch_eager".to_owned(), 2.4),
            ("score.k100_vs_k1".to_owned(), 2.9),
        ]);
        let table = table(&values);
        assert!(table.contains("| >= 2.5 | 2.40 | **missed** |"), "{table}");
        assert!(table.contains("| <= 3 | 2.90 | met |"), "{table}");
        assert_eq!(table.lines().count(), 4);
    }
}
