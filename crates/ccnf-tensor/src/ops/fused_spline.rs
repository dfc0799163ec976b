//! [`spline_coupling`](super::spline_coupling) on the CPU, with a hand-written gradient. Loops run over the dims of a token, side by side in
//! vectors: the bin of a dim is found by going through all bins and keeping the last one that begins before the value.

use super::kernels::{ROWS, exp, ln, simd};
use super::raw::{self, read};
use super::spline::{MIN_SIZE, SLOPE_OFFSET, Spline, SplineTail};
use crate::{Result, Var};
use dfdx::prelude::{HasShape, Merge, PutTape, SplitTape, Tape};
use rayon::prelude::*;

/// What the bins of one token's changed dims are, one value per dim.
struct Bins {
    dims: usize,
    bins: usize,
    bound: f32,
    /// `2 bound (1 - bins MIN_SIZE)` times the softmax, `[2][bins][dims]`: widths, then heights.
    shares: Vec<f32>,
    /// Number of the bin.
    bin: Vec<f32>,
    /// Lower ends of the bin, and its sizes, in x and in y.
    left: Vec<f32>,
    low: Vec<f32>,
    width: Vec<f32>,
    height: Vec<f32>,
    /// Raw slopes of its two knots; 0, which is the slope 1, at the ends.
    raw: [Vec<f32>; 2],
    /// Room for sums over the bins.
    sums: [Vec<f32>; 2],
}

/// A point of one bin.
#[derive(Clone, Copy)]
struct Point {
    inside: bool,
    t: f32,
    w: f32,
    h: f32,
    s: f32,
    /// Slopes of the two knots.
    p: f32,
    q: f32,
    /// `t (1 - t)`.
    u: f32,
    /// `p + q - 2 s` and `s + (p + q - 2 s) u`.
    delta: f32,
    e: f32,
    /// The numerator of the slope, without `s^2`.
    n: f32,
}

#[inline(always)]
fn softplus(v: f32) -> f32 {
    v.max(0.0) + ln(1.0 + exp(-v.abs()))
}

#[inline(always)]
fn sigmoid(v: f32) -> f32 {
    1.0 / (1.0 + exp(-v))
}

impl Bins {
    fn new(spline: &Spline, dims: usize) -> Self {
        let row = || vec![0.0; dims];
        Bins {
            dims,
            bins: spline.bins,
            bound: spline.bound,
            shares: vec![0.0; 2 * spline.bins * dims],
            bin: row(),
            left: row(),
            low: row(),
            width: row(),
            height: row(),
            raw: [row(), row()],
            sums: [row(), row()],
        }
    }

    /// `2 bound (1 - bins MIN_SIZE)`.
    #[inline(always)]
    fn share(&self) -> f32 {
        2.0 * self.bound * (1.0 - self.bins as f32 * MIN_SIZE)
    }

