//! The contract of a detector: growth, snapshots, odd shapes and odd data.

use crate::common::*;
use ccnf::core::{hashes, restore, snapshot};
use ccnf::prelude::*;
use serde_json::json;
use std::sync::Arc;

fn levels() -> Vec<LevelSpec> {
    vec![level(5, 7, 3), level(2, 3, 4)]
}

#[test]
fn far_tokens_score_higher_in_every_mode() {
    let levels = levels();
    for mode in MODES {
        let mut d = detector(json!({ "mode": mode }), &levels);
        train(&mut *d, &view(0, &levels, &[("a", &images("a", 20, &levels, 0.0))]), TrainScope::All).unwrap();
        let near = mean(&scores(&*d, &images("near", 5, &levels, 0.0), "a"));
        let far = mean(&scores(&*d, &images("far", 5, &levels, 8.0), "a"));
        assert!(far > near + 3.0, "{mode}: {far} against {near}");
    }
}

#[test]
fn the_shape_of_a_map_is_that_of_its_level() {
    let levels = levels();
    let mut d = detector(json!({ "region_grid": 3 }), &levels);
    let own = images("a", 6, &levels, 0.0);
    train(&mut *d, &view(0, &levels, &[("a", &own)]), TrainScope::All).unwrap();
    let out = d.score(&[own[0].as_ref()], ScoreRequest { given: None, routed: true }).unwrap();
    assert!(out[0].given.is_empty());
    let shapes: Vec<_> = out[0].routed.iter().map(|m| (m.height, m.width, m.data.len())).collect();
    assert_eq!(shapes, [(5, 7, 35), (2, 3, 6)]);
    let names: Vec<(String, (usize, usize))> =
        d.params().iter().map(|p| (p.name().into(), p.shape())).collect();
    assert!(names.contains(&("level0.a.mean".into(), (35, 3))));
    assert!(names.contains(&("level0.a.whitening".into(), (9, 6))));
    assert!(names.contains(&("level1.a.log_det".into(), (1, 6))), "2 x 3 positions are 6 cells: {names:?}");
}

#[test]
fn a_token_that_moves_changes_only_its_own_score() {
    let levels = [level(4, 4, 3)];
    let own = images("a", 8, &levels, 0.0);
    for mode in MODES {
        let mut d = detector(json!({ "mode": mode, "region_grid": 2 }), &levels);
        train(&mut *d, &view(0, &levels, &[("a", &own)]), TrainScope::All).unwrap();
        let mut changed = own[0].level(0).unwrap().to_vec();
        changed[6 * 3] += 30.0;
        let changed: Images = vec![Arc::new(vec![changed])];
        let (before, after) = (scores(&*d, &own, "a"), scores(&*d, &changed, "a"));
        let moved: Vec<usize> = (0..16).filter(|t| before[0][*t] != after[0][*t]).collect();
        assert_eq!(moved, [6], "{mode}");
        assert!(after[0][6] > before[0][6] + 10.0, "{mode}");
    }
}

#[test]
fn an_image_scores_the_same_in_any_batch() {
    let levels = levels();
    for mode in MODES {
        let mut d = detector(json!({ "mode": mode, "region_grid": 2 }), &levels);
        let own = images("a", 7, &levels, 0.0);
        train(&mut *d, &view(0, &levels, &[("a", &own)]), TrainScope::All).unwrap();
        let together = scores(&*d, &own, "a");
        for (image, expected) in own.iter().zip(together) {
            assert_eq!(scores(&*d, &vec![image.clone()], "a"), [expected], "{mode}");
        }
    }
}

#[test]
fn images_are_routed_to_their_class() {
    let levels = levels();
    let mut d = detector(json!({}), &levels);
    let (a, b) = (images("a", 10, &levels, 0.0), images("b", 10, &levels, 6.0));
    train(&mut *d, &view(0, &levels, &[("a", &a), ("b", &b)]), TrainScope::All).unwrap();
    for (class, offset) in [("a", 0.0), ("b", 6.0)] {
        let test = images("test", 4, &levels, offset);
        let test: Vec<&dyn ImageFeatures> = test.iter().map(|i| i.as_ref()).collect();
        let out = d.score(&test, ScoreRequest { given: None, routed: true }).unwrap();
        assert!(out.iter().all(|s| s.routed_class == class));
    }
}

