//! The Gaussian of one class at one level.

use crate::cells::Layout;
use crate::factor::factor;
use crate::fit::fit;
use crate::input::Scaling;
use crate::whiten::Whitener;
use ccnf::prelude::*;
use rayon::prelude::*;
use std::sync::OnceLock;

/// Mean(s) and whitening matrices of a class at a level, owned by the class. With `M` mean rows (1 or the positions) and
/// `C` cells:
///
/// * `levelN.<class>.mean` `[M, D]`
/// * `levelN.<class>.whitening` `[C D, D]`: per cell `L^-1`, `S = L L^T`
/// * `levelN.<class>.log_det` `[1, C]`: per cell `ln det S`
pub(crate) struct ClassGaussian {
    mean: Param,
    whitening: Param,
    log_det: Param,
    /// The same in a form for use; made when needed, dropped when the tensors are opened for a change.
    ready: OnceLock<Ready>,
}

struct Ready {
    mean: Vec<f32>,
    whiteners: Vec<Whitener>,
    /// `-ln det S / 2 - D/2 ln 2 pi` per cell.
    constants: Vec<f32>,
}

/// Tokens that one task evaluates.
const TASK: usize = 64;

impl ClassGaussian {
    /// Tensors of zeros for a class.
    pub(crate) fn new(level: usize, class: &str, layout: &Layout) -> Result<Self> {
        let (dim, cells) = (layout.dim, layout.cells.len());
        let buffer = |what: &str, rows: usize, cols: usize| {
            let (name, owner) = (format!("level{level}.{class}.{what}"), Owner::Class(class.to_owned()));
            Param::buffer(name, owner, vec![0.0; rows * cols], rows, cols)
        };
        Ok(ClassGaussian {
            mean: buffer("mean", layout.mean_rows(), dim)?,
            whitening: buffer("whitening", cells * dim, dim)?,
            log_det: buffer("log_det", 1, cells)?,
            ready: OnceLock::new(),
        })
    }

    /// Fits the images of the class (each `[positions][D]`, raw).
    pub(crate) fn fit(
        &mut self,
        images: &[&[f32]],
        layout: &Layout,
        input: &Scaling,
        smooth: bool,
        shrinkage: f64,
    ) -> Result<()> {
        let moments = fit(images, layout, input, smooth, shrinkage);
        let mean: Vec<f32> = moments.mean.iter().map(|v| *v as f32).collect();
        let factors =
            moments.covariances.par_iter().map(|c| factor(c, layout.dim)).collect::<Result<Vec<_>>>()?;
        let jittered = factors.iter().filter(|f| f.jitter > 0.0).count();
        if jittered > 0 {
            ccnf::tracing::warn!(
                tensor = self.whitening.name(),
                cells = jittered,
                jitter = factors.iter().map(|f| f.jitter).fold(0.0, f64::max),
                "covariances are not positive definite; the jitter was added to their diagonals"
            );
        }
        let log_det: Vec<f32> = factors.iter().map(|f| f.log_det as f32).collect();
        let whitening: Vec<f32> = factors.into_iter().flat_map(|f| f.whitening).collect();
        for (param, values) in [(&self.mean, &mean), (&self.whitening, &whitening), (&self.log_det, &log_det)]
        {
            check_finite("a fitted value", || format!("the tensor `{}`", param.name()), values)?;
        }
        self.ready.take();
        self.mean.set(mean)?;
        self.whitening.set(whitening)?;
        Ok(self.log_det.set(log_det)?)
    }

    /// `l = -|W d|^2 / 2 - ln det S / 2 - D/2 ln 2 pi` of every token of `images` (each `[positions][D]`, raw), image after
    /// image; `d` is the standardised token minus its mean.
    pub(crate) fn log_likelihood(&self, images: &[&[f32]], layout: &Layout, input: &Scaling) -> Vec<f32> {
        let ready = self.ready.get_or_init(|| self.prepare(layout.dim));
        // A task is a range of the tokens of a cell, counted image after image.
        let mut tasks = Vec::new();
        for (c, positions) in layout.cells.iter().enumerate() {
            let n = images.len() * positions.len();
            tasks.extend((0..n).step_by(TASK).map(|start| (c, start..(start + TASK).min(n))));
        }
        let evaluate = |(c, range): &(usize, std::ops::Range<usize>)| {
            let (dim, positions) = (layout.dim, &layout.cells[*c]);
            let mut residuals = Vec::with_capacity(range.len() * dim);
            for t in range.clone() {
                let p = positions[t % positions.len()];
                let row = layout.mean_row(p);
                let token = &images[t / positions.len()][p * dim..(p + 1) * dim];
                let mean = &ready.mean[row * dim..(row + 1) * dim];
                residuals.extend(input.apply(token).zip(mean).map(|(x, m)| x - m));
            }
            let mut l = Vec::with_capacity(range.len());
            ready.whiteners[*c].squares(&residuals, &mut l);
            l.iter_mut().for_each(|s| *s = ready.constants[*c] - 0.5 * *s);
            l
        };
        let parts: Vec<Vec<f32>> = tasks.par_iter().map(evaluate).collect();
        let mut out = vec![0.0; images.len() * layout.positions()];
        for ((c, range), part) in tasks.iter().zip(parts) {
            let positions = &layout.cells[*c];
            for (t, l) in range.clone().zip(part) {
                out[t / positions.len() * layout.positions() + positions[t % positions.len()]] = l;
            }
        }
        out
    }

    fn prepare(&self, dim: usize) -> Ready {
        let half_ln_two_pi = 0.5 * dim as f64 * std::f64::consts::TAU.ln();
        let constant = |log_det: &f32| (-0.5 * f64::from(*log_det) - half_ln_two_pi) as f32;
        Ready {
            mean: self.mean.to_vec(),
            whiteners: self
                .whitening
                .to_vec()
                .chunks_exact(dim * dim)
                .map(|w| Whitener::new(w, dim))
                .collect(),
            constants: self.log_det.to_vec().iter().map(constant).collect(),
        }
    }

    pub(crate) fn params(&self) -> [&Param; 3] {
        [&self.mean, &self.whitening, &self.log_det]
    }

    pub(crate) fn params_mut(&mut self) -> [&mut Param; 3] {
        self.ready.take();
        [&mut self.mean, &mut self.whitening, &mut self.log_det]
    }
}
