//! Components that fail only where the input is unusual.

use crate::scaling::{NoKeys, made};
use ccnf::dfdx::prelude::{MeanTo, Rank0};
use ccnf::prelude::*;
use serde::{Deserialize, Serialize};

/// Config of the regularisers.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Weight {
    /// The weight.
    weight: f32,
}

impl Default for Weight {
    fn default() -> Self {
        Weight { weight: 1.0 }
    }
}

/// The mean latent, with a weight in the wrong place.
struct Weighed {
    weight: f32,
    name: &'static str,
}
impl Regularizer for Weighed {
    fn name(&self) -> &'static str {
        self.name
    }
    fn weight(&self) -> f32 {
        if self.name == "other-weight" { 1.0 } else { self.weight }
    }
    fn penalty(&self, output: &FlowOutput) -> Result<Option<Scalar>> {
        Ok(Some(output.z.clone().mean::<Rank0, _>() * self.weight))
    }
}
ccnf::register_component!(
    Regularizer,
    "weighed-twice",
    Weight,
    |c: Weight, _: &Build<'_, _>| made(Weighed { weight: c.weight, name: "weighed-twice" }),
    "multiplies the weight in"
);
ccnf::register_component!(
    Regularizer,
    "other-weight",
    Weight,
    |c: Weight, _: &Build<'_, _>| made(Weighed { weight: c.weight, name: "other-weight" }),
    "has a weight of its own"
);

/// The mean colour: of as many pixels of the diagonal as the image is high, or over the deviation.
struct Colour {
    square: bool,
}
impl Encoder for Colour {
    fn fingerprint(&self) -> String {
        format!("colour-{}", self.square)
    }
    fn levels(&self) -> Vec<LevelSpec> {
        vec![LevelSpec { name: "image".into(), height: 1, width: 1, channels: 3 }]
    }
    fn encode(&self, images: &[EncoderInput<'_>]) -> Result<Vec<EncodedImage>> {
        let encode = |input: &EncoderInput<'_>| -> Result<EncodedImage> {
            let image = (input.open)().at(|| input.source.label())?;
            let n = (image.width * image.height) as f32;
            let channel = |c: usize| image.data.iter().skip(c).step_by(3).map(|v| f32::from(*v));
            let colour = |c: usize| {
                let mean = channel(c).sum::<f32>() / n;
                let variance = channel(c).map(|v| (v - mean).powi(2)).sum::<f32>() / n;
                if self.square { mean } else { (mean - channel(c).next().unwrap_or(0.0)) / variance.sqrt() }
            };
            let wide = self.square && image.width != image.height;
            Ok(vec![(0..if wide { 4 } else { 3 }).map(|c| colour(c.min(2))).collect()])
        };
        images.iter().map(encode).collect()
    }
}
ccnf::register_component!(
    Encoder,
    "square",
    NoKeys,
    |_, _: &Build<'_, _>| made(Colour { square: true }),
    "as many values as the image is wide"
);
ccnf::register_component!(
    Encoder,
    "contrast",
    NoKeys,
    |_, _: &Build<'_, _>| made(Colour { square: false }),
    "divides by the deviation"
);

/// The mean of maps as a tensor of `class`.
fn mean_of(name: &str, class: &str, maps: &[&[f32]]) -> Result<Param> {
    let n = maps.first().map_or(0, |m| m.len());
    let mean = (0..n).map(|i| maps.iter().map(|m| m[i]).sum::<f32>() / maps.len() as f32).collect();
    Ok(Param::buffer(format!("{name}.{class}"), Owner::Class(class.into()), mean, 1, n)?)
}

/// Takes the class's mean away, and overflows where a value is far from it.
#[derive(Default)]
struct Overflows {
    len: usize,
    classes: Vec<String>,
    means: Vec<Param>,
}
ccnf::stateful!(Overflows { means });