    /// Finds the bins of the values `x` under the raw parameters of their token.
    #[inline(always)]
    fn find(&mut self, x: &[f32], raw: &[f32]) {
        let (d, total, least) = (self.dims, self.share(), 2.0 * self.bound * MIN_SIZE);
        let [largest, sum] = &mut self.sums;
        for (raw, shares) in raw.chunks_exact(self.bins * d).zip(self.shares.chunks_exact_mut(self.bins * d))
        {
            largest.copy_from_slice(&raw[..d]);
            for raw in raw.chunks_exact(d) {
                largest.iter_mut().zip(raw).for_each(|(m, r)| *m = if *r > *m { *r } else { *m });
            }
            sum.fill(0.0);
            for (raw, shares) in raw.chunks_exact(d).zip(shares.chunks_exact_mut(d)) {
                for (((e, r), m), sum) in shares.iter_mut().zip(raw).zip(largest.iter()).zip(sum.iter_mut()) {
                    *e = exp(*r - *m);
                    *sum += *e;
                }
            }
            for shares in shares.chunks_exact_mut(d) {
                shares.iter_mut().zip(sum.iter()).for_each(|(e, sum)| *e = total * *e / *sum);
            }
        }
        let [next_left, next_low] = &mut self.sums;
        next_left.fill(-self.bound);
        next_low.fill(-self.bound);
        let (widths, heights) = self.shares.split_at(self.bins * d);
        let slopes = &raw[2 * self.bins * d..];
        for k in 0..self.bins {
            let [first, second] = &mut self.raw;
            let (widths, heights) = (&widths[k * d..][..d], &heights[k * d..][..d]);
            let last = k + 1 == self.bins;
            let (before, after) = (k.saturating_sub(1) * d, if last { 0 } else { k * d });
            let (before, after) = (&slopes[before..][..d], &slopes[after..][..d]);
            for j in 0..d {
                let (w, h) = (least + widths[j], least + heights[j]);
                let here = k == 0 || x[j] >= next_left[j];
                self.bin[j] = if here { k as f32 } else { self.bin[j] };
                self.left[j] = if here { next_left[j] } else { self.left[j] };
                self.low[j] = if here { next_low[j] } else { self.low[j] };
                self.width[j] = if here { w } else { self.width[j] };
                self.height[j] = if here { h } else { self.height[j] };
                first[j] = if here { if k == 0 { 0.0 } else { before[j] } } else { first[j] };
                second[j] = if here { if last { 0.0 } else { after[j] } } else { second[j] };
                next_left[j] += w;
                next_low[j] += h;
            }
        }
    }

    /// The point `x` of dim `j`; `one` is `softplus(SLOPE_OFFSET)`.
    #[inline(always)]
    fn point(&self, j: usize, x: f32, one: f32) -> Point {
        let (w, h) = (self.width[j], self.height[j]);
        let t = ((x - self.left[j]) / w).clamp(0.0, 1.0);
        let s = h / w;
        let slope = |raw: f32| 1.0 + (softplus(raw + SLOPE_OFFSET) - one);
        let (p, q) = (slope(self.raw[0][j]), slope(self.raw[1][j]));
        let (u, delta) = (t * (1.0 - t), p + q - 2.0 * s);
        let inside = x >= -self.bound && x <= self.bound;
        let n = s + (q - s) * t * t + (p - s) * (1.0 - t) * (1.0 - t);
        Point { inside, t, w, h, s, p, q, u, delta, e: s + delta * u, n }
    }
}

impl Point {
    /// `y` less `x` less the difference of the bin's lower ends, and `ln dy/dx`. In this form both are 0 for the identity.
    #[inline(always)]
    fn value(&self) -> (f32, f32) {
        let shift =
            (self.h - self.w) * self.t + self.h * self.u * (self.p - self.s - self.delta * self.t) / self.e;
        (shift, ln(self.s * self.s * self.n / (self.e * self.e)))
    }

    /// Gradients of `x`, of the bin's lower end in y, of its width and height, and of the slopes of its knots, from those of `y` and of
    /// the log-slope. That of its lower end in x is the negative of the first.
    #[inline(always)]
    fn gradients(&self, gy: f32, gl: f32) -> [f32; 6] {
        let Point { t, w, h, s, p, q, u, delta, e, n, .. } = *self;
        let g = (s * t * t + p * u) / e;
        let (back, turn) = (1.0 - t, 1.0 - 2.0 * t);
        // of t, s and the slopes
        let slope = 2.0 * (q * t + s * turn - p * back);
        let by_t = gy * h * s * n / (e * e) + gl * (slope / n - 2.0 * delta * turn / e);
        let by_s = gy * h * (t * t - g * (1.0 - 2.0 * u)) / e
            + gl * (2.0 / s + 2.0 * u / n - 2.0 * (1.0 - 2.0 * u) / e);
        let by_p = gy * h * u * (1.0 - g) / e + gl * (back * back / n - 2.0 * u / e);
        let by_q = -gy * h * u * g / e + gl * (t * t / n - 2.0 * u / e);
        [by_t / w, gy, -(by_t * t + by_s * s) / w, gy * g + by_s / w, by_p, by_q]
    }
}

