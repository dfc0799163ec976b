//! HGAD against the reference vectors: the block of its flow under both clamps, losses with all gradients, scores, maps, learning rate.

use ccnf::core::Config;
use ccnf::data::FloatMap;
use ccnf::prelude::*;
use ccnf::tensor::{constant_vec, softplus};
use ccnf_plugin_hgad::{
    Centres, Losses, Mixture, Phase, initial_centres, learning_rate, losses, set_normalised,
};
use ccnf_testkit::{Tensor, Vectors};
use dfdx::prelude::*;

use ccnf_bundle as _;

fn matrix(t: &Tensor) -> Mat {
    let (r, c) = t.dims2();
    mat(t.data.clone(), r, c).unwrap()
}

/// The coupling with the file's parameters.
fn block(v: &Vectors, clamp: &str) -> Box<dyn Coupling> {
    let hidden = v.get("param.lin0.weight").shape[0];
    let keys = serde_json::json!({
        "kind": "all-in-one", "clamp": clamp, "alpha": v.get("hp.alpha").scalar(), "hidden": hidden,
    });
    let root = Config::from_json("test", &serde_json::json!({ "coupling": keys })).unwrap().root().unwrap();
    let spec = CouplingSpec {
        scope: "block0".into(),
        dim: v.get("in.x").shape[1],
        grid: Grid { height: 1, width: 1 },
        class_width: 0,
        position_width: v.get("in.cond").shape[1],
        warmup_steps: 0,
        streams: Streams::new(1),
    };
    let mut coupling = ccnf::core::build::<dyn Coupling>(&root.child("coupling"), &spec).unwrap();
    for p in coupling.params_mut() {
        let short = p.name().strip_prefix("block0.").unwrap().to_owned();
        if short == "gamma" {
            let start = v.get("hp.gamma_init").scalar();
            assert!(p.to_vec().iter().all(|g| (g - start).abs() < 1e-5), "the start of gamma");
        }
        if v.has(&format!("param.{short}")) {
            p.set(v.get(&format!("param.{short}")).data.clone()).unwrap();
        }
    }
    coupling
}

fn condition(code: Var) -> BlockCondition {
    let rows: Index = (0..code.shape().0 as u32).collect();
    let position = Some(RowTable { table: code, index: Some(rows) });
    BlockCondition { class: None, position, film: vec![], private: None }
}

/// The block made of plain `dfdx` operations, as the paper's formula stands; gives `y`, `J` and the subnet's output.
fn composed_block(v: &Vectors, clamp: &str, x: &Var, code: &Var) -> (Var, VarVec, Var) {
    let p = |name: &str| constant(&matrix(v.get(&format!("param.{name}"))));
    let rows = |t: Var, shape: &(usize, usize)| {
        let d = t.shape().1;
        t.reshape_like(&(d,)).broadcast_like::<_, Axis<0>>(shape)
    };
    let times = |x: Var, w: Var| x.matmul(w.permute::<(usize, usize), Axes2<1, 0>>());
    let (n, d) = *x.shape();
    let kept = d.div_ceil(2);
    let parts = ops::composed::split_cols(x, &[kept, d - kept]).unwrap();
    let mut h = times((parts[0].clone(), code.clone()).concat_along(Axis::<1>), p("lin0.weight"));
    let shape = *h.shape();
    h = (h + rows(p("lin0.bias"), &shape)).relu();
    let mut raw = times(h, p("lin1.weight"));
    let shape = *raw.shape();
    raw = raw + rows(p("lin1.bias"), &shape);
    let halves = ops::composed::split_cols(&(raw.clone() * 0.1), &[d - kept, d - kept]).unwrap();
    let alpha = v.get("hp.alpha").scalar();
    let inner = if clamp == "pinned" { 1.0 } else { alpha };
    let s = (halves[0].clone() / inner).tanh() * alpha;
    let u =
        (parts[0].clone(), parts[1].clone() * s.clone().exp() + halves[1].clone()).concat_along(Axis::<1>);
    let g = softplus(p("gamma") * 0.5) * 0.2;
    let v_ = u * rows(g.clone(), &(n, d)) + rows(p("offset"), &(n, d));
    let log_g = g.ln().sum::<Rank0, Axes2<0, 1>>().broadcast_like::<(usize,), Axis<0>>(&(n,));
    (times(v_, p("rotation")), s.sum::<(usize,), Axis<1>>() + log_g, raw)
}

