//! Datasets:
//!
//! * the index is the same twice and when built again; every class has training images;
//! * no source is listed twice, and none both for training and for testing;
//! * all images of the first class open, twice alike and from two threads at once, with pixels for their size and the content
//!   hash that is stated without opening;
//! * masks have the size of their image; that of an anomalous image is not empty, that of a normal one is;
//! * an image that is not there is an error that names it.

use super::common::{Must, refused};
use super::entry::Case;
use ccnf::core::{Scored, TrainImage};
use ccnf::prelude::*;
use std::collections::BTreeSet;
use std::path::PathBuf;

pub(super) fn spec() -> DatasetSpec {
    DatasetSpec { seed: 3 }
}

/// All that an index says about a class.
struct Class {
    name: String,
    train: Vec<TrainImage>,
    test: Vec<Scored<()>>,
}

fn read(dataset: &dyn Dataset, at: &str) -> Vec<Class> {
    let index = dataset.index().must(at);
    let names: Vec<String> = index.classes().into_iter().map(String::from).collect();
    let (train, test) = index.split().must(at);
    let class = |name: String| Class {
        train: train.images(&name).to_vec(),
        test: test.score_class(&name, |images| Ok(vec![(); images.len()])).must(at),
        name,
    };
    names.into_iter().map(class).collect()
}

pub(super) fn check(case: &Case<dyn Dataset>) {
    let at = case.at("index");
    let dataset = case.build(&spec());
    let classes = read(&*dataset, &at);
    let text = |classes: &[Class]| -> Vec<String> {
        classes.iter().map(|c| format!("{} {:?} {:?}", c.name, c.train, c.test)).collect()
    };
    assert_eq!(text(&read(&*dataset, &at)), text(&classes), "{at}: another the second time");
    assert_eq!(text(&read(&*case.build(&spec()), &at)), text(&classes), "{at}: another when built again");
    let mut seen = BTreeSet::new();
    for class in &classes {
        assert!(!class.train.is_empty(), "{at}: class `{}` has no training image", class.name);
        for source in class.train.iter().map(|i| &i.source).chain(class.test.iter().map(|s| &s.image.source))
        {
            assert!(seen.insert(source.clone()), "{at}: `{}` is listed twice", source.label());
        }
        for s in &class.test {
            assert_eq!(s.image.class, class.name, "{at}: class of `{}`", s.image.source.label());
        }
    }
    let Some(first) = classes.first() else { panic!("{at}: no class") };
    images_open(case, &*dataset, first);
    masks(case, &*dataset, first);
    missing(case, &*dataset);
}

fn images_open(case: &Case<dyn Dataset>, dataset: &dyn Dataset, class: &Class) {
    let sources: Vec<&ImageSource> =
        class.train.iter().map(|i| &i.source).chain(class.test.iter().map(|s| &s.image.source)).collect();
    let open =
        |source: &ImageSource| dataset.open(source).must(&case.at(format!("open `{}`", source.label())));
    let all = || sources.iter().map(|s| open(s)).collect::<Vec<_>>();
    let (once, twice) = std::thread::scope(|s| {
        let other = s.spawn(all);
        let own = all();
        (own, other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let mut hashes = BTreeSet::new();
    for ((a, b), source) in once.iter().zip(&twice).zip(&sources) {
        let at = case.at(format!("image `{}`", source.label()));
        let (w, h) = (a.image.width, a.image.height);
        assert!(
            w > 0 && h > 0 && a.image.data.len() == 3 * w * h,
            "{at}: {} bytes for {w} x {h}",
            a.image.data.len()
        );
        assert!(a.image == b.image && a.content_hash == b.content_hash, "{at}: another the second time");
        assert_eq!(
            dataset.content_hash(source).must(&at),
            a.content_hash,
            "{at}: content hash without opening"
        );
        hashes.insert(a.content_hash);
    }
    let at = case.at(format!("class `{}`", class.name));
    assert!(
        sources.len() < 2 || hashes.len() > 1,
        "{at}: all {} images have the same content hash",
        sources.len()
    );
}

fn masks(case: &Case<dyn Dataset>, dataset: &dyn Dataset, class: &Class) {
    for s in &class.test {
        let at = case.at(format!("mask of `{}`", s.image.source.label()));
        assert_eq!(s.label.anomalous, s.label.kind != "good", "{at}: kind `{}`", s.label.kind);
        let MaskSource::At(source) = &s.label.mask else {
            let normal = s.label.mask == MaskSource::AllNormal;
            assert!(!(normal && s.label.anomalous), "{at}: anomalous, and all normal");
            continue;
        };
        let (mask, image) =
            (dataset.open_mask(source).must(&at), dataset.open(&s.image.source).must(&at).image);
        assert_eq!((mask.width, mask.height), (image.width, image.height), "{at}: its size");
        assert_eq!(mask.data.len(), mask.width * mask.height, "{at}: its pixels");
        assert_eq!(mask.data.contains(&true), s.label.anomalous, "{at}: some pixel is anomalous");
    }
}

fn missing(case: &Case<dyn Dataset>, dataset: &dyn Dataset) {
    let nowhere = "no-such-folder/no-such-image.png";
    for source in [ImageSource::Generated(nowhere.into()), ImageSource::File(PathBuf::from(nowhere))] {
        for (what, e) in [
            ("open", refused(dataset.open(&source).map(|_| ()), &case.at("an image that is not there"))),
            (
                "open_mask",
                refused(dataset.open_mask(&source).map(|_| ()), &case.at("a mask that is not there")),
            ),
            (
                "content_hash",
                refused(dataset.content_hash(&source).map(|_| ()), &case.at("a hash of nothing")),
            ),
        ] {
            assert!(
                e.to_string().contains(nowhere),
                "{}",
                case.at(format!("{what} of a missing image does not name it: {e}"))
            );
        }
    }
}
