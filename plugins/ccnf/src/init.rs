//! How the row of a class of a later stage starts (CCNF notes, section 11).

use crate::level::LevelFlow;
use ccnf::prelude::*;
use ccnf::rand::Rng;
use serde::{Deserialize, Serialize};

/// How the row of a new class starts; all are free of training cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RowInitConfig {
    /// The best of `zero`, `mean`, `nearest` and `weighted` by the likelihood of new tokens.
    Best,
    /// All zeros.
    Zero,
    /// The mean of the known rows.
    Mean,
    /// The row of the known class under which the new tokens are most likely.
    Nearest,
    /// The mean of the known rows weighted by `softmax(mean l_y / D)`.
    Weighted,
    /// Standard normal.
    Random,
}

/// Tokens on which candidates are compared, about as many where they are whole maps.
const TOKENS: usize = 1024;

/// The start row of `class`, before it is added to `level`'s flow. Without known classes the row is random; a conditioner may want the
/// class's prototype instead.
pub(crate) fn initial_row(
    config: RowInitConfig,
    level: &mut LevelFlow,
    view: &TrainView,
    class: &TrainClass,
    streams: &Streams,
) -> Result<RowInit> {
    if level.flow.conditioner().wants_prototype() {
        return prototype(level, view, class).map(RowInit::Values);
    }
    let known = level.flow.conditioner().classes().len();
    if known == 0 || config == RowInitConfig::Random {
        return Ok(RowInit::Random);
    }
    let width = level.flow.conditioner().row_width();
    let rows = (0..known).map(|c| level.flow.conditioner().row(c)).collect::<Result<Vec<_>>>()?;
    let weighted = |w: &[f32]| -> Vec<f32> {
        (0..width).map(|j| rows.iter().zip(w).map(|(r, w)| r[j] * w).sum()).collect()
    };
    let mean = weighted(&vec![1.0 / known as f32; known]);
    let zero = vec![0.0; width];
    if config == RowInitConfig::Zero {
        return Ok(RowInit::Values(zero));
    }
    if config == RowInitConfig::Mean {
        return Ok(RowInit::Values(mean));
    }
    let (x, position) = tokens(level, view, class, streams)?;
    let mut likelihoods = Vec::with_capacity(known);
    for row in &rows {
        likelihoods.push(likelihood_of_row(level, &x, &position, row)?);
    }
    let best = (0..known).fold(0, |b, c| if likelihoods[c] > likelihoods[b] { c } else { b });
    let top = likelihoods[best];
    let dim = level.flow.level().channels as f32;
    let mut softmax: Vec<f32> = likelihoods.iter().map(|l| ((l - top) / dim).exp()).collect();
    let sum: f32 = softmax.iter().sum();
    softmax.iter_mut().for_each(|w| *w /= sum);
    let nearest = rows[best].clone();
    let by_weight = weighted(&softmax);
    match config {
        RowInitConfig::Nearest => return Ok(RowInit::Values(nearest)),
        RowInitConfig::Weighted => return Ok(RowInit::Values(by_weight)),
        _ => {}
    }
    let mut winner = (f32::NEG_INFINITY, zero.clone());
    for candidate in [zero, mean, nearest, by_weight] {
        let l = likelihood_of_row(level, &x, &position, &candidate)?;
        if l > winner.0 {
            winner = (l, candidate);
        }
    }
    Ok(RowInit::Values(winner.1))
}

/// The mean likelihood of tokens under a row, in place of the row of the first class, which has no private parts and is put back bit for
/// bit.
fn likelihood_of_row(level: &mut LevelFlow, x: &Mat, position: &Index, row: &[f32]) -> Result<f32> {
    let kept = level.flow.conditioner().row(0)?;
    level.flow.conditioner_mut().set_row(0, row.to_vec())?;
    let likelihood = level.log_prob(x, position, 0);
    level.flow.conditioner_mut().set_row(0, kept)?;
    let likelihood = likelihood?;
    let sum: f64 = likelihood.iter().map(|v| f64::from(*v)).sum();
    Ok((sum / likelihood.len().max(1) as f64) as f32)
}

/// The mean of all training tokens of a class as the flow sees them.
pub(crate) fn prototype(level: &LevelFlow, view: &TrainView, class: &TrainClass) -> Result<Vec<f32>> {
    let source = level.source(view)?;
    let d = source.view.levels()[source.level].channels;
    let class = source.view.classes().iter().find(|c| c.name() == class.name()).unwrap_or(class);
    let (mut sum, mut n, mut tokens) = (vec![0.0f64; d], 0u64, Vec::new());
    for i in 0..class.len() {
        tokens.clear();
        source.standard.push(&class.image(i, source.level)?, &mut tokens);
        for token in tokens.chunks_exact(d) {
            sum.iter_mut().zip(token).for_each(|(s, v)| *s += f64::from(*v));
            n += 1;
        }
    }
    Ok(sum.iter().map(|s| (s / n.max(1) as f64) as f32).collect())
}

fn tokens(
    level: &LevelFlow,
    view: &TrainView,
    class: &TrainClass,
    streams: &Streams,
) -> Result<(Mat, Index)> {
    let source = level.source(view)?;
    let spec = &source.view.levels()[source.level];
    // The same class as the flow will see it.
    let class = source.view.classes().iter().find(|c| c.name() == class.name()).unwrap_or(class);
    let mut rng = streams.stream(&format!("init.level{}.{}", level.number, class.name()), 0);
    let (mut x, mut position) = (Vec::new(), Vec::new());
    if level.flow.needs_maps() {
        for _ in 0..(TOKENS / spec.tokens().max(1)).max(1) {
            let image = rng.gen_range(0..class.len());
            source.standard.push(&class.image(image, source.level)?, &mut x);
            position.extend(0..spec.tokens() as u32);
        }
        return Ok((mat(x, position.len(), spec.channels)?, position.into()));
    }
    for _ in 0..TOKENS {
        let cell = rng.gen_range(0..spec.tokens());
        let image = rng.gen_range(0..class.len());
        let token = cell * spec.channels..(cell + 1) * spec.channels;
        source.standard.push(&class.part(image, source.level, token)?, &mut x);
        position.push(cell as u32);
    }
    Ok((mat(x, TOKENS, spec.channels)?, position.into()))
}
