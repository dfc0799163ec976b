//! Draws the tokens of a training step.

use ccnf::prelude::*;
use ccnf::rand::Rng;

/// Tokens of one step, class after class.
pub(crate) struct Batch {
    /// Standardised features, `[N, D]`.
    pub(crate) x: Mat,
    /// Each token's class, counted within the view.
    pub(crate) class: Index,
    /// Each token's cell.
    pub(crate) position: Index,
}

/// `tokens` tokens, equally many per class of the view (class-balanced), uniform over images and positions.
pub(crate) fn sample(
    view: &TrainView,
    level: usize,
    tokens: usize,
    standard: &Standard,
    rng: &mut impl Rng,
) -> Result<Batch> {
    let spec = &view.levels()[level];
    let (d, cells) = (spec.channels, spec.tokens());
    let classes = view.classes().len().max(1);
    let (mut x, mut class, mut position) = (Vec::with_capacity(tokens * d), vec![], vec![]);
    for (c, images) in view.classes().iter().enumerate() {
        let n = tokens / classes + usize::from(c < tokens % classes);
        for _ in 0..n {
            let cell = rng.gen_range(0..cells);
            let image = rng.gen_range(0..images.len());
            standard.push(&images.part(image, level, cell * d..(cell + 1) * d)?, &mut x);
            class.push(c as u32);
            position.push(cell as u32);
        }
    }
    Ok(Batch { x: mat(x, class.len(), d)?, class: class.into(), position: position.into() })
}

/// Per-channel standardisation with the first stage's mean and population std; shared, fixed after the first stage.
pub(crate) struct Standard {
    mean: Param,
    std: Param,
    cached: (Vec<f32>, Vec<f32>),
}

impl Standard {
    /// The identity.
    pub(crate) fn new(scope: &str, dim: usize) -> Result<Self> {
        Ok(Standard {
            mean: Param::buffer(format!("{scope}.standard.mean"), Owner::Shared, vec![0.0; dim], 1, dim)?,
            std: Param::buffer(format!("{scope}.standard.std"), Owner::Shared, vec![1.0; dim], 1, dim)?,
            cached: (vec![0.0; dim], vec![1.0; dim]),
        })
    }

    /// Fits mean and std over all tokens of the view. A constant channel keeps std 1.
    pub(crate) fn fit(&mut self, view: &TrainView, level: usize) -> Result<()> {
        let d = view.levels()[level].channels;
        let (mut n, mut sum, mut squares) = (0u64, vec![0.0f64; d], vec![0.0f64; d]);
        // Shifted by the first token, so that the squares do not cancel.
        let shift: Vec<f64> = match view.classes().first() {
            Some(c) => c.part(0, level, 0..d)?.iter().map(|v| f64::from(*v)).collect(),
            None => vec![0.0; d],
        };
        for class in view.classes() {
            for i in 0..class.len() {
                for token in class.image(i, level)?.chunks_exact(d) {
                    n += 1;
                    for (((s, q), v), shift) in sum.iter_mut().zip(&mut squares).zip(token).zip(&shift) {
                        let v = f64::from(*v) - shift;
                        *s += v;
                        *q += v * v;
                    }
                }
            }
        }
        let n = n.max(1) as f64;
        let mean: Vec<f32> = sum.iter().zip(&shift).map(|(s, shift)| (s / n + shift) as f32).collect();
        let std: Vec<f32> = squares
            .iter()
            .zip(&sum)
            .map(|(q, s)| (q / n - (s / n) * (s / n)).max(0.0).sqrt() as f32)
            .map(|s| if s > 0.0 { s } else { 1.0 })
            .collect();
        self.mean.set(mean)?;
        self.std.set(std)?;
        self.refresh();
        Ok(())
    }

    /// Reads the tensors again after loading.
    pub(crate) fn refresh(&mut self) {
        self.cached = (self.mean.to_vec(), self.std.to_vec());
    }

    /// Appends the standardised tokens of `values` to `out`.
    pub(crate) fn push(&self, values: &[f32], out: &mut Vec<f32>) {
        let (mean, std) = &self.cached;
        for token in values.chunks_exact(mean.len().max(1)) {
            out.extend(token.iter().zip(mean).zip(std).map(|((v, m), s)| (v - m) / s));
        }
    }

    pub(crate) fn params(&self) -> [&Param; 2] {
        [&self.mean, &self.std]
    }

    pub(crate) fn params_mut(&mut self) -> [&mut Param; 2] {
        [&mut self.mean, &mut self.std]
    }
}