pub(super) fn spline_coupling(x: &Var, raw: &Var, spline: &Spline, changed: usize) -> Result<SplineTail> {
    let ((n, d), width) = (*x.shape(), raw.shape().1);
    let (spline, kept) = (*spline, d - changed);
    let ((x, x_tape), (raw, raw_tape)) = (x.clone().split_tape(), raw.clone().split_tape());
    let (x_on, raw_on) = (x_tape.is_on(), raw_tape.is_on());
    let mut tape = x_tape.merge(raw_tape);
    let (mut y, mut slopes) = (raw::zeros(n, d)?, raw::zeros(n, changed)?);
    let mut log_det = raw::scratch(n);
    {
        let (x, raw) = (raw::slice(&x)?, raw::slice(&raw)?);
        let out = raw::slice_mut(&mut y)?
            .par_chunks_mut(ROWS * d)
            .zip(raw::slice_mut(&mut slopes)?.par_chunks_mut(ROWS * changed))
            .zip(log_det.par_chunks_mut(ROWS));
        let blocks = out.zip(x.par_chunks(ROWS * d)).zip(raw.par_chunks(ROWS * width));
        blocks.for_each(|((((y, slopes), log_det), x), raw)| {
            let mut bins = Bins::new(&spline, changed);
            simd(
                #[inline(always)]
                || {
                    let one = softplus(SLOPE_OFFSET);
                    let rows = y.chunks_exact_mut(d).zip(slopes.chunks_exact_mut(changed)).zip(log_det);
                    let rows = rows.zip(x.chunks_exact(d)).zip(raw.chunks_exact(width));
                    for ((((y, slopes), log_det), x), raw) in rows {
                        let (xa, xb) = x.split_at(kept);
                        y[..kept].copy_from_slice(xa);
                        let y = &mut y[kept..];
                        bins.find(xb, raw);
                        for j in 0..changed {
                            let point = bins.point(j, xb[j], one);
                            let (shift, slope) = point.value();
                            let inner = xb[j] + (bins.low[j] - bins.left[j]) + shift;
                            y[j] = if point.inside { inner } else { xb[j] };
                            slopes[j] = if point.inside { slope } else { 0.0 };
                        }
                        *log_det = slopes.iter().sum();
                    }
                },
            );
        });
    }
    let log_det = raw::tensor(log_det, (n,))?;
    let (yg, lg, sg) = (y.ghost(), log_det.ghost(), slopes.ghost());
    tape.add_backward_op(move |grads| {
        let gy = raw::take(grads.get_or_alloc_mut(&yg)?)?;
        let gl = raw::take(grads.get_or_alloc_mut(&lg)?)?;
        let gs = raw::take(grads.get_or_alloc_mut(&sg)?)?;
        let mut gx = if x_on { Some(raw::take(grads.get_or_alloc_mut(&x)?)?) } else { None };
        let mut gr = if raw_on { Some(raw::take(grads.get_or_alloc_mut(&raw)?)?) } else { None };
        let count = n.div_ceil(ROWS);
        let targets = super::kernels::pieces(gx.as_mut().map(|g| &mut g[..]), ROWS * d, count)
            .into_par_iter()
            .zip(super::kernels::pieces(gr.as_mut().map(|g| &mut g[..]), ROWS * width, count));
        let blocks = targets
            .zip(gy.par_chunks(ROWS * d).zip(gl.par_chunks(ROWS)).zip(gs.par_chunks(ROWS * changed)))
            .zip(read(&x).par_chunks(ROWS * d).zip(read(&raw).par_chunks(ROWS * width)));
        blocks.for_each(|(((gx, gr), ((gy, gl), gs)), (x, raw))| {
            let mut bins = Bins::new(&spline, changed);
            let mut by: [Vec<f32>; 6] = std::array::from_fn(|_| vec![0.0; changed]);
            simd(
                #[inline(always)]
                || {
                    let one = softplus(SLOPE_OFFSET);
                    for (r, (x, raw)) in x.chunks_exact(d).zip(raw.chunks_exact(width)).enumerate() {
                        let (gy, gs) = (&gy[r * d..][..d], &gs[r * changed..][..changed]);
                        let xb = &x[kept..];
                        bins.find(xb, raw);
                        point_gradients(&bins, xb, (&gy[kept..], gl[r], gs), one, &mut by);
                        if let Some(gx) = gx.get_mut(r * d..(r + 1) * d) {
                            gx[..kept].iter_mut().zip(gy).for_each(|(gx, gy)| *gx += *gy);
                            gx[kept..].iter_mut().zip(&by[0]).for_each(|(gx, g)| *gx += *g);
                        }
                        if let Some(gr) = gr.get_mut(r * width..(r + 1) * width) {
                            raw_gradients(&mut bins, xb, &by, gr);
                        }
                    }
                },
            );
        });
        if let Some(gx) = gx {
            *grads.get_or_alloc_mut(&x)? = gx;
        }
        if let Some(gr) = gr {
            *grads.get_or_alloc_mut(&raw)? = gr;
        }
        Ok(())
    });
    Ok(SplineTail { y: y.put_tape(tape), log_det: log_det.put_tape(tape), log_slope: slopes.put_tape(tape) })
}

