//! An optimiser's state as stored tensors, for checkpoints in the middle of a stage.

use crate::error::Result;
use crate::state::StoredTensor;
use ccnf_tensor::{Adam, Owner, Param};
use std::collections::BTreeMap;

/// The steps and moments of `adam`, which updates `params`: `scope.adam.steps` and, per trainable parameter, `NAME.adam.first` and
/// `NAME.adam.second`. `scope` tells several optimisers of one model apart.
pub fn adam_state(adam: &mut Adam, scope: &str, params: &[&Param]) -> Result<BTreeMap<String, StoredTensor>> {
    let store = |values: Vec<f32>| StoredTensor { owner: Owner::Shared, shape: (1, values.len()), values };
    let mut out = BTreeMap::from([(format!("{scope}.adam.steps"), store(vec![adam.steps() as f32]))]);
    for m in adam.moments(params)? {
        out.insert(format!("{}.adam.first", m.name), store(m.first));
        out.insert(format!("{}.adam.second", m.name), store(m.second));
    }
    Ok(out)
}

/// Puts back what [`adam_state`] gave; fails where a trainable parameter has no moments.
pub fn restore_adam(
    adam: &mut Adam,
    scope: &str,
    params: &[&Param],
    state: &BTreeMap<String, StoredTensor>,
) -> Result<()> {
    let steps = state.get(&format!("{scope}.adam.steps")).and_then(|t| t.values.first());
    let find = |name: &str, which: &str| state.get(&format!("{name}.adam.{which}")).map(|t| t.values.clone());
    adam.restore(params, steps.map_or(0, |v| *v as u64), |name| {
        Some((find(name, "first")?, find(name, "second")?))
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ccnf_tensor::{AdamSettings, TensorError, gradients};

    fn param() -> Param {
        Param::weight("w", Owner::Shared, vec![1.0, -2.0, 0.5], 1, 3).unwrap()
    }

    fn step(adam: &mut Adam, p: &mut Param) {
        let (_, (), mut grads) = gradients(|| {
            use ccnf_tensor::dfdx::prelude::*;
            Ok::<_, TensorError>((p.var().square().sum(), ()))
        })
        .unwrap();
        adam.step(&mut [p], &mut grads, 0.1).unwrap();
    }

    #[test]
    fn an_optimiser_that_was_put_back_goes_on_with_the_same_bits() {
        let (mut adam, mut p) = (Adam::new(AdamSettings::default()), param());
        step(&mut adam, &mut p);
        step(&mut adam, &mut p);
        let state = adam_state(&mut adam, "level0", &[&p]).unwrap();
        let (mut again, mut q) = (Adam::new(AdamSettings::default()), param());
        q.set(p.to_vec()).unwrap();
        restore_adam(&mut again, "level0", &[&q], &state).unwrap();
        assert_eq!(again.steps(), 2);
        step(&mut adam, &mut p);
        step(&mut again, &mut q);
        assert_eq!(p.to_vec(), q.to_vec());
        let mut fresh = param();
        step(&mut Adam::new(AdamSettings::default()), &mut fresh);
        assert_ne!(p.to_vec(), fresh.to_vec());
    }

    #[test]
    fn a_parameter_without_moments_is_an_error() {
        let mut adam = Adam::new(AdamSettings::default());
        assert!(restore_adam(&mut adam, "level0", &[&param()], &BTreeMap::new()).is_err());
    }
}
