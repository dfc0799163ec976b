//! The rules of the dataset `folder`.

use crate::common::{file, labels, mask, mask_file, picture, says};
use ccnf::core::{Dataset, Error, ErrorKind, MaskSource};
use ccnf_plugin_datasets::{Folder, FolderConfig};
use std::path::Path;

const GOOD: &str = "\
class,path,split,label,note,kind,mask
bolt,b.png,train,normal,x,,
bolt,a.png,train,0,x,good,
bolt,t0.png,test,Normal,x,,
bolt,t1.png,test,1,x,rust,m1.png
bolt,t2.png,test,Anomalous,x,,m2.png
pill,p0.png,train,0,x,,
pill,p1.png,test,0,x,,
pill,p2.png,test,1,x,crack,
";

/// A folder with all images that the manifests here name, and the manifest.
fn with_manifest(text: &str) -> (tempfile::TempDir, Folder) {
    let folder = tempfile::tempdir().unwrap();
    let names = ["a", "b", "t0", "t1", "t2", "p0", "p1", "p2"];
    names.iter().enumerate().for_each(|(i, n)| picture(&folder.path().join(format!("{n}.png")), i as u8));
    mask(&folder.path().join("m1.png"), 4, 3);
    mask(&folder.path().join("m2.png"), 4, 3);
    std::fs::write(folder.path().join("list.csv"), text).unwrap();
    let data = dataset(&folder.path().join("list.csv"));
    (folder, data)
}

fn dataset(manifest: &Path) -> Folder {
    Folder::new(FolderConfig { manifest: manifest.to_owned(), root: None }).unwrap()
}

fn refused(text: &str) -> Error {
    let e = with_manifest(text).1.index().unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Dataset, "{e}");
    e
}

/// [`GOOD`] with the text of one line replaced.
fn with_line(line: usize, text: &str) -> String {
    let mut lines: Vec<&str> = GOOD.lines().collect();
    lines[line - 1] = text;
    lines.join("\n")
}

#[test]
fn rows_become_images_in_their_order() {
    let (folder, data) = with_manifest(GOOD);
    let index = data.index().unwrap();
    assert_eq!(index.counts(), [("bolt", 2, 3), ("pill", 1, 2)]);
    let (train, _) = index.clone().split().unwrap();
    let names: Vec<_> = train.images("bolt").iter().map(|i| file(&i.source)).collect();
    assert_eq!(names, ["b.png", "a.png"].map(|n| folder.path().join(n)));
    let bolt = labels(index, "bolt");
    let kinds: Vec<_> = bolt.iter().map(|s| (s.label.kind.as_str(), s.label.anomalous)).collect();
    assert_eq!(kinds, [("good", false), ("rust", true), ("anomalous", true)]);
}

#[test]
fn masks_are_known_per_class() {
    let (folder, data) = with_manifest(GOOD);
    let bolt = labels(data.index().unwrap(), "bolt");
    assert_eq!(bolt[0].label.mask, MaskSource::AllNormal);
    assert_eq!(mask_file(&bolt[1].label.mask), folder.path().join("m1.png"));
    let MaskSource::At(source) = &bolt[1].label.mask else { panic!() };
    assert_eq!(data.open_mask(source).unwrap().data.iter().filter(|m| **m).count(), 1);
    let pill = labels(data.index().unwrap(), "pill");
    assert!(pill.iter().all(|s| s.label.mask == MaskSource::Unknown));
}

#[test]
fn a_single_missing_mask_names_its_line() {
    says(&refused(&with_line(6, "bolt,t2.png,test,1,x,,")), &["list.csv` line 6", "t2.png", "class `bolt`"]);
}

#[test]
fn a_mask_of_another_size_is_refused() {
    let (folder, data) = with_manifest(GOOD);
    mask(&folder.path().join("m1.png"), 3, 3);
    let bolt = labels(data.index().unwrap(), "bolt");
    let MaskSource::At(source) = &bolt[1].label.mask else { panic!() };
    says(&data.open_mask(source).unwrap_err(), &["m1.png", "t1.png", "3 x 3", "4 x 3"]);
}

