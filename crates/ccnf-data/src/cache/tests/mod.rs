mod fakes;

use super::*;
use ccnf_core::Values;
use fakes::*;
use std::path::Path;
use std::sync::atomic::Ordering;

/// All files below `folder`.
fn files(folder: &Path) -> Vec<PathBuf> {
    files_below(folder)
}

/// Runs `work` on a pool of its own.
fn with_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
}

#[test]
fn every_image_is_encoded_once() {
    let root = tempfile::tempdir().unwrap();
    let (encoder, images) = (Counting::new(), sources(0..10));
    let got = get(Some(root.path()), &encoder, &images[..7]).unwrap();
    assert_features(&got, &images[..7], 2);
    let mut steps = vec![];
    let cache = FeatureCache::open(Some(root.path().into()), &encoder).unwrap();
    let dataset = Pixels::default();
    let got = cache
        .get_or_encode(&dataset, &images.iter().collect::<Vec<_>>(), &encoder, &mut |n| steps.push(n))
        .unwrap();
    assert_features(&got, &images, 2);
    assert_eq!(encoder.count(), 10);
    assert!(steps.is_sorted() && steps.last() == Some(&10), "{steps:?}");
    assert_eq!(dataset.opened.load(Ordering::Relaxed), 3, "stored images are not decoded");
    let names = files(root.path());
    assert_eq!(names.len(), 10, "{names:?}");
    let hex = blake3::hash(&[4]).to_hex();
    let path = root.path().join(&encoder.fingerprint[..16]).join(&hex[..2]).join(format!("{hex}.feat"));
    assert!(names.contains(&path));
}

#[test]
fn equal_content_is_encoded_once() {
    let encoder = Counting::new();
    let images = ["a/7", "b/7", "c/8", "d/7"].map(|s| ImageSource::Generated(s.into()));
    for root in [None, Some(tempfile::tempdir().unwrap())] {
        let before = encoder.count();
        let got = get(root.as_ref().map(|r| r.path()), &encoder, &images).unwrap();
        assert_features(&got, &images, 2);
        assert_eq!(encoder.count() - before, 2);
    }
}

#[test]
fn a_damaged_file_is_made_again() {
    let images = sources([1]);
    let root = tempfile::tempdir().unwrap();
    get(Some(root.path()), &Counting::new(), &images).unwrap();
    let path = files(root.path()).remove(0);
    let good = std::fs::read(&path).unwrap();
    let mut damaged: Vec<Vec<u8>> = vec![vec![], b"something else".to_vec(), vec![7; 4000]];
    damaged.extend([good.len() - 1, good.len() / 2, 50].map(|n| good[..n].to_vec()));
    damaged.push([&good[..], &[0; 4]].concat());
    // magic, version, levels, fingerprint, content, checksum, length, shapes, padding, first and last value
    for at in [0, 8, 12, 16, 48, 80, 96, 104, 127, 128, good.len() - 1] {
        let mut flipped = good.clone();
        flipped[at] ^= 1;
        damaged.push(flipped);
    }
    for (i, bytes) in damaged.iter().enumerate() {
        std::fs::write(&path, bytes).unwrap();
        let encoder = Counting::new();
        assert_features(&get(Some(root.path()), &encoder, &images).unwrap(), &images, 2);
        assert_eq!(encoder.count(), 1, "damage {i} went unnoticed");
        assert_eq!(std::fs::read(&path).unwrap(), good, "damage {i} was not repaired");
    }
    // the file of another image under this name
    get(Some(root.path()), &Counting::new(), &sources([2])).unwrap();
    let other = files(root.path()).into_iter().find(|p| *p != path).unwrap();
    std::fs::copy(other, &path).unwrap();
    assert_features(&get(Some(root.path()), &Counting::new(), &images).unwrap(), &images, 2);
}

#[test]
fn other_shapes_under_the_same_fingerprint_are_made_again() {
    let (root, images) = (tempfile::tempdir().unwrap(), sources([1, 2]));
    get(Some(root.path()), &Counting::new(), &images).unwrap();
    let wider = Counting { width: 3, ..Counting::new() };
    assert_features(&get(Some(root.path()), &wider, &images).unwrap(), &images, 3);
    assert_eq!(wider.count(), 2);
}

