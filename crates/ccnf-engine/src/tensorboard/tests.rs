//! A run that is stopped, cut and damaged in every way still gets the event files of one that never was.

use super::files::{EventFiles, Found};
use super::proto::{Event, SessionLog};
use super::{FOLDER, export_tensorboard, open, update};
use crate::events::{EVENTS, Events};
use crate::finished::{StageFile, stage_file};
use crate::folder::RunFolder;
use crate::metrics::{Number, StageCost};
use crate::score_stage::{ClassEvaluation, StageEvaluation};
use ccnf_core::{ErrorKind, StepReport};
use prost::Message;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Steps of the stages: the second is in closed form.
const STEPS: [u64; 3] = [5, 0, 3];

fn report(stage: usize, step: u64) -> StepReport {
    let loss = 1.0 / (1.0 + stage as f64 + step as f64);
    [("level0.loss".to_owned(), loss), ("level0.grad_norm".to_owned(), 0.0)].into()
}

fn evaluate(folder: &RunFolder, stage: usize) {
    let auroc = Number { value: Some(0.5 + stage as f64 / 10.0), reason: None, error_bound: None };
    let metrics = [
        ("image_auroc.given".to_owned(), auroc),
        ("pixel_ap.given".to_owned(), Number::undefined("no mask")),
    ];
    let class = |learnt| ClassEvaluation {
        class: format!("class{learnt}"),
        learnt,
        metrics: metrics.clone().into(),
        images: vec![],
        nll: None,
    };
    let evaluation = StageEvaluation { stage, classes: (0..=stage).map(class).collect(), shortlist: None };
    let cost = StageCost { trainable: 0, shared_bytes: 0, class_bytes: BTreeMap::new() };
    let file = StageFile { evaluation, tensors: BTreeMap::new(), cost, thresholds: BTreeMap::new() };
    folder.write_json(&stage_file(stage), &file).unwrap();
}

fn folder(dir: &Path, name: &str) -> RunFolder {
    let f = RunFolder::open(&dir.join(name), "id").unwrap().0;
    f.write("config.toml", b"seed = 7\n").unwrap();
    f
}

fn train(folder: &RunFolder, stage: usize, from: u64, to: u64) {
    let mut events = Events::resume(folder, stage, from).unwrap();
    (from..to).for_each(|s| events.write(stage, s, &report(stage, s)).unwrap());
}

fn finish(folder: &RunFolder) {
    let png = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\0\x02\0\0\0\x01\x08\x02\0\0\0";
    folder.write("overlays/class0/best-1-a.png", png).unwrap();
    folder.write("overlays/class0/best-2-bent-1-b.png", png).unwrap();
    folder.write("summary.md", b"# Run id\n").unwrap();
    update(folder).unwrap();
}

/// A whole run, as `run` goes through it.
fn whole(folder: &RunFolder) {
    for (stage, steps) in STEPS.into_iter().enumerate() {
        train(folder, stage, 0, steps);
        evaluate(folder, stage);
        update(folder).unwrap();
    }
    finish(folder);
}

/// All events with values, one file after the other.
fn events(folder: &Path) -> Vec<Event> {
    let mut files = EventFiles::read(folder).unwrap();
    let mut out = Vec::new();
    loop {
        match files.next().unwrap() {
            Found::Event(e) => out.push(e),
            Found::End => return out,
            Found::Damaged => panic!("damaged after {} events", out.len()),
        }
    }
}

fn paths(folder: &Path) -> Vec<PathBuf> {
    super::history::entries(folder).unwrap()
}

fn bytes(folder: &Path) -> Vec<Vec<u8>> {
    paths(folder).iter().map(|p| std::fs::read(p).unwrap()).collect()
}

/// Step and value of every point of a curve.
fn curve(events: &[Event], tag: &str) -> Vec<(i64, f32)> {
    let values = |e: &Event| e.summary.clone().unwrap().value;
    let points = events.iter().flat_map(|e| values(e).into_iter().map(|v| (e.step, v)));
    points.filter(|(_, v)| v.tag == tag).map(|(step, v)| (step, v.simple_value.unwrap())).collect()
}

