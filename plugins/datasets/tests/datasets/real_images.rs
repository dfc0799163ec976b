//! Both readers of files on real images: the counts are those of the images' own manifest.

use crate::common::{labels, real_images};
use ccnf::core::{Dataset, DatasetIndex, MaskSource};
use ccnf_plugin_datasets::{Folder, FolderConfig, Mvtec, MvtecConfig};
use std::collections::BTreeMap;
use std::path::Path;

/// What the manifest says of a class: training images, test images by kind, masks.
#[derive(Debug, Default, PartialEq)]
struct Counts {
    train: usize,
    test: BTreeMap<String, usize>,
    masks: usize,
}

fn expected(manifest: &Path) -> BTreeMap<String, Counts> {
    let mut all = BTreeMap::<String, Counts>::new();
    for row in csv::Reader::from_path(manifest).unwrap().deserialize::<BTreeMap<String, String>>() {
        let row = row.unwrap();
        let counts = all.entry(row["class"].clone()).or_default();
        match row["split"].as_str() {
            "train" => counts.train += 1,
            _ => *counts.test.entry(row["kind"].clone()).or_default() += 1,
        }
        counts.masks += usize::from(!row["mask"].is_empty());
    }
    all
}

fn found(index: &DatasetIndex) -> BTreeMap<String, Counts> {
    let classes = index.counts().into_iter();
    classes
        .map(|(class, train, _)| {
            let mut counts = Counts { train, ..Counts::default() };
            let labels = labels(index.clone(), class);
            let unknown = labels.iter().filter(|s| s.label.mask == MaskSource::Unknown).count();
            assert!(unknown == 0 || unknown == labels.len(), "{class}: masks are known for some images only");
            for scored in labels {
                counts.masks += usize::from(matches!(scored.label.mask, MaskSource::At(_)));
                *counts.test.entry(scored.label.kind).or_default() += 1;
            }
            (class.to_owned(), counts)
        })
        .collect()
}

#[test]
fn mvtec_finds_what_the_manifest_lists() {
    let Some(root) = real_images("mvtec_finds_what_the_manifest_lists") else { return };
    let data = Mvtec::new(MvtecConfig { path: root.clone() }).unwrap();
    assert_eq!(found(&data.index().unwrap()), expected(&root.join("manifest.csv")));
}

#[test]
fn folder_finds_what_the_manifest_lists() {
    let Some(root) = real_images("folder_finds_what_the_manifest_lists") else { return };
    let data = Folder::new(FolderConfig { manifest: root.join("manifest.csv"), root: None }).unwrap();
    assert_eq!(found(&data.index().unwrap()), expected(&root.join("manifest.csv")));
}

#[test]
fn some_images_of_every_class_open_with_their_masks() {
    let Some(root) = real_images("some_images_of_every_class_open_with_their_masks") else { return };
    let data = Mvtec::new(MvtecConfig { path: root }).unwrap();
    let index = data.index().unwrap();
    for class in index.classes() {
        let labels = labels(index.clone(), class);
        for scored in labels.iter().step_by(labels.len().div_ceil(8)) {
            let opened = data.open(&scored.image.source).unwrap();
            assert_eq!(opened.content_hash, data.content_hash(&scored.image.source).unwrap());
            if let MaskSource::At(mask) = &scored.label.mask {
                let mask = data.open_mask(mask).unwrap();
                assert_eq!((mask.width, mask.height), (opened.image.width, opened.image.height));
                assert!(mask.data.contains(&true), "{:?} has an empty mask", scored.image.source);
            }
        }
    }
}