#[test]
fn a_replaced_file_does_not_disturb_its_reader() {
    let (root, images) = (tempfile::tempdir().unwrap(), sources([1]));
    let old = get(Some(root.path()), &Counting::new(), &images).unwrap();
    get(Some(root.path()), &Counting { width: 3, ..Counting::new() }, &images).unwrap();
    assert_features(&old, &images, 2);
}

#[test]
fn threads_may_fill_the_same_cache() {
    let (root, images) = (tempfile::tempdir().unwrap(), sources(0..40));
    std::thread::scope(|s| {
        for _ in 0..4 {
            s.spawn(|| {
                assert_features(&get(Some(root.path()), &Counting::new(), &images).unwrap(), &images, 2)
            });
        }
    });
    assert_eq!(files(root.path()).len(), 40, "no temporary file is left");
}

#[test]
fn processes_may_fill_the_same_cache() {
    const ROOT: &str = "CCNF_TEST_CACHE_ROOT";
    let images = sources(0..200);
    if let Some(root) = std::env::var_os(ROOT) {
        let root = PathBuf::from(root);
        return assert_features(&get(Some(&root), &Counting::new(), &images).unwrap(), &images, 2);
    }
    let root = tempfile::tempdir().unwrap();
    let spawn = |_| {
        std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "cache::tests::processes_may_fill_the_same_cache"])
            .env(ROOT, root.path())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap()
    };
    for child in [0, 1, 2].map(spawn) {
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
    }
    assert_eq!(files(root.path()).len(), 200);
    let encoder = Counting::new();
    assert_features(&get(Some(root.path()), &encoder, &images).unwrap(), &images, 2);
    assert_eq!(encoder.count(), 0);
}

#[test]
fn without_a_root_features_stay_in_memory() {
    let (encoder, images) = (Counting::new(), sources(0..5));
    let cache = FeatureCache::open(None, &encoder).unwrap();
    let all: Vec<_> = images.iter().collect();
    for _ in 0..2 {
        let got = cache.get_or_encode(&Pixels::default(), &all, &encoder, &mut |_| {}).unwrap();
        assert_features(&got, &images, 2);
    }
    assert_eq!(encoder.count(), 5);
}

#[test]
fn an_encoder_that_reads_from_disk_is_not_cached() {
    let root = tempfile::tempdir().unwrap();
    let (encoder, images) = (Counting { cacheable: false, ..Counting::new() }, sources([3, 4, 3]));
    for _ in 0..2 {
        assert_features(&get(Some(root.path()), &encoder, &images).unwrap(), &images, 2);
    }
    assert_eq!(encoder.count(), 6);
    assert!(files(root.path()).is_empty());
}

#[test]
fn values_that_are_not_finite_are_refused_and_not_stored() {
    let root = tempfile::tempdir().unwrap();
    let error = get(Some(root.path()), &Counting::new(), &sources([254])).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::NonFinite);
    let text = error.to_string();
    assert!(text.contains("bolt/254") && text.contains("fine") && text.contains("row 0, column 0"), "{text}");
    assert!(files(root.path()).is_empty());
}

#[test]
fn broken_promises_of_an_encoder_are_contract_errors() {
    let error = get(None, &Counting::new(), &sources([253])).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Contract);
    assert!(error.to_string().contains("bolt/253"), "{error}");
    let other = Counting { fingerprint: "other".into(), ..Counting::new() };
    let cache = FeatureCache::open(None, &Counting::new()).unwrap();
    let error = cache.get_or_encode(&Pixels::default(), &[], &other, &mut |_| {}).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Contract);
}

#[test]
fn an_image_error_keeps_what_is_finished_and_begins_nothing_more() {
    let (root, encoder) = (tempfile::tempdir().unwrap(), Counting::new());
    let images: Vec<u8> = [0, 1, 2, 255].into_iter().chain(3..200).collect();
    let error = with_threads(1, || get(Some(root.path()), &encoder, &sources(images)).err().unwrap());
    assert_eq!(error.kind(), ErrorKind::Image);
    assert_eq!(files(root.path()).len(), 3);
    assert!(encoder.count() <= 6, "{} images were encoded", encoder.count());
}

