//! The CSV manifest of the dataset `folder`.

use ccnf::core::{did_you_mean, read_file};
use ccnf::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The columns that are read: path, class, split, label, kind and mask of an image. The first [`REQUIRED`] must be there.
pub(crate) type Columns = [&'static str; 6];
const REQUIRED: usize = 4;

/// The kind of a defective image whose row names none.
const SOME_DEFECT: &str = "anomalous";

/// One checked row.
#[derive(Debug)]
pub(crate) struct Row {
    /// Where the row starts in the file, in bytes.
    at: u64,
    pub(crate) image: PathBuf,
    pub(crate) class: String,
    pub(crate) train: bool,
    /// `good` for a normal image.
    pub(crate) kind: String,
    pub(crate) mask: Option<PathBuf>,
}

/// Reads and checks the manifest, whose columns have the names `columns`; relative paths in it start at `root`.
pub(crate) fn read(manifest: &Path, root: &Path, columns: &Columns) -> Result<Vec<Row>> {
    let bytes = read_file(manifest).map_err(|e| match manifest.exists() {
        true => e,
        false => {
            Error::new(ErrorKind::Dataset, format!("the manifest `{}` does not exist", manifest.display()))
                .help("set `dataset.manifest` to a CSV file, or `dataset.path` and `dataset.split` of `visa`; relative paths start at the working directory")
        }
    })?;
    let text = Text { manifest, bytes: bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&bytes) };
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.bytes);
    let header = reader.headers().map_err(|e| text.unreadable(e))?.clone();
    let columns = Found::new(&header, columns).map_err(|e| e.at(text.place(0)))?;
    let mut rows = vec![];
    let mut seen = BTreeMap::new();
    for record in reader.records() {
        let record = record.map_err(|e| text.unreadable(e))?;
        let at = record.position().map_or(0, csv::Position::byte);
        let row = columns.row(&record, at, root).map_err(|e| e.at(text.place(at)))?;
        if let Some(first) = seen.insert(row.image.clone(), at) {
            return Err(error(
                format!(
                    "the image `{}` is listed twice, first in line {}",
                    row.image.display(),
                    text.line(first)
                ),
                "an image belongs to one class and one split: keep one of the lines",
            )
            .at(text.place(at)));
        }
        rows.push(row);
    }
    check_masks(&rows).map_err(|(at, e)| e.at(text.place(at)))?;
    Ok(rows)
}

/// The manifest's text, to say where something stands.
struct Text<'a> {
    manifest: &'a Path,
    bytes: &'a [u8],
}

impl Text<'_> {
    /// The line of the row that starts at byte `at`. The reader's own count is one behind after CR LF and blank lines,
    /// because it takes the rest of a line end for the start of the next row.
    fn line(&self, at: u64) -> usize {
        let (before, row) = self.bytes.split_at((at as usize).min(self.bytes.len()));
        let ends = row.iter().take_while(|b| matches!(b, b'\r' | b'\n'));
        1 + before.iter().chain(ends).filter(|b| **b == b'\n').count()
    }

    fn place(&self, at: u64) -> String {
        format!("`{}` line {}", self.manifest.display(), self.line(at))
    }

    fn unreadable(&self, e: csv::Error) -> Error {
        let what = match e.kind() {
            csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
                format!("the row has {len} fields but the header {expected_len}")
            }
            csv::ErrorKind::Utf8 { .. } => "the line is not UTF-8 text".to_owned(),
            _ => e.to_string(),
        };
        error(what, "the manifest is a UTF-8 CSV file; put fields with commas in quotes")
            .at(self.place(e.position().map_or(0, csv::Position::byte)))
    }
}

/// Classes in which a defective test image has a mask: pixel labels are known there.
pub(crate) fn labelled(rows: &[Row]) -> BTreeSet<&str> {
    rows.iter().filter(|r| r.defective_test() && r.mask.is_some()).map(|r| r.class.as_str()).collect()
}

