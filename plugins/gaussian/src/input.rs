//! Standardisation of the input.

use ccnf::prelude::*;

/// Mean and std of every channel of a level over all tokens of the first stage, shared by all classes and fixed from then on:
/// `x -> (x - mean) / std`, each `[1, D]`.
///
/// The std divides by the number of tokens; a channel that is constant is divided by 1.
pub(crate) struct Standardization {
    mean: Param,
    std: Param,
}

impl Standardization {
    /// The identity, until [`fit`](Self::fit).
    pub(crate) fn new(level: usize, dim: usize) -> Result<Self> {
        let buffer = |what: &str, v: f32| {
            Param::buffer(format!("input.level{level}.{what}"), Owner::Shared, vec![v; dim], 1, dim)
        };
        Ok(Standardization { mean: buffer("mean", 0.0)?, std: buffer("std", 1.0)? })
    }

    /// Fits mean and std on the tokens of `images` (each `[tokens][D]`).
    pub(crate) fn fit<'a>(&mut self, images: impl Iterator<Item = Result<Values<'a>>>) -> Result<()> {
        let dim = self.mean.len();
        // Sums of the differences to the first token: exactly 0 for a constant channel.
        let (mut first, mut n) = (None::<Vec<f32>>, 0usize);
        let (mut sum, mut squares) = (vec![0.0f64; dim], vec![0.0f64; dim]);
        for image in images {
            for token in image?.chunks_exact(dim) {
                let origin = first.get_or_insert_with(|| token.to_vec());
                n += 1;
                for j in 0..dim {
                    let d = f64::from(token[j]) - f64::from(origin[j]);
                    sum[j] += d;
                    squares[j] += d * d;
                }
            }
        }
        let Some(origin) = first else { return Ok(()) };
        let (mut means, mut stds) = (vec![], vec![]);
        for j in 0..dim {
            let mean = sum[j] / n as f64;
            let std = (squares[j] / n as f64 - mean * mean).max(0.0).sqrt() as f32;
            means.push((f64::from(origin[j]) + mean) as f32);
            stds.push(if std > 0.0 { std } else { 1.0 });
        }
        self.mean.set(means)?;
        Ok(self.std.set(stds)?)
    }

    /// The map in a form for use.
    pub(crate) fn scaling(&self) -> Scaling {
        Scaling { mean: self.mean.to_vec(), factor: self.std.to_vec().iter().map(|s| 1.0 / s).collect() }
    }

    pub(crate) fn params(&self) -> [&Param; 2] {
        [&self.mean, &self.std]
    }

    pub(crate) fn params_mut(&mut self) -> [&mut Param; 2] {
        [&mut self.mean, &mut self.std]
    }
}

/// A [`Standardization`] in a form for use.
pub(crate) struct Scaling {
    mean: Vec<f32>,
    factor: Vec<f32>,
}

impl Scaling {
    /// The map that changes nothing, for values that are standardised already.
    pub(crate) fn identity(dim: usize) -> Scaling {
        Scaling { mean: vec![0.0; dim], factor: vec![1.0; dim] }
    }

    /// The standardised values of a token.
    pub(crate) fn apply<'a>(&'a self, token: &'a [f32]) -> impl Iterator<Item = f32> + 'a {
        token.iter().zip(&self.mean).zip(&self.factor).map(|((x, m), f)| (x - m) * f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use approx::assert_abs_diff_eq;

    #[test]
    fn the_std_divides_by_the_number_of_tokens_and_a_constant_channel_by_one() {
        let mut s = Standardization::new(0, 2).unwrap();
        let images: [&[f32]; 2] = [&[1.0, 0.1, 3.0, 0.1], &[5.0, 0.1, 7.0, 0.1]];
        s.fit(images.into_iter().map(|i| Ok(i.into()))).unwrap();
        assert_eq!(s.params()[0].to_vec(), [4.0, 0.1]);
        assert_abs_diff_eq!(s.params()[1].to_vec()[0], 5f32.sqrt(), epsilon = 1e-6);
        assert_eq!(s.params()[1].to_vec()[1], 1.0);
        let z: Vec<f32> = s.scaling().apply(&[4.0 + 5f32.sqrt(), 1.1]).collect();
        assert_abs_diff_eq!(z[0], 1.0, epsilon = 1e-6);
        assert_abs_diff_eq!(z[1], 1.0, epsilon = 1e-6);
    }
}
