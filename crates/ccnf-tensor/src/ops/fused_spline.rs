//! [`spline_coupling`](super::spline_coupling) on the CPU, with a hand-written gradient. Loops run over the dims of a token, side by side in
//! vectors: the bin of a dim is found by going through all bins and keeping the last one that begins before the value.

use super::kernels::{ROWS, exp, ln, simd};
use super::raw::{self, read};
use super::spline::{MIN_SIZE, SLOPE_OFFSET, Spline, SplineTail};
use crate::{Result, Var};
use dfdx::prelude::{HasShape, Merge, PutTape, SplitTape, Tape};
use rayon::prelude::*;

/// Dims that are handled side by side.
const LANES: usize = 64;
/// One value per dim of a group; zeros behind the last dim.
type Lanes = [f32; LANES];

/// What the bins of a group of dims of one token are.
struct Bins {
    bins: usize,
    bound: f32,
    /// `2 bound (1 - bins MIN_SIZE)` times the softmax: widths, then heights.
    shares: [Vec<Lanes>; 2],
    /// Number of the bin.
    bin: Lanes,
    /// Lower ends of the bin, and its sizes, in x and in y.
    left: Lanes,
    low: Lanes,
    width: Lanes,
    height: Lanes,
    /// Raw slopes of its two knots; 0, which is the slope 1, at the ends.
    raw: [Lanes; 2],
    /// The slopes.
    slopes: [Lanes; 2],
}

/// Where a group of dims stands: in rows of `dims` values from `first` on.
#[derive(Clone, Copy)]
struct Group {
    dims: usize,
    first: usize,
}

impl Group {
    fn all(dims: usize) -> impl Iterator<Item = Group> {
        (0..dims).step_by(LANES).map(move |first| Group { dims, first })
    }

    /// Its dims. Loops run over as many and not over all lanes: a loop of fixed length would be unrolled and not vectorised.
    #[inline(always)]
    fn len(self) -> usize {
        (self.dims - self.first).min(LANES)
    }

    /// The group's values in row `row`.
    #[inline(always)]
    fn load(self, values: &[f32], row: usize) -> Lanes {
        let row = &values[row * self.dims + self.first..(row + 1) * self.dims];
        if let Some(full) = row.first_chunk::<LANES>() {
            return *full;
        }
        let mut lanes = [0.0; LANES];
        lanes[..row.len()].copy_from_slice(row);
        lanes
    }

    /// The group's places in row `row`.
    #[inline(always)]
    fn places(self, values: &mut [f32], row: usize) -> &mut [f32] {
        let end = self.dims.min(self.first + LANES);
        &mut values[row * self.dims + self.first..row * self.dims + end]
    }

    /// Adds to the group's values in row `row`.
    #[inline(always)]
    fn add(self, values: &mut [f32], row: usize, lanes: &Lanes) {
        for (v, l) in self.places(values, row).iter_mut().zip(lanes) {
            *v += *l;
        }
    }
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
    fn new(spline: &Spline) -> Self {
        let zero = [0.0; LANES];
        Bins {
            bins: spline.bins,
            bound: spline.bound,
            shares: [vec![zero; spline.bins], vec![zero; spline.bins]],
            bin: zero,
            left: zero,
            low: zero,
            width: zero,
            height: zero,
            raw: [zero; 2],
            slopes: [zero; 2],
        }
    }

    /// `2 bound (1 - bins MIN_SIZE)`.
    #[inline(always)]
    fn share(&self) -> f32 {
        2.0 * self.bound * (1.0 - self.bins as f32 * MIN_SIZE)
    }

