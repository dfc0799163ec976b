//! The reconstruction loss, maps and image scores.

use super::channels_last;
use ccnf::core::{FusionConfig, ImageRule, ImageScoreConfig};
use ccnf::prelude::*;
use ccnf::tensor::tracked;
use ccnf_engine::{FusedMap, fuse};
use ccnf_plugin_iuf::{distance_map, reconstruction_loss};
use ccnf_testkit::Vectors;

pub(crate) fn check_losses(v: &mut Vectors) {
    let [batch, channels, height, width] = v.get("in.rec.feature_rec").shape[..] else { panic!("features") };
    let cells = height * width;
    let tokens =
        |name: &str| mat(channels_last(&v.get(name).data, channels, cells), batch * cells, channels).unwrap();
    let (reconstructed, features) = (tokens("in.rec.feature_rec"), tokens("in.rec.feature_align"));
    let (loss, (), mut grads) = gradients(|| {
        Ok::<_, Error>((reconstruction_loss(&tracked(&reconstructed), &constant(&features))?, ()))
    })
    .unwrap();
    v.check("out.rec.loss", &[loss]);
    let gradient = channels_last(&grads.of(&reconstructed).unwrap(), cells, channels);
    v.check("grad.rec.feature_rec", &gradient);

    let map = distance_map(&reconstructed.as_vec(), &features.as_vec(), channels);
    v.check("out.rec.map_14", &map);
    let side = *v.get("out.rec.map_224").shape.last().unwrap();
    let fused: Vec<_> = map.chunks(cells).map(|data| score(data, (height, width), side)).collect();
    let all: Vec<f32> = fused.iter().flat_map(|f| f.map.data.clone()).collect();
    v.check("out.rec.map_224", &all);
    v.check("out.rec.image_score_max16", &fused.iter().map(|f| f.score).collect::<Vec<_>>());
    let moments = |f: &FusedMap| {
        let n = f.map.data.len() as f64;
        let mean = f.map.data.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
        let var = f.map.data.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / n;
        (mean as f32, var.sqrt() as f32)
    };
    v.check("out.rec.image_score_mean", &fused.iter().map(|f| moments(f).0).collect::<Vec<_>>());
    v.check("out.rec.image_score_std", &fused.iter().map(|f| moments(f).1).collect::<Vec<_>>());
}

/// A map at the size `side` and its image score, as the method scores: no blur, the maximum after 16 x 16 mean pooling.
fn score(data: &[f32], (height, width): (usize, usize), side: usize) -> FusedMap {
    let image = ImageScoreConfig { rule: ImageRule::PooledMax, window: 16, ..ImageScoreConfig::default() };
    let config = FusionConfig { map_size: side, blur_sigma: 0.0, image, ..FusionConfig::default() };
    fuse(&[LevelMap { height, width, data: data.to_vec() }], &config).unwrap()
}

pub(crate) fn check_scores(v: &mut Vectors) {
    let maps = v.get("in.eval.maps").clone();
    let (side, cells) = (maps.shape[1], maps.shape[1] * maps.shape[2]);
    let masks = v.get("in.eval.masks").data.clone();
    let labels: Vec<bool> = masks.chunks(cells).map(|m| m.iter().any(|v| *v > 0.0)).collect();
    let scores: Vec<f32> = maps.data.chunks(cells).map(|m| score(m, (side, side), side).score).collect();
    v.check("out.eval.image_score_max16", &scores);
    let auroc = |scores: &[f32], labels: &[bool]| -> f32 {
        ccnf_metrics::auroc(scores, labels).unwrap().value().unwrap() as f32
    };
    v.check("out.eval.image_auroc", &[auroc(&scores, &labels)]);
    let pixels: Vec<bool> = masks.iter().map(|v| *v > 0.0).collect();
    v.check("out.eval.pixel_auroc", &[auroc(&maps.data, &pixels)]);
}
