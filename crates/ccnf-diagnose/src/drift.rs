//! How far the tensors of a model move from stage to stage.

use crate::part::{mean, number};
use ccnf_core::{Snapshot, StoredTensor, TensorGroup, TensorPlace};
use ccnf_engine::Number;
use ccnf_tensor::{Owner, Role};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The change of one tensor between the checkpoints of two consecutive stages.
///
/// `relative = |w_t - w_(t-1)| / (|w_(t-1)| + 1e-8)` with Frobenius norms, `rms = |w_t - w_(t-1)| / sqrt(values)`. A tensor that begins
/// at zero has a relative change that says nothing: look at `norm_before`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TensorDrift {
    /// The stage before, from 0.
    pub from: usize,
    /// The stage after.
    pub to: usize,
    /// The tensor's name.
    pub tensor: String,
    /// Where it is in the model.
    pub place: TensorPlace,
    /// The class that owns it; `None`: shared.
    pub owner: Option<String>,
    /// True for weights, which gradient steps change; false for buffers.
    pub weight: bool,
    /// Number of values.
    pub values: usize,
    /// Frobenius norm before.
    pub norm_before: f64,
    /// Frobenius norm after.
    pub norm_after: f64,
    /// Frobenius norm of the change; undefined for a tensor whose shape has changed, and so are the next two.
    pub change: Number,
    /// Relative change.
    pub relative: Number,
    /// Root mean square of the change.
    pub rms: Number,
}

/// What a [`DriftSummary`] is taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DriftScope {
    /// The tensors of one coupling block at one level.
    Block,
    /// Those of one part of what belongs to classes (such as the centres of a mixture) at one level.
    Part,
    /// Those of a group.
    Group,
}

/// The change of several tensors. Only weights count where the tensors have any: fixed buffers, such as rotations, never move.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DriftSummary {
    /// The stage before.
    pub from: usize,
    /// The stage after.
    pub to: usize,
    /// What the tensors have in common.
    pub scope: DriftScope,
    /// Their group.
    pub group: TensorGroup,
    /// Their level, for scopes within a level.
    pub level: Option<usize>,
    /// Their block, for scope `block`.
    pub block: Option<usize>,
    /// Their part, for scope `part`.
    pub part: Option<String>,
    /// How many tensors.
    pub tensors: usize,
    /// How many of them began at zero; they are left out of `mean_relative`.
    pub from_zero: usize,
    /// Mean of the relative changes of the tensors.
    pub mean_relative: Number,
    /// Relative change of all their values as one vector.
    pub pooled_relative: Number,
    /// Root mean square of the change of all their values.
    pub rms: Number,
}

/// The drift of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Drift {
    /// Tensor by tensor. Tensors that came with a stage are not in its row: they have no before.
    pub tensors: Vec<TensorDrift>,
    /// Block by block, part by part, group by group.
    pub summaries: Vec<DriftSummary>,
}

/// Added to a norm that is divided by.
const EPSILON: f64 = 1e-8;

/// The drift between the states after consecutive stages. `place` and `role` say what a tensor is.
pub(crate) fn drift(
    states: &[Snapshot],
    place: &dyn Fn(&str, &Owner) -> TensorPlace,
    role: &dyn Fn(&str) -> Role,
) -> Drift {
    let mut tensors = Vec::new();
    for to in 1..states.len() {
        for (name, before) in &states[to - 1].tensors {
            let Some(after) = states[to].tensors.get(name) else { continue };
            let place = place(name, &before.owner);
            tensors.push(compare(name, place, role(name), to, before, after));
        }
    }
    let summaries = summaries(&tensors);
    Drift { tensors, summaries }
}

fn compare(
    name: &str,
    place: TensorPlace,
    role: Role,
    to: usize,
    before: &StoredTensor,
    after: &StoredTensor,
) -> TensorDrift {
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let norm_before = norm(&mut before.values.iter().map(|v| f64::from(*v)));
    let norm_after = norm(&mut after.values.iter().map(|v| f64::from(*v)));
    let n = before.values.len();
    let (change, relative, rms) = if before.shape == after.shape {
        let pairs = before.values.iter().zip(&after.values);
        let change = norm(&mut pairs.map(|(b, a)| f64::from(*a) - f64::from(*b)));
        (number(change), number(change / (norm_before + EPSILON)), number(change / (n.max(1) as f64).sqrt()))
    } else {
        let reason = format!("its shape changed from {:?} to {:?}", before.shape, after.shape);
        let none = Number::undefined(&reason);
        (none.clone(), none.clone(), none)
    };
    let owner = match &before.owner {
        Owner::Shared => None,
        Owner::Class(class) => Some(class.clone()),
    };
    TensorDrift {
        from: to - 1,
        to,
        tensor: name.to_owned(),
        place,
        owner,
        weight: role == Role::Weight,
        values: n,
        norm_before,
        norm_after,
        change,
        relative,
        rms,
    }
}

/// Stage, scope, group, level, block, part.
type Key = (usize, DriftScope, TensorGroup, Option<usize>, Option<usize>, Option<String>);

fn summaries(tensors: &[TensorDrift]) -> Vec<DriftSummary> {
    let mut by_key: BTreeMap<Key, Vec<&TensorDrift>> = BTreeMap::new();
    for t in tensors {
        let p = &t.place;
        let mut add = |scope, level, block, part| {
            by_key.entry((t.to, scope, p.group, level, block, part)).or_default().push(t);
        };
        add(DriftScope::Group, None, None, None);
        if p.block.is_some() {
            add(DriftScope::Block, p.level, p.block, None);
        }
        if p.group.is_of_a_class() {
            add(DriftScope::Part, p.level, None, Some(p.part.clone()));
        }
    }
    by_key.into_iter().map(|(key, all)| summary(key, &all)).collect()
}

