//! What detectors that train on tokens share: drawing the tokens of a step, standardising them, refusing what cannot be drawn from.

use crate::encoder::LevelSpec;
use crate::error::{Error, ErrorKind, Result};
use crate::state::Stateful;
use crate::view::{TrainClass, TrainView};
use ccnf_tensor::ops::Index;
use ccnf_tensor::rand::Rng;
use ccnf_tensor::{Mat, Owner, Param, mat};

/// Tokens of one step, class after class.
#[derive(Debug, Clone)]
pub struct TokenBatch {
    /// Standardised features, `[N, D]`.
    pub x: Mat,
    /// Each token's class, counted within the view.
    pub class: Index,
    /// Each token's cell.
    pub position: Index,
}

/// `tokens` tokens, equally many per class of the view (class-balanced), uniform over images and positions.
pub fn sample_tokens(
    view: &TrainView,
    level: usize,
    tokens: usize,
    standard: &Standardization,
    rng: &mut impl Rng,
) -> Result<TokenBatch> {
    let spec = &view.levels()[level];
    let (d, cells) = (spec.channels, spec.tokens());
    let classes = view.classes().len().max(1);
    let (mut x, mut class, mut position) = (Vec::with_capacity(tokens * d), vec![], vec![]);
    for (c, images) in view.classes().iter().enumerate() {
        let n = tokens / classes + usize::from(c < tokens % classes);
        for _ in 0..n {
            let cell = rng.gen_range(0..cells);
            let image = rng.gen_range(0..images.len());
            standard.push(&images.part(image, level, cell * d..(cell + 1) * d)?, &mut x);
            class.push(c as u32);
            position.push(cell as u32);
        }
    }
    Ok(TokenBatch { x: mat(x, class.len(), d)?, class: class.into(), position: position.into() })
}

/// All tokens of whole images, equally many images of each class of the view (class-balanced): about `tokens` tokens, at least one image
/// per class. Images are drawn with replacement.
pub fn sample_maps(
    view: &TrainView,
    level: usize,
    tokens: usize,
    standard: &Standardization,
    rng: &mut impl Rng,
) -> Result<TokenBatch> {
    let spec = &view.levels()[level];
    let (d, cells) = (spec.channels, spec.tokens());
    let classes = view.classes().len().max(1);
    let images = (tokens / cells.max(1) / classes).max(1);
    let (mut x, mut class, mut position) =
        (Vec::with_capacity(images * classes * spec.len()), vec![], vec![]);
    for (c, of_class) in view.classes().iter().enumerate() {
        for _ in 0..images {
            let image = rng.gen_range(0..of_class.len());
            standard.push(&of_class.image(image, level)?, &mut x);
            class.resize(class.len() + cells, c as u32);
            position.extend(0..cells as u32);
        }
    }
    Ok(TokenBatch { x: mat(x, class.len(), d)?, class: class.into(), position: position.into() })
}

/// Fails for a class that cannot be drawn from: one without images, or with images of another size than the levels say.
pub fn check_trainable(class: &TrainClass, levels: &[LevelSpec]) -> Result<()> {
    if class.is_empty() {
        return Err(Error::new(
            ErrorKind::Dataset,
            format!("the class `{}` has no training image", class.name()),
        ));
    }
    for (number, level) in levels.iter().enumerate() {
        for i in 0..class.len() {
            check_size(&class.image(i, number)?, level)
                .map_err(|e| e.at(format!("image {i} of class `{}`", class.name())))?;
        }
    }
    Ok(())
}

/// Fails for an image whose values at a level are not as many as the level says.
pub fn check_size(values: &[f32], level: &LevelSpec) -> Result<()> {
    if values.len() == level.len() {
        return Ok(());
    }
    let (n, wanted) = (values.len(), level.len());
    let message = format!("an image has {n} values at level `{}`, not {wanted}", level.name);
    Err(Error::new(ErrorKind::Encoder, message))
}

/// Per-channel standardisation with the first stage's mean and population std; shared, fixed after the first stage.
#[derive(Debug)]
pub struct Standardization {
    mean: Param,
    std: Param,
    cached: (Vec<f32>, Vec<f32>),
}

impl Standardization {
    /// The identity for `dim` channels; its tensors are called `scope.standard.*`.
    pub fn new(scope: &str, dim: usize) -> Result<Self> {
        Ok(Standardization {
            mean: Param::buffer(format!("{scope}.standard.mean"), Owner::Shared, vec![0.0; dim], 1, dim)?,
            std: Param::buffer(format!("{scope}.standard.std"), Owner::Shared, vec![1.0; dim], 1, dim)?,
            cached: (vec![0.0; dim], vec![1.0; dim]),
        })
    }

