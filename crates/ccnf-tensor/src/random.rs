//! Named random streams derived from one seed.

use rand::{Rng, SeedableRng};

/// A random number generator that is the same on every machine.
pub type Stream = rand_chacha::ChaCha8Rng;

/// Derives independent streams from one seed by name, so that adding a component or resuming in the middle never
/// changes the numbers that another one draws.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Streams {
    seed: u64,
}

impl Streams {
    /// Streams of `seed`.
    pub fn new(seed: u64) -> Self {
        Streams { seed }
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The stream called `name`, at `step` (0 where there is none).
    pub fn stream(&self, name: &str, step: u64) -> Stream {
        let mut h = blake3::Hasher::new();
        h.update(b"ccnf-stream-1");
        h.update(&self.seed.to_le_bytes());
        h.update(&step.to_le_bytes());
        h.update(name.as_bytes());
        Stream::from_seed(*h.finalize().as_bytes())
    }

    /// `n` standard normal values (Box-Muller) of the stream called `name`.
    pub fn normal(&self, name: &str, n: usize) -> Vec<f32> {
        let mut rng = self.stream(name, 0);
        let mut out = Vec::with_capacity(n + 1);
        while out.len() < n {
            let u1: f64 = 1.0 - rng.r#gen::<f64>();
            let u2: f64 = rng.r#gen::<f64>() * std::f64::consts::TAU;
            let r = (-2.0 * u1.ln()).sqrt();
            out.push((r * u2.cos()) as f32);
            out.push((r * u2.sin()) as f32);
        }
        out.truncate(n);
        out
    }

    /// `n` values uniform in `[-bound, bound)` of the stream called `name`.
    pub fn uniform(&self, name: &str, n: usize, bound: f32) -> Vec<f32> {
        let mut rng = self.stream(name, 0);
        (0..n).map(|_| (rng.r#gen::<f32>() * 2.0 - 1.0) * bound).collect()
    }

    /// A Haar-random rotation of `d` dimensions, row-major, determinant +1: Gram-Schmidt (twice, in f64) on Gaussian
    /// columns, one column flipped if needed.
    pub fn rotation(&self, name: &str, d: usize) -> Vec<f32> {
        let mut cols: Vec<Vec<f64>> = self
            .normal(name, d * d)
            .chunks(d.max(1))
            .map(|c| c.iter().map(|v| f64::from(*v)).collect())
            .collect();
        for i in 0..cols.len() {
            for _ in 0..2 {
                for j in 0..i {
                    let (head, tail) = cols.split_at_mut(i);
                    let dot: f64 = head[j].iter().zip(&tail[0]).map(|(a, b)| a * b).sum();
                    tail[0].iter_mut().zip(&head[j]).for_each(|(a, b)| *a -= dot * b);
                }
            }
            let norm = cols[i].iter().map(|v| v * v).sum::<f64>().sqrt();
            cols[i].iter_mut().for_each(|v| *v /= norm);
        }
        if determinant(cols.clone()) < 0.0 {
            cols[0].iter_mut().for_each(|v| *v = -*v);
        }
        let mut out = vec![0.0; d * d];
        for (j, c) in cols.iter().enumerate() {
            for (i, v) in c.iter().enumerate() {
                out[i * d + j] = *v as f32;
            }
        }
        out
    }
}

fn determinant(mut a: Vec<Vec<f64>>) -> f64 {
    let n = a.len();
    let mut det = 1.0;
    for k in 0..n {
        let p = (k..n).max_by(|x, y| a[*x][k].abs().total_cmp(&a[*y][k].abs())).unwrap_or(k);
        if p != k {
            a.swap(p, k);
            det = -det;
        }
        det *= a[k][k];
        for i in k + 1..n {
            let f = a[i][k] / a[k][k];
            let (above, below) = a.split_at_mut(i);
            for (x, y) in below[0][k..].iter_mut().zip(&above[k][k..]) {
                *x -= f * y;
            }
        }
    }
    det
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_differ_by_name_step_and_seed_and_repeat() {
        let s = Streams::new(7);
        let draw = |s: Streams, n: &str, k| s.stream(n, k).r#gen::<u64>();
        assert_eq!(draw(s, "a", 0), draw(s, "a", 0));
        assert_ne!(draw(s, "a", 0), draw(s, "b", 0));
        assert_ne!(draw(s, "a", 0), draw(s, "a", 1));
        assert_ne!(draw(s, "a", 0), draw(Streams::new(8), "a", 0));
    }

    #[test]
    fn a_rotation_is_orthogonal_with_determinant_one() {
        let d = 17;
        let r = Streams::new(1).rotation("mix", d);
        for i in 0..d {
            for j in 0..d {
                let dot: f32 = (0..d).map(|k| r[i * d + k] * r[j * d + k]).sum();
                approx::assert_abs_diff_eq!(dot, if i == j { 1.0 } else { 0.0 }, epsilon = 1e-5);
            }
        }
        let rows = r.chunks(d).map(|c| c.iter().map(|v| f64::from(*v)).collect()).collect();
        approx::assert_abs_diff_eq!(determinant(rows), 1.0, epsilon = 1e-4);
    }

    #[test]
    fn normal_values_have_mean_zero_and_variance_one() {
        let v = Streams::new(3).normal("x", 20_000);
        let m = v.iter().sum::<f32>() / v.len() as f32;
        let s = v.iter().map(|x| (x - m) * (x - m)).sum::<f32>() / v.len() as f32;
        assert!(m.abs() < 0.03 && (s - 1.0).abs() < 0.05, "mean {m}, variance {s}");
    }
}
