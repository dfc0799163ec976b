//! Neck, jitter, transformer and discriminator.

use super::{channels_last, released_name, released_rows, third};
use ccnf::prelude::*;
use ccnf_plugin_iuf::*;
use ccnf_testkit::Vectors;
use std::collections::BTreeMap;

pub(crate) fn check_neck_and_jitter(v: &mut Vectors) {
    let mut levels = vec![];
    let mut image = vec![];
    for k in (0..).take_while(|k| v.has(&format!("in.neck.map{k}"))) {
        let map = v.get(&format!("in.neck.map{k}"));
        let [_, channels, height, width] = map.shape[..] else { panic!("a map") };
        levels.push(LevelSpec { name: format!("map{k}"), height, width, channels });
        image.push(channels_last(&map.data, channels, height * width));
    }
    let neck = Neck::coarsest(&levels);
    let aligned = neck.align(&image, |_, _| None).unwrap();
    v.check("out.neck.feature_align", &channels_last(&aligned, neck.tokens(), neck.channels()));

    let tokens = v.get("in.jitter.tokens").clone();
    let mut jittered = tokens.data.clone();
    let scale = v.get("hp.jitter_scale").scalar();
    jitter(&mut jittered, &v.get("in.jitter.noise").data, tokens.shape[2], scale);
    v.check("out.jitter.tokens", &jittered);
}

pub(crate) fn check_transformer(v: &mut Vectors) {
    let size = |k: &str| v.dims()[k].as_u64().unwrap() as usize;
    let [batch, channels, height, width] = v.get("in.tr.feature_align").shape[..] else { panic!("features") };
    let d = size("tr_d");
    let cells = height * width;
    let layers = (0..).take_while(|k| v.has(&format!("in.tr.class_map{k}"))).count();
    let (heads, hidden) = (size("tr_heads"), size("tr_ff"));
    let shape = TransformerShape { height, width, channels, d, heads, hidden, layers };
    let mut transformer = Transformer::new(shape, &Streams::new(1)).unwrap();
    let mut all = vec![];
    transformer.list_mut(&mut all);
    for p in all {
        let name = p.name().strip_prefix("transformer.").unwrap();
        let (part, rest) = name.split_once('.').unwrap();
        let (name, which) = released_name(rest);
        let layer = |kind: &str| part.strip_prefix(kind).map(|k| format!("tr.{kind}.layers.{k}.{name}"));
        let released = match (part, rest) {
            ("input" | "output", _) => format!("{part}_proj.{rest}"),
            ("position", "column") => "pe.col_embed.weight".into(),
            ("position", "row") => "pe.row_embed.weight".into(),
            ("norm", _) => format!("tr.decoder.norm.{rest}"),
            _ => layer("encoder").or_else(|| layer("decoder")).unwrap(),
        };
        p.set(third(&v.get(&format!("param.{released}")).data, which)).unwrap();
    }
    let mut class = vec![];
    for k in 0..layers {
        let map = v.get(&format!("in.tr.class_map{k}")).clone();
        let grid = (map.shape[1], map.shape[2]);
        let images = map.data.chunks(grid.0 * grid.1 * d);
        let pooled: Vec<f32> =
            images.flat_map(|i| pool_map(i, grid, (height, width), d).unwrap().into_owned()).collect();
        // The file has the first one only.
        let name = format!("out.tr.class_map_pooled{k}");
        if v.has(&name) {
            v.check(&name, &channels_last(&pooled, cells, d));
        }
        class.push(constant(&mat(pooled, batch * cells, d).unwrap()));
    }
    let features = channels_last(&v.get("in.tr.feature_align").data, channels, cells);
    let tokens = constant(&mat(features.clone(), batch * cells, channels).unwrap());
    let out = transformer.forward(&tokens, &class, batch, &mut Noise::none()).unwrap();
    let code = transformer.position_code(1).unwrap();
    v.check("out.tr.pos_embed", &code.as_vec());
    let like = v.get("out.tr.memory").clone();
    v.check("out.tr.memory", &released_rows(&out.memory.as_vec(), &like));
    v.check("out.tr.feature_rec", &channels_last(&out.features.as_vec(), cells, channels));
    let semantic: Vec<f32> =
        out.semantic.iter().flat_map(|f| group_means(f, batch).unwrap().as_vec()).collect();
    v.check("out.tr.semantic_mean", &semantic);
    v.check("out.tr.distance_map_14", &distance_map(&out.features.as_vec(), &features, channels));
}