fn summary((to, scope, group, level, block, part): Key, all: &[&TensorDrift]) -> DriftSummary {
    let weights: Vec<_> = all.iter().copied().filter(|t| t.weight).collect();
    let all = if weights.is_empty() { all } else { &weights };
    let compared: Vec<_> = all.iter().filter_map(|t| Some((*t, t.change.value?))).collect();
    let values: usize = compared.iter().map(|(t, _)| t.values).sum();
    let change = compared.iter().map(|(_, c)| c * c).sum::<f64>().sqrt();
    let before = compared.iter().map(|(t, _)| t.norm_before * t.norm_before).sum::<f64>().sqrt();
    let defined = |value: f64| match compared.is_empty() {
        true => Number::undefined("every tensor has changed its shape"),
        false => number(value),
    };
    let begun = |t: &&TensorDrift| t.norm_before > 0.0;
    let mean_relative = match all.iter().any(begun) {
        true => mean(all.iter().filter(|t| begun(t)).map(|t| &t.relative)),
        false => Number::undefined("every tensor began at zero"),
    };
    DriftSummary {
        from: to - 1,
        to,
        scope,
        group,
        level,
        block,
        part,
        tensors: all.len(),
        from_zero: all.iter().filter(|t| !begun(t)).count(),
        mean_relative,
        pooled_relative: defined(change / (before + EPSILON)),
        rms: defined(change / (values.max(1) as f64).sqrt()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(tensors: &[(&str, Owner, &[f32])]) -> Snapshot {
        let tensors = tensors.iter().map(|(name, owner, values)| {
            let stored =
                StoredTensor { owner: owner.clone(), shape: (1, values.len()), values: values.to_vec() };
            (name.to_string(), stored)
        });
        Snapshot { tensors: tensors.collect(), meta: Default::default() }
    }

    fn bolt() -> Owner {
        Owner::Class("bolt".into())
    }

    fn place(name: &str, owner: &Owner) -> TensorPlace {
        let place = TensorPlace::of(name, owner);
        let group = if place.block.is_some() { TensorGroup::Flow } else { TensorGroup::Mixture };
        place.in_group(group)
    }

    fn example() -> Drift {
        let before = state(&[
            ("level0.block0.a", Owner::Shared, &[3.0, 4.0]),
            ("level0.block0.b", Owner::Shared, &[0.0, 0.0]),
            ("level0.block0.rotation", Owner::Shared, &[1.0]),
            ("level0.mu.bolt", bolt(), &[1.0]),
            ("gone", Owner::Shared, &[1.0]),
        ]);
        let after = state(&[
            ("level0.block0.a", Owner::Shared, &[3.0, 9.0]),
            ("level0.block0.b", Owner::Shared, &[0.0, 12.0]),
            ("level0.block0.rotation", Owner::Shared, &[1.0]),
            ("level0.mu.bolt", bolt(), &[1.0, 2.0]),
            ("new", Owner::Shared, &[1.0]),
        ]);
        let role = |name: &str| if name.contains("rotation") { Role::Buffer } else { Role::Weight };
        drift(&[before, after], &place, &role)
    }

    #[test]
    fn changes_are_those_of_hand_computed_norms() {
        let d = example();
        let of = |name: &str| d.tensors.iter().find(|t| t.tensor == name).unwrap();
        let a = of("level0.block0.a");
        assert_eq!((a.norm_before, a.change.value), (5.0, Some(5.0)));
        assert!((a.relative.value.unwrap() - 1.0).abs() < 1e-8);
        assert!((a.rms.value.unwrap() - 5.0 / 2f64.sqrt()).abs() < 1e-12);
        // From zero: the norm before says that the relative change means nothing.
        let b = of("level0.block0.b");
        assert!(b.norm_before == 0.0 && b.relative.value.unwrap() > 1e9);
        let mu = of("level0.mu.bolt");
        assert!(mu.change.value.is_none() && mu.change.reason.as_ref().unwrap().contains("shape"));
        assert_eq!(mu.owner.as_deref(), Some("bolt"));
        assert_eq!(d.tensors.len(), 4, "neither what is gone nor what is new");
    }

    #[test]
    fn summaries_leave_buffers_and_starts_at_zero_out_of_the_mean() {
        let d = example();
        let block = d.summaries.iter().find(|s| s.scope == DriftScope::Block).unwrap();
        assert_eq!((block.level, block.block, block.tensors, block.from_zero), (Some(0), Some(0), 2, 1));
        assert!((block.mean_relative.value.unwrap() - 1.0).abs() < 1e-8);
        // |(0, 5, 0, 12)| = 13.
        assert!((block.pooled_relative.value.unwrap() - 13.0 / 5.0).abs() < 1e-8);
        assert!((block.rms.value.unwrap() - 13.0 / 2.0).abs() < 1e-12);
        let part = d.summaries.iter().find(|s| s.scope == DriftScope::Part).unwrap();
        assert_eq!((part.part.as_deref(), part.rms.value), (Some("mu"), None));
    }

    #[test]
    fn what_has_not_moved_has_moved_by_exactly_nothing() {
        let s = state(&[("level0.block0.a", Owner::Shared, &[0.1, 0.7]), ("x", Owner::Shared, &[])]);
        let d = drift(&[s.clone(), s], &place, &|_| Role::Weight);
        let zero = Some(0.0);
        assert!(d.tensors.iter().all(|t| t.change.value == zero && t.relative.value == zero));
        assert!(d.summaries.iter().all(|s| s.pooled_relative.value == zero && s.rms.value == zero));
    }
}
