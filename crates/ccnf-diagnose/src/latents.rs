//! How well the classes are separated in the latents, as numbers and as a picture.

use crate::Options;
use crate::functional::StageView;
use crate::neighbours::Distances;
use crate::part::Part;
use crate::tsne::embed;
use ccnf_core::Result;
use ccnf_engine::{ClassEntry, Number, Observer};
use serde::{Deserialize, Serialize};

/// A token in the picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Index into [`LatentMap::classes`].
    pub class: usize,
    /// First coordinate.
    pub x: f64,
    /// Second coordinate.
    pub y: f64,
}

/// The latents of one level after one stage: of fixed tokens of normal test images, each under its own class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LatentMap {
    /// The stage after which, from 0.
    pub stage: usize,
    /// The level.
    pub level: usize,
    /// Dimension of a latent.
    pub dim: usize,
    /// The classes, with the stage in which each was learnt.
    pub classes: Vec<ClassEntry>,
    /// Number of tokens.
    pub tokens: usize,
    /// Fraction of tokens whose class is that of most of their nearest neighbours, in the latents.
    pub accuracy: Number,
    /// Mean silhouette of the classes, in the latents.
    pub silhouette: Number,
    /// The t-SNE embedding.
    pub points: Part<Vec<Point>>,
}

/// The maps of all stages and levels.
pub(crate) fn latent_maps(
    stages: &[StageView],
    learnt: &[ClassEntry],
    options: &Options,
    observer: &dyn Observer,
) -> Result<Vec<LatentMap>> {
    let levels = stages.first().map_or(0, |s| s.log_weights.len());
    observer.start("latents", (stages.len() * levels) as u64);
    let mut out = Vec::new();
    for (stage, view) in stages.iter().enumerate() {
        for level in 0..levels {
            out.push(latent_map(stage, level, view, learnt, options)?);
            observer.advance(out.len() as u64, &format!("stage {}, level {level}", stage + 1));
        }
    }
    observer.finish();
    Ok(out)
}

fn latent_map(
    stage: usize,
    level: usize,
    view: &StageView,
    learnt: &[ClassEntry],
    options: &Options,
) -> Result<LatentMap> {
    let (mut classes, mut z, mut class, mut dim) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for entry in learnt.iter().filter(|c| view.classes.contains(&c.name)) {
        let Some(Some(sets)) = view.latents.get(&entry.name) else { continue };
        class.resize(class.len() + sets[level].rows().len(), classes.len());
        z.extend_from_slice(&sets[level].z);
        dim = sets[level].dim;
        classes.push(entry.clone());
    }
    let distances = Distances::of(&z, dim);
    let picture = embed(&z, dim.max(1), options.components, options.perplexity)?;
    let points = match picture {
        None => Part::Undefined("too few tokens for a picture".into()),
        Some(places) => {
            let point = |([x, y], class): ([f64; 2], &usize)| Point { class: *class, x, y };
            Part::Found(places.into_iter().zip(&class).map(point).collect())
        }
    };
    Ok(LatentMap {
        stage,
        level,
        dim,
        tokens: distances.points(),
        accuracy: distances.accuracy(&class, options.neighbours),
        silhouette: distances.silhouette(&class),
        classes,
        points,
    })
}
