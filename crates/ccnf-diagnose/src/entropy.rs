//! The entropy of tokens over classes.

use crate::freeze::{Over, Posterior};
use ccnf_core::TokenClasses;

/// What is measured: from which posterior, over which classes.
pub(crate) const KINDS: [(Posterior, Over); 4] = [
    (Posterior::Likelihood, Over::FirstClasses),
    (Posterior::Likelihood, Over::AllClassesNormalised),
    (Posterior::Method, Over::FirstClasses),
    (Posterior::Method, Over::AllClassesNormalised),
];

/// The place in [`KINDS`] of one that is there whenever the method has a posterior of its own.
pub(crate) const OWN: usize = 2;

/// `-sum_k q_k ln q_k` per token, in nats, with `q` the softmax over the classes `of` of logits `[class][token]`.
fn entropy(logits: &[Vec<f32>], of: &[usize]) -> Vec<f32> {
    let tokens = of.first().map_or(0, |c| logits[*c].len());
    let at = |t: usize| {
        let l: Vec<f64> = of.iter().map(|c| f64::from(logits[*c][t])).collect();
        let top = l.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = l.iter().map(|v| (v - top).exp()).collect();
        let sum: f64 = weights.iter().sum();
        // H = ln Z - E[l - top]; below 0 only by rounding.
        let expected = l.iter().zip(&weights).map(|(v, w)| w * (v - top)).sum::<f64>() / sum;
        (sum.ln() - expected).max(0.0) as f32
    };
    (0..tokens).map(at).collect()
}

/// The entropies of the tokens of one image at a level, kind by kind in the order of [`KINDS`]; `None` where a kind is not defined.
pub(crate) fn kinds(tokens: &TokenClasses, first: &[usize]) -> Vec<Option<Vec<f32>>> {
    let all: Vec<usize> = (0..tokens.log_likelihood.len()).collect();
    let of = |(posterior, over)| {
        let logits = match posterior {
            Posterior::Likelihood => &tokens.log_likelihood,
            Posterior::Method => tokens.entropy_logits.as_ref()?,
        };
        match over {
            Over::FirstClasses => Some(entropy(logits, first)),
            Over::AllClassesNormalised if all.len() < 2 => None,
            Over::AllClassesNormalised => {
                let scale = (all.len() as f32).ln();
                Some(entropy(logits, &all).iter().map(|h| h / scale).collect())
            }
        }
    };
    KINDS.iter().map(|k| of(*k)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entropy_of_one_class_is_exactly_zero() {
        assert_eq!(entropy(&[vec![-3.0, 1e6, 0.1]], &[0]), [0.0; 3]);
    }

    #[test]
    fn entropies_are_those_of_known_posteriors() {
        let ln = |p: f64| p.ln() as f32;
        // Token 0: even over three; token 1: 1/2, 1/4, 1/4; token 2: one class alone.
        let logits = [vec![5.0, ln(0.5), 900.0], vec![5.0, ln(0.25), 0.0], vec![5.0, ln(0.25), -900.0]];
        let h = entropy(&logits, &[0, 1, 2]);
        for (h, expected) in h.iter().zip([3f64.ln(), 1.5 * 2f64.ln(), 0.0]) {
            assert!((f64::from(*h) - expected).abs() < 1e-6, "{h} against {expected}");
        }
        // Over the last two classes token 1 is even.
        assert!((entropy(&logits, &[1, 2])[1] - 2f32.ln()).abs() < 1e-6);
    }

    #[test]
    fn the_normalised_entropy_of_one_class_is_undefined_and_the_method_s_own_only_where_there_is_one() {
        let of = |classes: usize, own: bool| TokenClasses {
            log_likelihood: vec![vec![1.0]; classes],
            entropy_logits: own.then(|| vec![vec![0.0]; classes]),
        };
        let some = |t: &TokenClasses| kinds(t, &[0]).iter().map(Option::is_some).collect::<Vec<_>>();
        assert_eq!(some(&of(1, false)), [true, false, false, false]);
        assert_eq!(some(&of(2, true)), [true; 4]);
        // Even over all known classes is 1.
        assert_eq!(kinds(&of(5, false), &[0])[1], Some(vec![1.0]));
    }
}