#[test]
fn a_new_class_leaves_every_older_tensor_and_map_bit_for_bit() {
    let levels = levels();
    for mode in MODES {
        let mut d = detector(json!({ "mode": mode }), &levels);
        let (a, b) = (images("a", 9, &levels, 0.0), images("b", 9, &levels, 4.0));
        train(&mut *d, &view(0, &levels, &[("a", &a)]), TrainScope::All).unwrap();
        d.freeze_shared().unwrap();
        let (before, maps) = (hashes(&*d), scores(&*d, &a, "a"));
        train(&mut *d, &view(1, &levels, &[("b", &b)]), TrainScope::NewClasses).unwrap();
        let after = hashes(&*d);
        assert!(before.iter().all(|t| after.contains(t)), "{mode}");
        let new: Vec<_> = after.iter().filter(|t| !before.contains(t)).collect();
        assert_eq!(
            new.len(),
            3 * levels.len() + 1,
            "{mode}: mean, whitening, log_det per level and the statistics"
        );
        assert!(new.iter().all(|t| t.1 == Owner::Class("b".into())), "{mode}");
        assert_eq!(scores(&*d, &a, "a"), maps, "{mode}");
        assert_eq!(d.classes(), ["a", "b"]);
    }
}

#[test]
fn a_snapshot_brings_everything_back() {
    let levels = levels();
    for mode in MODES {
        let mut d = detector(json!({ "mode": mode }), &levels);
        let (a, b) = (images("a", 9, &levels, 0.0), images("b", 9, &levels, 4.0));
        train(&mut *d, &view(0, &levels, &[("a", &a)]), TrainScope::All).unwrap();
        let first = snapshot(&*d);
        train(&mut *d, &view(1, &levels, &[("b", &b)]), TrainScope::NewClasses).unwrap();

        let mut again = detector(json!({ "mode": mode }), &levels);
        restore(&mut *again, &snapshot(&*d)).unwrap();
        assert_eq!(hashes(&*again), hashes(&*d), "{mode}");
        assert_eq!(scores(&*again, &b, "b"), scores(&*d, &b, "b"), "{mode}");
        assert_eq!(snapshot(&*again), snapshot(&*d), "{mode}");

        // Into a detector that has scored before, and on to the next stage.
        restore(&mut *again, &first).unwrap();
        assert_eq!(again.classes(), ["a"]);
        train(&mut *again, &view(1, &levels, &[("b", &b)]), TrainScope::NewClasses).unwrap();
        assert_eq!(hashes(&*again), hashes(&*d), "{mode}");
    }
}

#[test]
fn a_stage_can_be_resumed_between_its_begin_and_its_end() {
    let levels = levels();
    let (a, b) = (images("a", 9, &levels, 0.0), images("b", 9, &levels, 4.0));
    let mut d = detector(json!({}), &levels);
    train(&mut *d, &view(0, &levels, &[("a", &a)]), TrainScope::All).unwrap();
    let next = view(1, &levels, &[("b", &b)]);
    d.begin_stage(&next, TrainScope::NewClasses).unwrap();
    let middle = snapshot(&*d);
    d.end_stage(&next).unwrap();

    let mut again = detector(json!({}), &levels);
    restore(&mut *again, &middle).unwrap();
    again.resume_stage(&next, TrainScope::NewClasses).unwrap();
    again.end_stage(&next).unwrap();
    assert_eq!(hashes(&*again), hashes(&*d));
}

#[test]
fn a_checkpoint_of_another_model_is_refused() {
    let levels = levels();
    let mut d = detector(json!({ "mode": "region" }), &levels);
    let own = images("a", 4, &levels, 0.0);
    train(&mut *d, &view(0, &levels, &[("a", &own)]), TrainScope::All).unwrap();
    let mut pooled = detector(json!({ "mode": "pooled" }), &levels);
    assert_eq!(restore(&mut *pooled, &snapshot(&*d)).unwrap_err().kind(), ErrorKind::Checkpoint);
    assert_eq!(pooled.prepare(&json!({ "classes": 3 })).unwrap_err().kind(), ErrorKind::Checkpoint);
}

#[test]
fn training_a_class_again_overwrites_it_unless_only_new_classes_may_change() {
    let levels = levels();
    let (a, b) = (images("a", 9, &levels, 0.0), images("b", 9, &levels, 4.0));
    let mut d = detector(json!({}), &levels);
    train(&mut *d, &view(0, &levels, &[("a", &a)]), TrainScope::All).unwrap();
    let maps = scores(&*d, &b, "a");
    let refused = train(&mut *d, &view(1, &levels, &[("a", &b)]), TrainScope::NewClasses).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Usage);
    assert_eq!(scores(&*d, &b, "a"), maps);
    train(&mut *d, &view(1, &levels, &[("a", &b)]), TrainScope::All).unwrap();
    assert_eq!(d.classes(), ["a"]);
    assert!(mean(&scores(&*d, &b, "a")) < mean(&maps));
}

