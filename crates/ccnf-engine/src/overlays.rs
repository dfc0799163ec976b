//! Pictures of the best and the worst cases of every class.

use crate::assembly::Assembly;
use crate::folder::RunFolder;
use crate::fuse::fuse;
use crate::observer::Observer;
use crate::score_stage::{ClassEvaluation, ImageRow, StageEvaluation};
use ccnf_core::{Error, ErrorKind, ImageFeatures, ImageSource, MaskSource, Result, ScoreRequest};
use ccnf_data::cache::FeatureCache;

/// The heat map's range: from the middle of the normal images' scores to the highest score of the class.
fn range(class: &ClassEvaluation) -> (f32, f32) {
    let mut normal: Vec<f32> = class.images.iter().filter(|r| !r.anomalous).map(|r| r.given).collect();
    normal.sort_by(f32::total_cmp);
    let top = class.images.iter().map(|r| r.given).fold(f32::NEG_INFINITY, f32::max);
    let low = normal.get(normal.len() / 2).copied().unwrap_or(top - 1.0);
    // The map of a normal image reaches its score in one place: half of the way down is quiet background.
    let low = low - 0.5 * (top - low).max(1e-6);
    if top > low { (low, top) } else { (low, low + 1.0) }
}

/// Rows to draw: defects with the highest and with the lowest scores, normal images with the highest.
fn choose(class: &ClassEvaluation, n: usize) -> Vec<(&'static str, &ImageRow)> {
    let sorted = |anomalous: bool| {
        let mut rows: Vec<&ImageRow> = class.images.iter().filter(|r| r.anomalous == anomalous).collect();
        rows.sort_by(|a, b| b.given.total_cmp(&a.given).then_with(|| a.image.cmp(&b.image)));
        rows
    };
    let (defects, normal) = (sorted(true), sorted(false));
    let mut out: Vec<(&'static str, &ImageRow)> = Vec::new();
    out.extend(defects.iter().take(n).map(|r| ("best", *r)));
    out.extend(defects.iter().skip(n).rev().take(n).map(|r| ("missed", *r)));
    out.extend(normal.iter().take(n).map(|r| ("false-alarm", *r)));
    out
}

/// Writes `overlays/CLASS/KIND-RANK-NAME.png`: image, heat map and, where known, the contour of the true defect.
pub(crate) fn write_overlays(
    a: &Assembly,
    folder: &RunFolder,
    cache: &FeatureCache,
    evaluation: &StageEvaluation,
    observer: &dyn Observer,
) -> Result<()> {
    observer.start("overlays", evaluation.classes.len() as u64);
    for (i, class) in evaluation.classes.iter().enumerate() {
        let images = a.test_index.score_class(&class.class, |images| Ok(vec![(); images.len()]))?;
        let mut rank = std::collections::BTreeMap::new();
        for (kind, row) in choose(class, a.run.overlays) {
            let Some(found) = images.iter().find(|s| s.image.source.label() == row.image) else { continue };
            let source = &found.image.source;
            let features =
                cache.get_or_encode(a.dataset.as_ref(), &[source], a.encoder.as_ref(), &mut |_| {})?;
            let views: Vec<&dyn ImageFeatures> = features.iter().map(|f| f.as_ref()).collect();
            let scores =
                a.detector.score(&views, ScoreRequest { given: Some(&class.class), routed: false })?;
            let first = scores
                .first()
                .ok_or_else(|| Error::new(ErrorKind::Contract, "a detector returned no score"))?;
            let map = fuse(&first.given, &a.scoring)?.map;
            let mask = match &found.label.mask {
                MaskSource::At(m) => Some(a.dataset.open_mask(m)?),
                _ => None,
            };
            let image = a.dataset.open(source)?.image;
            let picture = ccnf_data::overlay(&image, &map, range(class), mask.as_ref())?;
            let n = rank.entry(kind).or_insert(0);
            *n += 1;
            let name = format!("overlays/{}/{kind}-{n}-{}.png", safe(&class.class), file_name(source));
            folder.write(&name, &ccnf_data::encode_png(&picture)?)?;
        }
        observer.advance(i as u64 + 1, &class.class);
    }
    observer.finish();
    Ok(())
}

/// The last two parts of an image's name, usable as a file name.
pub(crate) fn file_name(source: &ImageSource) -> String {
    let label = source.label();
    let parts: Vec<&str> = label.split(['/', '\\']).collect();
    let tail = parts[parts.len().saturating_sub(2)..].join("-");
    safe(tail.rsplit_once('.').map_or(tail.as_str(), |(stem, _)| stem))
}

fn safe(name: &str) -> String {
    name.chars().map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect()
}
