//! The tables of a diagnosis for programs: every value, nothing rounded.

use crate::diagnosis::{Diagnosis, RunDiagnosis};
use crate::drift::{DriftSummary, TensorDrift};
use crate::freeze::{AurocChange, Entropies};
use crate::functional::FunctionalChange;
use crate::latents::LatentMap;
use crate::part::Part;
use crate::variants::{Difference, Variant};
use ccnf_chart::{Cell, Column, Table};
use ccnf_engine::Number;
use serde::Serialize;

/// A number in full, with why it is undefined.
fn cell(n: &Number) -> Cell {
    Cell::number_or(n.value, 4, n.reason.clone().unwrap_or_default())
}

/// Why the first of the undefined numbers is so.
fn reason(numbers: &[&Number]) -> Cell {
    Cell::text(numbers.iter().find_map(|n| n.reason.clone()).unwrap_or_default())
}

fn text(value: impl ToString) -> Cell {
    Cell::text(value.to_string())
}

fn optional<T: ToString>(value: &Option<T>) -> Cell {
    Cell::text(value.as_ref().map_or_else(String::new, T::to_string))
}

/// A word as JSON writes it.
fn word(value: &impl Serialize) -> Cell {
    let value = serde_json::to_value(value).ok();
    Cell::text(value.as_ref().and_then(|v| v.as_str()).unwrap_or_default())
}

impl Diagnosis {
    /// The tables as CSV, by file name.
    pub(crate) fn csv(&self) -> Vec<(&'static str, String)> {
        let all = [
            ("drift.csv", self.drift()),
            ("drift_summary.csv", self.drift_summary()),
            ("functional.csv", self.functional()),
            ("swap.csv", self.swap()),
            ("swap_differences.csv", self.differences()),
            ("freeze.csv", self.freeze()),
            ("latents.csv", self.latents()),
            ("embeddings.csv", self.embeddings()),
        ];
        all.into_iter().map(|(name, table)| (name, table.to_csv())).collect()
    }

    /// The rows that `rows` makes of a part of every run, after the run's name; a run without the part has one row that says why.
    fn table<T>(
        &self,
        columns: &[&str],
        part: impl Fn(&RunDiagnosis) -> &Part<T>,
        rows: impl Fn(&T) -> Vec<Vec<Cell>>,
    ) -> Table {
        let columns = [&["run"], columns, &["reason"]].concat();
        let mut table = Table::new("", columns.iter().map(|c| Column::text(*c)));
        for run in &self.runs {
            let name = || Cell::text(&*run.name);
            match part(run) {
                Part::Found(found) => {
                    table.rows.extend(rows(found).into_iter().map(|row| [vec![name()], row].concat()));
                }
                Part::Undefined(reason) => {
                    let empty = vec![Cell::text(""); columns.len() - 2];
                    table.rows.push([vec![name()], empty, vec![Cell::text(reason)]].concat());
                }
            }
        }
        table
    }

    fn drift(&self) -> Table {
        let columns = [
            "from",
            "to",
            "tensor",
            "group",
            "level",
            "block",
            "part",
            "owner",
            "role",
            "values",
            "norm_before",
            "norm_after",
            "change",
            "relative",
            "rms",
        ];
        let row = |t: &TensorDrift| {
            vec![
                text(t.from),
                text(t.to),
                text(&t.tensor),
                word(&t.place.group),
                optional(&t.place.level),
                optional(&t.place.block),
                text(&t.place.part),
                text(t.owner.as_deref().unwrap_or("shared")),
                text(if t.weight { "weight" } else { "buffer" }),
                text(t.values),
                text(t.norm_before),
                text(t.norm_after),
                cell(&t.change),
                cell(&t.relative),
                cell(&t.rms),
                reason(&[&t.change]),
            ]
        };
        self.table(&columns, |r| &r.drift, |drift| drift.tensors.iter().map(row).collect())
    }

    fn drift_summary(&self) -> Table {
        let columns = [
            "from",
            "to",
            "scope",
            "group",
            "level",
            "block",
            "part",
            "tensors",
            "from_zero",
            "mean_relative",
            "pooled_relative",
            "rms",
        ];
        let row = |s: &DriftSummary| {
            vec![
                text(s.from),
                text(s.to),
                word(&s.scope),
                word(&s.group),
                optional(&s.level),
                optional(&s.block),
                optional(&s.part),
                text(s.tensors),
                text(s.from_zero),
                cell(&s.mean_relative),
                cell(&s.pooled_relative),
                cell(&s.rms),
                reason(&[&s.mean_relative, &s.pooled_relative]),
            ]
        };
        self.table(&columns, |r| &r.drift, |drift| drift.summaries.iter().map(row).collect())
    }

