//! A quadratic penalty on parameters, one value per parameter value.

use ccnf::prelude::*;
use std::collections::BTreeMap;

/// `1/2 sum_i a_i w_i^2 - b_i w_i`: the sum of any number of terms `1/2 a_i (w_i - w*_i)^2`, up to a constant, in the memory of one.
#[derive(Default)]
pub(crate) struct Quadratic {
    /// `a` by parameter name.
    curvature: BTreeMap<String, StoredTensor>,
    /// `b = sum a w*` by parameter name.
    pull: BTreeMap<String, StoredTensor>,
}

impl Quadratic {
    /// Adds `1/2 a (w - w*)^2` for the parameter `p`, whose values now are `w*`.
    pub(crate) fn add(&mut self, p: &Param, a: &[f32]) {
        let pull: Vec<f32> = p.to_vec().iter().zip(a).map(|(w, a)| w * a).collect();
        accumulate(&mut self.curvature, p, a);
        accumulate(&mut self.pull, p, &pull);
    }

    /// Moves the minimum of all terms of `p` to where `p` is now.
    pub(crate) fn centre(&mut self, p: &Param) {
        if let (Some(a), Some(b)) = (self.curvature.get(p.name()), self.pull.get_mut(p.name())) {
            b.values = p.to_vec().iter().zip(&a.values).map(|(w, a)| w * a).collect();
        }
    }

    /// Adds `weight` times the penalty's gradient, `a w - b`; returns `weight` times the penalty of `params` above its least value,
    /// `sum (a w - b)^2 / 2a`.
    pub(crate) fn push(&self, weight: f32, params: &[&mut Param], grads: &mut Grads) -> Result<f64> {
        let mut penalty = 0.0;
        for p in params.iter().filter(|p| p.is_trainable()) {
            let (Some(a), Some(b)) = (self.curvature.get(p.name()), self.pull.get(p.name())) else {
                continue;
            };
            let w = p.to_vec();
            let terms = || w.iter().zip(&a.values).zip(&b.values).map(|((w, a), b)| (a * w - b, *a));
            grads.add(p.value(), &terms().map(|(slope, _)| weight * slope).collect::<Vec<_>>())?;
            let above = terms().filter(|(_, a)| *a > 0.0);
            penalty += above
                .map(|(slope, a)| f64::from(slope) * f64::from(slope) / (2.0 * f64::from(a)))
                .sum::<f64>();
        }
        Ok(f64::from(weight) * penalty)
    }

    /// Its tensors, for a checkpoint.
    pub(crate) fn save(&self, to: &mut BTreeMap<String, StoredTensor>) {
        for (which, tensors) in [("curvature", &self.curvature), ("pull", &self.pull)] {
            to.extend(tensors.iter().map(|(name, t)| (format!("{which}.{name}"), t.clone())));
        }
    }

    /// Reads what [`save`](Self::save) wrote.
    pub(crate) fn load(&mut self, from: &BTreeMap<String, StoredTensor>) {
        self.curvature = part(from, "curvature");
        self.pull = part(from, "pull");
    }
}

/// The tensors whose names start with `which.`, without that.
pub(crate) fn part(from: &BTreeMap<String, StoredTensor>, which: &str) -> BTreeMap<String, StoredTensor> {
    let prefix = format!("{which}.");
    let named = from.iter().filter_map(|(name, t)| Some((name.strip_prefix(&prefix)?.to_owned(), t.clone())));
    named.collect()
}

/// Adds `values` to the sums of the parameter `p`.
pub(crate) fn accumulate(sums: &mut BTreeMap<String, StoredTensor>, p: &Param, values: &[f32]) {
    let sum = sums.entry(p.name().to_owned()).or_insert_with(|| StoredTensor {
        owner: p.owner().clone(),
        shape: p.shape(),
        values: vec![0.0; p.len()],
    });
    sum.values.iter_mut().zip(values).for_each(|(s, v)| *s += v);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn param(values: Vec<f32>) -> Param {
        let n = values.len();
        Param::weight("w", Owner::Shared, values, 1, n).unwrap()
    }

    fn gradient(q: &Quadratic, p: &mut Param) -> Vec<f32> {
        let (_, (), mut grads) =
            gradients(|| Ok::<_, Error>((ccnf::tensor::ops::mean_square(&p.var())?, ()))).unwrap();
        grads.scale(p.value(), 0.0).unwrap();
        q.push(10.0, &[&mut *p], &mut grads).unwrap();
        grads.of(p.value()).unwrap()
    }

    #[test]
    fn the_penalty_is_counted_from_its_minimum() {
        let mut q = Quadratic::default();
        q.add(&param(vec![1.0, 0.0]), &[3.0, 1.0]);
        q.add(&param(vec![5.0, 2.0]), &[1.0, 0.0]);
        let penalty = |w: Vec<f32>| {
            let mut p = param(w);
            let (_, (), mut grads) =
                gradients(|| Ok::<_, Error>((ccnf::tensor::ops::mean_square(&p.var())?, ()))).unwrap();
            q.push(10.0, &[&mut p], &mut grads).unwrap()
        };
        // 10 (4/2 (w - 2)^2 + 1/2 w^2).
        assert_eq!(penalty(vec![2.0, 0.0]), 0.0);
        assert_eq!(penalty(vec![3.0, 1.0]), 25.0);
    }

    #[test]
    fn two_terms_pull_to_their_weighted_mean() {
        let mut q = Quadratic::default();
        q.add(&param(vec![1.0, 0.0]), &[3.0, 1.0]);
        q.add(&param(vec![5.0, 2.0]), &[1.0, 0.0]);
        // 10 (3 (w - 1) + (w - 5)) = 40 (w - 2), and 10 w.
        assert_eq!(gradient(&q, &mut param(vec![2.0, 0.0])), [0.0, 0.0]);
        assert_eq!(gradient(&q, &mut param(vec![3.0, 1.0])), [40.0, 10.0]);
        q.centre(&param(vec![7.0, 1.0]));
        assert_eq!(gradient(&q, &mut param(vec![7.0, 1.0])), [0.0, 0.0]);
    }

    #[test]
    fn a_parameter_without_a_term_is_left_alone() {
        assert_eq!(gradient(&Quadratic::default(), &mut param(vec![2.0])), [0.0]);
    }
}
