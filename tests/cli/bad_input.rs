//! Bad input: a typed error that says what, where and what to do; nothing half-written in the place of good data.

use crate::place::Place;
use image::{DynamicImage, GrayImage, RgbImage, RgbaImage};
use std::path::PathBuf;

fn run<'a>(sets: &[&'a str]) -> Vec<&'a str> {
    [&["run", "small.toml", "--out", "a"], sets].concat()
}

#[test]
fn config_errors_name_key_source_and_what_was_meant() {
    let p = Place::new();
    let e = p.fails(2, &["run", "small.toml", "--set", "detector.blcoks=3"]);
    assert!(
        e.contains("blcoks")
            && e.contains("did you mean `blocks`")
            && e.contains("detector.blcoks")
            && e.contains("--set"),
        "{e}"
    );
    let e = p.fails(2, &["run", "small.toml", "--set", "detector.coupling.subnet.hiden=3"]);
    assert!(e.contains("detector.coupling.subnet.hiden") && e.contains("did you mean `hidden`"), "{e}");
    let e = p.fails(2, &["run", "small.toml", "--set", "train.first.steps=many"]);
    assert!(e.contains("train.first.steps"), "{e}");
    let e = p.fails(2, &["run", "small.toml", "--set", "detector.kind=cnf"]);
    assert!(e.contains("did you mean `ccnf`") && e.contains("mahalanobis"), "{e}");
    let e = p.fails(2, &["run", "small.toml", "--set", "detecter.kind=ccnf"]);
    assert!(e.contains("did you mean `detector`"), "{e}");
    let e = p.fails(2, &["run", "small.toml", "--set", "detector.regularizers=[{ kind = \"log-dett\" }]"]);
    assert!(e.contains("detector.regularizers.0.kind") && e.contains("log-det"), "{e}");
    let e = p.fails(2, &["run", "small.toml", "--set", "detector.coupling.clamp=-1"]);
    assert!(e.contains("clamp") && e.contains("(0, 10]"), "{e}");
    let linear = [
        "--set",
        "detector.coupling={ kind = \"linear\" }",
        "--set",
        "detector.conditioner={ kind = \"film\" }",
    ];
    let e = p.fails(2, &[&["run", "small.toml"], &linear[..]].concat());
    assert!(e.contains("detector.conditioner.kind") && e.contains("no hidden layers"), "{e}");
    let e = p.fails(2, &["run", "small.toml", "--set", "nonsense"]);
    assert!(e.contains("key=value"), "{e}");
    std::fs::write(p.path("broken.toml"), "[train\nsteps = 1").unwrap();
    let e = p.fails(2, &["run", "broken.toml"]);
    assert!(e.contains("broken.toml") && e.contains("TOML"), "{e}");
    let e = p.fails(4, &["run", "absent.toml"]);
    assert!(e.contains("absent.toml"), "{e}");
    let e = p.fails(2, &["run", "small.toml", "--set", "protocol={ preset = \"mvtec-3x6\" }"]);
    assert!(e.contains("did you mean `mvtec-3x5`"), "{e}");
    let e = p.fails(3, &["run", "small.toml", "--set", "protocol={ preset = \"mvtec-3x5\" }"]);
    assert!(e.contains("has no class"), "{e}");
    let e = p.fails(2, &["run", "small.toml", "--log", "=!"]);
    assert!(e.contains("--log"), "{e}");
    assert!(!p.path("a").exists());
}

#[test]
fn what_cannot_be_learnt_is_refused_before_anything_is_trained() {
    let p = Place::new();
    for (set, said) in [
        ("strategy={ kind = \"replay\", items = 3 }", ["no room for 4 classes", "key `strategy`"]),
        (
            "detector={ kind = \"hgad\", blocks = 2, position = 8, centres = \"official\" }",
            ["laid out for 2 classes, and there are 4", "key `detector`"],
        ),
        ("detector.mixing=\"none\"", ["change roles", "detector.mixing"]),
        (
            "detector={ kind = \"hgad\", blocks = 2, position = 8, coupling = { kind = \"affine\" } }",
            ["change roles", "detector.coupling"],
        ),
    ] {
        let e = p.fails(2, &["check", "small.toml", "--set", set]);
        assert!(said.iter().all(|s| e.contains(s)), "{set}: {e}");
    }
    let iuf = "detector={ kind = \"iuf\", width = 8, heads = 2, hidden = 4, discriminator = { heads = 2, hidden = 4 } }";
    let e = p.fails(2, &["check", "small.toml", "--set", iuf, "--set", "strategy.kind=\"lwf\""]);
    assert!(e.contains("no outputs to distil") && e.contains("key `strategy`"), "{e}");
}

