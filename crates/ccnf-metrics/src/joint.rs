//! A bootstrap of whole continual runs: accuracy and forgetting of several methods on the same draws.

use crate::error::MetricsError;
use crate::metric::Metric;

/// The image scores of one run: `[stage][class]`, `None` where a class was not scored; and the stage in which each class was learnt.
#[derive(Debug, Clone, PartialEq)]
pub struct RunScores {
    /// The stage in which each class was learnt, `[classes]`.
    pub learnt: Vec<usize>,
    /// One score per image of the class, in the order of its labels.
    pub scores: Vec<Vec<Option<Vec<f32>>>>,
}

/// What a run is in one draw.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Drawn {
    /// Mean AUROC over all classes after the last stage.
    pub accuracy: f64,
    /// Mean over the classes learnt before the last stage of the AUROC right after their stage minus that after the last: positive =
    /// forgotten; the negative of backward transfer (Lopez-Paz and Ranzato 2017). NaN without such a class.
    pub forgetting: f64,
}

/// One method: its value on all images (mean over its runs), and its values in the draws.
#[derive(Debug, Clone, PartialEq)]
pub struct MethodDraws {
    /// On all images and runs.
    pub value: Drawn,
    /// AUROC after the last stage per class, mean over runs.
    pub class_accuracy: Vec<f64>,
    /// Forgetting per class, mean over runs; `None` for classes of the last stage.
    pub class_forgetting: Vec<Option<f64>>,
    /// One entry per draw.
    pub draws: Vec<Drawn>,
}

/// Bootstrap over test images and runs (Efron 1979), the same for all methods: a draw takes, for every class, as many normal and as many
/// anomalous images as there are, with replacement, and as many runs (seeds) of each method as it has, so that differences between
/// methods are paired by image and, where methods have the same seeds in the same order, by seed. With a single run per method the draws
/// cover the choice of images only; the spread that two or three seeds show is an underestimate.
///
/// `methods[m]` are the runs of method m; `index(n)` gives a uniform random number below n. Fails where lengths differ, where a class has no
/// normal or no anomalous image, where a score is not finite, and where a class is not scored at or after its stage.
pub fn joint_bootstrap(
    labels: &[Vec<bool>],
    methods: &[Vec<RunScores>],
    draws: usize,
    mut index: impl FnMut(usize) -> usize,
) -> Result<Vec<MethodDraws>, MetricsError> {
    let places: Vec<[Vec<usize>; 2]> = labels
        .iter()
        .map(|l| [false, true].map(|wanted| (0..l.len()).filter(|i| l[*i] == wanted).collect()))
        .collect();
    let ranked: Vec<Vec<RankedRun>> = methods
        .iter()
        .map(|runs| runs.iter().map(|r| RankedRun::new(labels, r)).collect::<Result<_, _>>())
        .collect::<Result<_, _>>()?;
    let once: Vec<Vec<u32>> = labels.iter().map(|l| vec![1; l.len()]).collect();
    let mut out: Vec<MethodDraws> = ranked
        .iter()
        .map(|runs| {
            let all: Vec<RunValues> = runs.iter().map(|r| r.values(&once)).collect();
            let mean = |of: &dyn Fn(&RunValues) -> f64| all.iter().map(of).sum::<f64>() / all.len() as f64;
            let classes = labels.len();
            MethodDraws {
                value: Drawn {
                    accuracy: mean(&|r| r.drawn().accuracy),
                    forgetting: mean(&|r| r.drawn().forgetting),
                },
                class_accuracy: (0..classes).map(|c| mean(&|r| r.accuracy[c])).collect(),
                class_forgetting: (0..classes)
                    .map(|c| {
                        all.iter()
                            .all(|r| r.forgetting[c].is_some())
                            .then(|| mean(&|r| r.forgetting[c].unwrap_or(f64::NAN)))
                    })
                    .collect(),
                draws: Vec::with_capacity(draws),
            }
        })
        .collect();
    let most = ranked.iter().map(Vec::len).max().unwrap_or(0);
    let mut counts = once;
    for _ in 0..draws {
        for (count, places) in counts.iter_mut().zip(&places) {
            count.fill(0);
            for place in places {
                for _ in 0..place.len() {
                    count[place[index(place.len())]] += 1;
                }
            }
        }
        // Positions in [0, 1) and not numbers, since methods may have different numbers of runs.
        let chosen: Vec<f64> = match most {
            0 | 1 => vec![0.0; most],
            _ => (0..most).map(|_| index(FINE) as f64 / FINE as f64).collect(),
        };
        for (method, runs) in out.iter_mut().zip(&ranked) {
            let mut values: Vec<Option<Drawn>> = vec![None; runs.len()];
            let (mut accuracy, mut forgetting) = (0.0, 0.0);
            for u in &chosen[..runs.len()] {
                let i = ((u * runs.len() as f64) as usize).min(runs.len() - 1);
                let v = *values[i].get_or_insert_with(|| runs[i].values(&counts).drawn());
                accuracy += v.accuracy;
                forgetting += v.forgetting;
            }
            let n = runs.len() as f64;
            method.draws.push(Drawn { accuracy: accuracy / n, forgetting: forgetting / n });
        }
    }
    Ok(out)
}

