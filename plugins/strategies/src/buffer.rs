//! The images that `replay` keeps.

use crate::replay::{ReplayPolicy, ReplayUnit};
use ccnf::prelude::*;
use ccnf::rand::Rng;
use ccnf::rand::seq::SliceRandom;
use ccnf::serde_json;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How much may be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Budget {
    /// Items of every class.
    PerClass(usize),
    /// Items in all.
    Items(usize),
    /// Bytes in all.
    Bytes(u64),
}

struct Item {
    class: String,
    /// Per level the values, `[tokens][channels]`.
    levels: Arc<Vec<Vec<f32>>>,
}

/// Kept items, of each class in the order of a seeded shuffle: to make room a class drops its last ones.
pub(crate) struct Buffer {
    unit: ReplayUnit,
    policy: ReplayPolicy,
    budget: Budget,
    streams: Streams,
    items: Vec<Item>,
    /// Classes seen, in order.
    classes: Vec<String>,
    /// Images that passed the reservoir.
    passed: u64,
}

#[derive(Serialize, Deserialize)]
struct Meta {
    /// Class of every item.
    items: Vec<String>,
    classes: Vec<String>,
    passed: u64,
}

impl Buffer {
    pub(crate) fn new(unit: ReplayUnit, policy: ReplayPolicy, budget: Budget, streams: Streams) -> Buffer {
        Buffer { unit, policy, budget, streams, items: vec![], classes: vec![], passed: 0 }
    }

    /// The kept classes that are not in `view`.
    pub(crate) fn classes(&self, view: &TrainView) -> Vec<TrainClass> {
        let present = |c: &String| view.classes().iter().any(|v| v.name() == c);
        let mut kept: BTreeMap<&str, Vec<Arc<dyn ImageFeatures>>> = BTreeMap::new();
        for item in &self.items {
            kept.entry(&item.class).or_default().push(item.levels.clone());
        }
        let old = self.classes.iter().filter(|c| !present(c));
        old.filter_map(|c| Some(TrainClass::rehearsed(c, kept.remove(c.as_str())?))).collect()
    }

    /// Fails where there is no room for an item of each of `classes` classes. How many bytes an item takes is known later.
    pub(crate) fn fits(&self, classes: usize) -> Result<()> {
        match (self.policy, &self.budget) {
            (ReplayPolicy::ClassBalanced, Budget::Items(n)) if *n < classes => Err(no_room(*n, classes)),
            _ => Ok(()),
        }
    }

    /// Takes up the new classes of a finished stage.
    pub(crate) fn observe(&mut self, view: &TrainView) -> Result<()> {
        let room = match self.budget {
            Budget::PerClass(n) => n,
            Budget::Items(n) => n,
            Budget::Bytes(bytes) => self.fit(bytes, view)?,
        };
        for class in view.new_classes() {
            if !self.classes.iter().any(|c| c == class.name()) {
                self.classes.push(class.name().to_owned());
            }
        }
        match self.policy {
            ReplayPolicy::Reservoir => self.pass(view, room),
            ReplayPolicy::ClassBalanced => {
                let quota = match self.budget {
                    Budget::PerClass(_) => room,
                    _ => room / self.classes.len().max(1),
                };
                if quota == 0 && !self.classes.is_empty() {
                    return Err(no_room(room, self.classes.len()));
                }
                self.shrink(quota);
                for class in view.new_classes() {
                    self.take(class, view.levels(), quota)?;
                }
                Ok(())
            }
        }
    }

    /// How many items `bytes` hold.
    fn fit(&self, bytes: u64, view: &TrainView) -> Result<usize> {
        let item: u64 = view.levels().iter().map(|l| 4 * l.len() as u64).sum();
        if bytes < item {
            return Err(Error::new(
                ErrorKind::Usage,
                format!(
                    "a replay buffer of {bytes} bytes holds no image: the features of one take {item} bytes"
                ),
            )
            .help("raise strategy.bytes, or choose levels with fewer values"));
        }
        Ok(usize::try_from(bytes / item.max(1)).unwrap_or(usize::MAX))
    }

    /// Keeps the first `quota` items of every class.
    fn shrink(&mut self, quota: usize) {
        let mut count: BTreeMap<String, usize> = BTreeMap::new();
        self.items.retain(|i| {
            let n = count.entry(i.class.clone()).or_insert(0);
            *n += 1;
            *n <= quota
        });
    }

