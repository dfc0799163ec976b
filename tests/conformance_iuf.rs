//! The parts of the detector `iuf` against the reference vectors of the released code. Released layouts are `[tokens, batch, channels]` or
//! channels first; here tokens are rows, image after image.

use ccnf::core::{FusionConfig, ImageRule, ImageScoreConfig};
use ccnf::prelude::*;
use ccnf::tensor::tracked;
use ccnf_engine::fuse;
use ccnf_plugin_iuf::*;
use ccnf_testkit::{Tensor, Vectors};
use dfdx::prelude::{Rank0, SumTo};

use ccnf_bundle as _;

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

/// Gives the tensors of a layer the released values.
fn load(v: &Vectors, part: &mut impl Parts, ours: &str, released: &str) {
    let mut all = vec![];
    part.list_mut(&mut all);
    for p in all {
        let (name, which) = released_name(p.name().strip_prefix(ours).unwrap());
        p.set(third(&v.get(&format!("param.{released}.{name}")).data, which)).unwrap();
    }
}

/// Compares the gradients of a layer's tensors; those of a fused tensor are put together first.
fn check_gradients(v: &mut Vectors, part: &impl Parts, ours: &str, released: &str, grads: &mut Grads) {
    let mut all = vec![];
    part.list(&mut all);
    let mut fused = std::collections::BTreeMap::<String, Vec<f32>>::new();
    for p in all {
        let (name, _) = released_name(p.name().strip_prefix(ours).unwrap());
        // Query, key and value are listed in this order.
        fused.entry(name).or_default().extend(grads.of(p.value()).unwrap());
    }
    for (name, gradient) in fused {
        v.check(&format!("grad.{released}.{name}"), &gradient);
    }
}

fn check_layers(v: &mut Vectors) {
    let size = |k: &str| v.dims()[k].as_u64().unwrap() as usize;
    let (d, heads, hidden, batch) = (size("d"), size("heads"), size("ff"), size("B"));
    let tokens = v.get("in.layer.src").shape[0];
    let s = Streams::new(1);
    let input = |name: &str| rows(v.get(&format!("in.layer.{name}")));
    let (src, class, position) = (input("src"), input("class_condition"), input("pos_b"));
    let (previous, g) = (input("dec_out"), input("g"));

    let mut encoder = EncoderLayer::new("enc", d, heads, hidden, &s).unwrap();
    load(v, &mut encoder, "enc.", "enc");
    let (_, y, mut grads) = gradients(|| {
        let position = constant(&position);
        let y = encoder.forward(&tracked(&src), &tracked(&class), &position, batch, &mut Noise::none())?.y;
        Ok::<_, Error>(((y.clone() * constant(&g)).sum::<Rank0, _>(), y))
    })
    .unwrap();
    let like = v.get("in.layer.src").clone();
    v.check("out.enc.y", &released_rows(&y.as_vec(), &like));
    v.check("grad.enc.src", &released_rows(&grads.of(&src).unwrap(), &like));
    v.check("grad.enc.class_condition", &released_rows(&grads.of(&class).unwrap(), &like));
    check_gradients(v, &encoder, "enc.", "enc", &mut grads);

    let mut decoder = DecoderLayer::new("dec", tokens, d, heads, hidden, &s).unwrap();
    load(v, &mut decoder, "dec.", "dec");
    let cell: Index = (0..batch * tokens).map(|i| (i % tokens) as u32).collect();
    let (_, y, mut grads) = gradients(|| {
        let position = constant(&position);
        let noise = &mut Noise::none();
        let y = decoder.forward(&tracked(&src), &tracked(&previous), &position, &cell, batch, noise)?.y;
        Ok::<_, Error>(((y.clone() * constant(&g)).sum::<Rank0, _>(), y))
    })
    .unwrap();
    v.check("out.dec.y", &released_rows(&y.as_vec(), &like));
    v.check("grad.dec.memory", &released_rows(&grads.of(&src).unwrap(), &like));
    v.check("grad.dec.prev", &released_rows(&grads.of(&previous).unwrap(), &like));
    check_gradients(v, &decoder, "dec.", "dec", &mut grads);
}

