//! Settings of gradient training, shared by all detectors.

use ccnf_tensor::AdamSettings;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How many steps a stage makes, and with which step size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PhaseConfig {
    /// Optimiser steps per level.
    pub steps: u64,
    /// Tokens per step, drawn equally per class.
    pub tokens: usize,
    /// Learning rate at the start.
    pub lr: f64,
}

impl Default for PhaseConfig {
    fn default() -> Self {
        PhaseConfig { steps: 2000, tokens: 4096, lr: 2e-4 }
    }
}

/// How the learning rate changes over a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// It stays.
    Constant,
    /// Half a cosine from the start value to 0.
    Cosine,
}

/// The `[train]` section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// The first stage.
    pub first: PhaseConfig,
    /// Every later stage.
    pub later: PhaseConfig,
    /// How the learning rate changes over a stage.
    pub schedule: Schedule,
    /// Decay rates of Adam's moments.
    pub betas: [f64; 2],
    /// Adam's epsilon, added outside the root.
    pub eps: f64,
    /// Decoupled weight decay (AdamW); 0 is plain Adam.
    pub weight_decay: f64,
    /// Largest global gradient norm; 0 switches clipping off.
    pub clip: f64,
    /// Steps between two checkpoints within a stage: what a kill can cost at most.
    pub checkpoint_every: u64,
}

impl Default for TrainConfig {
    fn default() -> Self {
        TrainConfig {
            first: PhaseConfig::default(),
            later: PhaseConfig { steps: 500, tokens: 4096, lr: 5e-3 },
            schedule: Schedule::Constant,
            betas: [0.9, 0.99],
            eps: 1e-8,
            weight_decay: 0.0,
            clip: 1.0,
            checkpoint_every: 200,
        }
    }
}

impl TrainConfig {
    /// The phase of a stage.
    pub fn phase(&self, stage: usize) -> &PhaseConfig {
        if stage == 0 { &self.first } else { &self.later }
    }

    /// The learning rate of step `step` (from 0) of a stage.
    pub fn lr(&self, stage: usize, step: u64) -> f64 {
        let p = self.phase(stage);
        match self.schedule {
            Schedule::Constant => p.lr,
            Schedule::Cosine => {
                let t = step as f64 / p.steps.max(1) as f64;
                p.lr * 0.5 * (1.0 + (std::f64::consts::PI * t).cos())
            }
        }
    }

    /// The optimiser's settings.
    pub fn adam(&self) -> AdamSettings {
        AdamSettings {
            betas: self.betas,
            eps: self.eps,
            weight_decay: self.weight_decay,
            clip: (self.clip > 0.0).then_some(self.clip),
        }
    }
}