#[test]
fn bad_cells_are_refused_with_their_line() {
    for (text, parts) in [
        ("bolt,a.png,training,0,x,,", ["line 3", "training", "train or test"]),
        ("bolt,a.png,train,maybe,x,,", ["line 3", "maybe", "0 or normal"]),
        ("bolt,a.png,train,1,x,,", ["line 3", "a.png", "labelled anomalous"]),
        ("bolt,a.png,test,0,x,rust,", ["line 3", "rust", "contradicts"]),
        ("bolt,a.png,test,1,x,good,", ["line 3", "good", "contradicts"]),
        ("bolt,none.png,train,0,x,,", ["line 3", "none.png", "does not exist"]),
        ("bolt,a.png,test,1,x,rust,none.png", ["line 3", "mask", "does not exist"]),
        (",a.png,train,0,x,,", ["line 3", "class", "empty"]),
        ("bolt,,train,0,x,,", ["line 3", "path", "empty"]),
        ("bolt,b.png,test,0,x,,", ["line 3", "listed twice", "line 2"]),
        ("bolt,a.png,train,0", ["line 3", "4 fields", "7"]),
    ] {
        says(&refused(&with_line(3, text)), &parts);
    }
}

#[test]
fn lines_are_counted_whatever_ends_them() {
    for end in ["\n", "\r\n", "\n\n"] {
        let text =
            ["path,class,split,label", "a.png,bolt,train,0", "b.png,bolt,train,2", "t0.png,bolt,train,0"]
                .join(end);
        let line = 1 + 2 * end.matches('\n').count();
        says(&refused(&text), &[&format!("line {line}"), "label `2`"]);
        let text = ["path,class,split,label", "a.png,bolt,train,0", "b.png,bolt,train"].join(end);
        says(&refused(&text), &[&format!("line {line}"), "3 fields"]);
    }
}

#[test]
fn a_missing_column_is_named() {
    says(&refused("path,class,split,lable\na.png,bolt,train,0\n"), &["line 1", "`label`", "is it `lable`"]);
}

#[test]
fn an_empty_manifest_is_refused() {
    says(&refused("path,class,split,label\n"), &["list.csv", "no image"]);
    says(&refused(""), &["list.csv", "`path`"]);
}

#[test]
fn text_that_is_not_utf8_is_refused_with_its_line() {
    let (folder, data) = with_manifest("");
    std::fs::write(folder.path().join("list.csv"), b"path,class,split,label\na.png,b\xFFolt,train,0\n")
        .unwrap();
    says(&data.index().unwrap_err(), &["line 2", "UTF-8"]);
}

#[test]
fn a_missing_manifest_is_named_with_help() {
    says(
        &dataset(Path::new("no/such/list.csv")).index().unwrap_err(),
        &["no/such/list.csv", "dataset.manifest"],
    );
    assert!(Folder::new(FolderConfig { manifest: "".into(), root: None }).is_err());
}

#[test]
fn byte_order_marks_spaces_and_quotes_are_accepted() {
    let (_folder, data) =
        with_manifest("\u{FEFF}path, class ,split,label\r\n a.png,\"bolt, M8\",train,0\r\n");
    assert_eq!(data.index().unwrap().counts(), [("bolt, M8", 1, 0)]);
}

#[test]
fn paths_start_at_the_root() {
    let (folder, _) = with_manifest("");
    let elsewhere = tempfile::tempdir().unwrap();
    let manifest = elsewhere.path().join("list.csv");
    std::fs::write(&manifest, "path,class,split,label\na.png,bolt,train,0\n").unwrap();
    let root = Some(folder.path().to_owned());
    let data = Folder::new(FolderConfig { manifest: manifest.clone(), root }).unwrap();
    assert_eq!(data.index().unwrap().counts(), [("bolt", 1, 0)]);
    assert!(dataset(&manifest).index().is_err());
}
