//! What the first stage may do beyond training its classes' rows, so that rows of later classes fall where the flow was trained.

use ccnf::core::TokenBatch;
use ccnf::dfdx::prelude::HasShape;
use ccnf::prelude::*;
use ccnf::rand::Rng;
use serde::{Deserialize, Serialize};

/// Switches of the first stage (CCNF notes, section 11, V3). Later stages, and what is stored of a class, stay those of the plain method.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FirstTaskConfig {
    /// Deviation of normal noise on every class's row, drawn anew in every step; 0: none.
    pub noise: f32,
    /// Share of a step's tokens that become mixtures of a token of their class and one of another class, under the same mixture of the two
    /// rows (Zhang et al. 2018, mixup); 0: none.
    pub mixup: f32,
    /// Clusters (k-means on mean tokens of images) into which the images of every class are cut; each is trained on like a class, with a
    /// row that is thrown away when the stage ends. 0 or 1: none.
    pub pseudo_classes: usize,
    /// Share of the steps in which one class, drawn at random, is treated like a new one: its tokens are seen under a row that was fitted
    /// to other tokens of it in a few steps from the mean of the other rows. 0: none.
    pub episodes: f32,
    /// Steps in which an episode fits its row.
    pub inner_steps: usize,
    /// Learning rate (Adam) of these steps.
    pub inner_lr: f64,
}

impl Default for FirstTaskConfig {
    fn default() -> Self {
        FirstTaskConfig {
            noise: 0.0,
            mixup: 0.0,
            pseudo_classes: 0,
            episodes: 0.0,
            inner_steps: 5,
            inner_lr: 0.1,
        }
    }
}

impl FirstTaskConfig {
    /// Fails for values that make no sense.
    pub(crate) fn check<S>(&self, build: &Build<'_, S>) -> Result<()> {
        let out_of = |key: &str, limits: &str| Err(build.error(key, format!("must be between {limits}")));
        if !(0.0..=100.0).contains(&self.noise) {
            return out_of("first_task.noise", "0 and 100");
        }
        if !(0.0..=1.0).contains(&self.mixup) {
            return out_of("first_task.mixup", "0 and 1");
        }
        if !(0.0..=1.0).contains(&self.episodes) {
            return out_of("first_task.episodes", "0 and 1");
        }
        if self.inner_steps == 0 || self.inner_steps > 1000 {
            return out_of("first_task.inner_steps", "1 and 1000");
        }
        if !(self.inner_lr > 0.0 && self.inner_lr <= 100.0) {
            return Err(build.error("first_task.inner_lr", "must be in (0, 100]"));
        }
        Ok(())
    }

    /// Whether steps see other rows than those of the classes.
    pub(crate) fn mixes(&self) -> bool {
        self.noise > 0.0 || self.mixup > 0.0 || self.episodes > 0.0
    }
}

/// Tokens of a step under rows made of those of the classes.
pub(crate) struct Mixed {
    pub(crate) batch: TokenBatch,
    pub(crate) rows: RowMix,
}

impl Mixed {
    /// Number of rows that tokens point to.
    pub(crate) fn rows(&self) -> usize {
        self.rows.mix.shape().0
    }
}

/// The row that an episode has fitted for the class with this entry in the batch.
pub(crate) struct Fitted {
    pub(crate) entry: usize,
    pub(crate) row: Vec<f32>,
}

