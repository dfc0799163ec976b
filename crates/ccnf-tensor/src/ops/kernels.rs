//! Loops on slices: vectorised dispatch, exp, tanh, dot products.

/// Rows that one parallel task handles. Fixed, so that results do not depend on the number of threads.
pub(super) const ROWS: usize = 128;

/// A buffer cut for `count` tasks in pieces of `size` values; empty pieces where there is no buffer.
pub(super) fn pieces(buffer: Option<&mut [f32]>, size: usize, count: usize) -> Vec<&mut [f32]> {
    let mut all: Vec<&mut [f32]> = buffer.map(|b| b.chunks_mut(size.max(1)).collect()).unwrap_or_default();
    all.resize_with(count, Default::default);
    all
}

/// Runs a loop compiled for the best vector instructions of this machine. Callers mark the closure `#[inline(always)]`: one that is
/// called instead of inlined is compiled for the least processor.
#[inline(always)]
pub(super) fn simd<R>(f: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(f)
}

/// `e^x`, at most 2 ulp off for results in the normal range (Cephes expf, branch-free so that it vectorises).
/// Arguments are clamped to [-87, 88].
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    let x = x.clamp(-87.0, 88.0);
    let n = (x * std::f32::consts::LOG2_E + 12_582_912.0) - 12_582_912.0;
    let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let p = ((((1.987_569_1e-4 * r + 1.398_199_9e-3) * r + 8.333_452e-3) * r + 4.166_579_6e-2) * r
        + 1.666_666_5e-1)
        * r
        + 0.5;
    let y = p * r * r + r + 1.0;
    y * f32::from_bits((((n as i32) + 127) << 23) as u32)
}

/// `tanh x`, at most 2 ulp off (Cephes tanhf: a polynomial below 0.625, the exponential above; both sides are computed).
#[inline(always)]
pub(super) fn tanh(x: f32) -> f32 {
    let z = x * x;
    let small = x + x
        * z
        * ((((-5.704_988_7e-3 * z + 0.020_639_09) * z - 5.373_971_6e-2) * z + 1.333_144_2e-1) * z
            - 0.333_332_8);
    let e = exp(2.0 * x.abs().clamp(0.0, 20.0));
    let large = (1.0 - 2.0 / (e + 1.0)).copysign(x);
    if x.abs() < 0.625 { small } else { large }
}

/// `ln x` for positive x in the normal range, at most 2 ulp off or 2e-8 near 1 (Cephes logf); NaN for NaN.
#[inline(always)]
pub(super) fn ln(x: f32) -> f32 {
    let bits = x.to_bits();
    let low = f32::from_bits((bits & 0x007f_ffff) | 0x3f00_0000);
    let half = low < std::f32::consts::FRAC_1_SQRT_2;
    let exponent = ((bits >> 23) as i32 - 126) as f32 - if half { 1.0 } else { 0.0 };
    let m = if half { low + low } else { low } - 1.0;
    let z = m * m;
    let p = ((((((((7.037_684e-2 * m - 1.151_461e-1) * m + 1.167_699_9e-1) * m - 1.242_014_1e-1) * m
        + 1.424_932_3e-1)
        * m
        - 1.666_805_8e-1)
        * m
        + 2.000_071_5e-1)
        * m
        - 2.499_999_4e-1)
        * m
        + 3.333_333e-1)
        * m
        * z;
    let y = p - 2.121_944_4e-4 * exponent - 0.5 * z;
    let value = m + y + 0.693_359_4 * exponent;
    if x.is_nan() { x } else { value }
}

/// `a . b` in f64; eight sums side by side, so that it vectorises.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f64 {
    simd(
        #[inline(always)]
        || {
            let (a, a_rest) = a.as_chunks::<8>();
            let (b, b_rest) = b.as_chunks::<8>();
            let mut sums = [0.0f64; 8];
            for (a, b) in a.iter().zip(b) {
                for ((s, a), b) in sums.iter_mut().zip(a).zip(b) {
                    *s += f64::from(*a) * f64::from(*b);
                }
            }
            let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            sums.iter().sum::<f64>() + rest
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ulps(a: f32, b: f64) -> f64 {
        let b32 = b as f32;
        let ulp = f64::from(f32::from_bits(b32.abs().to_bits() + 1)) - f64::from(b32.abs());
        (f64::from(a) - b).abs() / ulp
    }

    #[test]
    fn exp_and_tanh_keep_their_stated_accuracy() {
        let (mut worst_exp, mut worst_tanh) = (0.0f64, 0.0f64);
        for i in -870_000..870_000 {
            let x = i as f32 * 1e-4;
            worst_exp = worst_exp.max(ulps(exp(x), f64::from(x).exp()));
            if x.abs() < 20.0 && x != 0.0 {
                worst_tanh = worst_tanh.max(ulps(tanh(x), f64::from(x).tanh()));
            }
        }
        assert!(worst_exp <= 2.0, "exp is {worst_exp} ulp off");
        assert!(worst_tanh <= 2.0, "tanh is {worst_tanh} ulp off");
        assert_eq!(tanh(0.0), 0.0);
        assert!(tanh(f32::NAN).is_nan() && exp(f32::NAN).is_nan());
    }

    #[test]
    fn ln_keeps_its_stated_accuracy() {
        assert_eq!(ln(1.0), 0.0);
        assert!(ln(f32::NAN).is_nan());
        let mut x = f32::MIN_POSITIVE;
        while x < f32::MAX / 1.01 {
            let exact = f64::from(x).ln();
            let off = (f64::from(ln(x)) - exact).abs();
            assert!(off < 2e-8 || ulps(ln(x), exact) <= 2.0, "ln({x}) is {} instead of {exact}", ln(x));
            x *= 1.000_37;
        }
    }

    #[test]
    fn dot_covers_the_rest() {
        let a: Vec<f32> = (0..19).map(|i| i as f32).collect();
        assert_eq!(dot(&a, &a), (0..19).map(|i| f64::from(i * i)).sum::<f64>());
    }
}
