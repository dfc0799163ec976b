//! Models under which the first classes are scored, and how they compare.

use crate::Options;
use crate::part::{Part, mean, number};
use crate::refit::{Refit, Source};
use ccnf_core::{Error, ErrorKind, Result, ScoreRequest};
use ccnf_engine::{GivenEvaluation, Number, Reopened};
use ccnf_metrics::{PairedScores, paired_auroc_difference};
use serde::{Deserialize, Serialize};

/// A class under one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassScore {
    /// The class.
    pub class: String,
    /// Image AUROC with the class given.
    pub image_auroc: Number,
    /// Pixel AUROC with the class given.
    pub pixel_auroc: Number,
}

/// The first classes under one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Variant {
    /// The model, such as `flow T + mixture 0`: 0 is the state after the first stage, T that after the last.
    pub name: String,
    /// Mean image AUROC over the classes.
    pub image_auroc: Number,
    /// Mean pixel AUROC over the classes.
    pub pixel_auroc: Number,
    /// Class by class.
    pub classes: Vec<ClassScore>,
}

impl Variant {
    fn new(name: &str, classes: Vec<ClassScore>) -> Variant {
        Variant {
            name: name.to_owned(),
            image_auroc: mean(classes.iter().map(|c| &c.image_auroc)),
            pixel_auroc: mean(classes.iter().map(|c| &c.pixel_auroc)),
            classes,
        }
    }

    /// What the run recorded for `classes` after a stage.
    pub(crate) fn recorded(run: &Reopened, stage: usize, classes: &[String]) -> Variant {
        let metrics = run.metrics();
        let of = |class: &String| {
            let column = metrics.classes.iter().position(|c| c.name == *class);
            let entry = |metric: &str| {
                let rows = metrics.matrices.get(metric).and_then(|m| m.get("given"));
                let value = rows.and_then(|r| r.get(stage)).and_then(|r| r.get(column?).copied().flatten());
                value.map_or_else(
                    || {
                        let reason = metrics.undefined.get(&format!("{metric}.given.stage{stage}.{class}"));
                        Number::undefined(reason.map_or("the run has no value", String::as_str))
                    },
                    number,
                )
            };
            ClassScore {
                class: class.clone(),
                image_auroc: entry("image_auroc"),
                pixel_auroc: entry("pixel_auroc"),
            }
        };
        Variant::new(&format!("recorded after stage {}", stage + 1), classes.iter().map(of).collect())
    }
}

/// The difference of the mean image AUROC of two variants on the same test images, with its bootstrap interval.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// What it measures.
    pub name: String,
    /// The variant from which the other is subtracted.
    pub first: String,
    /// The other.
    pub second: String,
    /// The difference.
    pub difference: Number,
    /// Standard deviation over the draws.
    pub standard_error: Number,
    /// 2.5 % quantile of the draws.
    pub low: Number,
    /// 97.5 % quantile of the draws.
    pub high: Number,
}

/// A variant with the scores of its images.
pub(crate) struct Scored {
    pub(crate) variant: Variant,
    classes: Vec<GivenEvaluation>,
}

impl Scored {
    fn new(name: &str, classes: &[String], evaluations: Vec<GivenEvaluation>) -> Scored {
        let of = |(class, e): (&String, &GivenEvaluation)| ClassScore {
            class: class.clone(),
            image_auroc: e.image_auroc.clone(),
            pixel_auroc: e.pixel_auroc.clone(),
        };
        let variant = Variant::new(name, classes.iter().zip(&evaluations).map(of).collect());
        Scored { variant, classes: evaluations }
    }

    /// `classes` in the state that `run` is in.
    pub(crate) fn of(run: &Reopened, name: &str, classes: &[String]) -> Result<Scored> {
        let evaluate = |class: &String| {
            let request = ScoreRequest { given: Some(class), routed: false };
            run.evaluate(class, |images| run.detector().score(images, request))
        };
        let evaluations = classes.iter().map(evaluate).collect::<Result<Vec<_>>>()?;
        Ok(Scored::new(name, classes, evaluations))
    }

    /// `classes` under a Gaussian each, fitted in the state that `run` is in.
    pub(crate) fn refitted(
        run: &Reopened,
        name: &str,
        classes: &[String],
        source: Source,
        options: &Options,
    ) -> Result<Part<Scored>> {
        let mut evaluations = Vec::new();
        for class in classes {
            match Refit::fit(run, class, source, options)? {
                Part::Undefined(reason) => return Ok(Part::Undefined(reason)),
                Part::Found(refit) => evaluations.push(run.evaluate(class, |images| refit.score(images))?),
            }
        }
        Ok(Part::Found(Scored::new(name, classes, evaluations)))
    }

    /// The same scores under another name.
    pub(crate) fn named(&self, name: &str) -> Scored {
        let variant = Variant { name: name.to_owned(), ..self.variant.clone() };
        Scored { variant, classes: self.classes.clone() }
    }

    /// `self - other`.
    pub(crate) fn minus(
        &self,
        other: &Scored,
        name: impl Into<String>,
        draws: usize,
        index: impl FnMut(usize) -> usize,
    ) -> Result<Difference> {
        let pairs: Vec<PairedScores<'_>> = self
            .classes
            .iter()
            .zip(&other.classes)
            .map(|(a, b)| PairedScores { labels: &a.anomalous, first: &a.scores, second: &b.scores })
            .collect();
        let d = paired_auroc_difference(&pairs, draws, index)
            .map_err(|e| Error::new(ErrorKind::Contract, e.to_string()))?;
        Ok(Difference {
            name: name.into(),
            first: self.variant.name.clone(),
            second: other.variant.name.clone(),
            difference: d.difference.into(),
            standard_error: d.standard_error.into(),
            low: d.interval.0.into(),
            high: d.interval.1.into(),
        })
    }
}
