//! The strategy `replay`.

use crate::buffer::{Budget, Buffer};
use ccnf::prelude::*;
use serde::{Deserialize, Serialize};

/// What one item of the buffer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ReplayUnit {
    /// All features of one training image.
    Image,
    /// As many tokens as an image has, each from the same place of an image drawn for itself: the same size, more of the class's variety.
    /// Neighbouring tokens do not belong together, so it suits detectors that look at tokens one by one.
    Tokens,
}

/// Which images are kept when there is no room for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ReplayPolicy {
    /// Equally many of every class, drawn at random; classes make room for later ones.
    ClassBalanced,
    /// Every image seen so far with the same probability (Vitter's algorithm R), so large classes keep more.
    Reservoir,
}

/// Config of [`Replay`]; one of `per_class`, `items` and `bytes` sets the size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ReplayConfig {
    /// What an item is.
    pub unit: ReplayUnit,
    /// Which items are kept.
    pub policy: ReplayPolicy,
    /// Items per class; the buffer grows with the classes. 10 when no size is set.
    pub per_class: Option<usize>,
    /// Items in all.
    pub items: Option<usize>,
    /// Bytes in all; an item takes 4 bytes per feature value.
    pub bytes: Option<u64>,
}

impl Default for ReplayConfig {
    fn default() -> Self {
        ReplayConfig {
            unit: ReplayUnit::Image,
            policy: ReplayPolicy::ClassBalanced,
            per_class: None,
            items: None,
            bytes: None,
        }
    }
}

impl ReplayConfig {
    fn budget(&self, build: &Build<StrategySpec>) -> Result<Budget> {
        let set = [
            ("per_class", self.per_class.map(Budget::PerClass)),
            ("items", self.items.map(Budget::Items)),
            ("bytes", self.bytes.map(Budget::Bytes)),
        ];
        let mut set = set.into_iter().filter_map(|(key, budget)| Some((key, budget?)));
        let (key, budget) = set.next().unwrap_or(("per_class", Budget::PerClass(10)));
        if let Some((other, _)) = set.next() {
            return Err(build
                .error(other, format!("the size is already set by `{key}`"))
                .help("keep one of them; `--set` cannot take a key out of a file"));
        }
        if matches!(budget, Budget::PerClass(0) | Budget::Items(0) | Budget::Bytes(0)) {
            return Err(build
                .error(key, "a buffer of size 0 replays nothing")
                .help("set a size, or use strategy.kind = \"fine-tune\""));
        }
        if self.policy == ReplayPolicy::Reservoir {
            if let Budget::PerClass(_) = budget {
                return Err(build
                    .error("policy", "a reservoir has a size in all, not per class")
                    .help("set items or bytes"));
            }
            if self.unit == ReplayUnit::Tokens {
                return Err(build
                    .error(
                        "unit",
                        "the tokens of one item belong to one class, which a reservoir does not promise",
                    )
                    .help("use policy = \"class-balanced\""));
            }
        }
        Ok(budget)
    }
}

/// Every task trains everything on its own classes and on what was kept of earlier ones: experience replay (Rolnick et al. 2019).
///
/// After a stage the buffer takes items of the stage's classes and makes room where it must. In the next stages its items are rehearsed
/// classes of the [`TrainView`]; a detector that draws equally many tokens per class thus draws them from all classes it has seen. The
/// buffer is part of the checkpoint and its bytes count as memory of the classes.
pub struct Replay {
    buffer: Buffer,
}

impl Replay {
    /// The strategy; fails for a buffer without a size, with two, or of size 0.
    pub fn new(config: ReplayConfig, build: &Build<StrategySpec>) -> Result<Self> {
        let budget = config.budget(build)?;
        Ok(Replay { buffer: Buffer::new(config.unit, config.policy, budget, build.spec.streams) })
    }
}

impl UpdateRule for Replay {}

impl Strategy for Replay {
    fn stages(&self, tasks: &[Vec<String>]) -> Vec<Stage> {
        tasks.iter().map(|t| Stage { classes: t.clone(), scope: TrainScope::All }).collect()
    }

    fn fits(&self, stages: &[Stage], _: &dyn Detector) -> Result<()> {
        self.buffer.fits(stages.iter().map(|s| s.classes.len()).sum())
    }