/// Steps of a random position in [0, 1).
const FINE: usize = 1 << 24;

/// A run whose scores are sorted once, so that a draw needs only how often each image was taken.
struct RankedRun {
    learnt: Vec<usize>,
    /// `[class]`: the scores right after the class's stage, and those after the last one where they differ.
    classes: Vec<(Ranked, Option<Ranked>)>,
}

/// Groups of images of equal score, ascending.
struct Ranked {
    /// The image and its label.
    images: Vec<(usize, bool)>,
    /// Where each group ends.
    ends: Vec<usize>,
}

struct RunValues {
    accuracy: Vec<f64>,
    forgetting: Vec<Option<f64>>,
}

impl RunValues {
    fn drawn(&self) -> Drawn {
        let old: Vec<f64> = self.forgetting.iter().copied().flatten().collect();
        Drawn {
            accuracy: self.accuracy.iter().sum::<f64>() / self.accuracy.len() as f64,
            forgetting: old.iter().sum::<f64>() / old.len() as f64,
        }
    }
}

impl RankedRun {
    fn new(labels: &[Vec<bool>], run: &RunScores) -> Result<Self, MetricsError> {
        let (classes, stages) = (labels.len(), run.scores.len());
        let wrong = |what: String| Err(MetricsError::Joint { what });
        if run.learnt.len() != classes || run.scores.iter().any(|s| s.len() != classes) || stages == 0 {
            return wrong(format!("a run has not {classes} classes in every stage"));
        }
        let ranked = (0..classes).map(|c| {
            let of = |stage: usize| match run.scores.get(stage).and_then(|s| s[c].as_ref()) {
                Some(scores) => Ranked::new(c, &labels[c], scores).map(|r| (scores, r)),
                None => {
                    Err(MetricsError::Joint { what: format!("class {c} was not scored after stage {stage}") })
                }
            };
            let (first_scores, first) = of(run.learnt[c])?;
            let (last_scores, last) = of(stages - 1)?;
            Ok((first, (first_scores != last_scores).then_some(last)))
        });
        Ok(RankedRun { learnt: run.learnt.clone(), classes: ranked.collect::<Result<_, _>>()? })
    }

    fn values(&self, counts: &[Vec<u32>]) -> RunValues {
        let last_stage = self.learnt.iter().max().copied().unwrap_or(0);
        let mut values = RunValues { accuracy: vec![], forgetting: vec![] };
        for ((first, last), (count, learnt)) in self.classes.iter().zip(counts.iter().zip(&self.learnt)) {
            let before = first.auroc(count);
            let after = last.as_ref().map_or(before, |r| r.auroc(count));
            values.accuracy.push(after);
            values.forgetting.push((*learnt < last_stage).then_some(before - after));
        }
        values
    }
}

