//! What is computed, and how much of it.

use ccnf_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// One of the questions that a diagnosis answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Analysis {
    /// How far the tensors, the latents of fixed tokens and the class weights move from stage to stage.
    Drift,
    /// Which part of the model causes the loss of the first classes.
    Swap,
    /// What happens to the entropy over the classes on normal and on defective pixels.
    Freeze,
    /// How well the classes are separated in the latents.
    Latents,
}

impl Analysis {
    /// All of them.
    pub const ALL: [Analysis; 4] = [Analysis::Drift, Analysis::Swap, Analysis::Freeze, Analysis::Latents];
}

/// Settings of a diagnosis.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    /// The seed of every draw: tokens, training images, bootstrap.
    pub seed: u64,
    /// What is computed.
    pub analyses: BTreeSet<Analysis>,
    /// Overrides of the runs' configurations, `key.path=value`, such as the place of the images.
    pub sets: Vec<String>,
    /// Tokens per class and level whose latents are followed and drawn.
    pub tokens: usize,
    /// Draws of the bootstrap over test images.
    pub draws: usize,
    /// Training images per class on which a Gaussian is fitted in the place of the mixture.
    pub refit_images: usize,
    /// Neighbours that vote for the class of a latent.
    pub neighbours: usize,
    /// Principal components that t-SNE sees.
    pub components: usize,
    /// Perplexity of t-SNE; at most a third of the other points.
    pub perplexity: f64,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            seed: 0,
            analyses: Analysis::ALL.into(),
            sets: vec![],
            tokens: 150,
            draws: 2000,
            refit_images: 10,
            neighbours: 10,
            components: 50,
            perplexity: 30.0,
        }
    }
}

impl Options {
    /// Whether an analysis is asked for.
    pub(crate) fn wants(&self, analysis: Analysis) -> bool {
        self.analyses.contains(&analysis)
    }

    /// Fails for values out of range.
    pub(crate) fn check(&self) -> Result<()> {
        let least = [
            ("tokens", self.tokens, 2),
            ("draws", self.draws, 2),
            ("refit_images", self.refit_images, 1),
            ("neighbours", self.neighbours, 1),
            ("components", self.components, 2),
        ];
        let small = |name: &str, least: String| {
            Err(Error::new(ErrorKind::Usage, format!("`{name}` must be {least} or more")))
        };
        if let Some((name, _, least)) = least.into_iter().find(|(_, value, least)| value < least) {
            return small(name, least.to_string());
        }
        if !(self.perplexity >= 1.0 && self.perplexity.is_finite()) {
            return small("perplexity", "1".into());
        }
        Ok(())
    }
}
