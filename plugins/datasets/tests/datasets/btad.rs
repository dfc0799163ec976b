//! The rules of the dataset `btad`, where they differ from those of `mvtec`.

use crate::common::{labels, mask, mask_file, picture, says};
use ccnf::core::{Dataset, ErrorKind, MaskSource};
use ccnf_plugin_datasets::{Btad, BtadConfig};
use std::path::Path;

fn dataset(path: &Path) -> Btad {
    Btad::new(BtadConfig { path: path.to_owned() }).unwrap()
}

/// Two products: masks are PNG for one and BMP for the other, as in the original.
fn two_products() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = |p: &str| folder.path().join(p);
    for (class, extension) in [("01", "png"), ("03", "bmp")] {
        picture(&at(&format!("{class}/train/ok/0000.bmp")), 1);
        picture(&at(&format!("{class}/test/ok/0000.bmp")), 2);
        picture(&at(&format!("{class}/test/ko/0001.bmp")), 3);
        mask(&at(&format!("{class}/ground_truth/ko/0001.{extension}")), 4, 3);
    }
    folder
}

#[test]
fn ok_is_normal_and_ko_defective() {
    let folder = two_products();
    let data = dataset(folder.path());
    let index = data.index().unwrap();
    assert_eq!(index.counts(), [("01", 1, 2), ("03", 1, 2)]);
    for (class, file) in [("01", "0001.png"), ("03", "0001.bmp")] {
        let found = labels(index.clone(), class);
        let mut kinds: Vec<_> = found.iter().map(|s| (s.label.kind.as_str(), s.label.anomalous)).collect();
        kinds.sort_unstable();
        assert_eq!(kinds, [("good", false), ("ko", true)]);
        let defective = found.iter().find(|s| s.label.anomalous).unwrap();
        assert_eq!(
            mask_file(&defective.label.mask),
            folder.path().join(class).join("ground_truth/ko").join(file)
        );
        let MaskSource::At(source) = &defective.label.mask else { panic!() };
        assert_eq!(data.open_mask(source).unwrap().data.iter().filter(|m| **m).count(), 1);
        let normal = found.iter().find(|s| !s.label.anomalous).unwrap();
        assert_eq!(normal.label.mask, MaskSource::AllNormal);
    }
}

#[test]
fn the_size_of_a_mask_is_checked_against_its_image() {
    let folder = two_products();
    mask(&folder.path().join("01/ground_truth/ko/0001.png"), 5, 3);
    let data = dataset(folder.path());
    let found = labels(data.index().unwrap(), "01");
    let MaskSource::At(source) = &found.iter().find(|s| s.label.anomalous).unwrap().label.mask else {
        panic!()
    };
    says(&data.open_mask(source).unwrap_err(), &["0001.png", "0001.bmp"]);
}

#[test]
fn mistakes_are_named() {
    let folder = two_products();
    std::fs::remove_file(folder.path().join("03/ground_truth/ko/0001.bmp")).unwrap();
    let e = dataset(folder.path()).index().unwrap_err();
    says(&e, &["03/test/ko/0001.bmp", "ground_truth/ko/0001.png", "class `03`"]);
    assert!(e.advice().unwrap().contains("`0001.bmp`"), "{e}");
    picture(&folder.path().join("01/train/ko/0000.bmp"), 1);
    says(&dataset(folder.path()).index().unwrap_err(), &["01/train/ko"]);
    let e = dataset(&folder.path().join("01")).index().unwrap_err();
    assert!(e.advice().unwrap().contains("name the folder above it"), "{e}");
    let e = Btad::new(BtadConfig { path: "".into() }).err().expect("is refused");
    assert_eq!(e.kind(), ErrorKind::Config);
    says(&e, &["`btad`"]);
}
