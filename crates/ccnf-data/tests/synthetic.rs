//! What the generated dataset promises.

use ccnf_core::{ErrorKind, RgbImage};
use ccnf_data::synthetic::*;
use ccnf_data::{read_image, read_mask};
use std::collections::BTreeSet;
use std::path::Path;

const SIZE: usize = 64;

#[test]
fn there_are_enough_classes_and_defects() {
    let classes = all_classes();
    assert!(classes.len() >= 6, "{classes:?}");
    assert!(classes.is_sorted(), "{classes:?}");
    for class in classes {
        let defects = defects_of(class).unwrap();
        assert!(defects.len() >= 5 && defects.is_sorted(), "{class}: {defects:?}");
        assert!(!defects.contains(&"good"));
    }
}

#[test]
fn a_picture_depends_on_its_key_alone() {
    for class in all_classes() {
        let picture = render_normal(class, "train", 3, 5, SIZE).unwrap();
        assert_eq!(picture, render_normal(class, "train", 3, 5, SIZE).unwrap(), "{class}");
        let others = [("train", 4, 5), ("test", 3, 5), ("train", 3, 6)];
        for (split, index, seed) in others {
            assert_ne!(
                picture,
                render_normal(class, split, index, seed, SIZE).unwrap(),
                "{class} {split} {index} {seed}"
            );
        }
        let kind = defects_of(class).unwrap()[0];
        assert_eq!(
            render_defect(class, kind, 1, 5, SIZE).unwrap(),
            render_defect(class, kind, 1, 5, SIZE).unwrap()
        );
    }
}

#[test]
fn a_mask_is_not_empty_and_is_exactly_where_the_picture_changed() {
    for class in all_classes() {
        for kind in defects_of(class).unwrap() {
            for index in 0..6 {
                let (picture, mask) = render_defect(class, kind, index, 1, SIZE).unwrap();
                let clean = render_normal(class, &defect_split(kind), index, 1, SIZE).unwrap();
                let pixels = picture.data.as_chunks::<3>().0.iter().zip(clean.data.as_chunks::<3>().0);
                let changed: Vec<bool> = pixels.map(|(a, b)| a != b).collect();
                assert_eq!(changed, mask.data, "{class}/{kind}/{index}");
                let part = changed.iter().filter(|&&m| m).count() as f64 / changed.len() as f64;
                assert!(part > 0.0 && part < 0.3, "{class}/{kind}/{index}: {part} of the picture");
            }
        }
    }
}

#[test]
fn tiny_pictures_have_defects_too() {
    for class in all_classes() {
        for kind in defects_of(class).unwrap() {
            let (_, mask) = render_defect(class, kind, 0, 2, *SIZES.start()).unwrap();
            assert!(mask.data.contains(&true), "{class}/{kind}");
        }
    }
}

/// Share of the pixels in each of 4 x 4 x 4 bins of colour, over some pictures.
fn histogram(class: &str) -> Vec<f64> {
    let mut bins = vec![0.0; 64];
    for index in 0..6 {
        for p in render_normal(class, "train", index, 0, SIZE).unwrap().data.as_chunks::<3>().0 {
            bins[p.iter().fold(0, |bin, v| bin * 4 + usize::from(v / 64))] += 1.0 / (6 * SIZE * SIZE) as f64;
        }
    }
    bins
}

#[test]
fn classes_look_different() {
    let all: Vec<_> = all_classes().into_iter().map(|c| (c, histogram(c))).collect();
    for (i, (a, left)) in all.iter().enumerate() {
        for (b, right) in &all[..i] {
            let distance: f64 = left.iter().zip(right).map(|(x, y)| (x - y).abs()).sum::<f64>() / 2.0;
            assert!(distance > 0.3, "{a} and {b}: histograms differ by {distance}");
        }
    }
}

#[test]
fn an_unknown_name_is_answered_with_the_known_ones() {
    let e = render_normal("capsul", "train", 0, 0, SIZE).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Dataset);
    assert!(e.to_string().contains("did you mean `capsule`") && e.to_string().contains("granite"), "{e}");
    let e = render_defect("bolt", "rusty", 0, 0, SIZE).unwrap_err();
    assert!(e.to_string().contains("did you mean `rust`"), "{e}");
    assert!(render_normal("bolt", "train", 0, 0, 2).is_err());
}

#[test]
fn an_id_names_its_picture() {
    for image in small().images().unwrap() {
        assert_eq!(SyntheticImage::parse(&image.id()).unwrap(), image);
    }
    for bad in
        ["", "bolt", "bolt/train/rust/000", "bolt/test/nothing/000", "bolt/test/good/x", "x/test/rust/0"]
    {
        assert!(SyntheticImage::parse(bad).is_err(), "{bad}");
    }
}

fn small() -> SyntheticSpec {
    SyntheticSpec {
        seed: 3,
        size: 32,
        classes: vec!["pine".into(), "bolt".into()],
        train_per_class: 3,
        test_good_per_class: 2,
        test_per_defect: 1,
    }
}

#[test]
fn impossible_specs_are_refused() {
    assert!(small().check().is_ok());
    assert!(SyntheticSpec { size: 0, ..small() }.check().is_err());
    assert!(SyntheticSpec { classes: vec![], ..small() }.check().is_err());
    assert!(SyntheticSpec { classes: vec!["bolt".into(), "bolt".into()], ..small() }.check().is_err());
    assert!(SyntheticSpec { train_per_class: 0, ..small() }.check().is_err());
}

fn files(folder: &Path, found: &mut BTreeSet<String>, root: &Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found, root);
        } else {
            found.insert(path.strip_prefix(root).unwrap().to_string_lossy().into_owned());
        }
    }
}

#[test]
fn writing_makes_the_mvtec_layout() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("new/data");
    let spec = small();
    let mut told = vec![];
    let n = write_mvtec(&spec, &out, |done, total| told.push((done, total))).unwrap();
    assert_eq!(told.first(), Some(&(0, n)));
    assert_eq!(told.last(), Some(&(n, n)));

    let images = spec.images().unwrap();
    let mut expected: BTreeSet<String> = images.iter().map(|i| i.id() + ".png").collect();
    expected.extend(
        images.iter().filter_map(|i| Some(format!("{}/ground_truth/{}/000_mask.png", i.class, i.defect?))),
    );
    let mut found = BTreeSet::new();
    files(&out, &mut found, &out);
    assert_eq!(found, expected);

    let (picture, mask) = render_defect("bolt", "rust", 0, 3, 32).unwrap();
    let read: RgbImage = read_image(&out.join("bolt/test/rust/000.png")).unwrap();
    assert_eq!(read, picture);
    assert_eq!(read_mask(&out.join("bolt/ground_truth/rust/000_mask.png")).unwrap(), mask);
}

#[test]
fn writing_refuses_a_folder_with_content() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("precious.txt"), "x").unwrap();
    let e = write_mvtec(&small(), folder.path(), |_, _| ()).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Usage);
    assert!(e.to_string().contains("not empty"), "{e}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}
