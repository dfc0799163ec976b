//! Regularisers:
//!
//! * the weight is finite and not negative, the name in logs is the registered one;
//! * where the config has a key `weight`, it is what `weight` says, and the penalty is the same for two of them: the detector applies it;
//! * the penalty is finite, repeatable, and there unless it needs a wrong class or log-scales that are absent;
//! * its gradient is exact (1e-4 of its size) with respect to latents, log-determinants, priors, both likelihoods and
//!   log-scales, and reaches at least one of them;
//! * it and its gradient stay finite where likelihoods are far apart.

use super::common::{Must, finite, normal};
use super::entry::Case;
use crate::finite_difference_error;
use ccnf::dfdx::prelude::{Axis, HasShape, SumTo};
use ccnf::prelude::{
    Error, FlowOutput, Index, Mat, Regularizer, RegularizerSpec, Result, Streams, Var, VarVec, constant,
    gradients, mat,
};
use ccnf::tensor::tracked;
use serde_json::{Map, Value};

const TOLERANCE: f64 = 1e-4;
const TOKENS: usize = 12;
const DIM: usize = 5;
/// Draws of the numbers, of which one must do: a kink near a value spoils the difference quotient, not the gradient.
const ATTEMPTS: u64 = 5;

const Z: usize = 0;
const LOG_DET: usize = 1;
const LOG_PRIOR: usize = 2;
const LOG_PROB: usize = 3;
const NEGATIVE: usize = 4;
const NAMES: [&str; 7] =
    ["z", "log_det", "log_prior", "log_prob", "log_prob_negative", "log_scales[0]", "log_scales[1]"];

pub(super) fn spec() -> RegularizerSpec {
    RegularizerSpec {}
}

/// What a flow might say. The parts are independent leaves here, so that each partial derivative is seen.
fn leaves(seed: u64) -> Vec<Mat> {
    let s = Streams::new(seed);
    let column = |name: &str, scale: f32, mean: f32| {
        // Away from 0, where absolute values have their kink.
        let values = s.normal(name, TOKENS).iter().map(|v| mean + v * scale + 0.4f32.copysign(*v)).collect();
        mat(values, TOKENS, 1).expect("a column")
    };
    vec![
        normal(&s, "z", TOKENS, DIM, 1.3),
        column("log_det", 1.0, 0.0),
        column("log_prior", 1.5, -9.0),
        column("log_prob", 2.0, -8.0),
        column("log_prob_negative", 2.0, -10.0),
        normal(&s, "scale0", TOKENS, 2, 0.5),
        normal(&s, "scale1", TOKENS, 3, 0.5),
    ]
}

fn output(leaves: &[Mat], leaf: fn(&Mat) -> Var, negative: bool, scales: bool) -> FlowOutput {
    let column = |i: usize| -> VarVec { leaf(&leaves[i]).sum::<(usize,), Axis<1>>() };
    let class: Index = (0..TOKENS as u32).map(|n| n % 2).collect();
    FlowOutput {
        dim: DIM,
        z: leaf(&leaves[Z]),
        log_det: column(LOG_DET),
        log_prior: column(LOG_PRIOR),
        log_prob: column(LOG_PROB),
        log_prob_negative: negative.then(|| column(NEGATIVE)),
        log_scales: if scales { leaves[NEGATIVE + 1..].iter().map(leaf).collect() } else { vec![] },
        class,
        classes: 2,
    }
}

fn value(r: &dyn Regularizer, output: &FlowOutput) -> Result<Option<f32>> {
    Ok(r.penalty(output)?.map(|p| p.as_vec()[0]))
}

pub(super) fn check(case: &Case<dyn Regularizer>) {
    let r = case.build(&spec());
    assert!(
        r.weight().is_finite() && r.weight() >= 0.0,
        "{}",
        case.at(format!("the weight is {}", r.weight()))
    );
    assert_eq!(
        r.name(),
        case.entry.name,
        "{}",
        case.at("the name in logs is another than the registered one")
    );
    weighed_once(case);
    presence(case, &*r);
    exact_gradients(case, &*r);
    extremes(case, &*r);
}

