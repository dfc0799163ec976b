//! Adam and AdamW over named parameters, with clipping by the global norm.

use crate::{Dev, Grads, Param, Result, TensorError};
use dfdx::optim::WeightDecay;
use dfdx::prelude::Gradients;
use dfdx::tensor_ops::AdamConfig;

/// Settings of [`Adam`] (Kingma & Ba 2015; decoupled weight decay after Loshchilov & Hutter 2019).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamSettings {
    /// Decay rates of the first and second moment.
    pub betas: [f64; 2],
    /// Added outside the root.
    pub eps: f64,
    /// Decoupled weight decay; 0 is plain Adam.
    pub weight_decay: f64,
    /// Largest global gradient norm; larger gradients are scaled by `clip / (norm + 1e-6)`.
    pub clip: Option<f64>,
}

impl Default for AdamSettings {
    fn default() -> Self {
        AdamSettings { betas: [0.9, 0.99], eps: 1e-8, weight_decay: 0.0, clip: Some(1.0) }
    }
}

/// The moments of one parameter, for checkpoints.
#[derive(Debug, Clone, PartialEq)]
pub struct Moments {
    /// The parameter's name.
    pub name: String,
    /// First moment, row-major.
    pub first: Vec<f32>,
    /// Second moment, row-major.
    pub second: Vec<f32>,
}

/// Adam through `dfdx`'s per-tensor update. Parameters are known by their tensors, so one optimiser belongs to one model.
#[derive(Debug)]
pub struct Adam {
    settings: AdamSettings,
    steps: u64,
    first: Gradients<f32, Dev>,
    second: Gradients<f32, Dev>,
}

impl Adam {
    /// An optimiser that has made no step.
    pub fn new(settings: AdamSettings) -> Self {
        Adam { settings, steps: 0, first: Gradients::leaky(), second: Gradients::leaky() }
    }

    /// Steps made.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Updates every trainable parameter with learning rate `lr`; returns the global gradient norm before clipping.
    pub fn step(&mut self, params: &mut [&mut Param], grads: &mut Grads, lr: f64) -> Result<f64> {
        let mut sum = 0.0;
        for p in params.iter().filter(|p| p.is_trainable()) {
            sum += sum_of_squares(grads, p)?;
        }
        let norm = sum.sqrt();
        if !norm.is_finite() {
            let bad = params
                .iter()
                .find(|p| p.is_trainable() && !sum_of_squares(grads, p).is_ok_and(f64::is_finite));
            return Err(TensorError::NonFinite {
                what: "the gradient".into(),
                value: norm as f32,
                place: bad
                    .map_or_else(|| "the sum over all parameters".into(), |p| format!("`{}`", p.name())),
            });
        }
        let factor = self.settings.clip.map_or(1.0, |c| (c / (norm + 1e-6)).min(1.0)) as f32;
        self.steps += 1;
        let t = i32::try_from(self.steps).unwrap_or(i32::MAX);
        let config = AdamConfig {
            lr,
            betas: self.settings.betas,
            eps: self.settings.eps,
            weight_decay: (self.settings.weight_decay > 0.0)
                .then_some(WeightDecay::Decoupled(self.settings.weight_decay)),
        };
        for p in params.iter_mut().filter(|p| p.is_trainable()) {
            if factor < 1.0 {
                grads.scale(p.value(), factor)?;
            }
            let value = p.value_mut();
            let mut update = || -> std::result::Result<(), <Dev as dfdx::prelude::HasErr>::Err> {
                let g = grads.0.get_or_alloc_mut(value)?;
                let m = self.first.get_or_alloc_mut(value)?;
                let v = self.second.get_or_alloc_mut(value)?;
                config.try_update(t, value, m, v, g)
            };
            update().map_err(|e| TensorError::device("adam", e))?;
        }
        Ok(norm)
    }

    /// The moments of `params`, for a checkpoint.
    pub fn moments(&mut self, params: &[&Param]) -> Result<Vec<Moments>> {
        let mut out = Vec::new();
        for p in params.iter().filter(|p| p.is_trainable()) {
            self.first.try_alloc_for(p.value()).map_err(|e| TensorError::device("adam", e))?;
            self.second.try_alloc_for(p.value()).map_err(|e| TensorError::device("adam", e))?;
            out.push(Moments {
                name: p.name().to_owned(),
                first: self.first.get(p.value()).as_vec(),
                second: self.second.get(p.value()).as_vec(),
            });
        }
        Ok(out)
    }

    /// Puts back moments from a checkpoint and the number of steps made. `moments` answers by parameter name.
    pub fn restore(
        &mut self,
        params: &[&Param],
        steps: u64,
        mut moments: impl FnMut(&str) -> Option<(Vec<f32>, Vec<f32>)>,
    ) -> Result<()> {
        self.steps = steps;
        for p in params.iter().filter(|p| p.is_trainable()) {
            let Some((m, v)) = moments(p.name()) else {
                return Err(TensorError::shape("adam", format!("moments of `{}`", p.name()), "none"));
            };
            if m.len() != p.len() || v.len() != p.len() {
                return Err(TensorError::shape(
                    "adam",
                    format!("{} moments of `{}`", p.len(), p.name()),
                    format!("{} and {}", m.len(), v.len()),
                ));
            }
            write_buffer(&mut self.first, p, m)?;
            write_buffer(&mut self.second, p, v)?;
        }
        Ok(())
    }
}

/// Writes `values` into the buffer that `store` has for a parameter.
fn write_buffer(store: &mut Gradients<f32, Dev>, p: &Param, values: Vec<f32>) -> Result<()> {
    let buffer = store.get_or_alloc_mut(p.value()).map_err(|e| TensorError::device("adam", e))?;
    #[cfg(not(feature = "cuda"))]
    buffer.copy_from_slice(&values);
    #[cfg(feature = "cuda")]
    std::mem::swap(buffer, crate::tape::device_buffer(p.value(), values)?.buffer(p.value())?);
    Ok(())
}

/// The sum of squares of a parameter's gradient.
fn sum_of_squares(grads: &mut Grads, p: &Param) -> Result<f64> {
    #[cfg(not(feature = "cuda"))]
    {
        let g = grads.buffer(p.value())?;
        Ok(crate::ops::dot(g, g))
    }
    #[cfg(feature = "cuda")]
    grads.sum_of_squares(p.value())
}