impl Ranked {
    fn new(class: usize, labels: &[bool], scores: &[f32]) -> Result<Self, MetricsError> {
        let wrong = |what: String| Err(MetricsError::Joint { what });
        if scores.len() != labels.len() {
            return wrong(format!("class {class} has {} images and {} scores", labels.len(), scores.len()));
        }
        if let Some(s) = scores.iter().find(|s| !s.is_finite()) {
            return wrong(format!("class {class} has the score {s}"));
        }
        if !labels.contains(&true) || !labels.contains(&false) {
            return wrong(format!(
                "class {class} has no {} image",
                if labels.contains(&true) { "normal" } else { "anomalous" }
            ));
        }
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_by(|a, b| scores[*a].total_cmp(&scores[*b]));
        let mut ends: Vec<usize> =
            (1..order.len()).filter(|i| scores[order[*i]] != scores[order[i - 1]]).collect();
        ends.push(order.len());
        Ok(Ranked { images: order.into_iter().map(|i| (i, labels[i])).collect(), ends })
    }

    /// The AUROC where image i was taken `counts[i]` times.
    fn auroc(&self, counts: &[u32]) -> f64 {
        let (mut below, mut positives, mut pairs, mut start) = (0u64, 0u64, 0u64, 0);
        for end in &self.ends {
            let (mut normal, mut anomalous) = (0u64, 0u64);
            for (i, label) in &self.images[start..*end] {
                *(if *label { &mut anomalous } else { &mut normal }) += u64::from(counts[*i]);
            }
            pairs += anomalous * (2 * below + normal);
            below += normal;
            positives += anomalous;
            start = *end;
        }
        pairs as f64 / (2 * below * positives) as f64
    }
}

