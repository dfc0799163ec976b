//! All tensors of the detector, and the forward passes that steps and scoring share.

use crate::config::{DiscriminatorInput, IufConfig};
use crate::discriminator::{Discriminator, Judgement};
use crate::layers::{Noise, Normalisation, group_means};
use crate::neck::{Neck, pool_map};
use crate::parts::Parts;
use crate::transformer::{Reconstruction, Transformer, TransformerShape};
use ccnf::core::Standardization;
use ccnf::dfdx::prelude::HasShape;
use ccnf::prelude::*;

impl Parts for Standardization {
    fn list<'a>(&'a self, all: &mut Vec<&'a Param>) {
        all.extend(self.params());
    }
    fn list_mut<'a>(&'a mut self, all: &mut Vec<&'a mut Param>) {
        all.extend(self.params_mut());
    }
}

/// A class's rows of `H` (see [`Basis`](crate::Basis)), one tensor `[images, d]` per projected layer. The class owns them.
#[derive(Debug)]
struct ClassRows {
    class: String,
    layers: Vec<Param>,
}
parts!(ClassRows { layers });

/// The model.
#[derive(Debug)]
pub(crate) struct Model {
    levels: Vec<LevelSpec>,
    /// The grid of the reconstruction.
    pub(crate) neck: Neck,
    /// The grid of the discriminator where it is another one.
    finest: Option<Neck>,
    /// Per level; empty where nothing is standardised.
    standard: Vec<Standardization>,
    pub(crate) discriminator: Discriminator,
    pub(crate) transformer: Transformer,
    rows: Vec<ClassRows>,
}
parts!(Model { standard, discriminator, transformer, rows });

/// Images on the grids of the parts, image after image.
pub(crate) struct Inputs {
    pub(crate) images: usize,
    /// `F`, `[images * h * w][C]`.
    pub(crate) features: Vec<f32>,
    /// What the discriminator reads where it is not `F`.
    finest: Option<Vec<f32>>,
}

/// Images of one forward when nothing is trained.
pub(crate) const CHUNK: usize = 8;

impl Model {
    pub(crate) fn new(config: &IufConfig, levels: &[LevelSpec], s: &Streams) -> Result<Self> {
        let neck = Neck::coarsest(levels);
        let finest = (config.discriminator.input == DiscriminatorInput::Finest).then(|| Neck::finest(levels));
        let standard = levels.iter().enumerate().filter(|_| config.standardize);
        let shape = TransformerShape {
            height: neck.height,
            width: neck.width,
            channels: neck.channels(),
            d: config.width,
            heads: config.heads,
            hidden: config.hidden,
            layers: config.layers,
        };
        let block = (config.discriminator.heads, config.discriminator.hidden);
        Ok(Model {
            levels: levels.to_vec(),
            standard: standard
                .map(|(i, l)| Standardization::new(&format!("level{i}"), l.channels))
                .collect::<Result<_>>()?,
            discriminator: Discriminator::new(neck.channels(), config.width, config.layers, block, s)?,
            transformer: Transformer::new(shape, s)?,
            rows: vec![],
            neck,
            finest,
        })
    }

    pub(crate) fn levels(&self) -> &[LevelSpec] {
        &self.levels
    }

    pub(crate) fn classes(&self) -> Vec<String> {
        self.discriminator.classes().map(str::to_owned).collect()
    }

    /// Fits the standardisation on the first stage's images.
    pub(crate) fn fit(&mut self, view: &TrainView) -> Result<()> {
        self.standard.iter_mut().enumerate().try_for_each(|(level, s)| s.fit(view, level))
    }

    /// Reads cached values again after tensors were loaded.
    pub(crate) fn refresh(&mut self) {
        self.standard.iter_mut().for_each(Standardization::refresh);
    }

    /// Brings images to the grids.
    pub(crate) fn inputs(&self, images: &[&dyn ImageFeatures]) -> Result<Inputs> {
        let level = |number: usize, values: &[f32]| {
            let mut out = Vec::with_capacity(values.len());
            self.standard.get(number)?.push(values, &mut out);
            Some(out)
        };
        let align = |neck: &Neck| -> Result<Vec<f32>> {
            let maps: Vec<_> = images.iter().map(|i| neck.align(*i, level)).collect::<Result<_>>()?;
            Ok(maps.concat())
        };
        Ok(Inputs {
            images: images.len(),
            features: align(&self.neck)?,
            finest: self.finest.as_ref().map(align).transpose()?,
        })
    }

    /// `values` as a matrix of tokens.
    pub(crate) fn tokens(&self, values: Vec<f32>) -> Result<Mat> {
        let c = self.neck.channels();
        let n = values.len() / c.max(1);
        Ok(mat(values, n, c)?)
    }

