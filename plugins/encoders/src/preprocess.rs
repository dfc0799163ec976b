//! From an image of any size to the network's input.

use ccnf::data::{Filter, centre_crop, normalize_chw, resize, resize_shorter_side};
use ccnf::prelude::*;
use serde::{Deserialize, Serialize};

/// How an image is brought to the square that the network sees.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ResizeMode {
    /// Both sides become `size`; the aspect ratio is not kept, nothing is lost.
    #[default]
    Squash,
    /// The shorter side becomes `size`, then the middle is cut out; defects near the ends of the longer side are lost.
    ShorterSideCrop,
}

/// The filter of the resize; both are antialiased and match Pillow within one grey level.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ResizeFilter {
    /// Triangle filter.
    #[default]
    Bilinear,
    /// Lanczos filter with three lobes.
    Lanczos,
}

/// The steps before a network: resize to `size` x `size`, then `(value / 255 - mean) / std` per channel, as planes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Preprocess {
    /// Height and width of the input in pixels.
    pub size: usize,
    /// How the image becomes a square.
    pub resize: ResizeMode,
    /// The filter of the resize.
    pub filter: ResizeFilter,
    /// Mean per channel (red, green, blue), for values in [0, 1].
    pub mean: [f32; 3],
    /// Standard deviation per channel, for values in [0, 1].
    pub std: [f32; 3],
}

impl Preprocess {
    /// Values in [0, 1], not normalised further.
    pub fn unit(size: usize, resize: ResizeMode, filter: ResizeFilter) -> Self {
        Preprocess { size, resize, filter, mean: [0.0; 3], std: [1.0; 3] }
    }

    /// The network's input `[3][size][size]`.
    pub fn apply(&self, image: &RgbImage) -> Result<Vec<f32>> {
        Ok(normalize_chw(&self.square(image)?, self.mean, self.std))
    }

    /// The resized image, not normalised.
    pub fn square(&self, image: &RgbImage) -> Result<RgbImage> {
        let filter = match self.filter {
            ResizeFilter::Bilinear => Filter::Bilinear,
            ResizeFilter::Lanczos => Filter::Lanczos,
        };
        match self.resize {
            ResizeMode::Squash => resize(image, self.size, self.size, filter),
            ResizeMode::ShorterSideCrop => {
                centre_crop(&resize_shorter_side(image, self.size, filter)?, self.size, self.size)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wide() -> RgbImage {
        // left third black, the rest white
        let row: Vec<u8> = (0..12).flat_map(|x| [if x < 4 { 0 } else { 255 }; 3]).collect();
        RgbImage { width: 12, height: 4, data: row.repeat(4) }
    }

    #[test]
    fn squash_keeps_the_whole_image_and_crop_keeps_the_middle() {
        let mut p = Preprocess::unit(4, ResizeMode::Squash, ResizeFilter::Bilinear);
        assert!(p.apply(&wide()).unwrap()[0] < 0.1);
        p.resize = ResizeMode::ShorterSideCrop;
        let cropped = p.apply(&wide()).unwrap();
        assert_eq!(cropped.len(), 48);
        assert!(cropped.iter().all(|v| *v == 1.0), "columns 4 to 7 are white");
    }

    #[test]
    fn mean_and_std_apply_per_channel() {
        let p = Preprocess {
            mean: [0.5, 0.0, 1.0],
            std: [0.5, 2.0, 1.0],
            ..Preprocess::unit(1, ResizeMode::Squash, ResizeFilter::Lanczos)
        };
        let white = RgbImage { width: 1, height: 1, data: vec![255; 3] };
        assert_eq!(p.apply(&white).unwrap(), [1.0, 0.5, 0.0]);
    }

    #[test]
    fn an_image_without_pixels_is_an_error() {
        let p = Preprocess::unit(8, ResizeMode::ShorterSideCrop, ResizeFilter::Bilinear);
        assert!(p.apply(&RgbImage { width: 0, height: 3, data: vec![] }).is_err());
    }
}
