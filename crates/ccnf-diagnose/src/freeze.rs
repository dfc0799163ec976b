//! What later stages do to the entropy over the classes on the pixels of the first classes.

use crate::entropy::{KINDS, OWN, kinds};
use crate::part::{difference, mean, number};
use crate::variants::Variant;
use ccnf_core::{Error, ErrorKind, ImageFeatures, LevelSpec, Probe, Result, ResultExt, Scored};
use ccnf_data::FloatMap;
use ccnf_engine::{Number, Reopened};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// From what the posterior over the classes is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Posterior {
    /// `q = softmax_y(log p(x | y))`.
    Likelihood,
    /// The softmax of the logits from which the method itself takes its entropy, where these are others
    /// ([`entropy_logits`](ccnf_core::TokenClasses::entropy_logits)).
    Method,
}

/// Over which classes the entropy runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Over {
    /// The classes of the first stage, in nats.
    FirstClasses,
    /// All classes known after the stage, divided by the logarithm of their number.
    AllClassesNormalised,
}

/// The entropies of one first class (or their mean) at one level (or their mean) after one stage.
///
/// `H = -sum_y q_y ln q_y` per token. Token maps are brought to the size of the fused map as the engine does it (bilinear, corners aligned),
/// masks too (nearest neighbour); a pixel is defective where its mask says so and normal elsewhere, also in defective images. For a class
/// without masks the normal pixels are those of normal images, and defective ones are undefined.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entropies {
    /// The stage after which, from 0.
    pub stage: usize,
    /// The class; `None`: mean over the classes.
    pub class: Option<String>,
    /// The level; `None`: mean over the levels.
    pub level: Option<usize>,
    /// The posterior.
    pub posterior: Posterior,
    /// The classes.
    pub over: Over,
    /// Mean `H` over normal pixels.
    pub normal: Number,
    /// Mean `H` over defective pixels.
    pub anomalous: Number,
    /// `normal` minus what it was after the first stage.
    pub d_normal: Number,
    /// `anomalous` minus what it was after the first stage.
    pub d_anomalous: Number,
}

/// The AUROC of one first class (or the mean) after one stage, as the run recorded it, and how it has changed since the first stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AurocChange {
    /// The stage after which, from 0.
    pub stage: usize,
    /// The class; `None`: mean over the classes.
    pub class: Option<String>,
    /// Image AUROC with the class given.
    pub image: Number,
    /// Its change.
    pub d_image: Number,
    /// Pixel AUROC with the class given.
    pub pixel: Number,
    /// Its change.
    pub d_pixel: Number,
}

/// What later stages did to the first classes: compare runs that froze different parts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Freeze {
    /// Entropies by stage, class, level, posterior and class set.
    pub entropies: Vec<Entropies>,
    /// AUROC by stage and class.
    pub auroc: Vec<AurocChange>,
}

impl Freeze {
    /// The mean over classes and levels after a stage; `None` for a posterior that the model does not have.
    pub fn mean_of(&self, stage: usize, posterior: Posterior, over: Over) -> Option<&Entropies> {
        self.entropies.iter().find(|e| {
            e.class.is_none()
                && e.level.is_none()
                && (e.stage, e.posterior, e.over) == (stage, posterior, over)
        })
    }
}

/// The entropies of a class after a stage, before they are compared with the first stage's.
#[derive(Debug, Clone)]
pub(crate) struct Measured {
    pub(crate) class: String,
    pub(crate) level: usize,
    pub(crate) posterior: Posterior,
    pub(crate) over: Over,
    pub(crate) normal: Number,
    pub(crate) anomalous: Number,
}

/// The entropies of the first classes in the state that `run` is in.
pub(crate) fn measure(run: &Reopened, probe: &dyn Probe, first: &[String]) -> Result<Vec<Measured>> {
    let known = run.detector().classes();
    let place = |class: &String| {
        known.iter().position(|k| k == class).ok_or_else(|| ccnf_core::unknown_class(class, &known))
    };
    let numbers = first.iter().map(place).collect::<Result<Vec<_>>>()?;
    let levels = run.assembly().encoder.levels();
    let mut out = Vec::new();
    for class in first {
        for (level, spec) in levels.iter().enumerate() {
            let found = at_level(run, probe, class, level, spec, &numbers)
                .at(|| format!("level `{}` of class `{class}`", spec.name))?;
            out.extend(found);
        }
    }
    Ok(out)
}