pub(crate) fn check_discriminator(v: &mut Vectors) {
    let size = |k: &str| v.dims()[k].as_u64().unwrap() as usize;
    let [batch, channels, height, width] = v.get("in.vit.image").shape[..] else { panic!("images") };
    let (d, classes) = (size("vit_d"), size("vit_classes"));
    let blocks = (0..).take_while(|k| v.has(&format!("param.vit.vit_blocks.{k}.norm1.weight"))).count();
    let s = Streams::new(1);
    let block = (size("vit_heads"), size("vit_mlp"));
    let mut discriminator = Discriminator::new(channels, d, blocks, block, &s).unwrap();
    (0..classes).for_each(|c| discriminator.grow(&format!("{c}"), classes, &s).unwrap());
    /// The released name, and which row of it.
    fn released(name: &str) -> (String, Option<usize>) {
        let name = name.strip_prefix("discriminator.").unwrap();
        if let Some(rest) = name.strip_prefix("class.") {
            let (class, what) = rest.split_once('.').unwrap();
            return (format!("fc.2.{what}"), class.parse().ok());
        }
        let name = name.replace("stem", "conv1").replace("mlp1", "mlp.mlp.0").replace("mlp2", "mlp.mlp.2");
        let name = name.replace("hidden", "fc.0").replace("attention", "self_attention");
        match name.strip_prefix("block").and_then(|n| n.split_once('.')) {
            Some((k, rest)) => (format!("vit_blocks.{k}.{rest}"), None),
            None => (name.replace("norm", "bn1"), None),
        }
    }
    let mut all = vec![];
    discriminator.list_mut(&mut all);
    for p in all {
        let (name, row) = released(p.name());
        let values = &v.get(&format!("param.vit.{name}")).data;
        p.set(row.map_or(values.clone(), |r| values[r * p.len()..(r + 1) * p.len()].to_vec())).unwrap();
    }
    let image = channels_last(&v.get("in.vit.image").data, channels, height * width);
    let x = mat(image, batch * height * width, channels).unwrap();
    let onehot = v.get("in.vit.onehot").data.clone();
    let class: Vec<usize> =
        onehot.chunks(classes).map(|r| r.iter().position(|v| *v == 1.0).unwrap()).collect();
    for (mode, by) in [("train", Normalisation::Batch), ("eval", Normalisation::Running)] {
        let (loss, out, mut grads) = gradients(|| {
            let out = discriminator.forward(&constant(&x), batch, (height, width), by)?;
            Ok::<_, Error>((cross_entropy(&out.logits, &class)?, out))
        })
        .unwrap();
        v.check(&format!("out.vit.{mode}.cross_entropy"), &[loss]);
        v.check(&format!("out.vit.{mode}.logits"), &out.logits.as_vec());
        for (k, map) in out.maps.iter().enumerate() {
            let name = format!("out.vit.{mode}.map{k}");
            if v.has(&name) {
                v.check(&name, &map.as_vec());
            }
        }
        let mut all = vec![];
        discriminator.list(&mut all);
        let mut by_name = BTreeMap::<String, Vec<f32>>::new();
        for p in all.into_iter().filter(|p| p.is_trainable()) {
            by_name.entry(released(p.name()).0).or_default().extend(grads.of(p.value()).unwrap());
        }
        for (name, gradient) in by_name {
            let name = format!("grad.vit.{mode}.{name}");
            if v.has(&name) {
                v.check(&name, &gradient);
            }
        }
        if let Some(moments) = &out.moments {
            let mut after = discriminator.clone();
            after.observe(moments).unwrap();
            let mut all = vec![];
            after.list(&mut all);
            for what in ["running_mean", "running_var"] {
                let p = all.iter().find(|p| p.name().ends_with(what)).unwrap();
                v.check(&format!("out.vit.train.bn_{what}"), &p.to_vec());
            }
        }
    }
}
