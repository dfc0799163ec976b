//! Scoring of the detector `ccnf` with many classes: bits that must not depend on what is evaluated together, and the shortlist.

use ccnf::core::{Config, TrainConfig, build};
use ccnf::prelude::*;
use ccnf_bundle as _;
use serde_json::{Value, json};
use std::sync::Arc;

const CLASSES: usize = 12;

/// 196 and 49 tokens: a forward of the detector holds some 20 images of the first level, so that 6 images under 12 classes need
/// several and an image's classes are cut anywhere.
fn levels() -> Vec<LevelSpec> {
    let level = |side: usize, channels: usize| LevelSpec {
        name: format!("{side}x{side}"),
        height: side,
        width: side,
        channels,
    };
    vec![level(14, 6), level(7, 9)]
}

fn image(class: usize, number: usize) -> Arc<dyn ImageFeatures> {
    let s = Streams::new(9);
    let level = |(l, spec): (usize, LevelSpec)| {
        let mean = s.normal(&format!("{class}.{l}"), spec.channels);
        let mut values = s.normal(&format!("{class}.{number}.{l}"), spec.len());
        values.iter_mut().enumerate().for_each(|(i, v)| *v += 2.0 * mean[i % spec.channels]);
        values
    };
    Arc::new(levels().into_iter().enumerate().map(level).collect::<Vec<_>>())
}

fn view(stage: usize, classes: std::ops::Range<usize>) -> TrainView {
    let class = |c: usize| TrainClass::new(format!("c{c}"), (0..3).map(|i| image(c, i)).collect());
    TrainView::new(stage, levels(), classes.map(class).collect())
}

/// A flow with random weights that has learnt `first` classes and then one class more per stage up to `classes`; it is not trained.
fn detector(conditioner: &str, router: Value, first: usize, classes: usize) -> Box<dyn Detector> {
    let config = json!({ "detector": {
        "kind": "ccnf", "blocks": 2, "position": 8, "init": "random", "router": router,
        "coupling": { "kind": "affine", "warmup_steps": 0, "subnet": { "hidden": 24, "last_layer": "uniform" } },
        "conditioner": { "kind": conditioner, "width": 8 },
    }});
    let spec = DetectorSpec {
        levels: levels(),
        train: TrainConfig::default(),
        fusion: FusionConfig::default(),
        streams: Streams::new(4),
    };
    let root = Config::from_json("test", &config).unwrap().root().unwrap();
    let mut d = build::<dyn Detector>(&root.child("detector"), &spec).unwrap();
    d.begin_stage(&view(0, 0..first), TrainScope::All).unwrap();
    d.end_stage(&view(0, 0..first)).unwrap();
    d.freeze_shared().unwrap();
    for c in first..classes {
        let view = view(c, c..c + 1);
        d.begin_stage(&view, TrainScope::NewClasses).unwrap();
        d.end_stage(&view).unwrap();
    }
    d
}

fn bits(maps: &[LevelMap]) -> Vec<u32> {
    maps.iter().flat_map(|m| m.data.iter().map(|v| v.to_bits())).collect()
}

fn score(
    d: &dyn Detector,
    images: &[Arc<dyn ImageFeatures>],
    given: Option<&str>,
    routed: bool,
) -> Vec<ImageScores> {
    let images: Vec<&dyn ImageFeatures> = images.iter().map(|i| i.as_ref()).collect();
    d.score(&images, ScoreRequest { given, routed }).unwrap()
}

fn shortlist(top: usize) -> Value {
    json!({ "kind": "likelihood", "top": top, "shortlist": { "kind": "prototype" } })
}

#[test]
fn a_map_does_not_depend_on_what_else_is_evaluated() {
    for conditioner in ["embedding", "film"] {
        let images: Vec<_> = (0..6).map(|i| image(i, 10 + i)).collect();
        let few = detector(conditioner, json!({ "kind": "likelihood" }), 2, 2);
        let many = detector(conditioner, json!({ "kind": "likelihood" }), 2, CLASSES);
        let short = detector(conditioner, shortlist(3), 2, CLASSES);
        let alone: Vec<_> = images
            .iter()
            .map(|i| bits(&score(&*few, std::slice::from_ref(i), Some("c1"), false)[0].given))
            .collect();
        for (what, d, routed) in [
            ("in a batch", &few, false),
            ("with one more class", &few, true),
            ("with ten classes more known", &many, false),
            ("with ten classes more evaluated", &many, true),
            ("with a shortlist", &short, true),
        ] {
            let found: Vec<_> =
                score(&**d, &images, Some("c1"), routed).iter().map(|s| bits(&s.given)).collect();
            assert!(found == alone, "{conditioner}: other bits {what}");
        }
    }
}

#[test]
fn a_shortlist_of_all_classes_changes_nothing() {
    let images: Vec<_> = (0..CLASSES).map(|i| image(i, 20)).collect();
    let all = score(&*detector("film", json!({ "kind": "likelihood" }), 3, CLASSES), &images, None, true);
    let long = score(&*detector("film", shortlist(CLASSES), 3, CLASSES), &images, None, true);
    for (a, b) in all.iter().zip(&long) {
        assert_eq!(a.routed_class, b.routed_class);
        assert_eq!(bits(&a.routed), bits(&b.routed));
    }
}

#[test]
fn what_the_shortlist_changes_can_be_counted() {
    let images: Vec<_> = (0..CLASSES).map(|i| image(i, 20)).collect();
    let views: Vec<&dyn ImageFeatures> = images.iter().map(|i| i.as_ref()).collect();
    let routes = |s: Vec<ImageScores>| s.into_iter().map(|s| s.routed_class).collect::<Vec<_>>();
    let exhaustive = detector("embedding", json!({ "kind": "likelihood" }), 3, CLASSES);
    assert!(exhaustive.routes_without_shortlist(&views).unwrap().is_none());
    let all = routes(score(&*exhaustive, &images, None, true));
    let short = detector("embedding", shortlist(1), 3, CLASSES);
    assert_eq!(short.routes_without_shortlist(&views).unwrap(), Some(all.clone()));
    // An untrained flow routes badly, the prototypes are right: the two differ.
    let own: Vec<String> = (0..CLASSES).map(|c| format!("c{c}")).collect();
    assert_eq!(routes(score(&*short, &images, None, true)), own);
    assert_ne!(all, own);
}
