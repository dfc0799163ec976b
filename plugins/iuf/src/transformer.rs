//! The reconstruction transformer.

use crate::decoder::DecoderLayer;
use crate::encoder::EncoderLayer;
use crate::layers::{LayerNorm, Linear, Noise, detached, unit_uniform};
use ccnf::dfdx::prelude::HasShape;
use ccnf::prelude::*;

/// Sizes of a [`Transformer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransformerShape {
    /// Rows of the grid.
    pub height: usize,
    /// Columns of the grid.
    pub width: usize,
    /// Channels of the features, `C`.
    pub channels: usize,
    /// Width, `d`; even.
    pub d: usize,
    /// Attention heads.
    pub heads: usize,
    /// Width of the feed-forward layers.
    pub hidden: usize,
    /// Layers of the encoder, and of the decoder.
    pub layers: usize,
}

/// Features in, reconstructed features out (spec section 3):
///
/// ```text
/// x = tokens W_in,   x_i = encoder_i(x_(i-1); pe, c_i),   y_i = decoder_i(memory = x_L, previous = y_(i-1); pe),   y_0 = x_L
/// F^ = norm(y_L) W_out
/// ```
///
/// The learned position code `pe` of a cell is `[column table, row table]`, d/2 values each, uniform in [0, 1) at the start. One norm is
/// shared by all decoder outputs; the normalised outputs but the last are the semantic features. The neighbour mask of the published
/// model, off in its default configuration, is left out.
#[derive(Debug, Clone)]
pub struct Transformer {
    shape: TransformerShape,
    input: Linear,
    columns: Param,
    rows: Param,
    encoder: Vec<EncoderLayer>,
    decoder: Vec<DecoderLayer>,
    norm: LayerNorm,
    output: Linear,
}
parts!(Transformer { input, columns, rows, encoder, decoder, norm, output });

/// What a forward pass gives; rows are tokens, image after image.
pub struct Reconstruction {
    /// `F^`, `[N, C]`.
    pub features: Var,
    /// The encoder's output, `[N, d]`.
    pub memory: Var,
    /// The normalised outputs of the decoder layers but the last, `[N, d]` each.
    pub semantic: Vec<Var>,
    /// The outputs of the second feed-forward layers, encoder first, `[N, d]` each.
    pub feed_forward: Vec<Var>,
}

impl Transformer {
    /// A transformer at its start; names begin with `transformer`.
    pub fn new(shape: TransformerShape, s: &Streams) -> Result<Self> {
        let TransformerShape { height, width, channels, d, heads, hidden, layers } = shape;
        let code = |what: &str, n: usize| {
            let name = format!("transformer.position.{what}");
            let values = unit_uniform(s, &name, n * d / 2);
            Param::weight(name, Owner::Shared, values, n, d / 2)
        };
        let encoder = (0..layers)
            .map(|i| EncoderLayer::new(&format!("transformer.encoder{i}"), d, heads, hidden, s))
            .collect::<Result<_>>()?;
        let tokens = height * width;
        let decoder = (0..layers)
            .map(|i| DecoderLayer::new(&format!("transformer.decoder{i}"), tokens, d, heads, hidden, s))
            .collect::<Result<_>>()?;
        Ok(Transformer {
            shape,
            input: Linear::xavier("transformer.input", (channels, d), s)?,
            columns: code("column", width)?,
            rows: code("row", height)?,
            encoder,
            decoder,
            norm: LayerNorm::new("transformer.norm", d)?,
            output: Linear::xavier("transformer.output", (d, channels), s)?,
        })
    }

    /// The position code of the tokens of `images` images, `[images * h * w, d]`.
    pub fn position_code(&self, images: usize) -> Result<Var> {
        use ccnf::dfdx::prelude::{Axis, TryConcatAlong};
        let (h, w) = (self.shape.height as u32, self.shape.width as u32);
        let cells = |f: &dyn Fn(u32) -> u32| -> Index { (0..images as u32 * h * w).map(f).collect() };
        let columns = ops::gather_rows(&self.columns.var(), &cells(&|i| i % w))?;
        let rows = ops::gather_rows(&self.rows.var(), &cells(&|i| i / w % h))?;
        (columns, rows).try_concat_along(Axis::<1>).map_err(crate::layers::device_error)
    }

