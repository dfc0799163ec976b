//! The scorer `likelihood`.

use ccnf::prelude::*;
use serde::{Deserialize, Serialize};

/// Config of [`Likelihood`]: no keys.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LikelihoodConfig {}

/// `S = -l_y / D`: the negative log-likelihood per dimension, in nats, under the class scored under.
///
/// Dividing by the number of channels `D` makes levels of different width comparable.
#[derive(Debug, Clone, Copy)]
pub struct Likelihood;

impl Likelihood {
    /// The scorer.
    pub fn new(_: LikelihoodConfig, _: &Build<ScorerSpec>) -> Result<Self> {
        Ok(Likelihood)
    }
}

ccnf::stateless!(Likelihood);

impl Scorer for Likelihood {
    fn score(&self, tokens: &TokenLikelihoods<'_>) -> Result<Vec<f32>> {
        let dim = dimension(tokens)?;
        Ok(own(tokens)?.iter().map(|l| (-f64::from(*l) / dim) as f32).collect())
    }
}

/// The log-likelihoods under the class scored under, one per token.
pub(crate) fn own<'a>(tokens: &TokenLikelihoods<'a>) -> Result<&'a [f32]> {
    class(tokens, tokens.class)
}

/// The log-likelihoods under class `c`, one per token; as many as the class scored under has.
pub(crate) fn class<'a>(tokens: &TokenLikelihoods<'a>, c: usize) -> Result<&'a [f32]> {
    let n = tokens.by_class.get(tokens.class).map_or(0, Vec::len);
    match tokens.by_class.get(c) {
        Some(l) if l.len() == n => Ok(l),
        Some(l) => Err(Error::new(
            ErrorKind::Contract,
            format!("a scorer got {} log-likelihoods for class {c}, {n} for class {}", l.len(), tokens.class),
        )),
        None => Err(Error::new(
            ErrorKind::Contract,
            format!("a scorer was asked for class {c} of {}", tokens.by_class.len()),
        )),
    }
}

/// The number of channels, as a divisor.
pub(crate) fn dimension(tokens: &TokenLikelihoods<'_>) -> Result<f64> {
    if tokens.dim == 0 {
        return Err(Error::new(ErrorKind::Contract, "a scorer got a level without channels"));
    }
    Ok(tokens.dim as f64)
}

ccnf::register_component!(
    Scorer,
    "likelihood",
    LikelihoodConfig,
    Likelihood::new,
    "negative log-likelihood per dimension under the class"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_score_is_the_negative_log_likelihood_per_dimension() {
        let by_class = [vec![-8.0, 4.0], vec![-1.0, -2.0]];
        let tokens = TokenLikelihoods { level: 0, by_class: &by_class, dim: 4, class: 0, peers: &[] };
        assert_eq!(Likelihood.score(&tokens).unwrap(), [2.0, -1.0]);
        assert_eq!(Likelihood.peers(), Peers::None);
    }

    #[test]
    fn a_class_that_is_not_there_is_an_error() {
        let tokens = TokenLikelihoods { level: 0, by_class: &[vec![1.0]], dim: 4, class: 1, peers: &[] };
        assert_eq!(Likelihood.score(&tokens).unwrap_err().kind(), ErrorKind::Contract);
    }
}
