//! The update of later stages (spec section 7).

use crate::projection::Basis;
use ccnf::prelude::*;
use std::collections::BTreeMap;

/// Weight pulling: `(1 - share) * current + share * old`, before every step, `old` being the weights at the end of the stage before.
pub fn pull(current: &[f32], old: &[f32], share: f32) -> Vec<f32> {
    current.iter().zip(old).map(|(c, o)| (1.0 - share) * c + share * o).collect()
}

/// Plain gradient descent, no momentum, no decay, with projected gradients:
///
/// 1. `G <- G min(1, clip / (|G| + 1e-6))` over all trainable tensors together,
/// 2. `G <- P G` for the tensors that have a [`Basis`],
/// 3. `W <- W - lr G`.
///
/// With the pull by a share `a` before every step and lr 1 the tensors cannot move further than `clip / a` from the old ones: a hard
/// trust region.
#[derive(Debug, Default)]
pub struct ConstrainedSgd {
    clip: Option<f64>,
    bases: Vec<Basis>,
    /// The basis of a tensor, by name.
    of: BTreeMap<String, usize>,
}

impl ConstrainedSgd {
    /// Without bases.
    pub fn new(clip: Option<f64>) -> Self {
        ConstrainedSgd { clip, ..ConstrainedSgd::default() }
    }

    /// Projects the gradients of the tensors called `names`.
    pub fn project<'a>(&mut self, names: impl IntoIterator<Item = &'a str>, basis: Basis) {
        self.of.extend(names.into_iter().map(|n| (n.to_owned(), self.bases.len())));
        self.bases.push(basis);
    }

    /// Updates every trainable tensor; returns the gradient's norm before clipping.
    pub fn step(&self, params: &mut [&mut Param], grads: &mut Grads, lr: f64) -> Result<f64> {
        let mut sum = 0.0;
        for p in params.iter().filter(|p| p.is_trainable()) {
            let squares = grads.sum_of_squares(p.value())?;
            if !squares.is_finite() {
                let message = format!("the gradient of `{}` is not finite", p.name());
                return Err(Error::new(ErrorKind::NonFinite, message));
            }
            sum += squares;
        }
        let norm = sum.sqrt();
        let factor = self.clip.map_or(1.0, |c| (c / (norm + 1e-6)).min(1.0)) as f32;
        for p in params.iter_mut().filter(|p| p.is_trainable()) {
            let mut gradient = grads.of(p.value())?;
            gradient.iter_mut().for_each(|g| *g *= factor);
            if let Some(basis) = self.of.get(p.name()).and_then(|i| self.bases.get(*i)) {
                gradient = basis.project(gradient)?;
            }
            let lr = lr as f32;
            let moved = p.to_vec().iter().zip(&gradient).map(|(v, g)| v - lr * g).collect();
            p.set(moved)?;
        }
        Ok(norm)
    }
}

/// The tensors that are pulled, with their old values.
#[derive(Debug, Default)]
pub(crate) struct Anchor(BTreeMap<String, Vec<f32>>);

impl Anchor {
    /// The present values of the tensors for which `pulled` says so.
    pub(crate) fn of(params: &[&Param], pulled: impl Fn(&Param) -> bool) -> Anchor {
        Anchor(params.iter().filter(|p| pulled(p)).map(|p| (p.name().to_owned(), p.to_vec())).collect())
    }

    /// Pulls; returns what the tensors were before.
    pub(crate) fn pull(&self, params: &mut [&mut Param], share: f32) -> Result<BTreeMap<String, Vec<f32>>> {
        let mut before = BTreeMap::new();
        for p in params {
            if let Some(old) = self.0.get(p.name()) {
                let current = p.to_vec();
                p.set(pull(&current, old, share))?;
                before.insert(p.name().to_owned(), current);
            }
        }
        Ok(before)
    }

    /// The old values, for a checkpoint.
    pub(crate) fn state(&self) -> BTreeMap<String, StoredTensor> {
        let store = |values: &Vec<f32>| StoredTensor {
            owner: Owner::Shared,
            shape: (1, values.len()),
            values: values.clone(),
        };
        self.0.iter().map(|(name, values)| (format!("{name}.anchor"), store(values))).collect()
    }

    /// Puts the old values back.
    pub(crate) fn restore(&mut self, state: &BTreeMap<String, StoredTensor>) -> Result<()> {
        for (name, values) in &mut self.0 {
            let stored = state.get(&format!("{name}.anchor")).filter(|t| t.values.len() == values.len());
            let Some(stored) = stored else {
                let message = format!("the checkpoint has no earlier value of the tensor `{name}`");
                return Err(Error::new(ErrorKind::Checkpoint, message));
            };
            values.clone_from(&stored.values);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ccnf::dfdx::prelude::{Rank0, SumTo};

    /// Steps along the same gradient; the distance from the start.
    fn distance_after(steps: usize, share: f32, clip: f64) -> f32 {
        let start = vec![0.5f32, -1.0, 2.0];
        let mut p = Param::weight("w", Owner::Shared, start.clone(), 1, 3).unwrap();
        let anchor = Anchor::of(&[&p], |_| true);
        let sgd = ConstrainedSgd::new(Some(clip));
        for _ in 0..steps {
            anchor.pull(&mut [&mut p], share).unwrap();
            let (_, (), mut grads) = gradients(|| {
                let slope = constant(&mat(vec![30.0, -40.0, 0.0], 1, 3)?);
                Ok::<_, Error>(((p.var() * slope).sum::<Rank0, _>(), ()))
            })
            .unwrap();
            assert_eq!(sgd.step(&mut [&mut p], &mut grads, 1.0).unwrap(), 50.0);
        }
        p.to_vec().iter().zip(&start).map(|(a, b)| (a - b).powi(2)).sum::<f32>().sqrt()
    }

    #[test]
    fn pull_and_clip_together_bound_the_distance_from_the_old_weights() {
        let far = distance_after(400, 0.05, 0.1);
        assert!(far < 2.0 && far > 1.9, "{far}");
        assert!(distance_after(400, 0.0, 0.1) > 30.0);
    }

    #[test]
    fn only_tensors_with_a_basis_are_projected() {
        let mut a = Param::weight("a", Owner::Shared, vec![1.0, 1.0], 2, 1).unwrap();
        let mut b = Param::weight("b", Owner::Shared, vec![1.0, 1.0], 2, 1).unwrap();
        let mut sgd = ConstrainedSgd::new(None);
        let rows = [1.0f32, 0.0];
        sgd.project(["a"], Basis::new(rows.iter(), 2, &[0.0, 1.0]).unwrap());
        let (_, (), mut grads) =
            gradients(|| Ok::<_, Error>((a.var().sum::<Rank0, _>() + b.var().sum::<Rank0, _>(), ())))
                .unwrap();
        sgd.step(&mut [&mut a, &mut b], &mut grads, 0.5).unwrap();
        assert_eq!((a.to_vec(), b.to_vec()), (vec![1.0, 0.5], vec![0.5, 0.5]));
    }

    #[test]
    fn a_gradient_that_is_not_finite_names_its_tensor() {
        let mut p = Param::weight("w", Owner::Shared, vec![1.0], 1, 1).unwrap();
        let (_, (), mut grads) =
            gradients(|| Ok::<_, Error>(((p.var() * f32::INFINITY).sum::<Rank0, _>(), ()))).unwrap();
        let e = ConstrainedSgd::new(None).step(&mut [&mut p], &mut grads, 1.0).unwrap_err();
        assert!(e.kind() == ErrorKind::NonFinite && e.to_string().contains("`w`"), "{e}");
    }
}
