//! Small datasets on disk, and the labels of an index.

use ccnf::core::{DatasetIndex, Error, ImageSource, MaskSource, RgbImage, Scored};
use ccnf::data::{encode_mask_png, encode_png};
use std::path::{Path, PathBuf};

/// Writes a small picture; different `shade`s have different bytes.
pub(crate) fn picture(path: &Path, shade: u8) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let image = RgbImage { width: 4, height: 3, data: vec![shade; 36] };
    std::fs::write(path, encode_png(&image).unwrap()).unwrap();
}

/// Writes a mask with one anomalous pixel.
pub(crate) fn mask(path: &Path, width: usize, height: usize) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut data = vec![false; width * height];
    data[1] = true;
    let mask = ccnf::core::Mask { width, height, data };
    std::fs::write(path, encode_mask_png(&mask).unwrap()).unwrap();
}

/// The labelled test images of a class.
pub(crate) fn labels(index: DatasetIndex, class: &str) -> Vec<Scored<()>> {
    let (_, test) = index.split().unwrap();
    test.score_class(class, |images| Ok(vec![(); images.len()])).unwrap()
}

/// The file of a source.
pub(crate) fn file(source: &ImageSource) -> PathBuf {
    match source {
        ImageSource::File(path) => path.clone(),
        ImageSource::Generated(id) => panic!("{id} is no file"),
    }
}

/// The mask file of a label.
pub(crate) fn mask_file(mask: &MaskSource) -> PathBuf {
    match mask {
        MaskSource::At(source) => file(source),
        other => panic!("no mask file but {other:?}"),
    }
}

/// Fails unless the error has help and says all `parts`.
#[track_caller]
pub(crate) fn says(error: &Error, parts: &[&str]) {
    let text = error.to_string();
    for part in parts {
        assert!(text.contains(part), "`{part}` is missing in: {text}");
    }
    assert!(error.advice().is_some(), "no help: {text}");
}

/// `CCNF_DATA`, else `$CCNF_SHARED/data/realad`, else `shared/data/realad` beside the workspace; relative paths start at the
/// workspace root. Where there is none: a panic if `CI=true`, otherwise `None` and a line on stderr that the test harness
/// does not capture.
pub(crate) fn real_images(test: &str) -> Option<PathBuf> {
    use std::io::Write;
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = match (std::env::var_os("CCNF_DATA"), std::env::var_os("CCNF_SHARED")) {
        (Some(data), _) => workspace.join(data),
        (None, Some(shared)) => workspace.join(shared).join("data/realad"),
        (None, None) => workspace.join("../shared/data/realad"),
    };
    if folder.join("manifest.csv").is_file() {
        return Some(folder);
    }
    let message = format!("{test}: no real images at {} (set CCNF_DATA)", folder.display());
    assert!(!std::env::var("CI").is_ok_and(|v| v == "true"), "{message}");
    let _ = writeln!(std::io::stderr(), "SKIPPED: {message}");
    None
}