fn at_level(
    run: &Reopened,
    probe: &dyn Probe,
    class: &str,
    level: usize,
    spec: &LevelSpec,
    first: &[usize],
) -> Result<Vec<Measured>> {
    let one = |image: &&dyn ImageFeatures| {
        let tokens = probe.token_classes(&[*image], level)?;
        let tokens =
            tokens.first().ok_or_else(|| Error::new(ErrorKind::Contract, "no answer for an image"))?;
        Ok(kinds(tokens, first))
    };
    let scored = run.test(class, |images| images.iter().map(one).collect())?;
    let masks = run.masks(&scored)?;
    let no_defect = if masks.is_some() { "no defective pixel" } else { "the class has no pixel labels" };
    let no_map =
        if scored.is_empty() { "the class has no test image" } else { "one class is known: ln K = 0" };
    let own_posterior = scored.iter().any(|s| s.score[OWN].is_some());
    let mut out = Vec::new();
    for (kind, (posterior, over)) in KINDS.into_iter().enumerate() {
        if posterior == Posterior::Method && !own_posterior {
            continue;
        }
        let side = run.assembly().scoring.map_size;
        let of_image = |i: usize| {
            let Scored { score, label, .. } = &scored[i];
            let Some(map) = &score[kind] else { return Ok(None) };
            let map = FloatMap::new(spec.height, spec.width, map.clone())?.resize_bilinear(side, side, true);
            Ok(Some(sums(&map, masks.as_ref().map(|m| m[i].as_slice()), label.anomalous)))
        };
        let images: Vec<Option<Sums>> =
            (0..scored.len()).into_par_iter().map(of_image).collect::<Result<_>>()?;
        let add = |a: Sums, b: Sums| [0, 1].map(|k| (a[k].0 + b[k].0, a[k].1 + b[k].1));
        let total = images.into_iter().flatten().reduce(add);
        let value = |k: usize, none: &str| match total.map(|t| t[k]) {
            Some((sum, n)) if n > 0 => number(sum / n as f64),
            Some(_) => Number::undefined(none),
            None => Number::undefined(no_map),
        };
        let (normal, anomalous) = (value(0, "no normal pixel"), value(1, no_defect));
        out.push(Measured { class: class.to_owned(), level, posterior, over, normal, anomalous });
    }
    Ok(out)
}

/// Sums of entropies over pixels, and how many pixels: normal, then defective.
type Sums = [(f64, u64); 2];

fn sums(map: &FloatMap, mask: Option<&[bool]>, anomalous: bool) -> Sums {
    let mut sums = [(0.0, 0); 2];
    for (pixel, h) in map.data.iter().enumerate() {
        let defective = match mask {
            Some(mask) => mask[pixel],
            // Where the defect is nobody knows.
            None if anomalous => continue,
            None => false,
        };
        let (sum, n) = &mut sums[usize::from(defective)];
        (*sum, *n) = (*sum + f64::from(*h), *n + 1);
    }
    sums
}

/// Rows of all stages, with the means over classes and levels and the changes since the first stage.
pub(crate) fn freeze(stages: &[Vec<Measured>], run: &Reopened, first: &[String]) -> Freeze {
    let mut entropies: Vec<Entropies> = Vec::new();
    for (stage, all) in stages.iter().enumerate() {
        let levels = all.iter().map(|m| m.level + 1).max().unwrap_or(0);
        for class in first.iter().map(Some).chain([None]) {
            for level in (0..levels).map(Some).chain([None]) {
                let rows =
                    KINDS.into_iter().filter_map(|kind| row(stage, all, class, level, kind, &entropies));
                let rows: Vec<Entropies> = rows.collect();
                entropies.extend(rows);
            }
        }
    }
    Freeze { entropies, auroc: auroc(stages.len(), run, first) }
}