#[test]
fn dataset_errors_name_class_and_file() {
    let p = Place::new();
    let sets = p.on_disk();
    let e = p.fails(3, &["run", "small.toml", "--set", "dataset={ kind = \"mvtec\", path = \"nowhere\" }"]);
    assert!(e.contains("nowhere"), "{e}");
    // A class without training images.
    std::fs::create_dir_all(p.path("images/nut/test/good")).unwrap();
    std::fs::copy(p.path("images/bolt/test/good/000.png"), p.path("images/nut/test/good/000.png")).unwrap();
    let nut =
        ["--set", "dataset={ kind = \"mvtec\", path = \"images\" }", "--set", "protocol.tasks=[[\"nut\"]]"];
    let e = p.fails(3, &run(&nut));
    assert!(e.contains("`nut`") && e.contains("train"), "{e}");
    std::fs::remove_dir_all(p.path("images/nut")).unwrap();
    // A mask of another size.
    let mask: PathBuf = walk(&p.path("images/pine/ground_truth")).remove(0);
    GrayImage::from_pixel(10, 7, image::Luma([255])).save(&mask).unwrap();
    let e = p.fails(3, &run(&sets));
    assert!(
        e.contains("10") && e.contains("64") && e.contains(mask.file_name().unwrap().to_str().unwrap()),
        "{e}"
    );
    // A mask that is gone.
    std::fs::remove_file(&mask).unwrap();
    let e = p.fails(3, &[&["run", "small.toml", "--out", "b"], &sets[..]].concat());
    assert!(e.contains("mask"), "{e}");
}

fn walk(folder: &std::path::Path) -> Vec<PathBuf> {
    let mut out: Vec<PathBuf> = Vec::new();
    for e in std::fs::read_dir(folder).unwrap().flatten() {
        if e.path().is_dir() { out.extend(walk(&e.path())) } else { out.push(e.path()) }
    }
    out.sort();
    out
}

#[test]
fn broken_images_are_named_and_odd_ones_are_read() {
    let p = Place::new();
    let sets = p.on_disk();
    let target = p.path("images/bolt/train/good/000.png");
    let good = std::fs::read(&target).unwrap();
    // Truncated, not an image, empty, 20,000 px wide.
    let mut wide = std::io::Cursor::new(Vec::new());
    DynamicImage::ImageLuma8(GrayImage::new(20_000, 1)).write_to(&mut wide, image::ImageFormat::Png).unwrap();
    for (n, bytes) in [good[..good.len() / 2].to_vec(), b"hello".to_vec(), vec![], wide.into_inner()]
        .into_iter()
        .enumerate()
    {
        std::fs::write(&target, bytes).unwrap();
        let e = p.fails(3, &[&["run", "small.toml", "--out", &format!("bad{n}")], &sets[..]].concat());
        assert!(e.contains("000.png") && e.contains("bolt"), "{n}: {e}");
    }
    // 16-bit, RGBA, grey, 1x1: read by documented rules.
    let sixteen =
        image::ImageBuffer::from_fn(64, 64, |x, y| image::Rgb([(x * 900) as u16, (y * 900) as u16, 30_000]));
    DynamicImage::ImageRgb16(sixteen).save(&target).unwrap();
    RgbaImage::from_fn(64, 64, |x, y| image::Rgba([x as u8 * 3, y as u8 * 3, 9, (x + y) as u8]))
        .save(p.path("images/bolt/train/good/001.png"))
        .unwrap();
    RgbImage::from_pixel(1, 1, image::Rgb([7, 8, 9])).save(p.path("images/bolt/train/good/002.png")).unwrap();
    p.ok(&run(&sets));
}

#[test]
fn predict_reports_broken_images_and_goes_on() {
    let p = Place::new();
    let small = ["--set", "detector={ kind = \"mahalanobis\" }", "--out", "a"];
    p.ok(&[&["run", "small.toml"], &small[..]].concat());
    p.on_disk();
    std::fs::write(p.path("images/bolt/test/good/zzz.png"), "not an image").unwrap();
    let o = p.ccnf(&["predict", "a", "images/bolt/test/good", "--class", "bolt"]);
    assert_eq!(o.status.code(), Some(3));
    let lines = String::from_utf8(o.stdout).unwrap();
    assert_eq!(lines.lines().filter(|l| l.contains("\"score\"")).count(), 2, "{lines}");
    assert!(lines.contains("zzz.png") && lines.contains("\"error\""), "{lines}");
    assert!(
        p.fails(2, &["predict", "a", "images/bolt/test/good", "--class", "blot"])
            .contains("did you mean `bolt`")
    );
    assert!(p.fails(2, &["predict", "a", "nothing/*.png"]).contains("no image found"));
    assert!(p.fails(2, &["predict", "images", "images"]).contains("run folder"));
    assert!(p.fails(2, &["eval", "a", "--stage", "9"]).contains("finished stages"));
}

