//! The rules of the dataset `mvtec`.

use crate::common::{file, labels, mask, mask_file, picture, says};
use ccnf::core::{Dataset, ErrorKind, ImageSource, MaskSource};
use ccnf_plugin_datasets::{Mvtec, MvtecConfig};
use std::path::Path;

fn dataset(path: &Path) -> Mvtec {
    Mvtec::new(MvtecConfig { path: path.to_owned() }).unwrap()
}

/// A class with masks, `bolt`, and one without, `pill`.
fn two_classes() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = |p: &str| folder.path().join(p);
    picture(&at("bolt/train/good/b.png"), 1);
    picture(&at("bolt/train/good/a.PNG"), 2);
    picture(&at("bolt/test/good/000.png"), 3);
    picture(&at("bolt/test/rust/000.png"), 4);
    picture(&at("bolt/test/rust/001.png"), 5);
    mask(&at("bolt/ground_truth/rust/000_mask.png"), 4, 3);
    mask(&at("bolt/ground_truth/rust/001.png"), 4, 3);
    picture(&at("pill/train/good/000.png"), 6);
    picture(&at("pill/test/good/000.png"), 7);
    picture(&at("pill/test/crack/000.png"), 8);
    folder
}

#[test]
fn classes_splits_and_kinds_follow_the_folders() {
    let folder = two_classes();
    let index = dataset(folder.path()).index().unwrap();
    assert_eq!(index.counts(), [("bolt", 2, 3), ("pill", 1, 2)]);
    let bolt = labels(index, "bolt");
    let kinds: Vec<(&str, bool)> = bolt.iter().map(|s| (s.label.kind.as_str(), s.label.anomalous)).collect();
    assert_eq!(kinds, [("good", false), ("rust", true), ("rust", true)]);
}

#[test]
fn images_come_sorted_by_name_and_extensions_in_any_case() {
    let folder = two_classes();
    let (train, _) = dataset(folder.path()).index().unwrap().split().unwrap();
    let names: Vec<_> = train.images("bolt").iter().map(|i| file(&i.source)).collect();
    assert_eq!(names, ["a.PNG", "b.png"].map(|n| folder.path().join("bolt/train/good").join(n)));
}

#[test]
fn masks_are_found_with_and_without_their_suffix() {
    let folder = two_classes();
    let data = dataset(folder.path());
    let bolt = labels(data.index().unwrap(), "bolt");
    assert_eq!(bolt[0].label.mask, MaskSource::AllNormal);
    let truth = folder.path().join("bolt/ground_truth/rust");
    assert_eq!(mask_file(&bolt[1].label.mask), truth.join("000_mask.png"));
    assert_eq!(mask_file(&bolt[2].label.mask), truth.join("001.png"));
    for scored in &bolt[1..] {
        let MaskSource::At(source) = &scored.label.mask else { panic!() };
        let mask = data.open_mask(source).unwrap();
        assert_eq!((mask.width, mask.height, mask.data.iter().filter(|m| **m).count()), (4, 3, 1));
    }
}

#[test]
fn a_class_without_ground_truth_has_unknown_masks() {
    let folder = two_classes();
    let pill = labels(dataset(folder.path()).index().unwrap(), "pill");
    assert!(pill.iter().all(|s| s.label.mask == MaskSource::Unknown), "{pill:?}");
}

#[test]
fn a_single_missing_mask_names_the_image_and_the_expected_path() {
    let folder = two_classes();
    std::fs::remove_file(folder.path().join("bolt/ground_truth/rust/000_mask.png")).unwrap();
    let e = dataset(folder.path()).index().unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Dataset);
    says(&e, &["bolt/test/rust/000.png", "bolt/ground_truth/rust/000_mask.png", "class `bolt`"]);
}

#[test]
fn a_mask_of_another_size_is_refused() {
    let folder = two_classes();
    let path = folder.path().join("bolt/ground_truth/rust/000_mask.png");
    mask(&path, 3, 4);
    let e = dataset(folder.path()).open_mask(&ImageSource::File(path)).unwrap_err();
    says(&e, &["000_mask.png", "bolt/test/rust/000.png", "3 x 4", "4 x 3"]);
}

#[test]
fn other_and_hidden_files_are_ignored() {
    let folder = two_classes();
    let before = dataset(folder.path()).index().unwrap();
    let at = |p: &str| folder.path().join(p);
    std::fs::write(at("license.txt"), "x").unwrap();
    std::fs::write(at("bolt/train/good/Thumbs.db"), "x").unwrap();
    std::fs::write(at("bolt/test/notes.md"), "x").unwrap();
    picture(&at("bolt/train/good/.hidden.png"), 9);
    picture(&at(".cache/train/good/000.png"), 9);
    picture(&at("scripts/000.png"), 9);
    assert_eq!(dataset(folder.path()).index().unwrap().counts(), before.counts());
}

#[test]
fn defective_training_images_are_refused() {
    let folder = two_classes();
    picture(&folder.path().join("bolt/train/rust/000.png"), 9);
    says(&dataset(folder.path()).index().unwrap_err(), &["bolt/train/rust", "train/good", "class `bolt`"]);
}

#[test]
fn a_missing_path_is_named_with_help() {
    let e = dataset(Path::new("no/such/folder")).index().unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Dataset);
    says(&e, &["no/such/folder", "does not exist", "dataset.path"]);
    assert!(Mvtec::new(MvtecConfig { path: "".into() }).is_err());
}

#[test]
fn the_folder_of_one_class_is_recognised() {
    let folder = two_classes();
    let e = dataset(&folder.path().join("bolt")).index().unwrap_err();
    says(&e, &["no class", "the folder above"]);
}

#[test]
fn a_folder_without_classes_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    says(&dataset(folder.path()).index().unwrap_err(), &["no class", "CLASS/train/good"]);
}

#[test]
fn a_class_without_training_images_is_refused_when_it_is_split() {
    let folder = two_classes();
    picture(&folder.path().join("nut/test/good/000.png"), 9);
    says(&dataset(folder.path()).index().unwrap().split().map(|_| ()).unwrap_err(), &["`nut`"]);
}

#[test]
fn the_content_hash_is_that_of_the_file() {
    let folder = two_classes();
    let data = dataset(folder.path());
    let path = folder.path().join("bolt/train/good/b.png");
    let source = ImageSource::File(path.clone());
    let expected: [u8; 32] = blake3::hash(&std::fs::read(&path).unwrap()).into();
    assert_eq!(data.content_hash(&source).unwrap(), expected);
    let opened = data.open(&source).unwrap();
    assert_eq!(opened.content_hash, expected);
    assert_eq!((opened.image.width, opened.image.height, opened.image.data[0]), (4, 3, 1));
}

#[test]
fn a_broken_image_is_named() {
    let folder = two_classes();
    let path = folder.path().join("bolt/train/good/b.png");
    std::fs::write(&path, "no picture").unwrap();
    says(&dataset(folder.path()).open(&ImageSource::File(path)).unwrap_err(), &["bolt/train/good/b.png"]);
}

#[test]
fn a_generated_source_is_not_ours() {
    let e = dataset(Path::new("x")).open(&ImageSource::Generated("bolt/1".into())).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Contract);
}