impl ClassLayer for Overflows {
    fn empty(&self) -> Box<dyn ClassLayer> {
        Box::new(Overflows { len: self.len, ..Overflows::default() })
    }
    fn classes(&self) -> &[String] {
        &self.classes
    }
    fn add(&mut self, class: &str) -> Result<()> {
        self.classes.push(class.into());
        self.means.push(mean_of("mean", class, &[&vec![0.0; self.len]])?);
        Ok(())
    }
    fn fit(&mut self, class: &str, maps: &[&[f32]]) -> Result<()> {
        let known = self.classes.iter().position(|c| c == class);
        let place = known.ok_or_else(|| Error::new(ErrorKind::Usage, "an unknown class"))?;
        self.means[place] = mean_of("mean", class, maps)?;
        Ok(())
    }
    fn forward(&self, class: usize, maps: &mut [f32], _: &mut [f32]) -> Result<()> {
        let mean = self.means[class].to_vec();
        maps.iter_mut().enumerate().for_each(|(i, v)| *v -= mean[i % mean.len()]);
        if maps.iter().any(|v| v.abs() > 15.0) {
            maps.iter_mut().for_each(|v| *v *= f32::INFINITY);
        }
        Ok(())
    }
    fn inverse(&self, class: usize, maps: &mut [f32]) -> Result<()> {
        let mean = self.means[class].to_vec();
        maps.iter_mut().enumerate().for_each(|(i, v)| *v += mean[i % mean.len()]);
        Ok(())
    }
}
ccnf::register_component!(
    ClassLayer,
    "overflows",
    NoKeys,
    |_, b: &Build<'_, LayerSpec>| made(Overflows { len: b.level.len(), ..Overflows::default() }),
    "overflows"
);

/// Scores a token by its distance from the class's mean map, the first 64 images of a batch only.
struct Blocks {
    levels: Vec<LevelSpec>,
    classes: Vec<String>,
    /// Per class and level.
    means: Vec<Param>,
}
ccnf::stateful!(Blocks { means });

impl Blocks {
    fn place(&self, class: &str) -> Result<usize> {
        let place = self.classes.iter().position(|c| c == class);
        place.ok_or_else(|| ccnf::core::unknown_class(class, &self.classes))
    }
    fn maps(&self, class: &str, image: &dyn ImageFeatures) -> Result<Vec<LevelMap>> {
        let means = &self.means[self.place(class)? * self.levels.len()..];
        let map = |(l, level): (usize, &LevelSpec)| -> Result<LevelMap> {
            let (values, mean) = (image.level(l)?, means[l].to_vec());
            check_finite("features", || level.name.clone(), values.iter())?;
            let squares: Vec<f32> = values.iter().zip(&mean).map(|(v, m)| (v - m).powi(2)).collect();
            let data = squares.chunks(level.channels).map(|t| t.iter().sum()).collect();
            Ok(LevelMap { height: level.height, width: level.width, data })
        };
        self.levels.iter().enumerate().map(map).collect()
    }
}

impl Detector for Blocks {
    fn begin_stage(&mut self, view: &TrainView, scope: TrainScope) -> Result<()> {
        view.check_fresh(&self.classes, scope)
    }
    fn end_stage(&mut self, view: &TrainView) -> Result<()> {
        for class in view.new_classes() {
            self.classes.push(class.name().into());
            for (l, level) in self.levels.iter().enumerate() {
                let maps: Vec<_> = (0..class.len()).map(|i| class.image(i, l)).collect::<Result<_>>()?;
                let maps: Vec<&[f32]> = maps.iter().map(|m| &m[..]).collect();
                self.means.push(mean_of(&level.name, class.name(), &maps)?);
            }
        }
        Ok(())
    }
    fn freeze_shared(&mut self) -> Result<()> {
        Ok(())
    }
    fn classes(&self) -> Vec<String> {
        self.classes.clone()
    }
    fn score(&self, images: &[&dyn ImageFeatures], request: ScoreRequest<'_>) -> Result<Vec<ImageScores>> {
        let needed = || Error::new(ErrorKind::Usage, "the class is needed");
        let class = request.given.ok_or_else(needed)?;
        self.place(class)?;
        let score = |(n, image): (usize, &&dyn ImageFeatures)| -> Result<ImageScores> {
            let mut given = self.maps(class, *image)?;
            if n >= 64 {
                given.iter_mut().flat_map(|m| &mut m.data).for_each(|v| *v = 0.0);
            }
            let (routed, routed_class) = match request.routed {
                true => (given.clone(), class.to_owned()),
                false => (vec![], String::new()),
            };
            Ok(ImageScores { given, routed, routed_class, ..ImageScores::default() })
        };
        images.iter().enumerate().map(score).collect()
    }
    fn meta(&self) -> serde_json::Value {
        serde_json::json!(self.classes)
    }
    fn prepare(&mut self, _: &serde_json::Value) -> Result<()> {
        Ok(())
    }
}
ccnf::register_component!(
    Detector,
    "blocks-of-64",
    NoKeys,
    |_, b: &Build<'_, DetectorSpec>| made(Blocks {
        levels: b.levels.clone(),
        classes: vec![],
        means: vec![]
    }),
    "takes 64 images at once"
);