#[test]
fn one_image_and_one_position_are_enough() {
    for levels in [vec![level(1, 1, 3)], vec![level(4, 4, 6), level(1, 1, 2)]] {
        for (mode, shrinkage) in MODES.into_iter().flat_map(|m| [(m, 0.02), (m, 0.0)]) {
            for smooth in [true, false] {
                let mut d =
                    detector(json!({ "mode": mode, "shrinkage": shrinkage, "smooth": smooth }), &levels);
                let own = images("a", 1, &levels, 0.0);
                train(&mut *d, &view(0, &levels, &[("a", &own)]), TrainScope::All).unwrap();
                let (near, far) = (scores(&*d, &own, "a"), scores(&*d, &images("x", 1, &levels, 9.0), "a"));
                assert!(near.iter().chain(&far).flatten().all(|v| v.is_finite()), "{mode}");
                assert!(mean(&far) > mean(&near), "{mode}");
            }
        }
    }
}

#[test]
fn a_constant_channel_is_no_obstacle() {
    let levels = [level(3, 3, 3)];
    let constant = |images: Images| -> Images {
        let fixed = |i: &Arc<dyn ImageFeatures>| -> Arc<dyn ImageFeatures> {
            let mut values = i.level(0).unwrap().to_vec();
            values.iter_mut().skip(1).step_by(3).for_each(|v| *v = 0.1);
            Arc::new(vec![values])
        };
        images.iter().map(fixed).collect()
    };
    let own = constant(images("a", 6, &levels, 0.0));
    for (mode, shrinkage) in MODES.into_iter().flat_map(|m| [(m, 0.02), (m, 0.0)]) {
        let mut d = detector(json!({ "mode": mode, "shrinkage": shrinkage }), &levels);
        train(&mut *d, &view(0, &levels, &[("a", &own)]), TrainScope::All).unwrap();
        let same = scores(&*d, &constant(images("t", 2, &levels, 0.0)), "a");
        let moved = scores(&*d, &images("t", 2, &levels, 0.0), "a");
        assert!(same.iter().chain(&moved).flatten().all(|v| v.is_finite()), "{mode}");
        assert!(mean(&moved) > mean(&same), "{mode}: a constant channel that moves is a defect");
    }
}

#[test]
fn unusable_data_is_refused_before_anything_changes() {
    let levels = [level(2, 2, 3)];
    let mut d = detector(json!({}), &levels);
    let good = images("a", 3, &levels, 0.0);
    let bad = |values: Vec<f32>| -> Images { vec![Arc::new(vec![values])] };
    let (short, infinite) = (bad(vec![0.0; 11]), bad(vec![f32::INFINITY; 12]));
    for (images, kind) in
        [(vec![], ErrorKind::Dataset), (short, ErrorKind::Encoder), (infinite, ErrorKind::NonFinite)]
    {
        let e =
            d.begin_stage(&view(0, &levels, &[("a", &good), ("b", &images)]), TrainScope::All).unwrap_err();
        assert_eq!(e.kind(), kind, "{e}");
        assert!(e.to_string().contains("`b`"), "{e}");
        assert!(d.classes().is_empty());
    }
    let score = |d: &dyn Detector, image: &Images, class| {
        d.score(&[image[0].as_ref()], ScoreRequest { given: Some(class), routed: false })
            .map(|_| ())
            .unwrap_err()
            .kind()
    };
    train(&mut *d, &view(0, &levels, &[("a", &good)]), TrainScope::All).unwrap();
    assert_eq!(score(&*d, &bad(vec![0.0; 13]), "a"), ErrorKind::Encoder);
    assert_eq!(score(&*d, &good, "b"), ErrorKind::Usage);
    assert_eq!(score(&*d, &bad(vec![f32::NAN; 12]), "a"), ErrorKind::NonFinite);
}

#[test]
fn keys_out_of_range_are_named() {
    for (keys, key) in [
        (json!({ "region_grid": 0 }), "region_grid"),
        (json!({ "shrinkage": 1.5 }), "shrinkage"),
        (json!({ "mode": "regional" }), "mode"),
        (json!({ "grid": 3 }), "grid"),
    ] {
        let e = build_detector(keys, &levels()).err().unwrap();
        assert_eq!(e.kind(), ErrorKind::Config, "{e}");
        assert!(e.to_string().contains(&format!("detector.{key}")), "{e}");
    }
}