    pub(crate) fn judge(&self, inputs: &Inputs, by: Normalisation) -> Result<Judgement> {
        let (neck, values) = match (&self.finest, &inputs.finest) {
            (Some(neck), Some(values)) => (neck, values),
            _ => (&self.neck, &inputs.features),
        };
        let x = constant(&self.tokens(values.clone())?);
        self.discriminator.forward(&x, inputs.images, (neck.height, neck.width), by)
    }

    /// The class maps on the grid of the reconstruction.
    pub(crate) fn class_maps(&self, judged: &Judgement, images: usize) -> Result<Vec<Var>> {
        let Some(finest) = &self.finest else { return Ok(judged.maps.clone()) };
        let (from, to) = ((finest.height, finest.width), (self.neck.height, self.neck.width));
        let pooled = |map: &Var| {
            let (n, d) = *map.shape();
            let mut values = Vec::with_capacity(images * self.neck.tokens() * d);
            for image in map.as_vec().chunks_exact((n / images.max(1) * d).max(1)) {
                values.extend_from_slice(&pool_map(image, from, to, d)?);
            }
            Ok(constant(&mat(values, images * self.neck.tokens(), d)?))
        };
        judged.maps.iter().map(pooled).collect()
    }

    /// Judges and reconstructs without noise.
    pub(crate) fn evaluate(&self, inputs: &Inputs) -> Result<(Judgement, Reconstruction)> {
        let judged = self.judge(inputs, Normalisation::Running)?;
        let maps = self.class_maps(&judged, inputs.images)?;
        let tokens = constant(&self.tokens(inputs.features.clone())?);
        let reconstructed = self.transformer.forward(&tokens, &maps, inputs.images, &mut Noise::none())?;
        Ok((judged, reconstructed))
    }

    /// Collects a class's rows of `H`: the projected layers' outputs for its images, averaged over the tokens. Rows that it had before are
    /// replaced.
    pub(crate) fn collect(&mut self, class: &TrainClass) -> Result<()> {
        let mut layers: Vec<Vec<f32>> = vec![];
        let images: Vec<&dyn ImageFeatures> = class.images().iter().map(|i| i.as_ref()).collect();
        for chunk in images.chunks(CHUNK) {
            let (_, reconstructed) = self.evaluate(&self.inputs(chunk)?)?;
            layers.resize(reconstructed.feed_forward.len(), vec![]);
            for (rows, out) in layers.iter_mut().zip(&reconstructed.feed_forward) {
                rows.extend(group_means(out, chunk.len())?.as_vec());
            }
        }
        self.set_rows(class.name(), images.len(), |k| layers.get(k).cloned())
    }

    /// Makes a class's row tensors; `values` answers by layer, zeros where it does not.
    fn set_rows(
        &mut self,
        class: &str,
        images: usize,
        values: impl Fn(usize) -> Option<Vec<f32>>,
    ) -> Result<()> {
        let tensor = |(k, d): (usize, usize)| {
            let rows = values(k).unwrap_or_else(|| vec![0.0; images * d]);
            Ok(Param::buffer(
                format!("bases.{class}.layer{k}"),
                Owner::Class(class.to_owned()),
                rows,
                images,
                d,
            )?)
        };
        let widths: Vec<usize> = self.transformer.projected().map(|l| l.weight().shape().0).collect();
        let layers = widths.into_iter().enumerate().map(tensor).collect::<Result<_>>()?;
        let rows = ClassRows { class: class.to_owned(), layers };
        match self.rows.iter_mut().find(|r| r.class == class) {
            Some(old) => *old = rows,
            None => self.rows.push(rows),
        }
        Ok(())
    }

    /// All rows of `H` of projected layer `k`.
    pub(crate) fn rows(&self, k: usize) -> Vec<f32> {
        self.rows.iter().filter_map(|r| r.layers.get(k)).flat_map(Param::to_vec).collect()
    }

    /// The number of rows per class, for a checkpoint.
    pub(crate) fn row_counts(&self) -> Vec<(String, usize)> {
        self.rows.iter().map(|r| (r.class.clone(), r.layers.first().map_or(0, |p| p.shape().0))).collect()
    }

    /// The tensors of these classes, with values that are loaded next.
    pub(crate) fn prepare(
        &mut self,
        classes: &[String],
        rows: &[(String, usize)],
        s: &Streams,
    ) -> Result<()> {
        self.discriminator.clear();
        self.rows.clear();
        classes.iter().try_for_each(|c| self.discriminator.grow(c, classes.len(), s))?;
        rows.iter().try_for_each(|(class, n)| self.set_rows(class, *n, |_| None))
    }
}

impl Stateful for Model {
    fn params(&self) -> Vec<&Param> {
        let mut all = vec![];
        self.list(&mut all);
        all
    }
    fn params_mut(&mut self) -> Vec<&mut Param> {
        let mut all = vec![];
        self.list_mut(&mut all);
        all
    }
}
