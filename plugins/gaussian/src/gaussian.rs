//! The Gaussian of one class at one level.

use crate::cells::Layout;
use crate::config::WhiteningConfig;
use crate::factor::factor;
use crate::fit::fit;
use crate::input::Scaling;
use crate::whiten::{Whitener, triangle};
use ccnf::prelude::*;
use rayon::prelude::*;
use std::sync::OnceLock;

/// Mean(s) and whitening matrices of a class at a level, owned by the class. With `M` rows of means and `C`
/// cells:
///
/// * `<scope>.<class>.mean` `[M, D]`
/// * `<scope>.<class>.whitening` `[C, D(D+1)/2]`: per cell the lower triangle of `L^-1`, `S = L L^T`, row after row
/// * `<scope>.<class>.log_det` `[1, C]`: per cell `ln det S`
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
    /// `-ln det S / 2` per cell: the log-determinant of the whitening.
    log_dets: Vec<f32>,
    /// `-ln det S / 2 - D/2 ln 2 pi` per cell.
    constants: Vec<f32>,
}

impl Ready {
    /// Hands `change` the number of every cell, the means of its tokens and the tokens, and puts the tokens back.
    fn each_cell(&self, map: &mut [f32], layout: &Layout, change: impl Fn(usize, &[f32], &mut [f32])) {
        let dim = layout.dim;
        let (mut means, mut tokens) = (vec![], vec![]);
        for (c, positions) in layout.cells.iter().enumerate() {
            means.clear();
            tokens.clear();
            for p in positions {
                let row = layout.mean_row[*p];
                means.extend_from_slice(&self.mean[row * dim..(row + 1) * dim]);
                tokens.extend_from_slice(&map[p * dim..(p + 1) * dim]);
            }
            change(c, &means, &mut tokens);
            for (p, token) in positions.iter().zip(tokens.chunks_exact(dim)) {
                map[p * dim..(p + 1) * dim].copy_from_slice(token);
            }
        }
    }
}

/// Tokens that one task evaluates.
const TASK: usize = 64;

impl ClassGaussian {
    /// Tensors of zeros for a class.
    pub(crate) fn new(scope: &str, class: &str, layout: &Layout) -> Result<Self> {
        let (dim, cells) = (layout.dim, layout.cells.len());
        let buffer = |what: &str, rows: usize, cols: usize| {
            let (name, owner) = (format!("{scope}.{class}.{what}"), Owner::Class(class.to_owned()));
            Param::buffer(name, owner, vec![0.0; rows * cols], rows, cols)
        };
        Ok(ClassGaussian {
            mean: buffer("mean", layout.mean_rows, dim)?,
            whitening: buffer("whitening", cells, triangle(dim))?,
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
        settings: &WhiteningConfig,
    ) -> Result<()> {
        let moments = fit(images, layout, input, settings);
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
                let row = layout.mean_row[p];
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

    /// `y = W d` of every token of `maps` (standardised, whole maps), in place; adds `-ln det S / 2` to `log_det`.
    pub(crate) fn forward(&self, maps: &mut [f32], log_det: &mut [f32], layout: &Layout) {
        let ready = self.ready.get_or_init(|| self.prepare(layout.dim));
        let maps = maps.par_chunks_exact_mut(layout.positions() * layout.dim);
        maps.zip(log_det.par_chunks_exact_mut(layout.positions())).for_each(|(map, log_det)| {
            ready.each_cell(map, layout, |cell, means, tokens| {
                tokens.iter_mut().zip(means).for_each(|(x, m)| *x -= m);
                ready.whiteners[cell].whiten(tokens);
            });
            for (positions, part) in layout.cells.iter().zip(&ready.log_dets) {
                positions.iter().for_each(|p| log_det[*p] += part);
            }
        });
    }

    /// The inverse of [`forward`](Self::forward), in place.
    pub(crate) fn inverse(&self, maps: &mut [f32], layout: &Layout) {
        let ready = self.ready.get_or_init(|| self.prepare(layout.dim));
        maps.par_chunks_exact_mut(layout.positions() * layout.dim).for_each(|map| {
            ready.each_cell(map, layout, |cell, means, tokens| {
                ready.whiteners[cell].unwhiten(tokens);
                tokens.iter_mut().zip(means).for_each(|(x, m)| *x += m);
            });
        });
    }

    fn prepare(&self, dim: usize) -> Ready {
        let half_ln_two_pi = 0.5 * dim as f64 * std::f64::consts::TAU.ln();
        let constant = |log_det: &f32| (-0.5 * f64::from(*log_det) - half_ln_two_pi) as f32;
        Ready {
            mean: self.mean.to_vec(),
            whiteners: self
                .whitening
                .to_vec()
                .chunks_exact(triangle(dim))
                .map(|w| Whitener::new(w, dim))
                .collect(),
            log_dets: self.log_det.to_vec().iter().map(|l| (-0.5 * f64::from(*l)) as f32).collect(),
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
