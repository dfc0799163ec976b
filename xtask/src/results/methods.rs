//! Which methods stand in docs/results.md, and which are compared with each other.

/// One row of a table.
pub(crate) struct Method {
    /// The row's name: a folder name, unique.
    pub(crate) name: &'static str,
    /// The file in configs/models without its ending.
    pub(crate) model: &'static str,
    /// Keys changed with `--set`.
    pub(crate) set: &'static [&'static str],
    /// Whether the run's seed enters: if not, one run is enough.
    pub(crate) seeded: bool,
}

/// A table.
pub(crate) struct Section {
    pub(crate) title: &'static str,
    pub(crate) methods: &'static [Method],
}

/// Two rows on the same test images.
pub(crate) struct Pair {
    pub(crate) first: &'static str,
    pub(crate) second: &'static str,
}

const fn model(name: &'static str) -> Method {
    Method { name, model: name, set: &[], seeded: true }
}

const fn closed_form(name: &'static str) -> Method {
    Method { name, model: name, set: &[], seeded: false }
}

const NO_FLOW: &[&str] = &["detector.blocks=0", "detector.identity_maps=false"];

/// The steps, learning rates and warm-up of `ccnf`.
const SHORT: &[&str] = &[
    "train.first={ steps = 500, tokens = 1536, lr = 2e-3 }",
    "train.later={ steps = 250, tokens = 512, lr = 3e-2 }",
    "detector.coupling.warmup_steps=100",
];

/// The tables.
pub(crate) const SECTIONS: &[Section] = &[
    Section {
        title: "No training: statistics and memories per class",
        methods: &[
            closed_form("mahalanobis-pooled"),
            closed_form("mahalanobis-position-mean"),
            closed_form("mahalanobis"),
            closed_form("mahalanobis-per-position"),
            Method {
                name: "mahalanobis-two-scales",
                model: "mahalanobis",
                set: &["encoder.scales=[1]", "scoring.image={ rule = \"top-mean\", fraction = 0.01 }"],
                seeded: false,
            },
            model("patch-memory"),
        ],
    },
    Section {
        title: "CCNF at its best, each above its identity control (the same chain without the trained flow)",
        methods: &[
            model("ccnf-best"),
            Method { name: "ccnf-best-no-flow", model: "ccnf-best", set: NO_FLOW, seeded: false },
            model("ccnf-small"),
            Method { name: "ccnf-small-no-flow", model: "ccnf-small", set: NO_FLOW, seeded: false },
            model("ccnf-few"),
            Method { name: "ccnf-few-no-flow", model: "ccnf-few", set: NO_FLOW, seeded: true },
            model("ccnf-defects"),
            Method {
                name: "ccnf-defects-not-painted",
                model: "ccnf-defects",
                set: &["detector.defects.versions=0"],
                seeded: true,
            },
            model("ccnf-linear"),
            Method { name: "ccnf-defects-no-flow", model: "ccnf-defects", set: NO_FLOW, seeded: false },
        ],
    },
    Section {
        title: "The plain method and continual-learning strategies on its flow",
        methods: &[
            model("ccnf"),
            model("ccnf-film"),
            // Its own 10 000 steps of 4096 tokens take hours.
            Method { name: "ccnf-literal-short", model: "ccnf-literal", set: SHORT, seeded: true },
            model("ccnf-fine-tune"),
            model("ccnf-replay"),
            model("ccnf-ewc"),
            model("ccnf-si"),
            model("ccnf-lwf"),
            model("ccnf-joint"),
        ],
    },
    Section {
        title: "Extensions of the plain method",
        methods: &[
            model("ccnf-free-codes"),
            model("ccnf-adapters"),
            model("ccnf-private-blocks"),
            model("ccnf-private-flow"),
            model("ccnf-prototype-rows"),
            model("ccnf-embedding-noise"),
            model("ccnf-pseudo-classes"),
            model("ccnf-episodes"),
            model("ccnf-spline"),
            model("ccnf-context"),
            model("ccnf-haar"),
            model("ccnf-image-module"),
        ],
    },
    Section {
        title: "HGAD",
        methods: &[
            model("hgad"),
            model("hgad-freeze-flow"),
            model("hgad-freeze-mixture"),
            model("hgad-freeze-both"),
            model("hgad-replay"),
            model("hgad-joint"),
            model("hgad-literal"),
        ],
    },
    Section { title: "IUF", methods: &[model("iuf"), model("iuf-fine-tune"), model("iuf-joint")] },
];

/// The paired comparisons.
pub(crate) const PAIRS: &[Pair] = &[
    Pair { first: "ccnf-best", second: "mahalanobis" },
    Pair { first: "ccnf-best", second: "mahalanobis-two-scales" },
    Pair { first: "ccnf-best", second: "ccnf-best-no-flow" },
    Pair { first: "ccnf-best-no-flow", second: "mahalanobis-two-scales" },
    Pair { first: "ccnf-small", second: "ccnf-small-no-flow" },
    Pair { first: "ccnf-few", second: "ccnf-few-no-flow" },
    Pair { first: "ccnf-defects", second: "ccnf-defects-no-flow" },
    Pair { first: "ccnf-defects-not-painted", second: "ccnf-defects-no-flow" },
    Pair { first: "ccnf-linear", second: "ccnf-defects-no-flow" },
    Pair { first: "mahalanobis", second: "ccnf-joint" },
];

/// Models without a row, and why.
pub(crate) const LEFT_OUT: &[(&str, &str)] =
    &[("hgad-pyramid", "sizes and 10000 steps a task as published: days on a CPU")];

/// All rows.
pub(crate) fn all() -> impl Iterator<Item = &'static Method> {
    SECTIONS.iter().flat_map(|s| s.methods)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::root;
    use std::collections::BTreeSet;

    #[test]
    fn every_model_config_has_a_row_or_a_reason_and_every_row_a_config() {
        let folder = std::fs::read_dir(root().join("configs/models")).unwrap();
        let files: BTreeSet<String> =
            folder.map(|f| f.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned()).collect();
        let left_out = LEFT_OUT.iter().map(|(model, _)| (*model).to_owned());
        let rows: BTreeSet<String> = all().map(|m| m.model.to_owned()).chain(left_out).collect();
        assert_eq!(files, rows);
    }

    #[test]
    fn names_are_unique_and_pairs_name_rows() {
        let names: BTreeSet<&str> = all().map(|m| m.name).collect();
        assert_eq!(names.len(), all().count());
        assert!(PAIRS.iter().all(|p| names.contains(p.first) && names.contains(p.second)));
    }
}
