//! Painted defects: what the flow is taught to tell from normal tokens.

use ccnf::dfdx::prelude::{MeanTo, Rank0};
use ccnf::prelude::*;
use ccnf::rand::Rng;
use ccnf::tensor::softplus;
use serde::{Deserialize, Serialize};

/// Training against defects painted on the training images. The flow stays a density (its likelihood is trained as ever); in addition it is
/// taught to give the tokens of painted defects a lower one. Only tensors that a stage may change learn from it: the shared flow in the first
/// stage, a class's own row later.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DefectsConfig {
    /// Painted images per training image; 0: none. Without a flow there is nothing to train and none are made.
    pub versions: usize,
    /// Weight of the term beside the negative log-likelihood per dim.
    pub weight: f32,
    /// Sharpness `t` of the term.
    pub sharpness: f32,
    /// How far above the mean energy of a step's normal tokens the energies are cut into normal and defective; a standard normal latent
    /// has a mean energy of 1 above its constant.
    pub margin: f32,
}

impl Default for DefectsConfig {
    fn default() -> Self {
        DefectsConfig { versions: 0, weight: 0.5, sharpness: 2.0, margin: 0.5 }
    }
}

impl DefectsConfig {
    /// Fails for values that make no sense.
    pub(crate) fn check<S>(&self, build: &Build<'_, S>) -> Result<()> {
        if self.versions > 64 {
            return Err(build.error("defects.versions", "must be between 0 and 64"));
        }
        let positive = [("weight", self.weight), ("sharpness", self.sharpness), ("margin", self.margin)];
        for (key, value) in positive {
            if !(value > 0.0 && value <= 1e4) {
                return Err(build.error(&format!("defects.{key}"), "must be in (0, 10000]"));
            }
        }
        Ok(())
    }
}

/// The part of a cell that a defect must cover for its token to count as defective.
const COVERED: f32 = 0.15;

/// The defective tokens of a class at a level, as the flow sees them.
#[derive(Default)]
pub(crate) struct DefectTokens {
    x: Vec<f32>,
    position: Vec<u32>,
}

impl DefectTokens {
    /// Adds the covered tokens of a painted image's map.
    pub(crate) fn push(&mut self, map: &[f32], mask: &Mask, level: &LevelSpec) {
        let (h, w, d) = (level.height, level.width, level.channels);
        let mut covered = vec![0usize; h * w];
        let mut pixels = vec![0usize; h * w];
        for (i, defective) in mask.data.iter().enumerate() {
            let cell = i / mask.width * h / mask.height * w + i % mask.width * w / mask.width;
            pixels[cell] += 1;
            covered[cell] += usize::from(*defective);
        }
        for (cell, (covered, pixels)) in covered.iter().zip(pixels).enumerate() {
            if *covered as f32 > COVERED * pixels.max(1) as f32 {
                self.x.extend_from_slice(&map[cell * d..(cell + 1) * d]);
                self.position.push(cell as u32);
            }
        }
    }

    fn len(&self) -> usize {
        self.position.len()
    }
}

/// Defective tokens of a step.
pub(crate) struct DefectBatch {
    pub(crate) x: Mat,
    /// Each token's class, counted within the view.
    pub(crate) class: Index,
    pub(crate) position: Index,
}

impl DefectBatch {
    /// `tokens` tokens, equally many per class that has any; `None` without any.
    pub(crate) fn sample(
        classes: &[DefectTokens],
        dim: usize,
        tokens: usize,
        rng: &mut impl Rng,
    ) -> Result<Option<DefectBatch>> {
        let some: Vec<(usize, &DefectTokens)> =
            classes.iter().enumerate().filter(|(_, t)| t.len() > 0).collect();
        let (mut x, mut class, mut position) = (Vec::with_capacity(tokens * dim), vec![], vec![]);
        for i in 0..tokens {
            let Some((c, of)) = some.get(i * some.len() / tokens.max(1)) else { return Ok(None) };
            let token = rng.gen_range(0..of.len());
            x.extend_from_slice(&of.x[token * dim..(token + 1) * dim]);
            class.push(*c as u32);
            position.push(of.position[token]);
        }
        Ok(Some(DefectBatch { x: mat(x, class.len(), dim)?, class: class.into(), position: position.into() }))
    }
}