fn check_block(name: &str, clamp: &str) {
    let Some(mut v) = Vectors::open(name) else { return };
    let coupling = block(&v, clamp);
    let (x, code) = (matrix(v.get("in.x")), matrix(v.get("in.cond")));
    let (g1, g2) = (matrix(v.get("in.g1")), v.get("in.g2").data.clone());
    let (_, out, mut grads) = gradients(|| {
        let out = coupling.forward(&tracked(&x), &condition(tracked(&code)))?;
        let objective = (out.y.clone() * constant(&g1)).sum::<Rank0, _>()
            + (out.log_det.clone() * constant_vec(g2.clone())?).sum::<Rank0, _>();
        Ok::<_, Error>((objective, out))
    })
    .unwrap();
    v.check("out.y", &out.y.as_vec());
    v.check("out.logdet", &out.log_det.as_vec());
    v.check("grad.x", &grads.of(&x).unwrap());
    v.check("grad.cond", &grads.of(&code).unwrap());
    for p in coupling.params().into_iter().filter(|p| p.is_trainable()) {
        let short = p.name().strip_prefix("block0.").unwrap();
        v.check(&format!("grad.{short}"), &grads.of(p.value()).unwrap());
    }
    let y = matrix(v.get("out.y"));
    let back = coupling.inverse(&y, &condition(constant(&code))).unwrap();
    v.check("out.x_inverse", &back.as_vec());
    let again = coupling.forward(&constant(&back), &condition(constant(&code))).unwrap();
    let inverse: Vec<f32> = again.log_det.as_vec().iter().map(|j| -j).collect();
    v.check("out.logdet_inverse", &inverse);

    // The composed twin: same values, same gradients of x and position.
    let (_, (twin, log_det, raw), mut twin_grads) = gradients(|| {
        let (y, log_det, raw) = composed_block(&v, clamp, &tracked(&x), &tracked(&code));
        let objective = (y.clone() * constant(&g1)).sum::<Rank0, _>()
            + (log_det.clone() * constant_vec(g2.clone())?).sum::<Rank0, _>();
        Ok::<_, Error>((objective, (y, log_det, raw)))
    })
    .unwrap();
    v.check("out.y", &twin.as_vec());
    v.check("out.logdet", &log_det.as_vec());
    v.check("out.subnet_raw", &raw.as_vec());
    v.check("grad.x", &twin_grads.of(&x).unwrap());
    v.check("grad.cond", &twin_grads.of(&code).unwrap());
    // The block's own raw scale, from its log-scale.
    let (alpha, changed) = (v.get("hp.alpha").scalar(), raw.shape().1 / 2);
    let inner = if clamp == "pinned" { 1.0 } else { alpha };
    let scales = out.log_scale.unwrap().as_vec();
    for (s, raw) in scales.chunks_exact(changed).zip(v.get("out.subnet_raw").data.chunks_exact(2 * changed)) {
        for (s, raw) in s.iter().zip(raw) {
            let own = (s / alpha).atanh() * inner / 0.1;
            assert!((own - raw).abs() < 1e-4, "raw scale {own}, expected {raw}");
        }
    }
    v.finish(|_| false);
}

#[test]
fn the_block_with_the_pinned_clamp_matches_the_reference() {
    check_block("flow_block_hgad_pinned", "pinned");
}

#[test]
fn the_block_with_the_current_clamp_matches_the_reference() {
    check_block("flow_block_hgad_current", "current");
}

/// A mixture with the file's parameters; `names` are the classes `c0`, `c1`, ….
fn mixture(v: &Vectors) -> Mixture {
    let (k, d) = v.get("param.mus").dims2();
    let m = v.get("param.phi_intras").shape[1];
    let mut mixture = Mixture::new("level0", d, m, Streams::new(1));
    (0..k).for_each(|c| mixture.grow(&format!("c{c}"), vec![0.0; d]).unwrap());
    for p in mixture.params_mut() {
        let (what, class) = split(p.name());
        let all = &v.get(&format!("param.{what}")).data;
        let n = all.len() / k;
        p.set(all[class * n..(class + 1) * n].to_vec()).unwrap();
    }
    mixture
}

/// `level0.mu.c2` -> (`mus`, 2): the released name of the tensor with all classes, and the row.
fn split(name: &str) -> (&'static str, usize) {
    let mut parts = name.strip_prefix("level0.").unwrap().split('.');
    let what = match parts.next().unwrap() {
        "mu" => "mus",
        "mu_deltas" => "mu_deltas",
        "phi_inter" => "phi_inters",
        "phi_intra" => "phi_intras",
        other => panic!("a mixture has no `{other}`"),
    };
    (what, parts.next().unwrap()[1..].parse().unwrap())
}