#[test]
fn curves_run_on_over_the_stages() {
    let dir = tempfile::tempdir().unwrap();
    let f = folder(dir.path(), "run");
    whole(&f);
    let all = events(&f.file(FOLDER));
    let steps = |tag: &str| curve(&all, tag).into_iter().map(|p| p.0).collect::<Vec<_>>();
    assert_eq!(steps("train/level0/loss"), [1, 2, 3, 4, 5, 7, 8, 9]);
    assert_eq!(curve(&all, "train/stage")[4..6], [(5, 0.0), (7, 2.0)]);
    assert_eq!(curve(&all, "train/loss")[5], (7, 1.0 / 3.0));
    assert_eq!(curve(&all, "train/level0/grad_norm")[1], (2, 0.0), "zero is a value");
    assert_eq!(curve(&all, "eval/image_auroc.given/class0"), [(5, 0.5), (6, 0.6), (9, 0.7)]);
    assert_eq!(steps("eval/image_auroc.given/class2"), [9]);
    assert_eq!(steps("tasks/image_auroc.given/class1"), [1, 2]);
    assert_eq!(curve(&all, "tasks_mean/image_auroc.given"), [(0, 0.5), (1, 0.6), (2, 0.7)]);
    assert!(steps("eval/pixel_ap.given/class0").is_empty(), "undefined");
    let tags: Vec<String> =
        all.iter().flat_map(|e| e.summary.clone().unwrap().value).map(|v| v.tag).collect();
    let once = |tag: &str| assert_eq!(tags.iter().filter(|t| *t == tag).count(), 1, "{tag}");
    ["config", "summary", "overlays/class0/best"].iter().for_each(|t| once(t));
    assert_eq!(tags.iter().filter(|t| t.starts_with("overlays/")).count(), 1);
}

#[test]
fn an_undisturbed_run_writes_one_file_and_its_export_has_the_same_events() {
    let dir = tempfile::tempdir().unwrap();
    let f = folder(dir.path(), "run");
    whole(&f);
    let written = events(&f.file(FOLDER));
    assert_eq!(paths(&f.file(FOLDER)).len(), 1);
    let out = dir.path().join("export");
    export_tensorboard(f.path(), &out).unwrap();
    assert_eq!(events(&out), written);
    // Nothing more to say: neither in the run's own folder nor in the export.
    let before = (bytes(&f.file(FOLDER)), bytes(&out));
    update(&f).unwrap();
    export_tensorboard(f.path(), &out).unwrap();
    assert_eq!((bytes(&f.file(FOLDER)), bytes(&out)), before);
    // A run that has none gets all of them.
    std::fs::remove_dir_all(f.file(FOLDER)).unwrap();
    update(&f).unwrap();
    assert_eq!(events(&f.file(FOLDER)), written);
}

#[test]
fn a_run_killed_and_resumed_at_any_step_has_the_events_of_an_undisturbed_one() {
    let dir = tempfile::tempdir().unwrap();
    let f = folder(dir.path(), "whole");
    whole(&f);
    let expected = events(&f.file(FOLDER));
    for (reached, checkpoint) in [(5, 5), (5, 3), (4, 0), (1, 0), (0, 0)] {
        for later in 0..=STEPS[2] {
            let f = folder(dir.path(), &format!("killed-{reached}-{checkpoint}-{later}"));
            train(&f, 0, 0, reached);
            train(&f, 0, checkpoint, STEPS[0]);
            evaluate(&f, 0);
            // Killed before the event files knew of the evaluation.
            train(&f, 1, 0, 0);
            evaluate(&f, 1);
            update(&f).unwrap();
            train(&f, 2, 0, later);
            train(&f, 2, 0, STEPS[2]);
            evaluate(&f, 2);
            finish(&f);
            assert_eq!(events(&f.file(FOLDER)), expected, "{}", f.path().display());
        }
    }
}