    fn functional(&self) -> Table {
        let columns = ["from", "to", "level", "class", "quantity", "value"];
        let row = |f: &FunctionalChange| {
            vec![
                text(f.from),
                text(f.to),
                text(f.level),
                optional(&f.class),
                word(&f.quantity),
                cell(&f.value),
                reason(&[&f.value]),
            ]
        };
        self.table(&columns, |r| &r.functional, |all| all.iter().map(row).collect())
    }

    fn swap(&self) -> Table {
        let rows = |v: &Variant| {
            let row = |class: &str, image: &Number, pixel: &Number| {
                vec![text(&v.name), text(class), cell(image), cell(pixel), reason(&[image, pixel])]
            };
            let each = v.classes.iter().map(|c| row(&c.class, &c.image_auroc, &c.pixel_auroc));
            each.chain([row("", &v.image_auroc, &v.pixel_auroc)]).collect::<Vec<_>>()
        };
        self.table(
            &["model", "class", "image_auroc", "pixel_auroc"],
            |r| &r.swap,
            |swap| swap.recorded.iter().chain(&swap.variants).flat_map(rows).collect(),
        )
    }

    fn differences(&self) -> Table {
        let row = |d: &Difference| {
            vec![
                text(&d.name),
                text(&d.first),
                text(&d.second),
                cell(&d.difference),
                cell(&d.standard_error),
                cell(&d.low),
                cell(&d.high),
                reason(&[&d.difference]),
            ]
        };
        self.table(
            &["contrast", "first", "second", "difference", "standard_error", "low", "high"],
            |r| &r.swap,
            |swap| swap.differences.iter().map(row).collect(),
        )
    }

    fn freeze(&self) -> Table {
        let columns = [
            "stage",
            "class",
            "level",
            "posterior",
            "over",
            "h_normal",
            "h_anomaly",
            "dh_normal",
            "dh_anomaly",
            "image_auroc",
            "d_image_auroc",
            "pixel_auroc",
            "d_pixel_auroc",
        ];
        let row = |e: &Entropies, all: &[AurocChange]| {
            let auroc = all.iter().find(|a| a.stage == e.stage && a.class == e.class);
            let of =
                |number: fn(&AurocChange) -> &Number| auroc.map_or_else(|| text(""), |a| cell(number(a)));
            vec![
                text(e.stage),
                optional(&e.class),
                optional(&e.level),
                word(&e.posterior),
                word(&e.over),
                cell(&e.normal),
                cell(&e.anomalous),
                cell(&e.d_normal),
                cell(&e.d_anomalous),
                of(|a| &a.image),
                of(|a| &a.d_image),
                of(|a| &a.pixel),
                of(|a| &a.d_pixel),
                reason(&[&e.normal, &e.anomalous, &e.d_normal, &e.d_anomalous]),
            ]
        };
        self.table(
            &columns,
            |r| &r.freeze,
            |freeze| freeze.entropies.iter().map(|e| row(e, &freeze.auroc)).collect(),
        )
    }

    fn latents(&self) -> Table {
        let row = |m: &LatentMap| {
            vec![
                text(m.stage),
                text(m.level),
                text(m.dim),
                text(m.classes.len()),
                text(m.tokens),
                cell(&m.accuracy),
                cell(&m.silhouette),
                reason(&[&m.accuracy, &m.silhouette]),
            ]
        };
        self.table(
            &["stage", "level", "dim", "classes", "tokens", "accuracy", "silhouette"],
            |r| &r.latents,
            |maps| maps.iter().map(row).collect(),
        )
    }

    fn embeddings(&self) -> Table {
        let rows = |m: &LatentMap| {
            let row = |class: [Cell; 2], [x, y]: [Cell; 2], reason: &str| {
                let [class, task] = class;
                vec![text(m.stage), text(m.level), class, task, x, y, text(reason)]
            };
            let nothing = || [text(""), text("")];
            match &m.points {
                Part::Undefined(reason) => vec![row(nothing(), nothing(), reason)],
                Part::Found(points) => {
                    let of = |p: &crate::Point| {
                        let class = &m.classes[p.class];
                        row([text(&class.name), text(class.stage)], [text(p.x), text(p.y)], "")
                    };
                    points.iter().map(of).collect()
                }
            }
        };
        self.table(
            &["stage", "level", "class", "task", "x", "y"],
            |r| &r.latents,
            |maps| maps.iter().flat_map(rows).collect(),
        )
    }
}
