//! The parts of the detector `iuf` against the reference vectors of the released code. Released layouts are `[tokens, batch, channels]` or
//! channels first; here tokens are rows, image after image.

mod layers;
mod model;
mod scores;
mod update;

use ccnf::prelude::*;
use ccnf_testkit::{Tensor, Vectors};

/// `[a][b][c]` to `[b][a][c]`.
fn swapped(data: &[f32], (a, b, c): (usize, usize, usize)) -> Vec<f32> {
    (0..b)
        .flat_map(|j| (0..a).flat_map(move |i| (0..c).map(move |k| (i * b + j) * c + k)))
        .map(|i| data[i])
        .collect()
}

/// `[images][channels][cells]` to `[images][cells][channels]`; with the last two sizes swapped, back.
fn channels_last(data: &[f32], channels: usize, cells: usize) -> Vec<f32> {
    data.chunks(channels * cells).flat_map(|image| swapped(image, (channels, cells, 1))).collect()
}

/// A released `[tokens, batch, channels]` tensor as rows.
fn rows(t: &Tensor) -> Mat {
    let [l, b, c] = t.shape[..] else { panic!("a tensor of shape {:?}", t.shape) };
    mat(swapped(&t.data, (l, b, c)), l * b, c).unwrap()
}

/// Rows as a released `[tokens, batch, channels]` tensor.
fn released_rows(values: &[f32], like: &Tensor) -> Vec<f32> {
    let [l, b, c] = like.shape[..] else { panic!("a tensor of shape {:?}", like.shape) };
    swapped(values, (b, l, c))
}

/// The released name of a layer's tensor, and which third of it the tensor is.
fn released_name(name: &str) -> (String, Option<usize>) {
    let (part, rest) = name.split_once('.').unwrap_or((name, ""));
    let attention = match part {
        "attention" | "memory_attention" => "self_attn",
        "previous_attention" => "multihead_attn",
        "table" => return ("learned_embed.weight".into(), None),
        _ => return (name.into(), None),
    };
    let (what, kind) = rest.split_once('.').unwrap();
    match ["query", "key", "value"].iter().position(|w| *w == what) {
        Some(third) => (format!("{attention}.in_proj_{kind}"), Some(third)),
        None => (format!("{attention}.{what}_proj.{kind}"), None),
    }
}

fn third(values: &[f32], which: Option<usize>) -> Vec<f32> {
    match which {
        None => values.to_vec(),
        Some(k) => values.chunks(values.len() / 3).nth(k).unwrap().to_vec(),
    }
}

#[test]
fn every_part_matches_the_released_code() {
    let Some(mut v) = Vectors::open("iuf") else { return };
    model::check_neck_and_jitter(&mut v);
    layers::check_layers(&mut v);
    model::check_transformer(&mut v);
    model::check_discriminator(&mut v);
    scores::check_losses(&mut v);
    update::check_compression(&mut v);
    update::check_update(&mut v);
    scores::check_scores(&mut v);
    // The released habit of reporting 1 - AUROC for an AUROC below 0.5 is not offered.
    v.finish(|name| name.starts_with("alt."));
}