    /// Finds the bins of the values `x` under the raw parameters of their token.
    #[inline(always)]
    fn find(&mut self, x: &Lanes, raw: &[f32], group: Group, one: f32) {
        let n = group.len();
        let (bins, total, least) = (self.bins, self.share(), 2.0 * self.bound * MIN_SIZE);
        for (axis, shares) in self.shares.iter_mut().enumerate() {
            let mut largest = [f32::NEG_INFINITY; LANES];
            for (k, share) in shares.iter_mut().enumerate() {
                *share = group.load(raw, axis * bins + k);
                for i in 0..n {
                    largest[i] = if share[i] > largest[i] { share[i] } else { largest[i] };
                }
            }
            let mut sum = [0.0; LANES];
            for share in shares.iter_mut() {
                for i in 0..n {
                    share[i] = exp(share[i] - largest[i]);
                }
                for i in 0..n {
                    sum[i] += share[i];
                }
            }
            for share in shares.iter_mut() {
                for i in 0..n {
                    share[i] = total * share[i] / sum[i];
                }
            }
        }
        let (mut left, mut low) = ([-self.bound; LANES], [-self.bound; LANES]);
        let [widths, heights] = &self.shares;
        let mut first = [0.0; LANES];
        for (k, (widths, heights)) in widths.iter().zip(heights).enumerate() {
            let second = if k + 1 == bins { [0.0; LANES] } else { group.load(raw, 2 * bins + k) };
            for i in 0..n {
                let (w, h) = (least + widths[i], least + heights[i]);
                let here = k == 0 || x[i] >= left[i];
                self.bin[i] = if here { k as f32 } else { self.bin[i] };
                self.left[i] = if here { left[i] } else { self.left[i] };
                self.low[i] = if here { low[i] } else { self.low[i] };
                self.width[i] = if here { w } else { self.width[i] };
                self.height[i] = if here { h } else { self.height[i] };
                self.raw[0][i] = if here { first[i] } else { self.raw[0][i] };
                self.raw[1][i] = if here { second[i] } else { self.raw[1][i] };
                left[i] += w;
                low[i] += h;
            }
            first = second;
        }
        for (slopes, raw) in self.slopes.iter_mut().zip(&self.raw) {
            for i in 0..n {
                slopes[i] = 1.0 + (softplus(raw[i] + SLOPE_OFFSET) - one);
            }
        }
    }

    /// The point `x` of lane `i`.
    #[inline(always)]
    fn point(&self, i: usize, x: f32) -> Point {
        let (w, h) = (self.width[i], self.height[i]);
        let t = ((x - self.left[i]) / w).clamp(0.0, 1.0);
        let s = h / w;
        let (p, q) = (self.slopes[0][i], self.slopes[1][i]);
        let (u, delta) = (t * (1.0 - t), p + q - 2.0 * s);
        let inside = x >= -self.bound && x <= self.bound;
        let n = s + (q - s) * t * t + (p - s) * (1.0 - t) * (1.0 - t);
        Point { inside, t, w, h, s, p, q, u, delta, e: s + delta * u, n }
    }

    /// `y` and `ln dy/dx` of the values `x`.
    #[inline(always)]
    fn values(&self, x: &Lanes, n: usize) -> (Lanes, Lanes) {
        let n = n.min(LANES);
        let (mut y, mut slopes) = (*x, [0.0; LANES]);
        for i in 0..n {
            let point = self.point(i, x[i]);
            let (shift, slope) = point.value();
            let inner = x[i] + (self.low[i] - self.left[i]) + shift;
            y[i] = if point.inside { inner } else { x[i] };
            slopes[i] = if point.inside { slope } else { 1.0 };
        }
        for slope in slopes.iter_mut().take(n) {
            *slope = ln(*slope);
        }
        (y, slopes)
    }

    /// [`Point::gradients`] of the values `x`, those of the slopes by their raw parameters; outside of the interval only `x` has one.
    #[inline(always)]
    fn gradients(&self, x: &Lanes, gy: &Lanes, gl: &Lanes, n: usize) -> [Lanes; 6] {
        let n = n.min(LANES);
        let zero = [0.0; LANES];
        let (mut by_x, mut by_low, mut by_w, mut by_h) = (zero, zero, zero, zero);
        let (mut by_p, mut by_q) = (zero, zero);
        for i in 0..n {
            let point = self.point(i, x[i]);
            let [x, low, w, h, p, q] = point.gradients(gy[i], gl[i]);
            by_x[i] = if point.inside { x } else { gy[i] };
            by_low[i] = if point.inside { low } else { 0.0 };
            by_w[i] = if point.inside { w } else { 0.0 };
            by_h[i] = if point.inside { h } else { 0.0 };
            by_p[i] = if point.inside { p } else { 0.0 };
            by_q[i] = if point.inside { q } else { 0.0 };
        }
        let [first, second] = &self.raw;
        for i in 0..n {
            by_p[i] *= sigmoid(first[i] + SLOPE_OFFSET);
            by_q[i] *= sigmoid(second[i] + SLOPE_OFFSET);
        }
        [by_x, by_low, by_w, by_h, by_p, by_q]
    }