/// Checks the gradients of the loss that `choose` takes from the terms; gives the terms' values and the loss.
fn check_gradients(v: &mut Vectors, name: &str, phase: Phase, choose: impl Fn(&Losses) -> Scalar) -> f32 {
    let mixture = mixture(v);
    let z = matrix(v.get("in.z"));
    let n = z.shape().0;
    let log_det = mat(v.get("in.logdet").data.clone(), n, 1).unwrap();
    let class: Index = v.get("in.labels").indices().into();
    let smoothing = v.get("hp.label_smoothing").scalar();
    let (value, (), mut grads) = gradients(|| {
        let j = tracked(&log_det).sum::<(usize,), Axis<1>>();
        let terms = losses(&mixture, &tracked(&z), &j, &class, smoothing, phase)?;
        Ok::<_, Error>((choose(&terms), ()))
    })
    .unwrap();
    v.check(&format!("grad.{name}.z"), &grads.of(&z).unwrap());
    v.check(&format!("grad.{name}.logdet"), &grads.of(&log_det).unwrap());
    for what in ["mus", "mu_deltas", "phi_inters", "phi_intras"] {
        let mut all = Vec::new();
        for p in mixture.params().iter().filter(|p| split(p.name()).0 == what) {
            all.extend(grads.of(p.value()).unwrap());
        }
        let key = format!("grad.{name}.{what}");
        if v.get(&key).data.iter().all(|g| *g == 0.0) {
            assert!(all.iter().all(|g| *g == 0.0), "a route that is stopped carries exactly nothing: {key}");
        }
        v.check(&key, &all);
    }
    value
}

fn check_maps(v: &mut Vectors) {
    let (images, side) = (v.get("out.score").shape[0], v.get("out.score").shape[1]);
    let levels = (0..).take_while(|l| v.has(&format!("in.map_lp.level{l}"))).count();
    let kind = |kind: &str| -> Vec<Vec<FloatMap>> {
        let map = |i: usize, l: usize| {
            let t = v.get(&format!("in.{kind}.level{l}"));
            let (h, w) = (t.shape[1], t.shape[2]);
            FloatMap::new(h, w, t.data[i * h * w..(i + 1) * h * w].to_vec()).unwrap()
        };
        (0..images).map(|i| (0..levels).map(|l| map(i, l)).collect()).collect()
    };
    let flat = |maps: &[FloatMap]| -> Vec<f32> { maps.iter().flat_map(|m| m.data.clone()).collect() };
    let first = flat(&set_normalised(&kind("map_lp"), side, 4.0).unwrap());
    let second = flat(&set_normalised(&kind("map_ne"), side, 4.0).unwrap());
    let score: Vec<f32> = first.iter().zip(&second).map(|(a, b)| a * b).collect();
    let of_image = |s: &[f32]| s.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let image: Vec<f32> = score.chunks(side * side).map(of_image).collect();
    v.check("out.map1", &first);
    v.check("out.map2", &second);
    v.check("out.score", &score);
    v.check("out.image_score", &image);
}

#[test]
fn losses_scores_maps_and_schedule_match_the_reference() {
    let Some(mut v) = Vectors::open("hgad_losses") else { return };
    let weight = v.get("hp.lambda2").scalar();
    let value = |v: &mut Vectors, key: &str, value: f32| v.check(key, &[value]);
    let full = Phase::Full;
    let inter = check_gradients(&mut v, "L_g", full, |t| t.inter.clone());
    let information = check_gradients(&mut v, "L_mi", full, |t| t.information.clone());
    let entropy = check_gradients(&mut v, "L_e", full, |t| t.entropy.clone());
    let intra = check_gradients(&mut v, "L_intra", full, |t| t.intra.clone().unwrap());
    let logistic = check_gradients(&mut v, "L_z", full, |t| t.logistic.clone().unwrap());
    let first = check_gradients(&mut v, "phase1", Phase::Inter, |t| t.total(weight));
    let second = check_gradients(&mut v, "phase2", full, |t| t.total(weight));
    for (key, x) in [
        ("out.L_g", inter),
        ("out.L_mi", information),
        ("out.L_e", entropy),
        ("out.L_intra", intra),
        ("out.L_z", logistic),
        ("out.phase1.L_g", inter),
        ("out.phase1.L_mi", information),
        ("out.phase1.L_e", entropy),
        ("out.phase1.total", first),
        ("out.phase2.total", second),
    ] {
        value(&mut v, key, x);
    }

    let mixture = mixture(&v);
    let (k, d) = v.get("param.mus").dims2();
    let z = matrix(v.get("in.z"));
    v.check("out.inter_logits", &mixture.inter_logits(&constant(&z), k).unwrap().as_vec());
    v.check("out.neg_entropy", &mixture.negative_entropy(&z, k).unwrap());
    let log_det = v.get("in.logdet").data.clone();
    let by_class: Vec<Vec<f32>> = (0..k).map(|c| mixture.log_density(&z, c).unwrap()).collect();
    let given: Vec<f32> = (0..log_det.len())
        .flat_map(|n| by_class.iter().map(|l| (l[n] + log_det[n]) / d as f32).collect::<Vec<_>>())
        .collect();
    v.check("out.logp_given", &given);
    let centres = initial_centres(Centres::Official, 0..k, k, d, ("level0", &Streams::new(1))).unwrap();
    v.check("out.mus_init", &centres.concat());
    let steps = v.get("out.lr_x1e4").data.len() as u64;
    let rates: Vec<f32> = (0..steps).map(|s| (learning_rate(2e-4, s, steps) * 1e4) as f32).collect();
    v.check("out.lr_x1e4", &rates);
    check_maps(&mut v);
    v.finish(|_| false);
}
