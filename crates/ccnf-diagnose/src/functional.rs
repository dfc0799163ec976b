//! How far what a model says moves: latents of fixed tokens, weights of old classes.

use crate::part::{mean, number};
use crate::tokens::TokenSet;
use ccnf_engine::Number;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a [`FunctionalChange`] measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Quantity {
    /// Mean of `|z_t - z_(t-1)|^2 / D` over fixed tokens of normal test images of a class that was known before.
    LatentChange,
    /// `KL(pi_t || pi_(t-1))` in nats of the class weights, restricted to the classes that were known before and normalised over them.
    ClassWeights,
}

/// A change of what a model says from one stage to the next.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FunctionalChange {
    /// The stage before, from 0.
    pub from: usize,
    /// The stage after.
    pub to: usize,
    /// The level.
    pub level: usize,
    /// The class; `None`: the mean over the classes, or of the model as a whole.
    pub class: Option<String>,
    /// What is measured.
    pub quantity: Quantity,
    /// Its value.
    pub value: Number,
}

/// What is kept of a stage.
#[derive(Debug, Clone, Default)]
pub(crate) struct StageView {
    /// Class -> per level the latents of its fixed tokens; nothing for a class without normal test images.
    pub(crate) latents: BTreeMap<String, Option<Vec<TokenSet>>>,
    /// The known classes, in their order.
    pub(crate) classes: Vec<String>,
    /// Per level the logarithms of the class weights.
    pub(crate) log_weights: Vec<Option<Vec<f32>>>,
}

/// The changes between consecutive stages.
pub(crate) fn functional(stages: &[StageView]) -> Vec<FunctionalChange> {
    let mut out = Vec::new();
    for to in 1..stages.len() {
        let (before, after) = (&stages[to - 1], &stages[to]);
        for level in 0..before.log_weights.len() {
            let mut put = |class: Option<&String>, quantity, value| {
                out.push(FunctionalChange {
                    from: to - 1,
                    to,
                    level,
                    class: class.cloned(),
                    quantity,
                    value,
                });
            };
            let mut changes = Vec::new();
            for class in &before.classes {
                let of = |stage: &StageView| stage.latents.get(class).cloned().flatten();
                let value = match (of(before), of(after)) {
                    (Some(b), Some(a)) => latent_change(&b[level], &a[level]),
                    _ => Number::undefined("the class has no normal test image"),
                };
                changes.push(value.clone());
                put(Some(class), Quantity::LatentChange, value);
            }
            put(None, Quantity::LatentChange, mean(&changes));
            let value = match (&before.log_weights[level], &after.log_weights[level]) {
                (Some(b), Some(a)) => number(kl_of_old(b, a)),
                _ => Number::undefined("the model has no class weights"),
            };
            put(None, Quantity::ClassWeights, value);
        }
    }
    out
}

/// Mean of `|a - b|^2 / D` over the rows.
fn latent_change(before: &TokenSet, after: &TokenSet) -> Number {
    if before.dim != after.dim || before.z.len() != after.z.len() {
        return Number::undefined("the latents have another shape");
    }
    let squares = before.z.iter().zip(&after.z).map(|(b, a)| (f64::from(*a) - f64::from(*b)).powi(2));
    number(squares.sum::<f64>() / before.z.len().max(1) as f64)
}

/// `KL(after || before)` over the classes that `before` knows; both are logarithms and are normalised over these classes.
fn kl_of_old(before: &[f32], after: &[f32]) -> f64 {
    let old = before.len().min(after.len());
    let normalised = |log: &[f32]| -> Vec<f64> {
        let log: Vec<f64> = log[..old].iter().map(|v| f64::from(*v)).collect();
        let top = log.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum = top + log.iter().map(|v| (v - top).exp()).sum::<f64>().ln();
        log.iter().map(|v| v - sum).collect()
    };
    let (q, p) = (normalised(before), normalised(after));
    // Rounding must not make it negative.
    p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum::<f64>().max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(classes: &[&str], z: &[f32], weights: Option<Vec<f32>>) -> StageView {
        let set = TokenSet { dim: 2, z: z.to_vec() };
        StageView {
            latents: [("bolt".to_owned(), Some(vec![set])), ("pine".to_owned(), None)].into(),
            classes: classes.iter().map(|c| c.to_string()).collect(),
            log_weights: vec![weights],
        }
    }

    #[test]
    fn the_latent_change_is_the_mean_square_per_dim() {
        let before = view(&["bolt", "pine"], &[0.0, 0.0, 1.0, 1.0], None);
        let after = view(&["bolt", "pine", "pcb"], &[3.0, 4.0, 1.0, 0.0], None);
        let found = functional(&[before, after]);
        let of = |class: Option<&str>, quantity| {
            let hit = found.iter().find(|f| f.class.as_deref() == class && f.quantity == quantity);
            hit.unwrap().value.clone()
        };
        // (9 + 16 + 0 + 1) / (2 tokens * 2 dims)
        assert_eq!(of(Some("bolt"), Quantity::LatentChange).value, Some(6.5));
        assert!(of(Some("pine"), Quantity::LatentChange).reason.unwrap().contains("normal"));
        assert_eq!(of(None, Quantity::LatentChange).value, Some(6.5), "the mean of what is defined");
        assert!(of(None, Quantity::ClassWeights).reason.unwrap().contains("weights"));
        assert!(found.iter().all(|f| f.class.as_deref() != Some("pcb")), "a new class has no before");
    }

    #[test]
    fn the_divergence_of_weights_is_over_old_classes_only() {
        let log = |p: &[f64]| p.iter().map(|v| v.ln() as f32).collect::<Vec<_>>();
        // Old classes after: 0.4 and 0.2 of 0.6, so 2/3 and 1/3 against 1/2 and 1/2.
        let kl = kl_of_old(&log(&[0.5, 0.5]), &log(&[0.4, 0.2, 0.4]));
        let expected = 2.0 / 3.0 * (4f64 / 3.0).ln() + 1.0 / 3.0 * (2f64 / 3.0).ln();
        assert!((kl - expected).abs() < 1e-7, "{kl} against {expected}");
        // The same proportions: nothing, whatever the new class takes.
        assert!(kl_of_old(&log(&[0.5, 0.5]), &log(&[0.1, 0.1, 0.8])) < 1e-12);
    }
}
