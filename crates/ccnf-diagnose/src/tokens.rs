//! The latents of fixed tokens: those of the same normal test images and places after every stage.

use crate::Options;
use ccnf_core::{Error, ErrorKind, Result, ResultExt};
use ccnf_engine::Reopened;
use ccnf_tensor::Streams;
use ccnf_tensor::rand::seq::index::sample;

/// Latents, row after row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TokenSet {
    pub(crate) dim: usize,
    /// `[n][dim]`.
    pub(crate) z: Vec<f32>,
}

impl TokenSet {
    pub(crate) fn rows(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.z.chunks_exact(self.dim.max(1))
    }
}

/// The numbers of the normal images among the test images of a class.
pub(crate) fn normal_images(run: &Reopened, class: &str) -> Result<Vec<usize>> {
    let all = run.test(class, |images| Ok(vec![(); images.len()]))?;
    Ok(all.iter().enumerate().filter(|(_, s)| !s.label.anomalous).map(|(i, _)| i).collect())
}

/// The latents of tokens of the normal test images `normal` of `class` under that class, per level, in the state that `run` is in. Tokens
/// are drawn without replacement over images and places; the draw depends on the seed, the class and the level alone, so that it is the
/// same after every stage. Fewer where the class has fewer. `None` for a class without normal test images.
pub(crate) fn fixed_latents(
    run: &Reopened,
    class: &str,
    normal: &[usize],
    options: &Options,
) -> Result<Option<Vec<TokenSet>>> {
    if normal.is_empty() {
        return Ok(None);
    }
    let levels = run.assembly().encoder.levels().len();
    let at = |l| at_level(run, class, normal, l, options).at(|| format!("level {l} of class `{class}`"));
    (0..levels).map(at).collect::<Result<_>>().map(Some)
}

fn at_level(
    run: &Reopened,
    class: &str,
    normal: &[usize],
    level: usize,
    options: &Options,
) -> Result<TokenSet> {
    let probe = run.detector().probe().ok_or_else(|| Error::new(ErrorKind::Contract, "no probe"))?;
    let images = run.features(class)?;
    let latents = |of_normal: usize| {
        let image = images[normal[of_normal]].as_ref();
        let mut found = probe.latents(&[image], class, level)?;
        found.pop().ok_or_else(|| Error::new(ErrorKind::Contract, "no latents of an image"))
    };
    let rows = latents(0)?.rows();
    let mut rng = Streams::new(options.seed).stream(&format!("diagnose.tokens.{class}"), level as u64);
    let total = normal.len() * rows;
    let mut chosen = sample(&mut rng, total, options.tokens.min(total)).into_vec();
    chosen.sort_unstable();
    let mut set = TokenSet { dim: 0, z: vec![] };
    for of_image in chosen.chunk_by(|a, b| a / rows == b / rows) {
        let latents = latents(of_image[0] / rows)?;
        set.dim = latents.dim;
        of_image.iter().for_each(|token| set.z.extend_from_slice(latents.row(token % rows)));
    }
    Ok(set)
}