#[test]
fn event_files_cut_anywhere_are_completed_and_what_a_viewer_has_seen_is_declared_void() {
    let dir = tempfile::tempdir().unwrap();
    let f = folder(dir.path(), "run");
    whole(&f);
    let board = f.file(FOLDER);
    let expected = events(&board);
    let path = paths(&board).remove(0);
    let all = std::fs::read(&path).unwrap();
    for cut in (0..all.len()).step_by(5).chain([all.len() - 1]) {
        let out = dir.path().join(format!("cut{cut}"));
        std::fs::create_dir_all(&out).unwrap();
        std::fs::write(out.join(path.file_name().unwrap()), &all[..cut]).unwrap();
        export_tensorboard(f.path(), &out).unwrap();
        assert_eq!(events(&out), expected, "cut at {cut}");
        let files = bytes(&out);
        if let [kept, new] = &files[..] {
            let last = {
                let one = dir.path().join("one");
                std::fs::create_dir_all(&one).unwrap();
                std::fs::write(one.join(path.file_name().unwrap()), kept).unwrap();
                events(&one).iter().map(|e| e.step).max()
            };
            let records = records(new);
            assert_eq!(records[0].file_version.as_deref(), Some("brain.Event:2"));
            assert_eq!(records[1].session_log, Some(SessionLog { status: 1 }));
            // Nothing that is kept is void.
            assert!(records[1].step > last.unwrap_or(-1), "cut at {cut}");
        } else {
            assert_eq!(files.len(), 1, "a cut between two records needs no new file");
        }
    }
}

fn records(mut bytes: &[u8]) -> Vec<Event> {
    let mut out = Vec::new();
    while let Some(length) = bytes.first_chunk::<8>() {
        let length = u64::from_le_bytes(*length) as usize;
        out.push(Event::decode(&bytes[12..12 + length]).unwrap());
        bytes = &bytes[length + 16..];
    }
    out
}

#[test]
fn a_file_cut_back_is_never_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let f = folder(dir.path(), "run");
    train(&f, 0, 0, 5);
    let first = paths(&f.file(FOLDER)).remove(0);
    train(&f, 0, 3, 5);
    let files = paths(&f.file(FOLDER));
    assert_eq!(files.len(), 2);
    assert!(files[1] > first);
    let short = std::fs::metadata(&first).unwrap().len();
    evaluate(&f, 0);
    update(&f).unwrap();
    assert_eq!(std::fs::metadata(&first).unwrap().len(), short);
    let newest = records(&std::fs::read(&files[1]).unwrap());
    let steps: Vec<i64> = newest.iter().map(|e| e.step).collect();
    assert_eq!(steps, [0, 4, 4, 5, 5, 0], "file version, start, two steps, evaluation, tasks");
    // Cut back before the second file's beginning.
    train(&f, 0, 1, 2);
    assert_eq!(curve(&events(&f.file(FOLDER)), "train/stage"), [(1, 0.0), (2, 0.0)]);
}

#[test]
fn changed_data_and_files_of_others_are_no_obstacle() {
    let dir = tempfile::tempdir().unwrap();
    let f = folder(dir.path(), "run");
    whole(&f);
    let board = f.file(FOLDER);
    let expected = events(&board);
    let other = board.join("events.out.tfevents.0000000001.host");
    std::fs::write(&other, "not ours").unwrap();
    let path = paths(&board).remove(1);
    let all = std::fs::read(&path).unwrap();
    for at in (0..all.len()).step_by(11) {
        paths(&board).iter().filter(|p| **p > path).for_each(|p| std::fs::remove_file(p).unwrap());
        let mut changed = all.clone();
        changed[at] ^= 16;
        std::fs::write(&path, changed).unwrap();
        update(&f).unwrap();
        assert_eq!(events(&board), expected, "changed at {at}");
    }
    assert_eq!(std::fs::read(&other).unwrap(), b"not ours");
    // A log whose lines make no sense ends the history, and nothing more.
    std::fs::write(f.file(EVENTS), "{\"stage\":0,\"step\":18446744073709551615}\n{\"stage\":7,\"step\":1}\n")
        .unwrap();
    open(&f).unwrap();
}

#[test]
fn an_export_only_reads_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let f = folder(dir.path(), "run");
    whole(&f);
    for inside in [".", "tensorboard", "new/folder"] {
        let e = export_tensorboard(f.path(), &f.file(inside)).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Usage, "{inside}");
    }
    assert!(!f.file("new").exists());
    let nothing = export_tensorboard(dir.path(), &dir.path().join("out")).unwrap_err();
    assert_eq!(nothing.kind(), ErrorKind::Usage);
    assert!(!dir.path().join("out").exists());
}