    /// Fits mean and std over all tokens of the view. A constant channel keeps std 1.
    pub fn fit(&mut self, view: &TrainView, level: usize) -> Result<()> {
        let d = view.levels()[level].channels;
        let (mut n, mut sum, mut squares) = (0u64, vec![0.0f64; d], vec![0.0f64; d]);
        // Shifted by the first token, so that the squares do not cancel.
        let shift: Vec<f64> = match view.classes().first() {
            Some(c) => c.part(0, level, 0..d)?.iter().map(|v| f64::from(*v)).collect(),
            None => vec![0.0; d],
        };
        for class in view.classes() {
            for i in 0..class.len() {
                for token in class.image(i, level)?.chunks_exact(d) {
                    n += 1;
                    for (((s, q), v), shift) in sum.iter_mut().zip(&mut squares).zip(token).zip(&shift) {
                        let v = f64::from(*v) - shift;
                        *s += v;
                        *q += v * v;
                    }
                }
            }
        }
        let n = n.max(1) as f64;
        let mean: Vec<f32> = sum.iter().zip(&shift).map(|(s, shift)| (s / n + shift) as f32).collect();
        let std: Vec<f32> = squares
            .iter()
            .zip(&sum)
            .map(|(q, s)| (q / n - (s / n) * (s / n)).max(0.0).sqrt() as f32)
            .map(|s| if s > 0.0 { s } else { 1.0 })
            .collect();
        self.mean.set(mean)?;
        self.std.set(std)?;
        self.refresh();
        Ok(())
    }

    /// Reads the tensors again after loading.
    pub fn refresh(&mut self) {
        self.cached = (self.mean.to_vec(), self.std.to_vec());
    }

    /// Appends the standardised tokens of `values` to `out`.
    pub fn push(&self, values: &[f32], out: &mut Vec<f32>) {
        let (mean, std) = &self.cached;
        for token in values.chunks_exact(mean.len().max(1)) {
            out.extend(token.iter().zip(mean).zip(std).map(|((v, m), s)| (v - m) / s));
        }
    }
}

impl Stateful for Standardization {
    fn params(&self) -> Vec<&Param> {
        vec![&self.mean, &self.std]
    }
    fn params_mut(&mut self) -> Vec<&mut Param> {
        vec![&mut self.mean, &mut self.std]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::ImageFeatures;
    use std::sync::Arc;

    fn view(classes: &[&[&[f32]]]) -> TrainView {
        let level = LevelSpec { name: "l".into(), height: 1, width: 2, channels: 2 };
        let image = |v: &&[f32]| -> Arc<dyn ImageFeatures> { Arc::new(vec![v.to_vec()]) };
        let class =
            |(i, c): (usize, &&[&[f32]])| TrainClass::new(i.to_string(), c.iter().map(image).collect());
        TrainView::new(0, vec![level], classes.iter().enumerate().map(class).collect())
    }

    #[test]
    fn the_std_divides_by_the_number_of_tokens_and_a_constant_channel_by_one() {
        let mut s = Standardization::new("level0", 2).unwrap();
        s.fit(&view(&[&[&[1.0, 0.1, 3.0, 0.1]], &[&[5.0, 0.1, 7.0, 0.1]]]), 0).unwrap();
        assert_eq!(s.params()[0].to_vec(), [4.0, 0.1]);
        assert!((s.params()[1].to_vec()[0] - 5f32.sqrt()).abs() < 1e-6);
        assert_eq!(s.params()[1].to_vec()[1], 1.0);
        let mut z = vec![];
        s.push(&[4.0 + 5f32.sqrt(), 1.1], &mut z);
        assert!((z[0] - 1.0).abs() < 1e-6 && (z[1] - 1.0).abs() < 1e-6, "{z:?}");
    }

    #[test]
    fn whole_maps_are_drawn_equally_per_class_and_at_least_one() {
        // maps of two tokens, class 0 with two images
        let view = view(&[&[&[0.0, 1.0, 2.0, 3.0], &[10.0, 11.0, 12.0, 13.0]], &[&[20.0, 21.0, 22.0, 23.0]]]);
        let standard = Standardization::new("level0", 2).unwrap();
        for (tokens, images) in [(1, 1), (11, 2), (12, 3)] {
            let mut rng = ccnf_tensor::Streams::new(5).stream("maps", 0);
            let batch = sample_maps(&view, 0, tokens, &standard, &mut rng).unwrap();
            let wanted: Vec<u32> = [0, 1].iter().flat_map(|c| vec![*c; 2 * images]).collect();
            assert_eq!(batch.class[..], wanted, "{tokens} tokens");
            assert!(batch.position.chunks(2).all(|p| p == [0, 1]));
            for map in batch.x.as_vec().chunks(4) {
                assert!(map.windows(2).all(|w| w[1] == w[0] + 1.0), "{map:?} is not one image");
            }
        }
    }

    #[test]
    fn classes_have_their_places_and_an_unannounced_one_is_an_error() {
        let view = view(&[&[], &[]]);
        let known = ["x", "1", "0"].map(String::from);
        assert_eq!(view.places_in(&known).unwrap(), [2, 1]);
        assert!(view.places_in(&known[..2]).unwrap_err().to_string().contains("`0`"));
    }
}