/// `E softplus(t (e - b)) + E softplus(-t (e' - b))` with the energies `e = -(2/D) log p` of normal tokens (`normal` holds `log p`, `[N]`) and
/// `e'` of defective ones, and `b = E e + margin`, a constant: the logistic loss of telling one from the other by their energy. A cut that
/// followed the defective tokens too would run away with the largest of them.
pub(crate) fn telling_apart(
    normal: &VarVec,
    defective: &VarVec,
    dim: usize,
    config: &DefectsConfig,
) -> Scalar {
    let DefectsConfig { sharpness, margin, .. } = *config;
    let k = -2.0 / dim.max(1) as f32;
    let values = normal.as_vec();
    let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / values.len().max(1) as f64;
    let cut = (f64::from(k) * mean) as f32 + margin;
    let part = |v: &VarVec, t: f32| softplus((v.clone() * k - cut) * t).mean::<Rank0, _>();
    part(normal, sharpness) + part(defective, -sharpness)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ccnf::dfdx::prelude::{HasShape, ReshapeTo};

    fn level(height: usize, width: usize) -> LevelSpec {
        LevelSpec { name: "l".into(), height, width, channels: 2 }
    }

    #[test]
    fn tokens_under_the_mask_are_kept_with_their_cells() {
        // 6 x 4 pixels on a grid of 3 x 2: four pixels a cell.
        let mut mask = Mask { width: 4, height: 6, data: vec![false; 24] };
        mask.data[2] = true; // row 0, column 2: cell 1
        mask.data[4 * 5] = true; // row 5, column 0: cell 4
        let map: Vec<f32> = (0..12).map(|v| v as f32).collect();
        let mut tokens = DefectTokens::default();
        tokens.push(&map, &mask, &level(3, 2));
        assert_eq!((&tokens.position[..], &tokens.x[..]), (&[1, 4][..], &[2.0, 3.0, 8.0, 9.0][..]));
        // One pixel of 36 is too little of a cell, and a mask without pixels covers nothing.
        tokens.push(
            &map,
            &Mask { width: 12, height: 18, data: [vec![true], vec![false; 215]].concat() },
            &level(3, 2),
        );
        tokens.push(&map, &Mask { width: 4, height: 6, data: vec![false; 24] }, &level(3, 2));
        assert_eq!(tokens.len(), 2);
    }

    #[test]
    fn a_step_draws_from_every_class_that_has_defective_tokens() {
        let with = |v: f32, n: usize| DefectTokens { x: vec![v; 2 * n], position: (0..n as u32).collect() };
        let classes = [with(1.0, 3), DefectTokens::default(), with(2.0, 1)];
        let mut rng = Streams::new(1).stream("d", 0);
        let batch = DefectBatch::sample(&classes, 2, 6, &mut rng).unwrap().unwrap();
        assert_eq!(batch.class[..], [0, 0, 0, 2, 2, 2]);
        assert_eq!(batch.x.as_vec()[..], [[1.0; 6], [2.0; 6]].concat());
        assert!(DefectBatch::sample(&classes[1..2], 2, 6, &mut rng).unwrap().is_none());
        assert!(DefectBatch::sample(&[], 2, 6, &mut rng).unwrap().is_none());
    }

    #[test]
    fn the_term_is_the_logistic_loss_around_the_cut_and_its_gradient_pulls_apart() {
        let (normal, defective) = (mat(vec![-1.0, -2.0], 1, 2).unwrap(), mat(vec![-4.0], 1, 1).unwrap());
        let row = |m: &Mat| tracked(m).reshape_like(&(m.shape().1,));
        // D = 2: energies 1, 2 and 4, cut at 1.5 + 0.75.
        let config = DefectsConfig { margin: 0.75, ..DefectsConfig::default() };
        let s = |x: f64| x.exp().ln_1p();
        let expected = (s(2.0 * (1.0 - 2.25)) + s(2.0 * (2.0 - 2.25))) / 2.0 + s(-2.0 * (4.0 - 2.25));
        let (value, (), mut grads) =
            gradients(|| Ok::<_, Error>((telling_apart(&row(&normal), &row(&defective), 2, &config), ())))
                .unwrap();
        assert!((f64::from(value) - expected).abs() < 1e-6, "{value}, not {expected}");
        // d/d(log p) = -t sigmoid(t (e - b)) / 2 for each of the two normal tokens, t sigmoid(-t (e' - b)) for the defective one.
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        let slopes =
            [-sigmoid(2.0 * (1.0 - 2.25)), -sigmoid(2.0 * (2.0 - 2.25)), 2.0 * sigmoid(-2.0 * (4.0 - 2.25))];
        let found = [grads.of(&normal).unwrap(), grads.of(&defective).unwrap()].concat();
        let close = found.iter().zip(slopes).all(|(f, s)| (f64::from(*f) - s).abs() < 1e-6);
        assert!(found.len() == 3 && close, "{found:?}, not {slopes:?}");
    }
}
