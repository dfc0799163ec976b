//! The inside of the detector, for diagnosis.

use crate::detector::Ccnf;
use crate::level::{LevelFlow, ROWS};
use ccnf::core::{Probe, TensorGroup, TensorPlace, TokenClasses, TokenLatents};
use ccnf::dfdx::prelude::HasShape;
use ccnf::prelude::*;

impl LevelFlow {
    /// The latents of whole images under a class. Behind Haar steps they are those of the joined tokens.
    fn latents(
        &self,
        images: &[&dyn ImageFeatures],
        class: usize,
        names: &[String],
    ) -> Result<Vec<TokenLatents>> {
        let (tokens, d) = (self.flow.level().tokens().max(1), self.flow.level().channels);
        let mut out = Vec::with_capacity(images.len());
        for group in images.chunks((ROWS / tokens).max(1)) {
            let n = group.len() * tokens;
            let mut x = Vec::with_capacity(n * d);
            for image in group {
                x.extend(self.input(&image.level(self.number)?)?);
            }
            let candidates: Vec<_> =
                group.iter().map(|image| Candidate { class, image: *image, training: None }).collect();
            let layers = self.through_layers(&candidates, names, &mut x)?;
            let (z, mut log_det, dim) = if self.flow.is_identity() {
                (x, vec![0.0; n], d)
            } else {
                let position: Index = (0..group.len()).flat_map(|_| 0..tokens as u32).collect();
                let conditions = self.flow.condition(&[class], &vec![0u32; n].into(), &position)?;
                let f = self.flow.forward(&constant(&mat(x, n, d)?), &conditions)?;
                (f.z.as_vec(), f.log_det.as_vec(), f.z.shape().1)
            };
            log_det.iter_mut().zip(&layers).for_each(|(j, part)| *j += part);
            let per_image = z.len() / group.len();
            let parts = z.chunks_exact(per_image).zip(log_det.chunks_exact(tokens));
            out.extend(parts.map(|(z, j)| TokenLatents { dim, z: z.to_vec(), log_det: j.to_vec() }));
        }
        Ok(out)
    }
}

impl Ccnf {
    fn level(&self, level: usize) -> Result<&LevelFlow> {
        let n = self.levels.len();
        let missing = || Error::new(ErrorKind::Contract, format!("level {level} of {n} levels"));
        self.levels.get(level).ok_or_else(missing)
    }
}

/// The latents are those of the flow behind the class's layers. FiLM generators and the network of a conditioner of prototypes count to
/// the flow, since all classes share them.
impl Probe for Ccnf {
    fn place(&self, name: &str, owner: &Owner) -> TensorPlace {
        let place = TensorPlace::of(name, owner);
        let begins = |with: &str| place.part.starts_with(with);
        let group = match (place.level, place.block, owner) {
            (Some(_), Some(_), Owner::Shared) => TensorGroup::Flow,
            (Some(_), Some(_), Owner::Class(_)) => TensorGroup::Rows,
            (Some(_), None, Owner::Class(_)) if begins("layer") => TensorGroup::Layers,
            (Some(_), None, Owner::Class(_)) => TensorGroup::Rows,
            (Some(_), None, Owner::Shared) if begins("phi.") => TensorGroup::Flow,
            _ => TensorGroup::Other,
        };
        place.in_group(group)
    }

    fn latents(&self, images: &[&dyn ImageFeatures], class: &str, level: usize) -> Result<Vec<TokenLatents>> {
        let names = self.classes();
        let number = names.iter().position(|c| c == class).ok_or_else(|| unknown_class(class, &names))?;
        self.level(level)?.latents(images, number, &names)
    }

    fn token_classes(&self, images: &[&dyn ImageFeatures], level: usize) -> Result<Vec<TokenClasses>> {
        let (names, level) = (self.classes(), self.level(level)?);
        let of = |image: &&dyn ImageFeatures| {
            let candidates: Vec<_> =
                (0..names.len()).map(|class| Candidate { class, image: *image, training: None }).collect();
            let log_likelihood = level.candidates(&candidates, &names, false)?;
            Ok(TokenClasses { log_likelihood, entropy_logits: None })
        };
        images.iter().map(of).collect()
    }
}
