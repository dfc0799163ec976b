//! The kept patches of one class at one level.

use ccnf::prelude::*;

/// Kept tokens and half their squared norms.
pub(crate) struct Bank {
    /// `[patches, D]`, standardised.
    patches: Param,
    /// `|m|^2 / 2` per patch.
    half_norms: Vec<f32>,
    /// The training image of every patch while the stage of its class runs; nothing after loading.
    origins: Vec<u32>,
}

/// Tokens compared with all patches at once: bounds the memory of the products.
const TOKENS: usize = 784;

impl Bank {
    /// Room for `patches` tokens.
    pub(crate) fn new(level: usize, class: &str, patches: usize, dim: usize) -> Result<Bank> {
        let name = format!("patches.level{level}.{class}");
        let values = vec![0.0; patches * dim];
        let owner = Owner::Class(class.to_owned());
        Ok(Bank {
            patches: Param::buffer(name, owner, values, patches, dim)?,
            half_norms: vec![0.0; patches],
            origins: vec![],
        })
    }

    /// Patches kept.
    pub(crate) fn len(&self) -> usize {
        self.patches.shape().0
    }

    /// The patches, and the training image of each.
    pub(crate) fn set(&mut self, values: Vec<f32>, origins: Vec<u32>) -> Result<()> {
        self.patches.set(values)?;
        self.origins = origins;
        self.refresh();
        Ok(())
    }

    /// Computes the norms again after loading.
    pub(crate) fn refresh(&mut self) {
        let (_, dim) = self.patches.shape();
        let half = |m: &[f32]| (m.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>() / 2.0) as f32;
        self.half_norms = self.patches.to_vec().chunks_exact(dim.max(1)).map(half).collect();
    }

    /// Which patches are not of training image number `image`; all where no others are kept.
    fn others(&self, image: Option<u32>) -> Vec<usize> {
        let other = |i: &usize| image.is_none_or(|own| self.origins.get(*i).is_none_or(|o| *o != own));
        let kept: Vec<usize> = (0..self.len()).filter(other).collect();
        if kept.is_empty() { (0..self.len()).collect() } else { kept }
    }

    /// Per token of `x` (`[n, D]`) the mean of the squared distances to its `neighbours` nearest patches. For training image number
    /// `image` its own patches do not count: they would be at distance 0, which no test image is.
    pub(crate) fn distances(&self, x: &[f32], neighbours: usize, image: Option<u32>) -> Result<Vec<f32>> {
        let dim = self.patches.shape().1;
        let others = self.others(image);
        let k = neighbours.min(others.len()).max(1);
        let patches = constant(self.patches.value());
        let mut out = Vec::with_capacity(x.len() / dim.max(1));
        for block in x.chunks(TOKENS * dim) {
            let n = block.len() / dim;
            // |x - m|^2 = |x|^2 - 2 (x m - |m|^2 / 2)
            let products = ops::linear(&constant(&mat(block.to_vec(), n, dim)?), &patches, None)?.as_vec();
            for (token, products) in block.chunks_exact(dim).zip(products.chunks_exact(self.len().max(1))) {
                let norm: f64 = token.iter().map(|v| f64::from(*v) * f64::from(*v)).sum();
                let closeness = others.iter().map(|i| products[*i] - self.half_norms[*i]);
                let mean = if k == 1 {
                    f64::from(closeness.fold(f32::NEG_INFINITY, f32::max))
                } else {
                    let mut all: Vec<f32> = closeness.collect();
                    all.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
                    let nearest = &mut all[..k];
                    nearest.sort_unstable_by(|a, b| b.total_cmp(a));
                    nearest.iter().map(|v| f64::from(*v)).sum::<f64>() / k as f64
                };
                let distance = norm - 2.0 * mean;
                // Rounding may leave less than 0; NaN stays.
                out.push(if distance < 0.0 { 0.0 } else { distance as f32 });
            }
        }
        Ok(out)
    }

    pub(crate) fn param(&self) -> &Param {
        &self.patches
    }

    pub(crate) fn param_mut(&mut self) -> &mut Param {
        &mut self.patches
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use approx::assert_relative_eq;

    #[test]
    fn distances_are_those_to_the_nearest_patches() {
        let (n, patches, dim) = (900, 37, 5);
        let streams = Streams::new(2);
        let (x, m) = (streams.normal("x", n * dim), streams.normal("m", patches * dim));
        let mut bank = Bank::new(0, "c", patches, dim).unwrap();
        bank.set(m.clone(), vec![0; patches]).unwrap();
        for k in [1, 3, 37, 99] {
            let found = bank.distances(&x, k, None).unwrap();
            assert_eq!(found.len(), n);
            for (token, found) in x.chunks(dim).zip(found) {
                let distance = |m: &[f32]| -> f64 {
                    token.iter().zip(m).map(|(a, b)| f64::from(a - b) * f64::from(a - b)).sum()
                };
                let mut all: Vec<f64> = m.chunks(dim).map(distance).collect();
                all.sort_by(f64::total_cmp);
                let expected = all.iter().take(k).sum::<f64>() / k.min(patches) as f64;
                assert_relative_eq!(f64::from(found), expected, max_relative = 1e-4, epsilon = 1e-4);
            }
        }
    }

    #[test]
    fn a_kept_patch_is_at_distance_zero() {
        let mut bank = Bank::new(0, "c", 2, 2).unwrap();
        bank.set(vec![1.0, 2.0, -3.0, 4.0], vec![0, 1]).unwrap();
        assert_eq!(bank.distances(&[-3.0, 4.0, 1.0, 2.0, 1.0, 3.0], 1, None).unwrap(), [0.0, 0.0, 1.0]);
    }

    #[test]
    fn a_training_image_is_not_compared_with_its_own_patches() {
        let mut bank = Bank::new(0, "c", 3, 1).unwrap();
        bank.set(vec![1.0, 2.0, 5.0], vec![4, 4, 9]).unwrap();
        let distances = |k, image| bank.distances(&[2.0, 5.0], k, image).unwrap();
        assert_eq!(distances(1, None), [0.0, 0.0]);
        assert_eq!(distances(1, Some(4)), [9.0, 0.0]);
        assert_eq!(distances(1, Some(9)), [0.0, 9.0]);
        assert_eq!(distances(3, Some(9)), [0.5, 12.5]);
        assert_eq!(distances(1, Some(7)), [0.0, 0.0]);
        bank.set(vec![1.0, 2.0, 5.0], vec![4; 3]).unwrap();
        assert_eq!(bank.distances(&[3.0], 1, Some(4)).unwrap(), [1.0], "there are no others");
    }
}