#[test]
fn an_encoder_file_of_other_shapes_is_refused() {
    let p = Place::new();
    std::fs::write(p.path("net.onnx"), "not a network").unwrap();
    // Without the feature the network is never opened.
    let (code, said) = if cfg!(feature = "onnx") { (3, "net.onnx") } else { (2, "--features onnx") };
    for command in ["run", "check"] {
        let encoder = "encoder={ kind = \"onnx\", path = \"net.onnx\" }";
        let e = p.fails(code, &[command, "small.toml", "--set", encoder]);
        assert!(e.contains(said), "{e}");
    }
    let e = p.fails(2, &["run", "small.toml", "--set", "encoder.size=65"]);
    assert!(e.contains("encoder.size") && e.contains("32"), "{e}");
}

#[test]
fn defects_cannot_be_painted_on_stored_features() {
    let p = Place::new();
    let header = format!("{:117}\n", "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2, 4), }");
    let bytes = [b"\x93NUMPY\x01\x00\x76\x00", header.as_bytes(), &[0; 64]].concat();
    std::fs::create_dir(p.path("stored")).unwrap();
    std::fs::write(p.path("stored/one.npy"), bytes).unwrap();
    let encoder = "encoder={ kind = \"features\", path = \"stored\" }";
    let e = p.fails(2, &["run", "small.toml", "--set", encoder, "--set", "detector.defects.versions=1"]);
    assert!(e.contains("stored features") && e.contains("detector.defects.versions"), "{e}");
}

#[test]
fn checkpoints_of_another_model_or_damaged_ones_are_refused() {
    let p = Place::new();
    p.ok(&["run", "small.toml", "--out", "a"]);
    p.ok(&["run", "small.toml", "--out", "b", "--set", "detector.blocks=3"]);
    let stage = "checkpoints/stage2.safetensors";
    std::fs::copy(p.path("b").join(stage), p.path("a").join(stage)).unwrap();
    let e = p.fails(6, &["eval", "a"]);
    assert!(e.contains("block2") && e.contains("another model"), "{e}");
    let bytes = std::fs::read(p.path("b").join(stage)).unwrap();
    std::fs::write(p.path("b").join(stage), &bytes[..bytes.len() / 3]).unwrap();
    let e = p.fails(6, &["eval", "b"]);
    assert!(e.contains("stage2.safetensors"), "{e}");
    let e = p.fails(6, &["run", "small.toml", "--out", "b"]);
    assert!(e.contains("another run"), "{e}");
    std::fs::create_dir(p.path("mine")).unwrap();
    std::fs::write(p.path("mine/thesis.tex"), "x").unwrap();
    let e = p.fails(2, &["run", "small.toml", "--out", "mine"]);
    assert!(e.contains("not a run folder"), "{e}");
}

#[test]
#[cfg(unix)]
fn a_disk_that_fills_up_leaves_good_data_and_the_run_goes_on_later() {
    let p = Place::new();
    p.ok(&["run", "small.toml", "--out", "whole"]);
    // Files larger than a few blocks fail to write, as on a full disk: first the features, then the checkpoints.
    let binary = env!("CARGO_BIN_EXE_ccnf");
    let script = format!("trap '' XFSZ; ulimit -f 40; exec '{binary}' run small.toml --out full");
    let o = std::process::Command::new("bash")
        .args(["-c", &script])
        .current_dir(p.path(""))
        .env("CCNF_CACHE", p.path("cache"))
        .output()
        .unwrap();
    let e = String::from_utf8_lossy(&o.stderr);
    assert_eq!(o.status.code(), Some(4), "{e}");
    assert!(e.contains("cannot write"), "{e}");
    let left =
        walk(&p.path("full")).into_iter().filter(|f| f.extension().is_some_and(|x| x == "tmp")).count();
    assert_eq!(left, 0, "temporary files were left");
    p.ok(&["run", "small.toml", "--out", "full"]);
    crate::place::assert_same(&p.path("whole"), &p.path("full"));
}

#[test]
fn a_validation_set_that_makes_no_sense_is_refused_before_anything_is_written() {
    let p = Place::new();
    let make =
        |more: &[&str]| p.fails(2, &[&["data", "validation", "small.toml", "--out", "split"], more].concat());
    for (more, said) in [
        (&["--parts", "1"][..], "`parts` must be 2 or more"),
        (&["--part", "4"], "`part` must be below `parts`"),
        (&["--painted", "0"], "`painted` must be between 1 and 64"),
        (&["--parts", "9", "--part", "7"], "class `bolt` has 6 training images"),
    ] {
        let e = make(more);
        assert!(e.contains(said), "{e}");
        assert!(!p.path("split").exists(), "{more:?}");
    }
    std::fs::create_dir(p.path("split")).unwrap();
    std::fs::write(p.path("split/notes.txt"), "mine").unwrap();
    assert!(make(&[]).contains("is not empty"));
}
