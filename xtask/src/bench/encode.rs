//! The embedded encoder, against ONNX Runtime with the same file on the same pixels.

use super::peer::{Peer, root};
use super::turns::interleave;
use super::{Bench, Outcome, Settings, THREADS};
use crate::Result;
use ccnf::core::{Config, build};
use ccnf::prelude::*;
use ccnf::serde_json::json;

const BATCH: usize = 8;
const SIDE: usize = 224;
/// How far the mean absolute feature may differ between the two, relative.
const TOLERANCE: f64 = 1e-3;

fn pixel(image: usize, i: usize) -> u8 {
    ((i / 3) % SIDE * (image + 1) / 2 + (i / 3) / SIDE + 85 * (i % 3)) as u8
}

/// The bench `encode`.
pub(crate) const BENCH: Bench = Bench { names: &["encode"], run };

/// Measures batches of images.
fn run(name: &str, settings: &Settings) -> Result<Outcome> {
    let config = json!({"encoder": {"kind": "efficientnet-lite0", "size": SIDE, "pool": 1,
        "levels": ["stride4", "stride8", "stride16"]}});
    let encoder = build::<dyn Encoder>(
        &Config::from_json("bench", &config)?.root()?.child("encoder"),
        &EncoderSpec {},
    )?;
    let images: Vec<RgbImage> = (0..BATCH)
        .map(|k| RgbImage {
            width: SIDE,
            height: SIDE,
            data: (0..SIDE * SIDE * 3).map(|i| pixel(k, i)).collect(),
        })
        .collect();
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("images.f32");
    let planes = images.iter().flat_map(|image| (0..3).flat_map(|c| image.data[c..].iter().step_by(3)));
    std::fs::write(&file, planes.flat_map(|v| (f32::from(*v) / 255.0).to_le_bytes()).collect::<Vec<u8>>())?;
    let model = root().join("plugins/encoders/weights/efficientnet_lite0_stride16.onnx");
    let (batch, threads) = (BATCH.to_string(), THREADS.to_string());
    let arguments = [model.as_ref(), file.as_ref(), batch.as_ref(), threads.as_ref()];
    let mut peers = vec![];
    if !settings.alone {
        peers.push(("onnxruntime", Peer::start("encode.py", &arguments, THREADS)?));
    }
    let source = ImageSource::Generated("bench".into());
    let turns = interleave(
        settings.rounds,
        &mut peers,
        || {
            let open: Vec<_> = images.iter().map(|image| move || Ok(image.clone())).collect();
            let inputs: Vec<EncoderInput<'_>> =
                open.iter().map(|open| EncoderInput { source: &source, open }).collect();
            Ok(encoder.encode(&inputs)?)
        },
        |_, encoded, replies| {
            let Some(reply) = replies.first() else { return Ok(()) };
            for level in 0..3 {
                let ours: f64 = encoded.iter().flat_map(|e| &e[level]).map(|v| f64::from(v.abs())).sum();
                let theirs = reply.values["sums"][level].as_f64().unwrap_or(f64::NAN);
                if (ours - theirs)
                    .abs()
                    .partial_cmp(&(TOLERANCE * theirs.abs()))
                    .is_none_or(std::cmp::Ordering::is_gt)
                {
                    return Err(format!("the features differ: {ours} here, {theirs} in the peer").into());
                }
            }
            Ok(())
        },
    )?;
    let rate = |ms: f64| BATCH as f64 * 1e3 / ms;
    let mut values = vec![("encode.ours_images_per_s".into(), rate(turns.ours.median_ms()))];
    if let Some(theirs) = turns.peer("onnxruntime") {
        values.push(("encode.onnxruntime_images_per_s".into(), rate(theirs.median_ms())));
    }
    Ok(Outcome {
        name: name.into(),
        work: format!(
            "efficientnet-lite0 to stride 16, {BATCH} images of {SIDE} px; ours with the conversion of the pixels"
        ),
        turns,
        values,
        notes: vec![],
    })
}