fn check_transformer(v: &mut Vectors) {
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
        v.check(&format!("out.tr.class_map_pooled{k}"), &channels_last(&pooled, cells, d));
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

fn check_discriminator(v: &mut Vectors) {
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
        let mut by_name = std::collections::BTreeMap::<String, Vec<f32>>::new();
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

fn check_neck_and_jitter(v: &mut Vectors) {
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

fn check_losses(v: &mut Vectors) {
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
    let moments = |f: &ccnf_engine::FusedMap| {
        let n = f.map.data.len() as f64;
        let mean = f.map.data.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
        let var = f.map.data.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / n;
        (mean as f32, var.sqrt() as f32)
    };
    v.check("out.rec.image_score_mean", &fused.iter().map(|f| moments(f).0).collect::<Vec<_>>());
    v.check("out.rec.image_score_std", &fused.iter().map(|f| moments(f).1).collect::<Vec<_>>());
}

/// A map at the size `side` and its image score, as the method scores: no blur, the maximum after 16 x 16 mean pooling.
fn score(data: &[f32], (height, width): (usize, usize), side: usize) -> ccnf_engine::FusedMap {
    let image = ImageScoreConfig { rule: ImageRule::PooledMax, window: 16, ..ImageScoreConfig::default() };
    let config = FusionConfig { map_size: side, blur_sigma: 0.0, image, ..FusionConfig::default() };
    fuse(&[LevelMap { height, width, data: data.to_vec() }], &config).unwrap()
}

fn check_scores(v: &mut Vectors) {
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

fn check_compression(v: &mut Vectors) {
    let [n, channels, cells] = v.get("in.sc.feature0").shape[..] else { panic!("features") };
    // The released threshold is made for 256 channels, whatever there are.
    let threshold = f64::from(v.get("hp.sc_ratio").scalar()) / 256.0;
    let leaves: Vec<Mat> = (0..3)
        .map(|k| {
            let data = channels_last(&v.get(&format!("in.sc.feature{k}")).data, channels, cells);
            mat(data, n * cells, channels).unwrap()
        })
        .collect();
    for (name, mode) in [("on", CompressionMode::On), ("off", CompressionMode::Off)] {
        let (loss, spectra, mut grads) = gradients(|| {
            let means = leaves.iter().map(|l| group_means(&tracked(l), n)).collect::<Result<Vec<_>>>()?;
            let out = Compression::default().loss(&means, threshold, mode)?;
            Ok::<_, Error>((out.loss, out.spectra))
        })
        .unwrap();
        v.check("out.sc.loss", &[loss]);
        for (k, (leaf, spectrum)) in leaves.iter().zip(&spectra).enumerate() {
            let gradient = channels_last(&grads.of(leaf).unwrap(), cells, channels);
            v.check(&format!("grad.sc_{name}.feature{k}"), &gradient);
            let values: Vec<f32> = spectrum.singular_values.iter().map(|s| *s as f32).collect();
            v.check(&format!("out.sc.singular_values{k}"), &values);
            v.check(&format!("out.sc.n_below{k}"), &[spectrum.below as f32]);
        }
    }
}

fn check_update(v: &mut Vectors) {
    let (rows, d) = (v.get("in.proj.H").data.clone(), v.get("in.proj.H").shape[1]);
    let basis = Basis::new(rows.iter(), d, &ramp(d)).unwrap();
    let values = |v: &[f64]| v.iter().map(|v| *v as f32).collect::<Vec<_>>();
    v.check("out.proj.ramp", &values(&ramp(d)));
    v.check("out.proj.singular_values", &values(basis.singular_values()));
    let clip = f64::from(v.get("hp.clip").scalar());
    for (mode, clip) in [("plain", None), ("clipped", Some(clip))] {
        let names = ["weight", "bias", "other"];
        let mut params: Vec<Param> = names
            .iter()
            .map(|name| {
                let t = v.get(&format!("in.proj.{name}"));
                let (r, c) = t.dims2();
                Param::weight(*name, Owner::Shared, t.data.clone(), r, c).unwrap()
            })
            .collect();
        let (_, (), mut grads) = gradients(|| {
            let mut total = ccnf::tensor::constant_scalar(0.0)?;
            for p in &params {
                let g = &v.get(&format!("in.proj.grad_{}", p.name())).data;
                let (r, c) = p.shape();
                total = total + (p.var() * constant(&mat(g.clone(), r, c)?)).sum::<Rank0, _>();
            }
            Ok::<_, Error>((total, ()))
        })
        .unwrap();
        let mut sgd = ConstrainedSgd::new(clip);
        sgd.project(["weight", "bias"], basis.clone());
        let before: Vec<Vec<f32>> = params.iter().map(Param::to_vec).collect();
        let lr = f64::from(v.get("hp.lr").scalar());
        let norm = sgd.step(&mut params.iter_mut().collect::<Vec<_>>(), &mut grads, lr).unwrap();
        v.check("out.proj.clip_norm_before", &[norm as f32]);
        for (p, before) in params.iter().zip(&before) {
            let step: Vec<f32> = p.to_vec().iter().zip(before).map(|(a, b)| a - b).collect();
            v.check(&format!("out.proj.{mode}.step_{}", p.name()), &step);
        }
    }
    let names: Vec<String> =
        v.names().filter_map(|n| n.strip_prefix("out.pull.after.").map(str::to_owned)).collect();
    let share = v.get("hp.pull").scalar();
    for name in names {
        let values = |which: &str| v.get(&format!("in.pull.{which}.{name}")).data.clone();
        let pulled = pull(&values("current"), &values("old"), share);
        v.check(&format!("out.pull.after.{name}"), &pulled);
    }
}

#[test]
fn every_part_matches_the_released_code() {
    let Some(mut v) = Vectors::open("iuf") else { return };
    check_neck_and_jitter(&mut v);
    check_layers(&mut v);
    check_transformer(&mut v);
    check_discriminator(&mut v);
    check_losses(&mut v);
    check_compression(&mut v);
    check_update(&mut v);
    check_scores(&mut v);
    // The released habit of reporting 1 - AUROC for an AUROC below 0.5 is not offered.
    v.finish(|name| name.starts_with("alt."));
}
