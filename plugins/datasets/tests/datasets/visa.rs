//! The rules of the dataset `visa`: a table of files in a folder of fixed form.

use crate::common::{file, labels, mask, mask_file, picture, says};
use ccnf::core::{Dataset, ErrorKind, MaskSource};
use ccnf_plugin_datasets::{Visa, VisaConfig};
use std::path::Path;

const TABLE: &str = "\
object,split,label,image,mask
candle,train,normal,candle/Data/Images/Normal/0000.JPG,
candle,test,normal,candle/Data/Images/Normal/0001.JPG,
candle,test,anomaly,candle/Data/Images/Anomaly/000.JPG,candle/Data/Masks/Anomaly/000.png
pcb1,train,normal,pcb1/Data/Images/Normal/0000.JPG,
pcb1,test,anomaly,pcb1/Data/Images/Anomaly/000.JPG,pcb1/Data/Masks/Anomaly/000.png
";

fn dataset(path: &Path) -> Visa {
    Visa::new(VisaConfig { path: path.to_owned(), ..VisaConfig::default() }).unwrap()
}

/// The distributed form with this split.
fn with_table(table: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = |p: &str| folder.path().join(p);
    for (i, class) in ["candle", "pcb1"].into_iter().enumerate() {
        let shade = 10 * i as u8;
        picture(&at(&format!("{class}/Data/Images/Normal/0000.JPG")), shade);
        picture(&at(&format!("{class}/Data/Images/Normal/0001.JPG")), shade + 1);
        picture(&at(&format!("{class}/Data/Images/Anomaly/000.JPG")), shade + 2);
        mask(&at(&format!("{class}/Data/Masks/Anomaly/000.png")), 4, 3);
    }
    std::fs::create_dir_all(at("split_csv")).unwrap();
    std::fs::write(at("split_csv/1cls.csv"), table).unwrap();
    folder
}

#[test]
fn the_table_says_what_an_image_is() {
    let folder = with_table(TABLE);
    let data = dataset(folder.path());
    let index = data.index().unwrap();
    assert_eq!(index.counts(), [("candle", 1, 2), ("pcb1", 1, 1)]);
    let (train, _) = index.clone().split().unwrap();
    assert_eq!(
        file(&train.images("candle")[0].source),
        folder.path().join("candle/Data/Images/Normal/0000.JPG")
    );
    let candle = labels(index, "candle");
    let kinds: Vec<_> = candle.iter().map(|s| (s.label.kind.as_str(), s.label.anomalous)).collect();
    assert_eq!(kinds, [("good", false), ("anomalous", true)]);
    assert_eq!(candle[0].label.mask, MaskSource::AllNormal);
    assert_eq!(mask_file(&candle[1].label.mask), folder.path().join("candle/Data/Masks/Anomaly/000.png"));
    let MaskSource::At(source) = &candle[1].label.mask else { panic!() };
    assert_eq!(data.open_mask(source).unwrap().data.iter().filter(|m| **m).count(), 1);
    assert_eq!(data.open(&candle[0].image.source).unwrap().image.width, 4);
}

#[test]
fn mistakes_name_the_line_and_the_column() {
    let refused = |table: &str| dataset(with_table(table).path()).index().unwrap_err();
    let e = refused(&TABLE.replace("candle,test,anomaly", "candle,train,anomaly"));
    says(&e, &["labelled anomalous", "split_csv/1cls.csv` line 4"]);
    let e = refused(&TABLE.replace("object,", "objects,"));
    says(&e, &["no column `object`", "is it `objects`?"]);
    assert!(e.advice().unwrap().contains("image, object, split, label"), "{e}");
    let e = refused(&TABLE.replace("pcb1/Data/Images/Normal/0000.JPG", "pcb1/Data/Images/Normal/0009.JPG"));
    says(&e, &["0009.JPG` does not exist", "line 5"]);
    let folder = with_table(TABLE);
    let config = VisaConfig { path: folder.path().into(), split: "split_csv/3cls.csv".into() };
    let e = Visa::new(config).unwrap().index().unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Dataset);
    says(&e, &["split_csv/3cls.csv` does not exist"]);
    let e = Visa::new(VisaConfig { path: "".into(), ..VisaConfig::default() }).err().expect("is refused");
    assert_eq!(e.kind(), ErrorKind::Config);
}