/// The penalty under two weights.
fn weighed_once(case: &Case<dyn Regularizer>) {
    if !(case.entry.example)()["weight"].is_number() {
        return;
    }
    let leaves = leaves(1);
    let penalties = [0.25f32, 0.5].map(|weight| {
        let at = case.at(format!("with weight = {weight}"));
        let keys = Map::from_iter([("weight".to_owned(), Value::from(weight))]);
        let r = case.try_build(&keys, &spec()).must(&at);
        assert_eq!(r.weight(), weight, "{at}: it says that its weight is another one");
        value(&*r, &output(&leaves, constant, true, true)).must(&at)
    });
    let at = case.at("the penalty with weights of 0.25 and 0.5");
    let [a, b] = penalties;
    assert!(a == b, "{at}: {a:?} and {b:?}: the weight is applied twice");
}

fn presence(case: &Case<dyn Regularizer>, r: &dyn Regularizer) {
    let leaves = leaves(1);
    let needs = r.negative().is_some();
    for (negative, scales) in [(true, true), (false, true), (true, false), (false, false)] {
        let at = case.at(format!("penalty with wrong class: {negative}, with log-scales: {scales}"));
        let output = output(&leaves, constant, negative, scales);
        let p = value(r, &output).must(&at);
        if needs && !negative {
            assert_eq!(p, None, "{at}: it needs a wrong class and is there without one");
        } else if scales {
            assert!(p.is_some(), "{at}: absent");
        }
        p.iter().for_each(|p| assert!(p.is_finite(), "{at}: {p}"));
        assert_eq!(value(r, &output).must(&at), p, "{at}: another value the second time");
    }
}

fn gradient(r: &dyn Regularizer, leaves: &[Mat], at: &str) -> Vec<Vec<f32>> {
    let (_, (), mut grads) = gradients(|| {
        let penalty =
            r.penalty(&output(leaves, tracked, true, true))?.expect("a penalty where nothing is missing");
        Ok::<_, Error>((penalty, ()))
    })
    .must(at);
    leaves.iter().map(|l| grads.of(l).must(at)).collect()
}

fn exact_gradients(case: &Case<dyn Regularizer>, r: &dyn Regularizer) {
    let at = case.at("gradients");
    let (mut reached, mut worst) = (vec![], 0f64);
    for (i, name) in NAMES.iter().enumerate() {
        let mut best = f64::MAX;
        for seed in 1..=ATTEMPTS {
            let mut leaves = leaves(seed);
            let g = gradient(r, &leaves, &at).swap_remove(i);
            if g.iter().any(|v| *v != 0.0) && !reached.contains(name) {
                reached.push(*name);
            }
            let (start, (rows, cols)) = (leaves[i].as_vec(), *leaves[i].shape());
            let error = finite_difference_error(&start, &g, &Streams::new(seed), |moved| {
                leaves[i] = mat(moved.to_vec(), rows, cols).must(&at);
                f64::from(value(r, &output(&leaves, constant, true, true)).must(&at).expect("a penalty"))
            });
            best = best.min(error);
            if best < TOLERANCE {
                break;
            }
        }
        assert!(
            best < TOLERANCE,
            "{at}: that of `{name}` is off by {best:e} of its size, allowed {TOLERANCE:e}"
        );
        worst = worst.max(best);
    }
    assert!(!reached.is_empty(), "{at}: the penalty depends on nothing");
    println!("{}", case.at(format!("gradients reach {}; largest error {worst:.1e}", reached.join(", "))));
}

fn extremes(case: &Case<dyn Regularizer>, r: &dyn Regularizer) {
    for (own, wrong) in [(1e5f32, -1e5f32), (-1e5, 1e5), (-1e5, -1e5), (0.0, 0.0)] {
        let at = case.at(format!("log-likelihoods {own} and {wrong}"));
        let mut leaves = leaves(1);
        for (i, v) in [(LOG_PROB, own), (NEGATIVE, wrong), (LOG_PRIOR, own)] {
            leaves[i] = mat(vec![v; TOKENS], TOKENS, 1).must(&at);
        }
        let p = value(r, &output(&leaves, constant, true, true)).must(&at);
        finite(&[p.unwrap_or(0.0)], &at);
        gradient(r, &leaves, &at)
            .iter()
            .zip(NAMES)
            .for_each(|(g, n)| finite(g, &format!("{at}, gradient of `{n}`")));
    }
}
