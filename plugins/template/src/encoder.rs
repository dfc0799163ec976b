//! The encoder `template-encoder`: from an image to a map of feature vectors. It is frozen: nothing trains it.

use ccnf::data::{Filter, resize};
use ccnf::prelude::*;
use ccnf::serde::{Deserialize, Serialize};

/// Its keys in a config: a public field, its documentation and its default each.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "ccnf::serde", deny_unknown_fields, default)]
#[schemars(crate = "ccnf::schemars")]
pub struct TemplateConfig {
    /// Both sides of the image in pixels after resizing, a multiple of `grid`, at most 4096.
    pub size: usize,
    /// Patches per side, at least 1; a patch has at least 2 pixels per side.
    pub grid: usize,
}

impl Default for TemplateConfig {
    fn default() -> Self {
        TemplateConfig { size: 128, grid: 16 }
    }
}

/// Statistics of the patches of a grid: mean and standard deviation of red, green and blue, and the mean absolute step of brightness to the
/// right and downwards. Values are in `[0, 1]`. One level, `[grid][grid][8]`.
pub struct TemplateEncoder {
    config: TemplateConfig,
}

/// Means, deviations, steps.
const CHANNELS: usize = 8;

impl TemplateEncoder {
    /// The encoder; fails for sizes out of range.
    pub fn new(config: TemplateConfig, build: &Build<'_, EncoderSpec>) -> Result<Self> {
        let TemplateConfig { size, grid } = config;
        if grid == 0 {
            return Err(build.error("grid", "must be at least 1"));
        }
        if size > 4096 || size < 2 * grid || !size.is_multiple_of(grid) {
            let message = format!("must be a multiple of `grid`, from {} to 4096", 2 * grid);
            return Err(build.error("size", message));
        }
        Ok(TemplateEncoder { config })
    }

    fn encode_one(&self, input: &EncoderInput<'_>) -> Result<EncodedImage> {
        let TemplateConfig { size, grid } = self.config;
        let image = resize(&(input.open)()?, size, size, Filter::Bilinear)?;
        let mut out = Vec::with_capacity(grid * grid * CHANNELS);
        for patch in 0..grid * grid {
            out.extend(statistics(&image, size / grid, patch / grid, patch % grid));
        }
        Ok(vec![out])
    }
}

/// The values of the patch in this row and column, whose sides have `side` pixels.
fn statistics(image: &RgbImage, side: usize, row: usize, column: usize) -> [f32; CHANNELS] {
    let pixel = |y: usize, x: usize| -> [f32; 3] {
        let at = 3 * ((row * side + y) * image.width + column * side + x);
        [0, 1, 2].map(|c| f32::from(image.data[at + c]) / 255.0)
    };
    let grey = |y: usize, x: usize| pixel(y, x).iter().sum::<f32>() / 3.0;
    let mut out = [0.0; CHANNELS];
    let (n, steps) = ((side * side) as f32, (side * (side - 1)) as f32);
    for (y, x) in (0..side * side).map(|i| (i / side, i % side)) {
        pixel(y, x).iter().enumerate().for_each(|(c, v)| out[c] += v / n);
        if x > 0 {
            out[6] += (grey(y, x) - grey(y, x - 1)).abs() / steps;
        }
        if y > 0 {
            out[7] += (grey(y, x) - grey(y - 1, x)).abs() / steps;
        }
    }
    for (y, x) in (0..side * side).map(|i| (i / side, i % side)) {
        pixel(y, x).iter().enumerate().for_each(|(c, v)| out[3 + c] += (v - out[c]).powi(2) / n);
    }
    out[3..6].iter_mut().for_each(|v| *v = v.sqrt());
    out
}

impl Encoder for TemplateEncoder {
    /// Everything that features depend on. Features are cached under it: count the version up with every change of the code that gives
    /// other numbers.
    fn fingerprint(&self) -> String {
        format!("template-encoder version 1, size {}, grid {}", self.config.size, self.config.grid)
    }

    fn levels(&self) -> Vec<LevelSpec> {
        let grid = self.config.grid;
        vec![LevelSpec { name: "patches".into(), height: grid, width: grid, channels: CHANNELS }]
    }

    /// Every image by itself, so that its features are the same in any company. An error has to name the image.
    fn encode(&self, images: &[EncoderInput<'_>]) -> Result<Vec<EncodedImage>> {
        images.iter().map(|i| self.encode_one(i).at(|| format!("image `{}`", i.source.label()))).collect()
    }

    /// Nothing is gained from many images at once: the caller has threads of its own.
    fn batch(&self) -> usize {
        1
    }
}

ccnf::register_component!(
    Encoder,
    "template-encoder",
    TemplateConfig,
    TemplateEncoder::new,
    "colour and texture statistics of patches, without a network"
);

#[cfg(test)]
ccnf_testkit::conformance!(Encoder, "template-encoder", { "size": 12, "grid": 6 });

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_is_told_by_its_colours_and_steps() {
        // Two patches of 2 x 2 pixels: black and white in columns, then one colour.
        let row: Vec<u8> = [[0; 3], [255; 3], [51, 102, 204], [51, 102, 204]].concat();
        let image = RgbImage { width: 4, height: 2, data: row.repeat(2) };
        assert_eq!(statistics(&image, 2, 0, 0), [0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 1.0, 0.0]);
        assert_eq!(statistics(&image, 2, 0, 1), [0.2, 0.4, 0.8, 0.0, 0.0, 0.0, 0.0, 0.0]);
    }
}
