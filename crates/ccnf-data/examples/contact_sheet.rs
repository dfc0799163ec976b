//! Writes contact sheets of the synthetic classes: `cargo run -p ccnf-data --example contact_sheet -- FOLDER [SIZE]`.
//!
//! `normal.png` has six normal pictures of each class in a row; `CLASS.png` has for each kind of defect four pictures and
//! the same four with the mask's contour; `overlay.png` shows the heat-map panel.

use ccnf_core::{Error, ErrorKind, Result, RgbImage, write_atomic};
use ccnf_data::synthetic::{DEFAULT_SIZE, all_classes, defects_of, render_defect, render_normal};
use ccnf_data::{FloatMap, draw_contour, encode_png, grid, overlay};
use std::path::PathBuf;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().map(PathBuf::from);
    let folder = folder.ok_or_else(|| Error::new(ErrorKind::Usage, "name the folder for the pictures"))?;
    let size = arguments.next().and_then(|s| s.parse().ok()).unwrap_or(DEFAULT_SIZE);
    let write = |name: &str, pictures: &[RgbImage], columns: usize| {
        let sheet = grid(&pictures.iter().collect::<Vec<_>>(), columns, 4);
        write_atomic(&folder.join(name), &encode_png(&sheet)?)
    };

    let mut normal = vec![];
    let mut panels = vec![];
    for class in all_classes() {
        for index in 0..6 {
            normal.push(render_normal(class, "train", index, 0, size)?);
        }
        let mut defects = vec![];
        for kind in defects_of(class)? {
            let pairs: Result<Vec<_>> =
                (0..4).map(|index| render_defect(class, kind, index, 0, size)).collect();
            let pairs = pairs?;
            defects.extend(pairs.iter().map(|(image, _)| image.clone()));
            defects.extend(pairs.iter().map(|(image, mask)| {
                let mut outlined = image.clone();
                draw_contour(&mut outlined, mask);
                outlined
            }));
        }
        write(&format!("{class}.png"), &defects, 8)?;
        panels.push(panel(class, size)?);
    }
    write("normal.png", &normal, 6)?;
    write("overlay.png", &panels, 2)
}

/// A heat map as a model may give it: the blurred mask on a coarse grid, plus an uneven floor.
fn panel(class: &str, size: usize) -> Result<RgbImage> {
    let (image, mask) = render_defect(class, defects_of(class)?[0], 1, 0, size)?;
    let floats = mask.data.iter().map(|&m| if m { 1.0 } else { 0.0 }).collect();
    let coarse =
        FloatMap::new(size, size, floats)?.gaussian_blur(size as f32 / 24.0).adaptive_avg_pool(16, 16);
    let peak = coarse.range().map_or(1.0, |r| r.1);
    let data =
        coarse.data.iter().enumerate().map(|(i, v)| v / peak + 0.08 * (i as f32 * 1.7).sin().abs()).collect();
    overlay(&image, &FloatMap::new(16, 16, data)?, (0.0, 1.0), Some(&mask))
}