/// Within a class, either all defective test images have a mask or none.
fn check_masks(rows: &[Row]) -> std::result::Result<(), (u64, Error)> {
    let labelled = labelled(rows);
    match rows.iter().find(|r| r.defective_test() && r.mask.is_none() && labelled.contains(r.class.as_str()))
    {
        None => Ok(()),
        Some(row) => Err((
            row.at,
            error(
                format!(
                    "the image `{}` has no mask but others of class `{}` have",
                    row.image.display(),
                    row.class
                ),
                "fill in its mask, or leave out all masks of the class: it has image labels only then",
            ),
        )),
    }
}

impl Row {
    fn defective_test(&self) -> bool {
        !self.train && self.kind != "good"
    }
}

/// Where each of the columns stands.
struct Found([Option<usize>; 6]);

impl Found {
    fn new(header: &csv::StringRecord, columns: &Columns) -> Result<Self> {
        let found = columns.map(|c| header.iter().position(|h| h == c));
        if let Some(missing) = (0..REQUIRED).find(|&i| found[i].is_none()) {
            let name = columns[missing];
            let spare = header.iter().filter(|h| !columns.contains(h));
            let hint = did_you_mean(name, spare).map(|g| format!(" (is it `{g}`?)")).unwrap_or_default();
            let [path, class, split, label, kind, mask] = columns;
            let help = format!(
                "the header names {path}, {class}, {split}, {label} and, if wanted, {kind} and {mask}; other columns are ignored"
            );
            return Err(error(format!("the manifest has no column `{name}`{hint}"), &help));
        }
        Ok(Found(found))
    }

    fn row(&self, record: &csv::StringRecord, at: u64, root: &Path) -> Result<Row> {
        let cell = |i: usize| self.0[i].and_then(|at| record.get(at)).unwrap_or("");
        let [path, class, split, label, kind, mask] = [0, 1, 2, 3, 4, 5].map(cell);
        for (name, value) in [("path", path), ("class", class)] {
            if value.is_empty() {
                return Err(error(format!("`{name}` is empty"), "every row names an image and its class"));
            }
        }
        let train = match split {
            "train" => true,
            "test" => false,
            other => {
                return Err(error(
                    format!("split `{other}` is neither train nor test"),
                    "write train or test",
                ));
            }
        };
        let anomalous = match label.to_ascii_lowercase().as_str() {
            "0" | "normal" => false,
            "1" | "anomalous" | "anomaly" => true,
            _ => {
                return Err(error(
                    format!("label `{label}` is unknown"),
                    "write 0 or normal, 1, anomalous or anomaly",
                ));
            }
        };
        if train && anomalous {
            return Err(error(
                format!("the training image `{path}` is labelled anomalous"),
                "only normal images are learnt from: move it to the split test",
            ));
        }
        let kind = match (anomalous, kind) {
            (false, "" | "good") => "good",
            (true, "") => SOME_DEFECT,
            (true, kind) if kind != "good" => kind,
            (_, kind) => {
                return Err(error(
                    format!("kind `{kind}` contradicts label `{label}`"),
                    "the kind of a normal image is good or empty, that of a defective one names the defect",
                ));
            }
        };
        Ok(Row {
            at,
            image: existing(root, "image", path)?,
            class: class.to_owned(),
            train,
            kind: kind.to_owned(),
            mask: if mask.is_empty() { None } else { Some(existing(root, "mask", mask)?) },
        })
    }
}

fn existing(root: &Path, what: &str, path: &str) -> Result<PathBuf> {
    let full = root.join(path);
    if full.is_file() {
        return Ok(full);
    }
    Err(error(
        format!("the {what} `{}` does not exist", full.display()),
        "relative paths start at `dataset.root` (`dataset.path` of `visa`), by default the folder of the manifest",
    ))
}

fn error(message: impl Into<String>, help: &str) -> Error {
    Error::new(ErrorKind::Dataset, message).help(help)
}