    /// Adds to the gradient of a token's raw parameters; `by` are the gradients of the values `x`.
    #[inline(always)]
    fn raw_gradients(&self, x: &Lanes, by: &[Lanes; 6], gr: &mut [f32], group: Group) {
        let (bins, share, n) = (self.bins, self.share(), group.len());
        for (axis, shares) in self.shares.iter().enumerate() {
            // A bin's size moves the lower ends of the bins behind it.
            let (mut moved, mut own) = (by[axis], by[2 + axis]);
            for i in 0..n {
                let outside = x[i] < -self.bound || x[i] > self.bound;
                moved[i] = if outside {
                    0.0
                } else if axis == 0 {
                    -moved[i]
                } else {
                    moved[i]
                };
                own[i] = if outside { 0.0 } else { own[i] };
            }
            let mut inner = [0.0; LANES];
            for (k, shares) in shares.iter().enumerate() {
                let k = k as f32;
                for i in 0..n {
                    inner[i] += shares[i] * size_gradient(k, self.bin[i], moved[i], own[i]);
                }
            }
            for (k, shares) in shares.iter().enumerate() {
                let mut g = [0.0; LANES];
                for i in 0..n {
                    let size = size_gradient(k as f32, self.bin[i], moved[i], own[i]);
                    g[i] = shares[i] * (size - inner[i] / share);
                }
                group.add(gr, axis * bins + k, &g);
            }
        }
        for k in 0..bins - 1 {
            let mut g = [0.0; LANES];
            for i in 0..n {
                let first = if self.bin[i] == (k + 1) as f32 { by[4][i] } else { 0.0 };
                let second = if self.bin[i] == k as f32 { by[5][i] } else { 0.0 };
                g[i] = first + second;
            }
            group.add(gr, 2 * bins + k, &g);
        }
    }
}

/// The gradient of the size of bin `k`, where the value lies in the bin `bin`.
#[inline(always)]
fn size_gradient(k: f32, bin: f32, moved: f32, own: f32) -> f32 {
    let g = if k < bin { moved } else { own };
    if k > bin { 0.0 } else { g }
}

impl Point {
    /// `y` less `x` less the difference of the bin's lower ends, and `dy/dx`. In this form they are 0 and 1 for the identity, exactly.
    #[inline(always)]
    fn value(&self) -> (f32, f32) {
        let shift =
            (self.h - self.w) * self.t + self.h * self.u * (self.p - self.s - self.delta * self.t) / self.e;
        (shift, self.s * self.s * self.n / (self.e * self.e))
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
            let mut bins = Bins::new(&spline);
            simd(
                #[inline(always)]
                || {
                    let one = softplus(SLOPE_OFFSET);
                    let rows = y.chunks_exact_mut(d).zip(slopes.chunks_exact_mut(changed)).zip(log_det);
                    let rows = rows.zip(x.chunks_exact(d)).zip(raw.chunks_exact(width));
                    for ((((y, slopes), log_det), x), raw) in rows {
                        y[..kept].copy_from_slice(&x[..kept]);
                        for group in Group::all(changed) {
                            let x = group.load(&x[kept..], 0);
                            bins.find(&x, raw, group, one);
                            let (value, slope) = bins.values(&x, group.len());
                            let places = group.places(&mut y[kept..], 0);
                            places.copy_from_slice(&value[..places.len()]);
                            let places = group.places(slopes, 0);
                            places.copy_from_slice(&slope[..places.len()]);
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
            let mut bins = Bins::new(&spline);
            simd(
                #[inline(always)]
                || {
                    let one = softplus(SLOPE_OFFSET);
                    for (r, (x, raw)) in x.chunks_exact(d).zip(raw.chunks_exact(width)).enumerate() {
                        let (gy, gs) = (&gy[r * d..][..d], &gs[r * changed..][..changed]);
                        if let Some(gx) = gx.get_mut(r * d..r * d + kept) {
                            gx.iter_mut().zip(gy).for_each(|(gx, gy)| *gx += *gy);
                        }
                        for group in Group::all(changed) {
                            let x = group.load(&x[kept..], 0);
                            bins.find(&x, raw, group, one);
                            let mut slopes = group.load(gs, 0);
                            slopes.iter_mut().for_each(|g| *g += gl[r]);
                            let by = bins.gradients(&x, &group.load(&gy[kept..], 0), &slopes, group.len());
                            if let Some(gx) = gx.get_mut(r * d + kept..(r + 1) * d) {
                                group.add(gx, 0, &by[0]);
                            }
                            if let Some(gr) = gr.get_mut(r * width..(r + 1) * width) {
                                bins.raw_gradients(&x, &by, gr, group);
                            }
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
