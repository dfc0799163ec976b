//! On what part of the test images a router's shortlist changes the result.

use crate::score_stage::{ClassEvaluation, Scoring};
use ccnf_core::{Error, ErrorKind, ImageFeatures, ImageSource, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Most images of a stage that are compared: all known classes are evaluated for each, which the shortlist is there to avoid.
pub(crate) const COMPARED: usize = 64;

/// Routes with and without the shortlist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShortlistCheck {
    /// Test images compared.
    pub images: usize,
    /// Those that are routed to another class, and so get other maps and scores.
    pub changed: usize,
}

impl ShortlistCheck {
    /// The fraction of the compared images that are routed to another class; `None` where none was compared.
    pub fn fraction(self) -> Option<f64> {
        (self.images > 0).then(|| self.changed as f64 / self.images as f64)
    }
}

/// The [`COMPARED`] images whose hash of class and name is lowest, by class: a sample that looks random, is the same in every run and
/// keeps most of its images when classes are added.
fn sample(classes: &[ClassEvaluation]) -> BTreeMap<&str, Vec<usize>> {
    let mut all = Vec::new();
    for c in classes {
        for (i, row) in c.images.iter().enumerate() {
            let mut h = blake3::Hasher::new();
            h.update(c.class.as_bytes()).update(&[0]).update(row.image.as_bytes());
            all.push((*h.finalize().as_bytes(), c.class.as_str(), i));
        }
    }
    all.sort_unstable();
    let mut chosen: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    all.into_iter().take(COMPARED).for_each(|(_, class, i)| chosen.entry(class).or_default().push(i));
    chosen
}

impl Scoring<'_> {
    /// Routes a sample of the test images without the shortlist; `None` where the router has none.
    pub(crate) fn shortlist(&self, classes: &[ClassEvaluation]) -> Result<Option<ShortlistCheck>> {
        if self.detector.routes_without_shortlist(&[])?.is_none() {
            return Ok(None);
        }
        let mut check = ShortlistCheck { images: 0, changed: 0 };
        for (class, chosen) in sample(classes) {
            let rows = classes.iter().filter(|c| c.class == class).flat_map(|c| &c.images);
            let rows: Vec<_> = rows.enumerate().filter(|(i, _)| chosen.contains(i)).map(|(_, r)| r).collect();
            let images = self.test.images(class);
            let source = |label: &str| -> Result<&ImageSource> {
                images.iter().map(|i| &i.source).find(|s| s.label() == label).ok_or_else(|| {
                    Error::new(ErrorKind::Contract, format!("the scored image `{label}` is not a test image"))
                })
            };
            let sources = rows.iter().map(|r| source(&r.image)).collect::<Result<Vec<_>>>()?;
            let features = self.cache.get_or_encode(self.dataset, &sources, self.encoder, &mut |_| {})?;
            let views: Vec<&dyn ImageFeatures> = features.iter().map(|f| f.as_ref()).collect();
            let routes = self.detector.routes_without_shortlist(&views)?.unwrap_or_default();
            check.images += rows.len();
            check.changed +=
                rows.iter().zip(&routes).filter(|(row, route)| row.routed_class != **route).count();
        }
        Ok(Some(check))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score_stage::ImageRow;

    fn class(name: &str, n: usize) -> ClassEvaluation {
        let row = |i: usize| ImageRow {
            image: format!("{i}.png"),
            kind: "good".into(),
            anomalous: false,
            given: 0.0,
            routed: 0.0,
            routed_class: name.into(),
            map_hash: String::new(),
        };
        ClassEvaluation {
            class: name.into(),
            learnt: 0,
            metrics: BTreeMap::new(),
            images: (0..n).map(row).collect(),
            nll: None,
        }
    }

    #[test]
    fn the_sample_is_bounded_and_drawn_from_all_classes() {
        let many = [class("a", 200), class("b", 200), class("c", 3)];
        let chosen = sample(&many);
        assert_eq!(chosen.values().map(Vec::len).sum::<usize>(), COMPARED);
        assert!(chosen["a"].len() > 10 && chosen["b"].len() > 10, "{chosen:?}");
        assert_ne!(chosen["a"], chosen["b"]);
        assert_eq!(sample(&many), chosen);
        let few = [class("a", 5), class("b", 2)];
        assert_eq!(sample(&few).values().map(Vec::len).collect::<Vec<_>>(), [5, 2]);
    }
}