    /// Adds up to `quota` items of a class.
    fn take(&mut self, class: &TrainClass, levels: &[LevelSpec], quota: usize) -> Result<()> {
        let shuffled = |name: String| {
            let mut order: Vec<usize> = (0..class.len()).collect();
            order.shuffle(&mut self.streams.stream(&name, 0));
            order
        };
        let count = quota.min(class.len());
        let mut fresh = vec![Vec::with_capacity(levels.len()); count];
        match self.unit {
            ReplayUnit::Image => {
                let order = shuffled(format!("replay.{}", class.name()));
                for (item, image) in fresh.iter_mut().zip(order) {
                    for level in 0..levels.len() {
                        item.push(class.image(image, level)?.into_owned());
                    }
                }
            }
            ReplayUnit::Tokens => {
                for (number, level) in levels.iter().enumerate() {
                    fresh.iter_mut().for_each(|item| item.push(Vec::with_capacity(level.len())));
                    for cell in 0..level.tokens() {
                        let order = shuffled(format!("replay.{}.level{number}.{cell}", class.name()));
                        for (item, image) in fresh.iter_mut().zip(order) {
                            let range = cell * level.channels..(cell + 1) * level.channels;
                            item[number].extend_from_slice(&class.part(image, number, range)?);
                        }
                    }
                }
            }
        }
        let name = class.name();
        self.items.extend(fresh.into_iter().map(|l| Item { class: name.into(), levels: Arc::new(l) }));
        Ok(())
    }

    /// Lets all images of the new classes pass the reservoir.
    fn pass(&mut self, view: &TrainView, room: usize) -> Result<()> {
        for class in view.new_classes() {
            for image in 0..class.len() {
                let slot = if self.items.len() < room {
                    self.items.len()
                } else {
                    let mut rng = self.streams.stream("replay.reservoir", self.passed);
                    usize::try_from(rng.gen_range(0..=self.passed)).unwrap_or(usize::MAX)
                };
                self.passed += 1;
                if slot >= room {
                    continue;
                }
                let levels = (0..view.levels().len())
                    .map(|l| Ok(class.image(image, l)?.into_owned()))
                    .collect::<Result<Vec<_>>>()?;
                let item = Item { class: class.name().to_owned(), levels: Arc::new(levels) };
                match self.items.get_mut(slot) {
                    Some(old) => *old = item,
                    None => self.items.push(item),
                }
            }
        }
        Ok(())
    }

    pub(crate) fn state(&self) -> Result<Snapshot> {
        let meta = Meta {
            items: self.items.iter().map(|i| i.class.clone()).collect(),
            classes: self.classes.clone(),
            passed: self.passed,
        };
        let mut tensors = BTreeMap::new();
        for (i, item) in self.items.iter().enumerate() {
            for (l, values) in item.levels.iter().enumerate() {
                let owner = Owner::Class(item.class.clone());
                let stored = StoredTensor { owner, shape: (1, values.len()), values: values.clone() };
                tensors.insert(format!("replay.item{i}.level{l}"), stored);
            }
        }
        let meta = serde_json::to_value(meta).map_err(|e| Error::new(ErrorKind::Contract, e.to_string()))?;
        Ok(Snapshot { tensors, meta })
    }

    pub(crate) fn restore(&mut self, state: &Snapshot) -> Result<()> {
        let wrong = |why: String| {
            Error::new(ErrorKind::Checkpoint, format!("the checkpoint holds no replay buffer: {why}"))
        };
        let meta = Meta::deserialize(&state.meta).map_err(|e| wrong(e.to_string()))?;
        let mut items = Vec::with_capacity(meta.items.len());
        for (i, class) in meta.items.into_iter().enumerate() {
            let level = |l: usize| state.tensors.get(&format!("replay.item{i}.level{l}"));
            let levels: Vec<Vec<f32>> = (0..).map_while(level).map(|t| t.values.clone()).collect();
            if levels.is_empty() {
                return Err(wrong(format!("item {i} has no features")));
            }
            items.push(Item { class, levels: Arc::new(levels) });
        }
        (self.items, self.classes, self.passed) = (items, meta.classes, meta.passed);
        Ok(())
    }
}

fn no_room(items: usize, classes: usize) -> Error {
    Error::new(
        ErrorKind::Usage,
        format!("a replay buffer for {items} items has no room for {classes} classes"),
    )
    .help("raise strategy.items or strategy.bytes, or use strategy.policy = \"reservoir\"")
}
