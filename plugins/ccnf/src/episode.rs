//! Episodes of the first stage: a class is treated like a new one.

use crate::first_task::{FirstTaskConfig, Fitted};
use crate::input::Source;
use crate::level::LevelFlow;
use crate::loss::log_prior;
use ccnf::core::sample_tokens;
use ccnf::dfdx::prelude::{MeanTo, Rank0};
use ccnf::prelude::*;
use ccnf::rand::Rng;
use ccnf::tensor::AdamSettings;

/// The row that an episode has fitted.
pub(crate) struct Episode {
    pub(crate) fitted: Fitted,
    /// By how much it makes the tokens it was fitted to more likely than the start does, in nats per dimension.
    pub(crate) gain: f64,
}

/// Draws one of the `real` first classes of the source and fits a row to `tokens` tokens of it: `inner_steps` steps of Adam from the mean of
/// the rows of the other real classes, with everything else as it is. `known` are the places of the classes in the conditioner.
///
/// The step that follows sees the class's tokens under this row as a constant, so its likelihood is the outer loss, and second-order terms are
/// left out (first-order MAML, Finn et al. 2017). The class's own row is not trained in that step.
pub(crate) fn episode(
    level: &LevelFlow,
    config: &FirstTaskConfig,
    source: &Source<'_>,
    known: &[usize],
    real: usize,
    tokens: usize,
    rng: &mut impl Rng,
) -> Result<Option<Episode>> {
    if real < 2 {
        return Ok(None);
    }
    let entry = rng.gen_range(0..real);
    let class = source.view.classes()[entry].clone();
    let view = TrainView::new(source.view.stage(), source.view.levels().to_vec(), vec![class]);
    let batch = sample_tokens(&view, source.level, tokens.max(1), source.standard, rng)?;
    let conditioner = level.flow.conditioner();
    let mut start = vec![0.0f32; conditioner.row_width()];
    for other in (0..real).filter(|c| *c != entry) {
        let row = conditioner.row(known[other])?;
        start.iter_mut().zip(row).for_each(|(s, v)| *s += v / (real - 1) as f32);
    }
    let width = start.len();
    let mut row = Param::weight("episode.row", Owner::Shared, start, 1, width)?;
    let mut adam = Adam::new(AdamSettings::default());
    let (mut first, mut last) = (0.0, 0.0);
    for step in 0..=config.inner_steps {
        let (loss, (), mut grads) = gradients(|| {
            let rows = RowMix { mix: mat(vec![0.0], 1, 1)?, shift: row.var() };
            let conditions =
                level.flow.condition_mixed(&[known[entry]], &rows, &batch.class, &batch.position)?;
            let out = level.flow.forward(&constant(&batch.x), &conditions)?;
            let likelihood = (log_prior(&out.z)? + out.log_det).mean::<Rank0, _>();
            Ok::<_, Error>((likelihood * (-1.0 / level.flow.level().channels as f32), ()))
        })?;
        if step == 0 {
            first = f64::from(loss);
        }
        last = f64::from(loss);
        if step < config.inner_steps {
            adam.step(&mut [&mut row], &mut grads, config.inner_lr)?;
        }
    }
    Ok(Some(Episode { fitted: Fitted { entry, row: row.to_vec() }, gain: first - last }))
}
