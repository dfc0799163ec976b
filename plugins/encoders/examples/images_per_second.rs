//! Measures how many images per second the embedded encoder takes, decoding and resizing left out and included.
//!
//! `cargo run --release -p ccnf-plugin-encoders --example images_per_second [SECONDS [SIDE…]]`

use ccnf::core::{Config, build};
use ccnf::prelude::*;
use ccnf::serde_json::json;
use ccnf_plugin_encoders as _;
use std::time::Instant;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let seconds = arguments.next().and_then(|s| s.parse().ok()).unwrap_or(3.0);
    let sides: Vec<usize> = arguments.filter_map(|s| s.parse().ok()).collect();
    let config = Config::from_json("example", &json!({ "encoder": { "kind": "efficientnet-lite0" } }))?;
    let encoder = build::<dyn Encoder>(&config.root()?.child("encoder"), &EncoderSpec {})?;
    for &side in if sides.is_empty() { &[224, 900][..] } else { &sides } {
        let data = (0..side * side * 3).map(|i| (i * 7 % 251) as u8).collect();
        let image = RgbImage { width: side, height: side, data };
        let source = ImageSource::Generated("example".into());
        let open = || Ok(image.clone());
        let batch: Vec<_> = (0..16).map(|_| EncoderInput { source: &source, open: &open }).collect();
        encoder.encode(&batch)?;
        let (start, mut images) = (Instant::now(), 0);
        while start.elapsed().as_secs_f64() < seconds {
            images += encoder.encode(&batch)?.len();
        }
        let rate = images as f64 / start.elapsed().as_secs_f64();
        println!("{side} x {side} pixels: {rate:.1} images per second");
    }
    Ok(())
}