    /// Reconstructs `images` images. `tokens` is `[images * h * w, C]`; `class` has the discriminator's map for every encoder layer,
    /// `[images * h * w, d]`, of which only the values count: the reconstruction never trains the discriminator.
    pub fn forward(
        &self,
        tokens: &Var,
        class: &[Var],
        images: usize,
        noise: &mut Noise<'_>,
    ) -> Result<Reconstruction> {
        let cells = self.shape.height * self.shape.width;
        if tokens.shape() != &(images * cells, self.shape.channels) || class.len() != self.encoder.len() {
            let message = format!(
                "a reconstruction of {images} images needs {} tokens and {} class maps, not {} and {}",
                images * cells,
                self.encoder.len(),
                tokens.shape().0,
                class.len()
            );
            return Err(Error::new(ErrorKind::Contract, message));
        }
        let position = self.position_code(images)?;
        let cell: Index = (0..(images * cells) as u32).map(|i| i % cells as u32).collect();
        let mut feed_forward = vec![];
        let mut memory = self.input.forward(tokens)?;
        for (layer, class) in self.encoder.iter().zip(class) {
            let out = layer.forward(&memory, &detached(class)?, &position, images, noise)?;
            memory = out.y;
            feed_forward.push(out.feed_forward);
        }
        let (mut y, mut normed) = (memory.clone(), vec![]);
        for layer in &self.decoder {
            let out = layer.forward(&memory, &y, &position, &cell, images, noise)?;
            y = out.y;
            feed_forward.push(out.feed_forward);
            normed.push(self.norm.forward(&y)?);
        }
        let last = normed.pop().unwrap_or_else(|| y.clone());
        Ok(Reconstruction { features: self.output.forward(&last)?, memory, semantic: normed, feed_forward })
    }

    /// The second feed-forward layers in the order of [`Reconstruction::feed_forward`].
    pub fn projected(&self) -> impl Iterator<Item = &Linear> {
        self.encoder.iter().map(|l| l.projected()).chain(self.decoder.iter().map(|l| l.projected()))
    }
}

/// Feature jitter: `token + noise * |token| / C * scale`, row by row of `[N, C]` values; `noise` is standard normal (spec section 3).
pub fn jitter(tokens: &mut [f32], noise: &[f32], channels: usize, scale: f32) {
    for (token, noise) in tokens.chunks_exact_mut(channels).zip(noise.chunks_exact(channels)) {
        let norm = token.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
        let size = (norm / channels as f64) as f32 * scale;
        token.iter_mut().zip(noise).for_each(|(t, n)| *t += n * size);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::losses::reconstruction_loss;
    use ccnf::tensor::tracked;

    const SHAPE: TransformerShape =
        TransformerShape { height: 2, width: 3, channels: 5, d: 4, heads: 2, hidden: 6, layers: 2 };

    fn values(name: &str, rows: usize, cols: usize) -> Mat {
        mat(Streams::new(2).normal(name, rows * cols), rows, cols).unwrap()
    }

    #[test]
    fn the_reconstruction_trains_no_class_map_and_depends_on_it() {
        let model = Transformer::new(SHAPE, &Streams::new(1)).unwrap();
        let (tokens, class) = (values("tokens", 12, 5), values("class", 12, 4));
        let run = |class: &Mat| {
            gradients(|| {
                let maps = [tracked(class), tracked(class)];
                let out = model.forward(&constant(&tokens), &maps, 2, &mut Noise::none())?;
                Ok::<_, Error>((reconstruction_loss(&out.features, &constant(&tokens))?, ()))
            })
            .unwrap()
        };
        let (loss, (), mut grads) = run(&class);
        assert!(grads.of(&class).unwrap().iter().all(|g| *g == 0.0));
        let weight = model.projected().next().unwrap().weight();
        assert!(grads.of(weight.value()).unwrap().iter().any(|g| *g != 0.0));
        assert_ne!(run(&values("other", 12, 4)).0, loss);
    }

    #[test]
    fn maps_that_do_not_fit_are_errors() {
        let model = Transformer::new(SHAPE, &Streams::new(1)).unwrap();
        let (tokens, class) = (constant(&values("tokens", 12, 5)), constant(&values("class", 12, 4)));
        let run = |class: &[Var], images| model.forward(&tokens, class, images, &mut Noise::none()).is_err();
        assert!(run(std::slice::from_ref(&class), 2) && run(&[class.clone(), class], 3));
    }
}