#[test]
fn no_image_waits_for_another() {
    // Image 0 is opened last: only when the features of all others have been written. They are not held up by it.
    let root = tempfile::tempdir().unwrap();
    let encoder = Counting { batch: 1, ..Counting::new() };
    let cache = FeatureCache::open(Some(root.path().into()), &encoder).unwrap();
    let images = sources(0..60);
    let dataset = Pixels { patient: Some((root.path().into(), 59)), ..Pixels::default() };
    let all: Vec<_> = images.iter().collect();
    let got = with_threads(2, || cache.get_or_encode(&dataset, &all, &encoder, &mut |_| {})).unwrap();
    assert_features(&got, &images, 2);
}

#[test]
fn beyond_the_mappings_features_are_read_from_their_files() {
    let (root, encoder, images) = (tempfile::tempdir().unwrap(), Counting::new(), sources(0..20));
    let all: Vec<_> = images.iter().collect();
    for fresh in [true, false] {
        let cache = FeatureCache::open(Some(root.path().into()), &encoder).unwrap().with_maps(4);
        let got = cache.get_or_encode(&Pixels::default(), &all, &encoder, &mut |_| {}).unwrap();
        assert_features(&got, &images, 2);
        let borrowed = |i: &&Arc<dyn ImageFeatures>| matches!(i.level(0).unwrap(), Values::Borrowed(_));
        assert_eq!(got.iter().filter(borrowed).count(), 4, "fresh: {fresh}");
        drop(got);
        let again = cache.get_or_encode(&Pixels::default(), &all[..4], &encoder, &mut |_| {}).unwrap();
        assert_eq!(again.iter().filter(borrowed).count(), 4, "mappings are given back");
    }
    assert_eq!(encoder.count(), 20);
}

#[test]
fn a_file_that_is_gone_is_an_error_that_names_it() {
    let (root, encoder, images) = (tempfile::tempdir().unwrap(), Counting::new(), sources([1]));
    let cache = FeatureCache::open(Some(root.path().into()), &encoder).unwrap().with_maps(0);
    let got = cache.get_or_encode(&Pixels::default(), &[&images[0]], &encoder, &mut |_| {}).unwrap();
    let file = files(root.path()).remove(0);
    std::fs::remove_file(&file).unwrap();
    for error in [got[0].level(0).unwrap_err(), got[0].part(1, 0..2).unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Io);
        assert!(error.to_string().contains(file.to_str().unwrap()), "{error}");
    }
}

#[test]
fn an_image_that_changes_underway_is_not_stored() {
    let (root, encoder) = (tempfile::tempdir().unwrap(), Counting::new());
    let cache = FeatureCache::open(Some(root.path().into()), &encoder).unwrap();
    let dataset = Pixels { changing: true, ..Pixels::default() };
    let images = sources([1]);
    let error = cache.get_or_encode(&dataset, &[&images[0]], &encoder, &mut |_| {}).err().unwrap();
    assert!(error.to_string().contains("changed"), "{error}");
    assert!(files(root.path()).is_empty());
}

#[test]
fn a_root_that_cannot_be_written_is_an_io_error() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("file");
    std::fs::write(&file, "not a folder").unwrap();
    let error = get(Some(&file), &Counting::new(), &sources([1])).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.to_string().contains("file"), "{error}");
}

#[test]
fn features_that_cannot_be_stored_leave_nothing_behind() {
    let (root, encoder, images) = (tempfile::tempdir().unwrap(), Counting::new(), sources([1, 2]));
    // a folder with content stands where the file of image 1 belongs, so that the rename fails
    let hex = blake3::hash(&[1]).to_hex();
    let shard = root.path().join(&encoder.fingerprint[..16]).join(&hex[..2]);
    std::fs::create_dir_all(shard.join(format!("{hex}.feat")).join("x")).unwrap();
    let error = get(Some(root.path()), &encoder, &images).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(files(&shard).is_empty(), "the temporary file is gone");
}

#[test]
fn a_fingerprint_that_is_not_hexadecimal_still_names_a_folder() {
    assert_eq!(folder_name("0123456789ABCDEF77"), "0123456789abcdef");
    for odd in ["", "../../etc/passwd-and-more", "short", "ünïcödé-fingerprint"] {
        let name = folder_name(odd);
        assert!(name.len() == 16 && name.bytes().all(|b| b.is_ascii_hexdigit()), "{name}");
    }
}
