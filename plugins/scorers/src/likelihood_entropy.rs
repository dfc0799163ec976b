//! The scorer `likelihood-entropy`.

use crate::likelihood::{class, dimension, own};
use crate::posterior::{choose_temperature, entropy};
use ccnf::prelude::*;
use serde::{Deserialize, Serialize};

/// Config of [`LikelihoodEntropy`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LikelihoodEntropyConfig {
    /// Weight of the entropy; 0 is the scorer `likelihood`.
    pub lambda: f64,
    /// Temperature of the posterior in nats: `"dim"` (the number of channels), a positive number, or `"auto"`.
    pub tau: Temperature,
    /// The classes of the posterior.
    pub classes: EntropyClasses,
}

impl Default for LikelihoodEntropyConfig {
    fn default() -> Self {
        LikelihoodEntropyConfig {
            lambda: 0.1,
            tau: Temperature::Named(NamedTemperature::Dim),
            classes: EntropyClasses::Known,
        }
    }
}

/// The temperature of the posterior.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected tau = \"dim\", tau = \"auto\" or a positive number")]
pub enum Temperature {
    /// By a rule.
    Named(NamedTemperature),
    /// This many nats.
    Nats(f64),
}

/// A rule for the temperature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NamedTemperature {
    /// The number of channels of the level: the posterior of log-likelihoods per dimension.
    Dim,
    /// Chosen once, at the end of the first stage, so that the mean of `H / ln K` on training tokens is 0.1.
    Auto,
}

/// The classes of the posterior.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EntropyClasses {
    /// All classes known when an image is scored. Scores of old classes change when a class is added.
    Known,
    /// The classes known when the class was learnt. Scores of old classes stay bit for bit.
    FixedSet,
}

/// `S = -l_y / D + lambda * H(q)` with `q = softmax(l / tau)` over the classes `classes`: a token that several classes claim
/// is more anomalous than its likelihood alone says.
///
/// `H` is in nats, not divided by `ln K`. With `tau = 1` and many channels `q` is one-hot for most tokens and `H` is 0;
/// `tau = "dim"` compares log-likelihoods per dimension. The temperature of `"auto"` is fixed per level after the first stage.
/// Where no temperature reaches the target (one class in the first stage) it is `D`.
#[derive(Debug)]
pub struct LikelihoodEntropy {
    config: LikelihoodEntropyConfig,
    /// For `"auto"`: the temperature per level, `[1, levels]`; zeros before the calibration.
    chosen: Option<Param>,
}

impl LikelihoodEntropy {
    /// The scorer; fails for a weight or temperature out of range.
    pub fn new(config: LikelihoodEntropyConfig, build: &Build<ScorerSpec>) -> Result<Self> {
        if !(config.lambda.is_finite() && config.lambda >= 0.0) {
            return Err(build.error("lambda", "must be a finite number, 0 or more"));
        }
        let chosen = match config.tau {
            Temperature::Nats(t) if !(t.is_finite() && t > 0.0) => {
                return Err(build.error("tau", "must be \"dim\", \"auto\" or a positive finite number"));
            }
            Temperature::Named(NamedTemperature::Auto) => {
                Some(Param::buffer("scorer.tau", Owner::Shared, vec![0.0; build.levels], 1, build.levels)?)
            }
            _ => None,
        };
        Ok(LikelihoodEntropy { config, chosen })
    }

    /// The temperature in use at a level of `dim` channels.
    pub fn temperature(&self, level: usize, dim: usize) -> Result<f64> {
        match (self.config.tau, &self.chosen) {
            (Temperature::Nats(t), _) => Ok(t),
            (_, None) => Ok(dim as f64),
            (_, Some(chosen)) => {
                chosen.to_vec().get(level).filter(|t| **t > 0.0).map(|t| f64::from(*t)).ok_or_else(|| {
                    Error::new(
                        ErrorKind::Contract,
                        format!("tau = \"auto\" was not calibrated for level {level}"),
                    )
                })
            }
        }
    }
}

impl Stateful for LikelihoodEntropy {
    fn params(&self) -> Vec<&Param> {
        self.chosen.iter().collect()
    }
    fn params_mut(&mut self) -> Vec<&mut Param> {
        self.chosen.iter_mut().collect()
    }
}

impl Scorer for LikelihoodEntropy {
    fn score(&self, tokens: &TokenLikelihoods<'_>) -> Result<Vec<f32>> {
        let (dim, lambda) = (dimension(tokens)?, self.config.lambda);
        let own = own(tokens)?;
        let peers: Vec<&[f32]> = match self.peers() {
            Peers::None => vec![],
            _ => tokens.peers.iter().map(|p| class(tokens, *p)).collect::<Result<_>>()?,
        };
        if peers.len() < 2 {
            return Ok(own.iter().map(|l| (-f64::from(*l) / dim) as f32).collect());
        }
        let tau = self.temperature(tokens.level, tokens.dim)?;
        let score = |(t, l): (usize, &f32)| {
            let h = entropy(peers.iter().map(|p| f64::from(p[t])), tau);
            (-f64::from(*l) / dim + lambda * h) as f32
        };
        Ok(own.iter().enumerate().map(score).collect())
    }

    fn peers(&self) -> Peers {
        match self.config.classes {
            _ if self.config.lambda == 0.0 => Peers::None,
            EntropyClasses::Known => Peers::Known,
            EntropyClasses::FixedSet => Peers::FixedSet,
        }
    }

