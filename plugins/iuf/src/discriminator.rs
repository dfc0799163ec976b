//! The class discriminator.

use crate::layers::{BatchMoments, BatchNorm, Linear, Normalisation, group_means};
use crate::row_block::RowBlock;
use ccnf::dfdx::prelude::HasShape;
use ccnf::prelude::*;

/// Tells the classes apart; its block outputs are the class maps `c_i` that modulate the transformer's queries (spec section 4):
///
/// ```text
/// x_0 = relu(batch_norm(input W_in)),   x_i = block_i(x_(i-1)) = c_i
/// logits = relu(mean over cells(x_L) W_1 + b_1) W_2^T + b_2
/// ```
///
/// `W_2` and `b_2` have a row per class, each a tensor that the class owns; a class that is learnt later adds its row. (The published head
/// has a row for every class there will be, from the start.)
#[derive(Debug, Clone)]
pub struct Discriminator {
    stem: Linear,
    norm: BatchNorm,
    blocks: Vec<RowBlock>,
    hidden: Linear,
    classes: Vec<ClassRow>,
}
parts!(Discriminator { stem, norm, blocks, hidden, classes });

/// A class's row of the last layer.
#[derive(Debug, Clone)]
struct ClassRow {
    name: String,
    weight: Param,
    bias: Param,
}
parts!(ClassRow { weight, bias });

/// What the discriminator says about images.
pub struct Judgement {
    /// The blocks' outputs, `[images * h * w, d]` each.
    pub maps: Vec<Var>,
    /// `[images, classes]`.
    pub logits: Var,
    /// Statistics of the batch, if they were used.
    pub moments: Option<BatchMoments>,
}

impl Discriminator {
    /// A discriminator without classes: `channels` input channels, `blocks` blocks of width `d`.
    pub fn new(
        channels: usize,
        d: usize,
        blocks: usize,
        (heads, hidden): (usize, usize),
        s: &Streams,
    ) -> Result<Self> {
        let bound = (6.0 / (channels + d) as f64).sqrt();
        Ok(Discriminator {
            stem: Linear::uniform("discriminator.stem", (channels, d), bound, false, s)?,
            norm: BatchNorm::new("discriminator.norm", d)?,
            blocks: (0..blocks)
                .map(|i| RowBlock::new(&format!("discriminator.block{i}"), d, heads, hidden, s))
                .collect::<Result<_>>()?,
            hidden: Linear::xavier("discriminator.hidden", (d, d), s)?,
            classes: vec![],
        })
    }

    /// Adds a class: a weight row within the Xavier bound of a last layer of `classes` outputs, bias 0.
    pub fn grow(&mut self, class: &str, classes: usize, s: &Streams) -> Result<()> {
        let (name, owner) = (format!("discriminator.class.{class}"), Owner::Class(class.to_owned()));
        let d = self.hidden.weight().shape().0;
        let weight = format!("{name}.weight");
        let bound = (6.0 / (d + classes) as f64).sqrt() as f32;
        let values = s.uniform(&weight, d, bound);
        self.classes.push(ClassRow {
            name: class.to_owned(),
            weight: Param::weight(weight, owner.clone(), values, 1, d)?,
            bias: Param::weight(format!("{name}.bias"), owner, vec![0.0], 1, 1)?,
        });
        Ok(())
    }

    /// Forgets all classes: before a checkpoint is loaded.
    pub(crate) fn clear(&mut self) {
        self.classes.clear();
    }

    /// The classes in the order of the logits.
    pub fn classes(&self) -> impl Iterator<Item = &str> {
        self.classes.iter().map(|c| c.name.as_str())
    }

    /// Judges images; `x` is `[images * rows * columns, channels]`, `grid` the rows and columns of one.
    pub fn forward(
        &self,
        x: &Var,
        images: usize,
        grid: (usize, usize),
        by: Normalisation,
    ) -> Result<Judgement> {
        if x.shape().0 != images * grid.0 * grid.1 {
            return Err(Error::new(
                ErrorKind::Contract,
                format!("{} tokens are not {images} maps of {} x {}", x.shape().0, grid.0, grid.1),
            ));
        }
        let (x, moments) = self.norm.forward(&self.stem.forward(x)?, by)?;
        let (mut x, mut maps) = (ccnf::dfdx::prelude::relu(x), vec![]);
        for block in &self.blocks {
            x = block.forward(&x, images * grid.0)?;
            maps.push(x.clone());
        }
        let hidden = self.hidden.forward_relu(&group_means(&x, images)?)?;
        let weights: Vec<Var> = self.classes.iter().map(|c| c.weight.var()).collect();
        let biases: Vec<Var> = self.classes.iter().map(|c| c.bias.var()).collect();
        let ones = constant(&mat(vec![1.0; images], images, 1)?);
        let logits = ops::linear(&hidden, &ops::stack_rows(&weights)?, None)?
            + ops::linear(&ones, &ops::stack_rows(&biases)?, None)?;
        Ok(Judgement { maps, logits, moments })
    }

    /// Takes up a batch's statistics.
    pub fn observe(&mut self, moments: &BatchMoments) -> Result<()> {
        self.norm.observe(moments)
    }
}