/// Makes the rows of a step for the tokens of `classes` classes: first one row per class, its own or the one fitted for it, then, with mixup,
/// one mixture of each class with another. All get `noise`, `[rows, width]` normal values per row of deviation 1.
pub(crate) fn mixed(
    config: &FirstTaskConfig,
    batch: &TokenBatch,
    classes: usize,
    width: usize,
    fitted: Option<Fitted>,
    noise: impl FnOnce(usize) -> Vec<f32>,
    rng: &mut impl Rng,
) -> Result<Mixed> {
    let (mut mix, mut shift) = (vec![0.0f32; classes * classes], vec![0.0f32; classes * width]);
    (0..classes).for_each(|c| mix[c * classes + c] = 1.0);
    if let Some(Fitted { entry, row }) = fitted {
        mix[entry * classes + entry] = 0.0;
        shift[entry * width..(entry + 1) * width].copy_from_slice(&row);
    }
    let mut batch = batch.clone();
    if config.mixup > 0.0 && classes > 1 {
        let partners: Vec<(usize, f32)> = (0..classes)
            .map(|c| {
                let other = rng.gen_range(0..classes - 1);
                (other + usize::from(other >= c), rng.r#gen::<f32>())
            })
            .collect();
        for (c, (other, share)) in partners.iter().enumerate() {
            for (values, len) in [(&mut mix, classes), (&mut shift, width)] {
                let mean = |i: usize| share * values[c * len + i] + (1.0 - share) * values[other * len + i];
                let row: Vec<f32> = (0..len).map(mean).collect();
                values.extend(row);
            }
        }
        mix_tokens(config.mixup, &mut batch, classes, &partners, rng)?;
    }
    let rows = mix.len() / classes.max(1);
    if config.noise > 0.0 {
        shift.iter_mut().zip(noise(rows * width)).for_each(|(s, n)| *s += config.noise * n);
    }
    let rows = RowMix { mix: mat(mix, rows, classes)?, shift: constant(&mat(shift, rows, width)?) };
    Ok(Mixed { batch, rows })
}

/// Mixes a share of the tokens with tokens of their class's partner and points them to the mixture of the rows.
fn mix_tokens(
    share: f32,
    batch: &mut TokenBatch,
    classes: usize,
    partners: &[(usize, f32)],
    rng: &mut impl Rng,
) -> Result<()> {
    let (n, d) = *batch.x.shape();
    let before = batch.x.as_vec();
    let (mut x, mut class) = (before.clone(), batch.class.to_vec());
    let mut of = vec![Vec::new(); classes];
    batch.class.iter().enumerate().for_each(|(n, c)| of[*c as usize].push(n));
    for (n, row) in x.chunks_exact_mut(d.max(1)).enumerate() {
        let c = class[n] as usize;
        let (other, weight) = partners[c];
        if of[other].is_empty() || rng.r#gen::<f32>() >= share {
            continue;
        }
        let m = of[other][rng.gen_range(0..of[other].len())];
        let with = &before[m * d..(m + 1) * d];
        row.iter_mut().zip(with).for_each(|(x, y)| *x = weight * *x + (1.0 - weight) * y);
        class[n] = (classes + c) as u32;
    }
    batch.x = mat(x, n, d)?;
    batch.class = class.into();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(classes: usize) -> TokenBatch {
        let n = 12 * classes;
        TokenBatch {
            x: mat(Streams::new(1).normal("x", n * 3), n, 3).unwrap(),
            class: (0..n).map(|i| (i / 12) as u32).collect(),
            position: (0..n as u32).collect(),
        }
    }

    fn made(config: &FirstTaskConfig, classes: usize, fitted: Option<Fitted>) -> Mixed {
        let noise = |n: usize| Streams::new(2).normal("noise", n);
        mixed(config, &batch(classes), classes, 2, fitted, noise, &mut Streams::new(3).stream("m", 0))
            .unwrap()
    }

    #[test]
    fn a_mixed_token_and_its_row_have_the_same_shares() {
        let config = FirstTaskConfig { mixup: 0.5, ..FirstTaskConfig::default() };
        let (before, after) = (batch(3), made(&config, 3, None));
        let (x, mixed, mix) = (before.x.as_vec(), after.batch.x.as_vec(), after.rows.mix.as_vec());
        assert_eq!(after.rows.mix.shape(), &(6, 3));
        assert_eq!(&mix[..9], [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0], "each class's own row first");
        let mut changed = 0;
        for n in 0..36 {
            let (token, own) = (&mixed[3 * n..3 * n + 3], &x[3 * n..3 * n + 3]);
            let (c, row) = (before.class[n] as usize, after.batch.class[n] as usize);
            if row < 3 {
                assert_eq!((row, token), (c, own), "token {n}");
                continue;
            }
            changed += 1;
            assert_eq!(row, 3 + c, "token {n}");
            let shares = &mix[3 * row..3 * row + 3];
            let other = (0..3).find(|k| *k != c && shares[*k] > 0.0).unwrap();
            assert!((shares[c] + shares[other] - 1.0).abs() < 1e-6, "{shares:?}");
            let fits = |m: &usize| {
                let with = &x[3 * m..3 * m + 3];
                (0..3).all(|i| (token[i] - shares[c] * own[i] - shares[other] * with[i]).abs() < 1e-5)
            };
            assert!((12 * other..12 * other + 12).any(|m| fits(&m)), "token {n} is no mixture");
        }
        assert!((8..28).contains(&changed), "{changed} of 36 tokens are mixed");
        assert_eq!(after.batch.position, before.position);
    }

    #[test]
    fn noise_moves_every_row_by_itself() {
        let config = FirstTaskConfig { noise: 0.5, mixup: 0.1, ..FirstTaskConfig::default() };
        let shift = made(&config, 3, None).rows.shift.as_vec();
        let expected: Vec<f32> = Streams::new(2).normal("noise", 12).iter().map(|v| 0.5 * v).collect();
        assert_eq!(shift, expected);
    }

    #[test]
    fn a_fitted_row_takes_the_place_of_the_class_s_own_also_in_mixtures() {
        let config = FirstTaskConfig { mixup: 0.5, ..FirstTaskConfig::default() };
        let rows = made(&config, 2, Some(Fitted { entry: 1, row: vec![5.0, -3.0] })).rows;
        let known = constant(&mat(vec![1.0, 2.0, 10.0, 20.0], 2, 2).unwrap());
        let (made, mix) = (rows.apply(&known).unwrap().as_vec(), rows.mix.as_vec());
        assert_eq!(made[..4], [1.0, 2.0, 5.0, -3.0], "the row of class 0 and the fitted one");
        for mixture in 2..4 {
            let share = mix[2 * mixture];
            let expected = [share + 5.0 * (1.0 - share), 2.0 * share - 3.0 * (1.0 - share)];
            let found = &made[2 * mixture..2 * mixture + 2];
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5), "{found:?}, {expected:?}");
            assert_eq!(mix[2 * mixture + 1], 0.0, "its own row is not seen");
        }
    }

    #[test]
    fn one_class_alone_is_never_mixed() {
        let config = FirstTaskConfig { mixup: 1.0, ..FirstTaskConfig::default() };
        let after = made(&config, 1, None);
        assert_eq!(after.rows.mix.shape(), &(1, 1));
        assert_eq!(after.batch.x.as_vec(), batch(1).x.as_vec());
    }
}