/// [`Point::gradients`] of all dims of a token; outside of the interval only `x` has one.
#[inline(always)]
fn point_gradients(
    bins: &Bins,
    xb: &[f32],
    (gy, gl, gs): (&[f32], f32, &[f32]),
    one: f32,
    by: &mut [Vec<f32>; 6],
) {
    for (j, x) in xb.iter().enumerate() {
        let point = bins.point(j, *x, one);
        let mut all = point.gradients(gy[j], gl + gs[j]);
        // the slope of a knot by its raw parameter
        all[4] *= sigmoid(bins.raw[0][j] + SLOPE_OFFSET);
        all[5] *= sigmoid(bins.raw[1][j] + SLOPE_OFFSET);
        by[0][j] = if point.inside { all[0] } else { gy[j] };
        for (by, value) in by[1..].iter_mut().zip(&all[1..]) {
            by[j] = if point.inside { *value } else { 0.0 };
        }
    }
}

/// Adds to the gradient of a token's raw parameters.
#[inline(always)]
fn raw_gradients(bins: &mut Bins, xb: &[f32], by: &[Vec<f32>; 6], gr: &mut [f32]) {
    let (d, share) = (bins.dims, bins.share());
    let (sizes, slopes) = gr.split_at_mut(2 * bins.bins * d);
    let inner = &mut bins.sums[0];
    let both = sizes.chunks_exact_mut(bins.bins * d).zip(bins.shares.chunks_exact(bins.bins * d));
    for (axis, (gr, shares)) in both.enumerate() {
        // A bin's size moves the lower ends of the bins behind it.
        let of = |j: usize, k: usize| {
            let moved = match axis {
                0 => -by[0][j],
                _ => by[1][j],
            };
            let outside = xb[j] < -bins.bound || xb[j] > bins.bound;
            let own = by[2 + axis][j];
            let k = k as f32;
            let g = if k < bins.bin[j] { moved } else { own };
            if outside || k > bins.bin[j] { 0.0 } else { g }
        };
        inner.fill(0.0);
        for (k, shares) in shares.chunks_exact(d).enumerate() {
            inner.iter_mut().zip(shares).enumerate().for_each(|(j, (sum, share))| *sum += *share * of(j, k));
        }
        for (k, (gr, shares)) in gr.chunks_exact_mut(d).zip(shares.chunks_exact(d)).enumerate() {
            for (j, ((gr, s), sum)) in gr.iter_mut().zip(shares).zip(inner.iter()).enumerate() {
                *gr += *s * (of(j, k) - *sum / share);
            }
        }
    }
    for (k, gr) in slopes.chunks_exact_mut(d).enumerate() {
        for (j, gr) in gr.iter_mut().enumerate() {
            let bin = bins.bin[j];
            let first = if bin == (k + 1) as f32 { by[4][j] } else { 0.0 };
            let second = if bin == k as f32 { by[5][j] } else { 0.0 };
            *gr += first + second;
        }
    }
}