    fn rehearsal(&mut self, view: &TrainView) -> Result<Vec<TrainClass>> {
        Ok(self.buffer.classes(view))
    }

    fn end_stage(&mut self, view: &TrainView, _: &mut dyn Detector) -> Result<()> {
        self.buffer.observe(view)
    }

    fn state(&self) -> Result<Snapshot> {
        self.buffer.state()
    }

    fn restore(&mut self, state: &Snapshot) -> Result<()> {
        self.buffer.restore(state)
    }
}

ccnf::register_component!(
    Strategy,
    "replay",
    ReplayConfig,
    Replay::new,
    "every task trains everything on its own classes and on kept images of earlier ones"
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::{Recorder, built, spec, strategy, tasks};
    use serde_json::{Value, json};
    use std::sync::Arc;

    fn levels() -> Vec<LevelSpec> {
        vec![
            LevelSpec { name: "fine".into(), height: 2, width: 1, channels: 2 },
            LevelSpec { name: "coarse".into(), height: 1, width: 1, channels: 3 },
        ]
    }

    /// Image `i` of a class: each value names class, image and place.
    fn class(name: &str, images: usize) -> TrainClass {
        let base = f32::from(name.as_bytes()[0]) * 1000.0;
        let image = |i: usize| -> Arc<dyn ImageFeatures> {
            let level = |n: usize| (0..n).map(|k| base + i as f32 + k as f32 / 16.0).collect::<Vec<f32>>();
            Arc::new(vec![level(4), level(3)])
        };
        TrainClass::new(name, (0..images).map(image).collect())
    }

    fn stage(s: &mut dyn Strategy, number: usize, classes: &[(&str, usize)]) -> Vec<(String, Vec<Vec<f32>>)> {
        let own = TrainView::new(number, levels(), classes.iter().map(|(c, n)| class(c, *n)).collect());
        let rehearsed = s.rehearsal(&own).unwrap();
        assert!(rehearsed.iter().all(TrainClass::is_rehearsed));
        let seen = rehearsed.iter().map(|c| {
            let images = c.images().iter().map(|i| [i.level(0).unwrap(), i.level(1).unwrap()].concat());
            (c.name().to_owned(), images.collect())
        });
        let seen = seen.collect();
        s.end_stage(&own.with(rehearsed), &mut Recorder::default()).unwrap();
        seen
    }

    fn kept(config: Value) -> Vec<(String, usize)> {
        let mut s = built("replay", config).unwrap();
        stage(&mut *s, 0, &[("a", 30), ("b", 2)]);
        stage(&mut *s, 1, &[("c", 30)]);
        stage(&mut *s, 2, &[("d", 4)]).into_iter().map(|(c, images)| (c, images.len())).collect()
    }

    fn counts(expected: &[(&str, usize)]) -> Vec<(String, usize)> {
        expected.iter().map(|(c, n)| ((*c).to_owned(), *n)).collect()
    }

    #[test]
    fn every_class_keeps_as_many_images_as_there_is_room_for() {
        assert_eq!(kept(json!({})), counts(&[("a", 10), ("b", 2), ("c", 10)]));
        assert_eq!(kept(json!({ "per_class": 3 })), counts(&[("a", 3), ("b", 2), ("c", 3)]));
        assert_eq!(kept(json!({ "items": 13 })), counts(&[("a", 4), ("b", 2), ("c", 4)]));
        // An image takes 7 values of 4 bytes.
        assert_eq!(kept(json!({ "bytes": 28 * 6 + 27 })), counts(&[("a", 2), ("b", 2), ("c", 2)]));
    }

    #[test]
    fn kept_images_are_images_of_the_class_and_none_twice() {
        for unit in ["image", "tokens"] {
            let mut s = built("replay", json!({ "unit": unit, "per_class": 5 })).unwrap();
            stage(&mut *s, 0, &[("a", 9)]);
            let (name, images) = stage(&mut *s, 1, &[("b", 3)]).remove(0);
            assert_eq!((name.as_str(), images.len()), ("a", 5));
            for place in 0..7 {
                let offset = (if place < 4 { place } else { place - 4 }) as f32 / 16.0;
                let mut from: Vec<f32> = images.iter().map(|i| i[place] - 97_000.0 - offset).collect();
                assert!(from.iter().all(|i| (0.0..9.0).contains(i) && i.fract() == 0.0), "{unit}: {from:?}");
                from.sort_by(f32::total_cmp);
                from.dedup();
                assert_eq!(from.len(), 5, "{unit}: an image is there twice at place {place}");
            }
            let whole = images.iter().all(|i| (0..4).all(|p| i[p] - p as f32 / 16.0 == i[0]));
            assert_eq!(whole, unit == "image", "the tokens of an item come from one image");
        }
    }

    #[test]
    fn a_reservoir_keeps_every_image_with_the_same_probability() {
        let (mut large, mut all) = (0usize, 0usize);
        for seed in 0..60 {
            let spec = StrategySpec { streams: Streams::new(seed), ..spec() };
            let config = json!({ "policy": "reservoir", "items": 8 });
            let mut s = crate::recorder::built_with("replay", config, &spec).unwrap();
            stage(&mut *s, 0, &[("a", 30)]);
            stage(&mut *s, 1, &[("b", 10)]);
            for (class, images) in stage(&mut *s, 2, &[("c", 1)]) {
                all += images.len();
                large += if class == "a" { images.len() } else { 0 };
            }
        }
        assert_eq!(all, 60 * 8);
        // Three quarters are expected, with a standard deviation of 0.019.
        let share = large as f64 / all as f64;
        assert!((0.68..0.82).contains(&share), "{share}");
    }

    #[test]
    fn a_restored_buffer_goes_on_as_the_first_did() {
        for config in
            [json!({ "items": 7 }), json!({ "policy": "reservoir", "items": 7 }), json!({ "unit": "tokens" })]
        {
            let mut s = built("replay", config.clone()).unwrap();
            stage(&mut *s, 0, &[("a", 20), ("b", 20)]);
            let state = s.state().unwrap();
            assert!(state.tensors.values().all(|t| matches!(t.owner, Owner::Class(_))));
            let mut again = built("replay", config).unwrap();
            again.restore(&state).unwrap();
            assert_eq!(again.state().unwrap(), state);
            for (number, class) in [(1, "c"), (2, "d")] {
                assert_eq!(
                    stage(&mut *s, number, &[(class, 20)]),
                    stage(&mut *again, number, &[(class, 20)])
                );
            }
            assert_eq!(again.state().unwrap(), s.state().unwrap());
        }
    }

    #[test]
    fn sizes_that_make_no_sense_are_errors_that_name_the_key() {
        for (config, key) in [
            (json!({ "per_class": 0 }), "strategy.per_class"),
            (json!({ "items": 0 }), "strategy.items"),
            (json!({ "bytes": 0 }), "strategy.bytes"),
            (json!({ "bytes": 100, "items": 2 }), "strategy.bytes"),
            (json!({ "policy": "reservoir" }), "strategy.policy"),
            (json!({ "policy": "reservoir", "items": 3, "unit": "tokens" }), "strategy.unit"),
        ] {
            let e = built("replay", config).err().unwrap();
            assert_eq!(e.kind(), ErrorKind::Config);
            assert!(e.to_string().contains(key), "{e}");
        }
        // Known only when images are seen.
        let mut s = built("replay", json!({ "bytes": 27 })).unwrap();
        let view = TrainView::new(0, levels(), vec![class("a", 3)]);
        let e = s.end_stage(&view, &mut Recorder::default()).unwrap_err();
        assert!(e.to_string().contains("27 bytes") && e.to_string().contains("28"), "{e}");
    }

    #[test]
    fn a_foreign_state_is_refused() {
        let mut s = built("replay", json!({})).unwrap();
        let e = s.restore(&Snapshot { meta: json!({ "x": 1 }), ..Snapshot::default() }).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Checkpoint);
    }

    #[test]
    fn every_stage_trains_everything() {
        let stages = strategy("replay").stages(&tasks());
        assert!(stages.iter().all(|s| s.scope == TrainScope::All));
        assert!(!strategy("replay").promises_no_forgetting());
    }
}