/// Mean and quantiles of draws: (standard error, 2.5 %, 97.5 %). Undefined with fewer than 2 draws, or where one is NaN.
pub fn spread_of_draws(draws: &[f64]) -> [Metric; 3] {
    let none = |why: &'static str| [(); 3].map(|()| Metric::undefined(why));
    if draws.len() < 2 {
        return none("fewer than 2 draws");
    }
    if draws.iter().any(|d| d.is_nan()) {
        return none("no class was learnt before the last stage");
    }
    let mut sorted = draws.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len() as f64;
    let mean = sorted.iter().sum::<f64>() / n;
    let variance = sorted.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let quantile =
        |level: f64| Metric::of(sorted[((level * (n - 1.0)).round() as usize).min(sorted.len() - 1)]);
    [Metric::of(variance.sqrt()), quantile(0.025), quantile(0.975)]
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::binary::auroc;

    /// A small linear congruential generator: enough to draw images.
    pub(crate) fn random() -> impl FnMut(usize) -> usize {
        let mut state = 1u64;
        move |n| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            ((state >> 33) as usize) % n
        }
    }

    fn labels() -> Vec<Vec<bool>> {
        vec![vec![false, false, true, true], vec![true, false, false, true, false]]
    }

    fn run(first: [f32; 4], after: [f32; 4], second: [f32; 5]) -> RunScores {
        RunScores {
            learnt: vec![0, 1],
            scores: vec![vec![Some(first.to_vec()), None], vec![Some(after.to_vec()), Some(second.to_vec())]],
        }
    }

    #[test]
    fn on_all_images_the_values_are_those_of_the_metrics() {
        let (first, after, second) = ([0.0, 0.1, 0.2, 0.3], [0.2, 0.1, 0.2, 0.0], [1.0, 0.5, 0.5, 0.5, 2.0]);
        let found = joint_bootstrap(&labels(), &[vec![run(first, after, second)]], 0, random()).unwrap();
        let of = |s: &[f32], c: usize| auroc(s, &labels()[c]).unwrap().value().unwrap();
        let value = found[0].value;
        assert_eq!(value.accuracy, 0.5 * (of(&after, 0) + of(&second, 1)));
        assert_eq!(value.forgetting, of(&first, 0) - of(&after, 0));
        assert_eq!(found[0].class_forgetting, [Some(value.forgetting), None]);
    }

    #[test]
    fn what_never_changes_forgets_exactly_nothing_in_any_draw() {
        let same = [0.3, 0.1, 0.2, 0.3];
        let runs = vec![run(same, same, [1.0, 0.5, 0.4, 0.3, 2.0])];
        let found = joint_bootstrap(&labels(), &[runs], 200, random()).unwrap();
        assert!(found[0].draws.iter().all(|d| d.forgetting == 0.0));
        let [error, low, high] =
            spread_of_draws(&found[0].draws.iter().map(|d| d.forgetting).collect::<Vec<_>>());
        assert_eq!([error.value(), low.value(), high.value()], [Some(0.0); 3]);
    }

    #[test]
    fn methods_of_the_same_runs_have_no_difference_in_any_draw() {
        let a = run([0.0, 0.1, 0.2, 0.3], [0.2, 0.1, 0.2, 0.0], [1.0, 0.5, 0.5, 0.5, 2.0]);
        let b = run([0.0, 0.3, 0.2, 0.1], [0.2, 0.1, 0.3, 0.4], [0.0, 0.5, 0.6, 0.7, 2.0]);
        let methods = [vec![a.clone(), b.clone()], vec![a, b]];
        let found = joint_bootstrap(&labels(), &methods, 100, random()).unwrap();
        assert_eq!(found[0].draws, found[1].draws);
        assert!(found[0].draws.iter().any(|d| d.accuracy != found[0].value.accuracy));
    }

    #[test]
    fn seeds_widen_the_draws() {
        let good = run([0.0, 0.1, 0.2, 0.3], [0.0, 0.1, 0.2, 0.3], [1.0, 0.0, 0.0, 2.0, 0.0]);
        let bad = run([0.3, 0.2, 0.1, 0.0], [0.3, 0.2, 0.1, 0.0], [0.0, 1.0, 2.0, 0.0, 3.0]);
        let found =
            joint_bootstrap(&labels(), &[vec![good.clone()], vec![good, bad]], 400, random()).unwrap();
        let error = |m: usize| {
            let accuracy: Vec<f64> = found[m].draws.iter().map(|d| d.accuracy).collect();
            spread_of_draws(&accuracy)[0].value().unwrap()
        };
        assert_eq!(error(0), 0.0, "perfect on every draw");
        // Two runs of 1 and 0, two of them drawn: a standard error of 1 / (2 sqrt 2).
        assert!((error(1) / 0.353_553 - 1.0).abs() < 0.1, "{}", error(1));
    }

    #[test]
    fn what_cannot_be_drawn_is_an_error_that_names_the_class() {
        let ok = [0.0, 0.1, 0.2, 0.3];
        let why = |labels: &[Vec<bool>], r: RunScores| {
            joint_bootstrap(labels, &[vec![r]], 1, random()).unwrap_err().to_string()
        };
        assert!(
            why(&labels(), run(ok, [0.0, f32::NAN, 0.0, 0.0], [0.0; 5]))
                .contains("class 0 has the score NaN")
        );
        let mut missing = run(ok, ok, [0.0; 5]);
        missing.scores[1][1] = None;
        assert!(why(&labels(), missing).contains("class 1 was not scored"));
        assert!(
            why(&[vec![false; 4], labels().remove(1)], run(ok, ok, [0.0; 5]))
                .contains("class 0 has no anomalous image")
        );
        assert!(why(&labels()[..1], run(ok, ok, [0.0; 5])).contains("1 classes"));
    }
}
