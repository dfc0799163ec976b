//! Spectral normalisation of a weight matrix (Miyato et al. 2018).

use crate::{Mat, Owner, Param, Result, Streams, Var, ops};

/// How a weight is bounded by its largest singular value `sigma`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpectralMode {
    /// The weight as it is.
    Off,
    /// `W / sigma`: also blows a small weight up to norm 1.
    Literal,
    /// `W / max(1, sigma)`: only shrinks.
    Cap,
}

/// Power-iteration state of one weight: `sigma ~ u^T W v` with `v = W^T u / |.|`, `u = W v / |.|`.
///
/// One iteration per optimiser step, before the first forward; scoring and [`bake`](SpectralNorm::bake) use the stored
/// vectors. The vectors are constants for the gradient.
#[derive(Debug, Clone)]
pub struct SpectralNorm {
    mode: SpectralMode,
    u: Param,
    v: Param,
}

impl SpectralNorm {
    /// State for `weight` (shape `[out, in]`), started with 20 iterations from a random vector.
    pub fn new(weight: &Param, mode: SpectralMode, streams: &Streams) -> Result<Self> {
        let u = streams.normal(&format!("{}.u", weight.name()), weight.shape().0);
        Self::from_vector(weight, mode, u)
    }

    /// State for `weight` started with 20 iterations from `u`.
    pub fn from_vector(weight: &Param, mode: SpectralMode, u: Vec<f32>) -> Result<Self> {
        let (out, inp) = weight.shape();
        let stem = weight.name().strip_suffix(".weight").unwrap_or(weight.name()).to_owned();
        let mut s = SpectralNorm {
            mode,
            u: Param::buffer(format!("{stem}.u"), Owner::Shared, u, 1, out)?,
            v: Param::buffer(format!("{stem}.v"), Owner::Shared, vec![0.0; inp], 1, inp)?,
        };
        if mode != SpectralMode::Off {
            for _ in 0..20 {
                s.iterate(weight)?;
            }
        }
        Ok(s)
    }

    /// The mode.
    pub fn mode(&self) -> SpectralMode {
        self.mode
    }

    /// One power iteration with the current weight.
    pub fn iterate(&mut self, weight: &Param) -> Result<()> {
        if self.mode == SpectralMode::Off {
            return Ok(());
        }
        let (u, v) =
            ops::with_values(weight.value(), |w| power_iteration(w, &self.u.to_vec(), weight.shape().1));
        self.u.set(u)?;
        self.v.set(v)
    }

    /// The estimate `u^T W v` of the largest singular value with the stored vectors.
    pub fn sigma(&self, weight: &Mat) -> f32 {
        ops::with_values(weight, |w| ops::bilinear_form(w, &self.u.to_vec(), &self.v.to_vec()))
    }

    /// The bounded weight in a forward pass; the gradient reaches `weight` also through sigma.
    pub fn effective(&self, weight: &Param) -> Result<Var> {
        match self.mode {
            SpectralMode::Off => Ok(weight.var()),
            SpectralMode::Literal => {
                ops::spectral_scale(&weight.var(), self.u.value(), self.v.value(), false)
            }
            SpectralMode::Cap => ops::spectral_scale(&weight.var(), self.u.value(), self.v.value(), true),
        }
    }

    /// Writes the bounded weight into `weight` and switches the normalisation off: what was scored stays what is scored
    /// (spec: consequence C1 of freezing).
    pub fn bake(&mut self, weight: &mut Param) -> Result<()> {
        let baked = self.effective(weight)?.as_vec();
        weight.set(baked)?;
        self.mode = SpectralMode::Off;
        Ok(())
    }

    /// After loading a baked model.
    pub fn set_off(&mut self) {
        self.mode = SpectralMode::Off;
    }

    /// The state, for checkpoints.
    pub fn params(&self) -> [&Param; 2] {
        [&self.u, &self.v]
    }

    /// The state, for loading.
    pub fn params_mut(&mut self) -> [&mut Param; 2] {
        [&mut self.u, &mut self.v]
    }
}

/// `v = W^T u / |.|`, then `u = W v / |.|`, summed in f64.
fn power_iteration(w: &[f32], u: &[f32], inp: usize) -> (Vec<f32>, Vec<f32>) {
    let mut v = vec![0.0f64; inp];
    for (row, ui) in w.chunks_exact(inp.max(1)).zip(u) {
        ops::add_scaled(&mut v, row, f64::from(*ui));
    }
    let v = normalised(&v);
    let u: Vec<f64> = w.chunks_exact(inp.max(1)).map(|row| ops::dot(row, &v)).collect();
    (normalised(&u), v)
}

fn normalised(v: &[f64]) -> Vec<f32> {
    let n = v.iter().map(|x| x * x).sum::<f64>().sqrt().max(1e-12);
    v.iter().map(|x| (x / n) as f32).collect()
}
