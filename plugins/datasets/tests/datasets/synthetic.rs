//! The rules of the dataset `synthetic`.

use crate::common::{labels, says};
use ccnf::core::{Dataset, ErrorKind, ImageSource, MaskSource};
use ccnf::data::synthetic::{all_classes, defects_of};
use ccnf_plugin_datasets::{Synthetic, SyntheticConfig};

fn small() -> SyntheticConfig {
    SyntheticConfig { size: 32, train: 2, test_good: 2, test_per_defect: 1, ..SyntheticConfig::default() }
}

#[test]
fn all_classes_are_there_by_default() {
    let index = Synthetic::new(small()).unwrap().index().unwrap();
    assert_eq!(index.classes(), all_classes());
    for (class, train, test) in index.counts() {
        assert_eq!((train, test), (2, 2 + defects_of(class).unwrap().len()), "{class}");
    }
}

#[test]
fn chosen_classes_come_alone() {
    let config = SyntheticConfig { classes: Some(vec!["pine".into(), "bolt".into()]), ..small() };
    assert_eq!(Synthetic::new(config).unwrap().index().unwrap().classes(), ["bolt", "pine"]);
}

#[test]
fn every_listed_picture_opens_with_its_mask() {
    let data = Synthetic::new(SyntheticConfig { classes: Some(vec!["capsule".into()]), ..small() }).unwrap();
    let (train, _) = data.index().unwrap().split().unwrap();
    for image in train.images("capsule") {
        let opened = data.open(&image.source).unwrap();
        assert_eq!((opened.image.width, opened.image.height), (32, 32));
        assert_eq!(opened.content_hash, <[u8; 32]>::from(blake3::hash(&opened.image.data)));
        assert_eq!(opened.content_hash, data.content_hash(&image.source).unwrap());
    }
    for scored in labels(data.index().unwrap(), "capsule") {
        match &scored.label.mask {
            MaskSource::AllNormal => assert!(!scored.label.anomalous),
            MaskSource::At(source) => {
                let mask = data.open_mask(source).unwrap();
                assert_eq!((mask.width, mask.height), (32, 32));
                assert!(scored.label.anomalous && mask.data.contains(&true));
            }
            MaskSource::Unknown => panic!("{:?} has no mask", scored.image),
        }
    }
}

#[test]
fn pictures_differ_and_depend_on_the_seed() {
    let hashes = |seed| {
        let data = Synthetic::new(SyntheticConfig { seed, ..small() }).unwrap();
        let (train, _) = data.index().unwrap().split().unwrap();
        let all = all_classes().into_iter().flat_map(|c| train.images(c).to_vec());
        all.map(|i| data.content_hash(&i.source).unwrap()).collect::<Vec<_>>()
    };
    let (first, again, other) = (hashes(1), hashes(1), hashes(2));
    assert_eq!(first, again);
    assert!(first.iter().chain(&other).collect::<std::collections::BTreeSet<_>>().len() == 2 * first.len());
}

#[test]
fn pictures_outside_the_dataset_are_refused() {
    let data = Synthetic::new(SyntheticConfig { classes: Some(vec!["bolt".into()]), ..small() }).unwrap();
    for id in ["bolt/train/good/002", "pine/train/good/000", "bolt/test/rust/001", "nonsense"] {
        let e = data.open(&ImageSource::Generated(id.into())).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Dataset);
        says(&e, &[id]);
    }
    assert_eq!(data.open(&ImageSource::File("x.png".into())).unwrap_err().kind(), ErrorKind::Contract);
}

#[test]
fn impossible_configs_are_refused() {
    let refused = |config| Synthetic::new(config).err().expect("is refused");
    says(
        &refused(SyntheticConfig { classes: Some(vec!["blot".into()]), ..small() }),
        &["blot", "did you mean `bolt`"],
    );
    says(&refused(SyntheticConfig { size: 0, ..small() }), &["0 pixels"]);
    says(&refused(SyntheticConfig { train: 0, ..small() }), &["training picture"]);
    says(&refused(SyntheticConfig { classes: Some(vec![]), ..small() }), &["empty list"]);
}
