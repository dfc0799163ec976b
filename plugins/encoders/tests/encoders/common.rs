//! Builds encoders from configs and encodes images in memory.

use ccnf::core::{Config, build};
use ccnf::prelude::*;
use ccnf::serde_json::{Value, json};
use ccnf_plugin_encoders as _;

/// The encoder that the JSON config describes.
pub(crate) fn encoder(config: Value) -> Result<Box<dyn Encoder>> {
    let root = Config::from_json("test config", &json!({ "encoder": config }))?.root()?;
    build::<dyn Encoder>(&root.child("encoder"), &EncoderSpec {})
}

/// The message of the error that the config must give.
pub(crate) fn refused(config: Value, kind: ErrorKind) -> String {
    match encoder(config.clone()) {
        Ok(_) => panic!("{config} was accepted"),
        Err(e) => {
            assert_eq!(e.kind(), kind, "{e}");
            e.to_string()
        }
    }
}

/// Encodes images that are already in memory.
pub(crate) fn encode(encoder: &dyn Encoder, images: &[RgbImage]) -> Result<Vec<EncodedImage>> {
    let sources: Vec<_> = (0..images.len()).map(|i| ImageSource::Generated(format!("test/{i}"))).collect();
    let openers: Vec<_> = images.iter().map(|image| move || Ok(image.clone())).collect();
    let inputs: Vec<_> =
        sources.iter().zip(&openers).map(|(source, open)| EncoderInput { source, open }).collect();
    encoder.encode(&inputs)
}

/// A smooth image with some structure, different for every seed.
pub(crate) fn picture(width: usize, height: usize, seed: usize) -> RgbImage {
    let value = |x: usize, y: usize, c: usize| {
        let (x, y) = (x as f32 / 9.0 + seed as f32, y as f32 / 7.0 - c as f32);
        (127.0 + 90.0 * x.sin() * y.cos() + ((seed * 31 + c * 17) % 30) as f32) as u8
    };
    let data =
        (0..height).flat_map(|y| (0..width).flat_map(move |x| (0..3).map(move |c| value(x, y, c)))).collect();
    RgbImage { width, height, data }
}