    fn calibrate(&mut self, levels: &[(usize, Vec<Vec<f32>>)]) -> Result<()> {
        let Some(chosen) = &mut self.chosen else { return Ok(()) };
        let mut taus = Vec::with_capacity(levels.len());
        for (level, (dim, by_class)) in levels.iter().enumerate() {
            let tau = choose_temperature(&[by_class]).unwrap_or_else(|| {
                ccnf::tracing::warn!(
                    level,
                    "no temperature gives the target entropy; tau is the number of channels"
                );
                *dim as f64
            });
            ccnf::tracing::debug!(level, tau, "temperature of the class posterior");
            taus.push(tau as f32);
        }
        Ok(chosen.set(taus)?)
    }
}

ccnf::register_component!(
    Scorer,
    "likelihood-entropy",
    LikelihoodEntropyConfig,
    LikelihoodEntropy::new,
    "negative log-likelihood per dimension plus the entropy of the class posterior"
);

#[cfg(test)]
mod tests {
    use super::*;
    use approx::assert_abs_diff_eq;
    use ccnf::core::{Config, build};
    use serde_json::json;

    fn scorer(keys: serde_json::Value, levels: usize) -> Result<Box<dyn Scorer>> {
        let mut table = json!({ "kind": "likelihood-entropy" });
        table.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        let root = Config::from_json("test", &json!({ "scorer": table }))?.root()?;
        build::<dyn Scorer>(&root.child("scorer"), &ScorerSpec { levels })
    }

    fn score(s: &dyn Scorer, by_class: &[Vec<f32>], dim: usize, peers: &[usize]) -> f32 {
        s.score(&TokenLikelihoods { level: 0, by_class, dim, class: 0, peers }).unwrap()[0]
    }

    #[test]
    fn classes_that_agree_add_lambda_ln_k() {
        let s = scorer(json!({ "lambda": 0.5 }), 1).unwrap();
        let table = [vec![-4.0], vec![-4.0], vec![-4.0]];
        assert_abs_diff_eq!(score(&*s, &table, 2, &[0, 1, 2]), 2.0 + 0.5 * 3f32.ln(), epsilon = 1e-6);
        assert_abs_diff_eq!(score(&*s, &table, 2, &[0, 2]), 2.0 + 0.5 * 2f32.ln(), epsilon = 1e-6);
        assert_abs_diff_eq!(score(&*s, &table, 2, &[0]), 2.0, epsilon = 1e-6);
    }

    #[test]
    fn dim_and_the_number_of_channels_are_the_same_temperature() {
        let table = [vec![-4.0], vec![-7.0]];
        let (dim, number) = (scorer(json!({}), 1).unwrap(), scorer(json!({ "tau": 6 }), 1).unwrap());
        assert_eq!(score(&*dim, &table, 6, &[0, 1]), score(&*number, &table, 6, &[0, 1]));
    }

    #[test]
    fn lambda_zero_asks_for_no_other_class() {
        let s = scorer(json!({ "lambda": 0.0 }), 1).unwrap();
        assert_eq!(s.peers(), Peers::None);
        assert_eq!(score(&*s, &[vec![-4.0], vec![]], 2, &[]), 2.0);
        assert_eq!(scorer(json!({ "classes": "fixed-set" }), 1).unwrap().peers(), Peers::FixedSet);
    }

    #[test]
    fn auto_is_chosen_per_level_and_survives_a_snapshot() {
        let table = |scale: f32| -> Vec<Vec<f32>> {
            (0..3).map(|c| (0..40).map(|t| ((t * 5 + c * 11) % 13) as f32 * scale).collect()).collect()
        };
        let mut s = scorer(json!({ "tau": "auto" }), 2).unwrap();
        let before =
            s.score(&TokenLikelihoods { level: 0, by_class: &table(1.0), dim: 4, class: 0, peers: &[0, 1] });
        assert_eq!(before.unwrap_err().kind(), ErrorKind::Contract);
        s.calibrate(&[(4, table(1.0)), (8, table(10.0))]).unwrap();
        let stored = s.params()[0].to_vec();
        assert_abs_diff_eq!(stored[1] / stored[0], 10.0, epsilon = 1e-4);

        let snapshot = Snapshot::of(&*s, serde_json::Value::Null);
        let mut again = scorer(json!({ "tau": "auto" }), 2).unwrap();
        snapshot.restore_into(&mut *again).unwrap();
        assert_eq!(score(&*again, &table(1.0), 8, &[0, 1, 2]), score(&*s, &table(1.0), 8, &[0, 1, 2]));
    }

    #[test]
    fn one_class_at_the_first_stage_falls_back_to_the_number_of_channels() {
        let mut s = scorer(json!({ "tau": "auto" }), 1).unwrap();
        s.calibrate(&[(5, vec![vec![1.0, 2.0]])]).unwrap();
        assert_eq!(s.params()[0].to_vec(), [5.0]);
    }

    #[test]
    fn wrong_values_name_the_key() {
        for (keys, key) in [
            (json!({ "lambda": -1.0 }), "lambda"),
            (json!({ "tau": 0 }), "tau"),
            (json!({ "tau": "warm" }), "tau"),
            (json!({ "tua": 1 }), "tua"),
        ] {
            let e = scorer(keys, 1).err().unwrap();
            assert_eq!(e.kind(), ErrorKind::Config, "{e}");
            assert!(e.to_string().contains(&format!("scorer.{key}")), "{e}");
        }
        let e = scorer(json!({ "tau": "warm" }), 1).err().unwrap();
        assert!(e.to_string().contains("\"auto\""), "{e}");
    }
}
