//! The inside of the detector, for diagnosis.

use crate::detector::Hgad;
use crate::level::Level;
use ccnf::core::{Probe, TensorGroup, TensorPlace, TokenClasses, TokenLatents};
use ccnf::prelude::*;

impl Hgad {
    fn level(&self, level: usize) -> Result<&Level> {
        let n = self.levels.len();
        let missing = || Error::new(ErrorKind::Contract, format!("level {level} of {n} levels"));
        self.levels.get(level).ok_or_else(missing)
    }
}

/// The flow is unconditional: latents do not depend on the class. The method's entropy is over the main centres alone, without weights:
/// `q = softmax_k(-|z - mu_k|^2 / 2)`.
impl Probe for Hgad {
    fn place(&self, name: &str, owner: &Owner) -> TensorPlace {
        let place = TensorPlace::of(name, owner);
        let group = match (place.level, place.block, owner) {
            (Some(_), Some(_), _) => TensorGroup::Flow,
            (Some(_), None, Owner::Class(_)) => TensorGroup::Mixture,
            _ => TensorGroup::Other,
        };
        place.in_group(group)
    }

    fn latents(&self, images: &[&dyn ImageFeatures], class: &str, level: usize) -> Result<Vec<TokenLatents>> {
        let level = self.level(level)?;
        let known = level.mixture.classes();
        if !known.iter().any(|k| k == class) {
            return Err(unknown_class(class, &known));
        }
        let dim = level.spec.channels;
        let one = |l: crate::level::Latents| TokenLatents { dim, z: l.z.as_vec(), log_det: l.log_det };
        Ok(level.latents(images)?.into_iter().map(one).collect())
    }

    fn token_classes(&self, images: &[&dyn ImageFeatures], level: usize) -> Result<Vec<TokenClasses>> {
        let level = self.level(level)?;
        let classes = level.mixture.classes().len();
        let one = |latents: crate::level::Latents| {
            let log_likelihood =
                (0..classes).map(|c| latents.log_likelihood(&level.mixture, c)).collect::<Result<_>>()?;
            let by_token = level.mixture.inter_logits(&constant(&latents.z), classes)?.as_vec();
            let logits = |c: usize| by_token.iter().skip(c).step_by(classes).copied().collect();
            Ok(TokenClasses { log_likelihood, entropy_logits: Some((0..classes).map(logits).collect()) })
        };
        level.latents(images)?.into_iter().map(one).collect()
    }

    fn log_class_weights(&self, level: usize) -> Result<Option<Vec<f32>>> {
        Ok(Some(self.level(level)?.mixture.log_inter()?.as_vec()))
    }
}