/// One row, `None` where nothing was measured; `earlier` has the rows of the first stage.
fn row(
    stage: usize,
    all: &[Measured],
    class: Option<&String>,
    level: Option<usize>,
    (posterior, over): (Posterior, Over),
    earlier: &[Entropies],
) -> Option<Entropies> {
    let own = |m: &&Measured| {
        class.is_none_or(|c| *c == m.class)
            && level.is_none_or(|l| l == m.level)
            && (m.posterior, m.over) == (posterior, over)
    };
    let own: Vec<&Measured> = all.iter().filter(own).collect();
    own.first()?;
    let normal = mean(own.iter().map(|m| &m.normal));
    let anomalous = mean(own.iter().map(|m| &m.anomalous));
    let start = earlier.iter().find(|e| {
        (e.stage, e.class.as_ref(), e.level) == (0, class, level)
            && (e.posterior, e.over) == (posterior, over)
    });
    let (d_normal, d_anomalous) = match start {
        Some(start) => (difference(&normal, &start.normal), difference(&anomalous, &start.anomalous)),
        None => (difference(&normal, &normal), difference(&anomalous, &anomalous)),
    };
    let class = class.cloned();
    Some(Entropies { stage, class, level, posterior, over, normal, anomalous, d_normal, d_anomalous })
}

fn auroc(stages: usize, run: &Reopened, first: &[String]) -> Vec<AurocChange> {
    let mut out = Vec::new();
    let start = Variant::recorded(run, 0, first);
    for stage in 0..stages {
        let now = Variant::recorded(run, stage, first);
        let mut put = |class: Option<String>, [image, pixel]: [&Number; 2], then: [&Number; 2]| {
            out.push(AurocChange {
                stage,
                class,
                image: image.clone(),
                d_image: difference(image, then[0]),
                pixel: pixel.clone(),
                d_pixel: difference(pixel, then[1]),
            });
        };
        for (n, s) in now.classes.iter().zip(&start.classes) {
            put(Some(n.class.clone()), [&n.image_auroc, &n.pixel_auroc], [&s.image_auroc, &s.pixel_auroc]);
        }
        put(None, [&now.image_auroc, &now.pixel_auroc], [&start.image_auroc, &start.pixel_auroc]);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pixel_is_what_its_mask_says() {
        let map = FloatMap::new(1, 3, vec![1.0, 2.0, 4.0]).unwrap();
        let mask = [false, true, true];
        assert_eq!(sums(&map, Some(&mask), true), [(1.0, 1), (6.0, 2)]);
        // Without masks only normal images say anything.
        assert_eq!(sums(&map, None, false), [(7.0, 3), (0.0, 0)]);
        assert_eq!(sums(&map, None, true), [(0.0, 0); 2]);
    }

    #[test]
    fn rows_are_means_and_changes_since_the_first_stage() {
        let kind = (Posterior::Likelihood, Over::FirstClasses);
        let of = |class: &str, level, normal: f64| Measured {
            class: class.into(),
            level,
            posterior: kind.0,
            over: kind.1,
            normal: number(normal),
            anomalous: Number::undefined("the class has no pixel labels"),
        };
        let first = [of("a", 0, 1.0), of("a", 1, 3.0), of("b", 0, 5.0), of("b", 1, 7.0)];
        let later = [of("a", 0, 0.0), of("a", 1, 0.0), of("b", 0, 1.0), of("b", 1, 1.0)];
        let start = row(0, &first, None, None, kind, &[]).unwrap();
        assert_eq!((start.normal.value, start.d_normal.value), (Some(4.0), Some(0.0)));
        let a = "a".to_owned();
        let of_a = row(0, &first, Some(&a), None, kind, &[]).unwrap();
        assert_eq!(of_a.normal.value, Some(2.0));
        let end = row(1, &later, None, None, kind, &[start, of_a.clone()]).unwrap();
        assert_eq!((end.normal.value, end.d_normal.value), (Some(0.5), Some(-3.5)));
        assert!(end.d_anomalous.reason.unwrap().contains("no pixel labels"));
        let end = row(1, &later, Some(&a), None, kind, &[of_a]).unwrap();
        assert_eq!(end.d_normal.value, Some(-2.0));
        let method = (Posterior::Method, Over::FirstClasses);
        assert!(row(1, &later, None, None, method, &[]).is_none(), "nothing was measured");
    }
}
