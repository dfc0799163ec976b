//! Pairs of rows: differences, tests, verdicts.

use super::numbers::{ONE_STAGE, interval};
use super::types::{Comparison, Interval, LEVEL, Pair, Row, Verdict};
use ccnf_engine::{Number, Use};
use ccnf_metrics::{MethodDraws, Metric, holm, wilcoxon_signed_rank};

/// Standard errors between two methods from which on a difference is found in 4 of 5 repetitions: the 97.5 % and the 80 % quantile of the
/// normal distribution.
const DETECTABLE: f64 = 1.959_964 + 0.841_621;

/// A standard error below this is rounding: no draw differed from another.
const NO_SPREAD: f64 = 1e-9;

const TOO_FEW: &str =
    "every draw of the bootstrap has the same difference: too few test images to say how sure it is";

/// All pairs of rows under one use of the class.
pub(super) fn all_pairs(rows: &[Row], draws: &[MethodDraws], u: Use) -> Vec<Pair> {
    let places: Vec<(usize, usize)> =
        (0..rows.len()).flat_map(|i| (i + 1..rows.len()).map(move |j| (i, j))).collect();
    let compared = |value: &dyn Fn(&MethodDraws) -> f64,
                    drawn: &dyn Fn(&MethodDraws) -> Vec<f64>,
                    classes: &dyn Fn(&MethodDraws) -> Vec<Option<f64>>| {
        let all: Vec<Comparison> = places
            .iter()
            .map(|(i, j)| {
                let (a, b) = (&draws[*i], &draws[*j]);
                let d: Vec<f64> = drawn(a).iter().zip(drawn(b)).map(|(a, b)| a - b).collect();
                let per_class: Vec<f64> =
                    classes(a).iter().zip(classes(b)).filter_map(|(a, b)| Some((*a)? - b?)).collect();
                comparison(interval(value(a) - value(b), &d), &per_class)
            })
            .collect();
        correct(all)
    };
    let accuracy = compared(&|d| d.value.accuracy, &|d| d.draws.iter().map(|v| v.accuracy).collect(), &|d| {
        d.class_accuracy.iter().copied().map(Some).collect()
    });
    let forgetting =
        compared(&|d| d.value.forgetting, &|d| d.draws.iter().map(|v| v.forgetting).collect(), &|d| {
            d.class_forgetting.clone()
        });
    let both = accuracy.into_iter().zip(forgetting);
    let pair = |((i, j), (accuracy, forgetting)): (&(usize, usize), (Comparison, Comparison))| Pair {
        first: rows[*i].model.clone(),
        second: rows[*j].model.clone(),
        class: u.to_string(),
        accuracy,
        forgetting,
    };
    places.iter().zip(both).map(pair).collect()
}

fn comparison(difference: Interval, per_class: &[f64]) -> Comparison {
    let (p, detectable) = match (difference.value.value, difference.standard_error.value) {
        (Some(d), Some(error)) if error > NO_SPREAD => (
            Metric::of(libm::erfc(d.abs() / error / std::f64::consts::SQRT_2)).into(),
            Metric::of(DETECTABLE * error).into(),
        ),
        (Some(d), Some(_)) if d.abs() <= NO_SPREAD => (Metric::of(1.0).into(), Metric::of(0.0).into()),
        (Some(_), Some(_)) => (Number::undefined(TOO_FEW), Number::undefined(TOO_FEW)),
        _ => {
            let why = difference.value.reason.clone().unwrap_or_else(|| "no standard error".into());
            (Number::undefined(&why), Number::undefined(&why))
        }
    };
    let wilcoxon: Number = match per_class {
        [] => Number::undefined(ONE_STAGE),
        d => wilcoxon_signed_rank(d).into(),
    };
    let undefined = Number::undefined("not corrected yet");
    Comparison {
        difference,
        p,
        p_holm: undefined.clone(),
        wilcoxon,
        wilcoxon_holm: undefined,
        detectable,
        verdict: Verdict::Undefined,
    }
}

/// Corrects the p values of all pairs and says what can be said.
fn correct(mut all: Vec<Comparison>) -> Vec<Comparison> {
    let corrected = |of: &dyn Fn(&Comparison) -> &Number| -> Vec<Number> {
        let p: Vec<Metric> = all
            .iter()
            .map(|c| match of(c) {
                Number { value: Some(v), .. } => Metric::of(*v),
                n => Metric::undefined(n.reason.clone().unwrap_or_default()),
            })
            .collect();
        holm(&p).into_iter().map(Number::from).collect()
    };
    let (p, wilcoxon) = (corrected(&|c| &c.p), corrected(&|c| &c.wilcoxon));
    for ((c, p), wilcoxon) in all.iter_mut().zip(p).zip(wilcoxon) {
        c.verdict = match (p.value, c.difference.value.value) {
            (Some(p), Some(d)) if p < LEVEL && d > 0.0 => Verdict::FirstHigher,
            (Some(p), Some(_)) if p < LEVEL => Verdict::SecondHigher,
            (Some(_), Some(_)) => Verdict::NotDistinguishable,
            _ => Verdict::Undefined,
        };
        (c.p_holm, c.wilcoxon_holm) = (p, wilcoxon);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::super::numbers::number;
    use super::*;

    fn of(value: f64, error: f64) -> Interval {
        let n = |v: f64| number(v, "none");
        Interval {
            value: n(value),
            standard_error: n(error),
            low: n(value - 2.0 * error),
            high: n(value + 2.0 * error),
        }
    }

    #[test]
    fn a_difference_of_two_standard_errors_is_lost_among_ten_pairs() {
        let one = correct(vec![comparison(of(0.02, 0.01), &[0.02; 8])]);
        assert_eq!(one[0].verdict, Verdict::FirstHigher);
        assert!((one[0].p.value.unwrap() - 0.0455).abs() < 1e-4);
        assert!((one[0].detectable.value.unwrap() - 0.028).abs() < 1e-4);
        assert!((one[0].wilcoxon.value.unwrap() - 2.0 / 256.0).abs() < 1e-12);
        let ten = correct((0..10).map(|_| comparison(of(-0.02, 0.01), &[-0.02; 8])).collect());
        assert!(ten.iter().all(|c| c.verdict == Verdict::NotDistinguishable));
        assert!((ten[0].p_holm.value.unwrap() - 0.455).abs() < 1e-3);
    }

    #[test]
    fn equal_methods_are_not_distinguishable_and_joint_ones_have_no_forgetting() {
        let c = correct(vec![comparison(of(0.0, 0.0), &[0.0; 4]), comparison(of(f64::NAN, f64::NAN), &[])]);
        assert_eq!((c[0].verdict, c[0].p.value), (Verdict::NotDistinguishable, Some(1.0)));
        assert_eq!(c[0].wilcoxon.reason.as_deref(), Some("all differences are 0"));
        assert_eq!((c[1].verdict, c[1].p.value), (Verdict::Undefined, None));
        // One normal and one defective image: no draw differs from another, which is no certainty.
        let c = correct(vec![comparison(of(0.5, 3e-15), &[0.5, 0.5])]);
        assert_eq!((c[0].verdict, c[0].p.value), (Verdict::Undefined, None));
        assert!(c[0].p.reason.as_deref().unwrap().contains("too few test images"));
    }
}
