//! What a level's flow sees of an image: standardised, projected, through the private layers of a class.

use crate::defects::DefectTokens;
use crate::level::LevelFlow;
use crate::prepared::Prepared;
use ccnf::core::{Standardization, check_size};
use ccnf::prelude::*;

/// Where the tokens of a training step come from: images, their level, and what is still to be done to a token.
pub(crate) struct Source<'a> {
    pub(crate) view: &'a TrainView,
    pub(crate) level: usize,
    pub(crate) standard: &'a Standardization,
}

impl LevelFlow {
    /// Sends the candidates' maps `x` through the layers of their classes, in place; returns each token's part of the log-determinant
    /// (empty without layers). A training image is replaced by its held-out map.
    pub(crate) fn through_layers(
        &self,
        group: &[Candidate<'_>],
        names: &[String],
        x: &mut [f32],
    ) -> Result<Vec<f32>> {
        if self.chain.is_empty() {
            return Ok(vec![]);
        }
        let (len, tokens) = (self.flow.level().len(), self.flow.level().tokens());
        let mut log_det = vec![0.0; group.len() * tokens];
        let mut start = 0;
        // Neighbours of the same class go together.
        for run in group.chunk_by(|a, b| a.class == b.class && a.training.is_some() == b.training.is_some()) {
            let end = start + run.len();
            let (maps, parts) = (&mut x[start * len..end * len], &mut log_det[start * tokens..end * tokens]);
            let class = names.get(run[0].class).map_or("", String::as_str);
            match (&self.prepared, run[0].training) {
                (Some(prepared), Some(_)) => {
                    for (k, candidate) in run.iter().enumerate() {
                        let image = candidate.training.unwrap_or_default();
                        let (values, log_det) = prepared.map(class, image)?;
                        maps[k * len..(k + 1) * len].copy_from_slice(&values);
                        parts[k * tokens..(k + 1) * tokens].copy_from_slice(log_det);
                    }
                }
                _ => self.chain.forward(class, maps, parts)?,
            }
            start = end;
        }
        Ok(log_det)
    }

    /// Standardised and projected tokens of an image.
    pub(crate) fn input(&self, values: &[f32]) -> Result<Vec<f32>> {
        check_size(values, &self.raw)?;
        let mut standardised = Vec::with_capacity(values.len());
        self.standard.push(values, &mut standardised);
        Ok(match &self.projection {
            Some(p) => p.apply(&standardised),
            None => standardised,
        })
    }

    /// Where the tokens of a training step come from.
    pub(crate) fn source<'a>(&'a self, view: &'a TrainView) -> Result<Source<'a>> {
        let source = match &self.prepared {
            Some(p) => Source { view: p.view(), level: 0, standard: p.identity() },
            None if self.is_plain() => Source { view, level: self.number, standard: &self.standard },
            None => return Err(Error::new(ErrorKind::Contract, "a training step outside a stage")),
        };
        Ok(match &self.pseudo {
            Some(pseudo) => Source { view: &pseudo.view, ..source },
            None => source,
        })
    }

    /// Whether the flow sees the standardised features as they are.
    pub(crate) fn is_plain(&self) -> bool {
        self.projection.is_none() && self.chain.is_empty()
    }

    /// Begins a stage whose standardisation is fitted: fits the layers of the new classes (or, when the stage goes on, takes them as
    /// they are) and prepares what the flow sees of the stage's images.
    pub(crate) fn begin(&mut self, view: &TrainView, fit: bool) -> Result<()> {
        self.prepared = None;
        self.pseudo = None;
        self.defects.clear();
        let mut prepared = Prepared::builder();
        for class in view.classes() {
            let variants = class
                .painted()
                .iter()
                .map(|p| Ok((p.of, self.input(&p.features.level(self.number)?)?)))
                .collect::<Result<Vec<_>>>()?;
            let variants = match self.is_plain() {
                true => variants,
                false => {
                    let maps = (0..class.len())
                        .map(|i| self.input(&class.image(i, self.number)?))
                        .collect::<Result<_>>()?;
                    let name = class.name();
                    let mut maps = match (class.is_rehearsed(), fit) {
                        (true, _) => self.chain.fitted(name, maps),
                        (false, false) => self.chain.held_out(name, maps, variants),
                        (false, true) => {
                            self.chain.add(name).and_then(|()| self.chain.fit(name, maps, variants))
                        }
                    }
                    .at(|| format!("level `{}` of class `{name}`", self.raw.name))?;
                    let variants = std::mem::take(&mut maps.variants);
                    prepared.push(class, maps);
                    variants
                }
            };
            let mut tokens = DefectTokens::default();
            for (painted, (_, map)) in class.painted().iter().zip(&variants) {
                tokens.push(map, &painted.mask, self.flow.level());
            }
            self.defects.push(tokens);
        }
        if self.is_plain() {
            return Ok(());
        }
        self.prepared = Some(prepared.finish(view.stage(), self.flow.level())?);
        Ok(())
    }
}
