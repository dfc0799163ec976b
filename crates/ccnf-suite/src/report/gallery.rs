//! Heat maps of a run: missed defects first, then false alarms, then what was found.

use crate::statistics::Group;
use ccnf_chart::{Gallery, Image};
use ccnf_core::{Error, ErrorKind, Result};
use ccnf_engine::FinishedRun;
use std::collections::BTreeMap;
use std::io::Cursor;

/// Longest side of a picture in the report, in pixels.
const SIDE: u32 = 280;
/// Pictures per model: missed, false alarms, found.
const PICTURES: [(&str, &str, usize); 3] =
    [("missed", "missed defect", 6), ("false-alarm", "false alarm", 3), ("best", "found defect", 3)];

/// The gallery of a model's first run: of every kind the classes with the lowest image AUROC come first. `None` for a run without overlays.
pub(crate) fn of_model(group: &Group<'_>, model: &str) -> Result<Option<Gallery>> {
    let Some(entry) = group.entries.iter().find(|e| e.planned.cell.model == model) else { return Ok(None) };
    let run = entry.run;
    let last = run.stages().saturating_sub(1);
    let auroc: BTreeMap<String, f64> = entry.evaluations.get(last).map_or_else(BTreeMap::new, |e| {
        e.classes
            .iter()
            .map(|c| {
                (c.class.clone(), c.metrics.get("image_auroc.given").and_then(|n| n.value).unwrap_or(0.0))
            })
            .collect()
    });
    let mut classes: Vec<(&String, &f64)> = auroc.iter().collect();
    classes.sort_by(|a, b| a.1.total_cmp(b.1));
    let mut images = vec![];
    for (kind, what, most) in PICTURES {
        let first = classes.iter().filter_map(|(class, value)| {
            let start = format!("overlays/{class}/{kind}-1-");
            run.files().find(|f| f.starts_with(&start)).map(|file| (file.to_owned(), *class, **value))
        });
        for (file, class, value) in first.take(most) {
            let name = file.rsplit('/').next().unwrap_or(&file).trim_end_matches(".png").to_owned();
            let alt = format!("{what}, class {class}, anomaly map of {model} over the image {name}");
            let image = Image::new(&small(run, &file)?, alt).map_err(|e| damaged(&file, &e))?;
            images.push(image.caption(format!("{what}: {class} (AUROC {value:.2})")));
        }
    }
    Ok((!images.is_empty()).then(|| Gallery::new(format!("{model}, first seed"), images)))
}

fn damaged(file: &str, e: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::Checkpoint, format!("the picture `{file}` cannot be used: {e}"))
}

/// The picture as a small JPEG.
fn small(run: &FinishedRun, file: &str) -> Result<Vec<u8>> {
    let picture = image::load_from_memory(&run.read(file)?).map_err(|e| damaged(file, &e))?;
    let picture = picture.thumbnail(SIDE, SIDE).to_rgb8();
    let mut out = Cursor::new(vec![]);
    image::codecs::jpeg::JpegEncoder::new_with_quality(&mut out, 80)
        .encode_image(&picture)
        .map_err(|e| damaged(file, &e))?;
    Ok(out.into_inner())
}
