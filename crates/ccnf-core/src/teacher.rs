//! An earlier state of a model, to be asked for its outputs (distillation).

use crate::detector::Distillation;
use crate::error::{Error, ErrorKind, Result};
use crate::state::Stateful;
use ccnf_tensor::{Mat, Owner, Param, mat};

/// The shared tensors that a model had in an earlier state. Tensors of single classes are the model's own: tokens of a class that the
/// earlier state did not know are asked about under what the class has now.
#[derive(Debug)]
pub struct Teacher {
    tensors: Vec<Mat>,
    weight: f32,
}

impl Teacher {
    /// Takes what is shared in `model` out of a detector's state; fails where the state lacks a tensor.
    pub fn new(model: &(impl Stateful + ?Sized), distillation: &Distillation) -> Result<Teacher> {
        let find = |p: &Param| {
            let stored = distillation.teacher.tensors.get(p.name()).filter(|t| t.shape == p.shape());
            let Some(stored) = stored else {
                let message = format!("the teacher has no tensor `{}` of this shape", p.name());
                return Err(Error::new(ErrorKind::Contract, message));
            };
            Ok(mat(stored.values.clone(), stored.shape.0, stored.shape.1)?)
        };
        let shared = model.params().into_iter().filter(|p| *p.owner() == Owner::Shared);
        Ok(Teacher { tensors: shared.map(find).collect::<Result<_>>()?, weight: distillation.weight })
    }

    /// The weight of the squared distance to the teacher.
    pub fn weight(&self) -> f32 {
        self.weight
    }

    /// What `question` says of the model as it was. The teacher's tensors take the place of the model's for that time; the model gets its
    /// own back, which an optimiser knows them by.
    pub fn ask<M: Stateful, T>(
        &mut self,
        model: &mut M,
        question: impl FnOnce(&M) -> Result<T>,
    ) -> Result<T> {
        self.swap(model);
        let answer = question(model);
        self.swap(model);
        answer
    }

    fn swap(&mut self, model: &mut impl Stateful) {
        let shared = model.params_mut().into_iter().filter(|p| *p.owner() == Owner::Shared);
        // The same tensors in the same order as in `new`: a model's shared tensors never change but in value.
        for (p, mine) in shared.zip(&mut self.tensors) {
            std::mem::swap(p.value_mut(), mine);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Snapshot;

    struct Two(Param, Param);

    impl Two {
        fn new(shared: f32, own: f32) -> Two {
            let class = Owner::Class("a".into());
            Two(
                Param::weight("shared", Owner::Shared, vec![shared], 1, 1).unwrap(),
                Param::weight("own", class, vec![own], 1, 1).unwrap(),
            )
        }
        fn values(&self) -> Vec<f32> {
            [self.0.to_vec(), self.1.to_vec()].concat()
        }
    }

    impl Stateful for Two {
        fn params(&self) -> Vec<&Param> {
            vec![&self.0, &self.1]
        }
        fn params_mut(&mut self) -> Vec<&mut Param> {
            vec![&mut self.0, &mut self.1]
        }
    }

    #[test]
    fn the_teacher_answers_with_its_shared_tensors_and_the_model_gets_its_own_back() {
        let teacher = Snapshot::of(&Two::new(1.0, 2.0), serde_json::Value::Null);
        let mut model = Two::new(10.0, 20.0);
        let mut t = Teacher::new(&model, &Distillation { teacher, weight: 0.5 }).unwrap();
        assert_eq!(t.ask(&mut model, |m| Ok(m.values())).unwrap(), [1.0, 20.0]);
        let failed: Result<()> = t.ask(&mut model, |_| Err(Error::new(ErrorKind::Usage, "no")));
        assert!(failed.is_err());
        assert_eq!(model.values(), [10.0, 20.0]);
        assert_eq!(t.ask(&mut model, |m| Ok(m.values())).unwrap(), [1.0, 20.0]);
    }

    #[test]
    fn a_state_without_a_shared_tensor_is_no_teacher() {
        let none = Distillation { teacher: Snapshot::default(), weight: 1.0 };
        let e = Teacher::new(&Two::new(1.0, 2.0), &none).unwrap_err();
        assert!(e.message().contains("`shared`"), "{e}");
    }
}
