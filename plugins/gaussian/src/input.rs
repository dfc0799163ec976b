//! Standardisation of the input.

use ccnf::core::Standardization;
use ccnf::prelude::*;

/// `x -> (x - mean) / std` of a [`Standardization`] in a form for use.
pub(crate) struct Scaling {
    mean: Vec<f32>,
    factor: Vec<f32>,
}

impl Scaling {
    /// That of `standard`.
    pub(crate) fn of(standard: &Standardization) -> Scaling {
        let [mean, std] = [0, 1].map(|i| standard.params().get(i).map_or_else(Vec::new, |p| p.to_vec()));
        Scaling { mean, factor: std.iter().map(|s| 1.0 / s).collect() }
    }

    /// The map that changes nothing, for values that are standardised already.
    pub(crate) fn identity(dim: usize) -> Scaling {
        Scaling { mean: vec![0.0; dim], factor: vec![1.0; dim] }
    }

    /// The standardised values of a token.
    pub(crate) fn apply<'a>(&'a self, token: &'a [f32]) -> impl Iterator<Item = f32> + 'a {
        token.iter().zip(&self.mean).zip(&self.factor).map(|((x, m), f)| (x - m) * f)
    }
}
