//! The whole flow against the reference vectors: latents, log-dets, likelihoods, inverse, losses and their gradients, routing, fusion.

use ccnf::core::{Config, FusionConfig, LevelSpec};
use ccnf::prelude::*;
use ccnf_plugin_flow::{CcnfConfig, Flow, FlowSpec, flow_output, step_loss};
use ccnf_testkit::{Tensor, Vectors};
use dfdx::prelude::*;

use ccnf_bundle as _;

fn matrix(t: &Tensor) -> Mat {
    let (r, c) = t.dims2();
    mat(t.data.clone(), r, c).unwrap()
}

/// The flow of level `l` with the file's parameters.
fn flow(v: &Vectors, l: usize) -> Flow {
    let (classes, width) = v.get(&format!("param.level{l}.rows")).dims2();
    let hidden = v.get(&format!("param.level{l}.block0.lin1.weight")).shape[0];
    let dims = v.dims();
    let geometry = &dims["levels"][l];
    let size = |k: &str| geometry[k].as_u64().unwrap() as usize;
    let config = serde_json::json!({
        "blocks": dims["B"], "position": size("P"),
        "coupling": {"kind": "affine", "clamp": v.get("hp.alpha").scalar(), "warmup_steps": 0,
            "subnet": {"hidden": hidden, "spectral_norm": "literal", "last_layer": "uniform"}},
        "conditioner": {"kind": "embedding", "width": width},
    });
    let section = Config::from_json("test", &config).unwrap().root().unwrap();
    let config: CcnfConfig = section.read().unwrap();
    let spec = FlowSpec {
        scope: format!("level{l}"),
        level: LevelSpec { name: format!("l{l}"), height: size("h"), width: size("w"), channels: size("D") },
        warmup_steps: 0,
        streams: Streams::new(1),
    };
    let mut flow = Flow::new(&config, &Build { section: &section, spec: &() }, &spec).unwrap();
    let rows = v.get(&format!("param.level{l}.rows")).data.clone();
    for c in 0..classes {
        let row = rows[c * width..(c + 1) * width].to_vec();
        flow.conditioner_mut().grow(&format!("c{c}"), &RowInit::Values(row)).unwrap();
    }
    for p in flow.params_mut() {
        let name = p.name().to_owned();
        if let Some(t) = [format!("param.{name}"), format!("state.{name}")].iter().find(|n| v.has(n)) {
            p.set(v.get(t).data.clone()).unwrap();
        } else if name.ends_with("warmup") {
            p.set(vec![v.get("hp.w").scalar()]).unwrap();
        }
    }
    flow
}

fn token_indices(v: &Vectors, l: usize) -> (Index, Index, Vec<usize>) {
    let cells = v.get(&format!("in.level{l}.pos")).shape[0];
    let image_class = v.get("in.image_class").indices();
    let class: Vec<u32> = image_class.iter().flat_map(|c| vec![*c; cells]).collect();
    let position: Vec<u32> = (0..class.len()).map(|n| (n % cells) as u32).collect();
    let classes = v.get(&format!("param.level{l}.rows")).shape[0];
    (class.into(), position.into(), (0..classes).collect())
}

fn regularizers(v: &Vectors, with_negatives: bool, set: &[(&str, &str, f32)]) -> Vec<Box<dyn Regularizer>> {
    let mut list: Vec<serde_json::Value> = ["log-det", "balance", "latent-variance", "scale"]
        .iter()
        .map(|k| serde_json::json!({"kind": k}))
        .collect();
    if with_negatives {
        list.push(serde_json::json!({"kind": "mutual-information", "weight": v.get("hp.l_mi").scalar(), "margin": v.get("hp.margin").scalar()}));
        list.push(serde_json::json!({"kind": "entropy", "weight": v.get("hp.l_e").scalar()}));
    }
    for (kind, key, value) in set {
        let entry = list.iter_mut().find(|e| e["kind"] == *kind).unwrap();
        entry[*key] = if *value == 1.0 { true.into() } else { (*value).into() };
    }
    let root = Config::from_json("test", &serde_json::json!({"r": list})).unwrap().root().unwrap();
    let sections = root.components("r", &[]).unwrap();
    sections.iter().map(|s| ccnf::core::build::<dyn Regularizer>(s, &RegularizerSpec {}).unwrap()).collect()
}

/// Values by name.
type Named<T> = Vec<(String, T)>;

/// Losses and gradients on level 0; `keep` names the only term of the objective, or all.
fn losses(
    v: &Vectors,
    flow: &Flow,
    regularizers: &[Box<dyn Regularizer>],
    negatives: Option<&[u32]>,
    keep: Option<&str>,
) -> (f32, Named<f32>, Named<Vec<f32>>) {
    let x = matrix(v.get("in.level0.x"));
    let (class, position, classes) = token_indices(v, 0);
    let (total, terms, mut grads) = gradients(|| {
        let output = flow_output(flow, &tracked(&x), &classes, &class, &position, negatives)?;
        if let Some(name) = keep {
            let value = match name {
                "nll" => output.log_prob.clone().mean::<Rank0, _>() * (-1.0 / output.dim as f32),
                _ => regularizers.iter().find(|r| r.name() == name).unwrap().penalty(&output)?.unwrap(),
            };
            return Ok::<_, Error>((value, vec![]));
        }
        let losses = step_loss(output, regularizers)?;
        Ok((losses.total.clone(), losses.terms))
    })
    .unwrap();
    let mut by_name = Vec::new();
    let mut rows = Vec::new();
    for p in flow.params().iter().filter(|p| p.is_trainable()) {
        let g = grads.of(p.value()).unwrap();
        let short = p.name().strip_prefix("level0.").unwrap();
        if short.starts_with("row.") { rows.extend(g) } else { by_name.push((short.to_owned(), g)) }
    }
    by_name.push(("rows".into(), rows));
    by_name.push(("x".into(), grads.of(&x).unwrap()));
    (total, terms.iter().map(|t| (t.name.to_owned(), t.value)).collect(), by_name)
}

const NAMES: [(&str, &str); 7] = [
    ("nll", "L_g"),
    ("log-det", "L_logdet"),
    ("balance", "L_balance"),
    ("latent-variance", "L_zreg"),
    ("scale", "L_scale"),
    ("mutual-information", "L_mi"),
    ("entropy", "L_e"),
];

#[test]
fn the_flow_matches_the_reference() {
    let Some(mut v) = Vectors::open("ccnf_flow") else { return };
    let levels = v.dims()["levels"].as_array().unwrap().len();
    let mut log_prob = Vec::new();
    for l in 0..levels {
        let flow = flow(&v, l);
        let x = matrix(v.get(&format!("in.level{l}.x")));
        let (class, position, classes) = token_indices(&v, l);
        let conditions = flow.condition(&classes, &class, &position).unwrap();
        let out = flow.forward(&constant(&x), &conditions).unwrap();
        v.check(&format!("out.level{l}.z"), &out.z.as_vec());
        v.check(&format!("out.level{l}.J"), &out.log_det.as_vec());
        let back = flow.inverse(&matrix(v.get(&format!("out.level{l}.z"))), &conditions).unwrap();
        v.check(&format!("out.level{l}.x_inverse"), &back.as_vec());
        let n = position.len();
        let zero: Index = vec![0; n].into();
        let mut all = vec![0.0; n * classes.len()];
        let mut by_class = Vec::new();
        for c in &classes {
            let output = flow_output(&flow, &constant(&x), &[*c], &zero, &position, None).unwrap();
            let l = output.log_prob.as_vec();
            l.iter().enumerate().for_each(|(n, v)| all[n * classes.len() + c] = *v);
            by_class.push(l);
        }
        v.check(&format!("out.level{l}.logp"), &all);
        log_prob.push(by_class);
    }
    check_losses(&mut v);
    check_maps(&mut v, &log_prob);
    // Scores per token are compared where the scorers are; readings without a switch: literal L_mi, corners not aligned.
    v.finish(|n| {
        n.starts_with("out.score.")
            || n.starts_with("alt.fused_no_align_corners.")
            || n == "alt.loss.L_mi_literal"
    });
}

fn check_losses(v: &mut Vectors) {
    let flow = flow(v, 0);
    let negatives = v.get("in.level0.y_neg").indices();
    let (total, _, grads) = losses(v, &flow, &regularizers(v, false, &[]), None, None);
    v.check("out.loss.total", &[total]);
    grads.iter().for_each(|(name, g)| v.check(&format!("grad.total.{name}"), g));
    let all = regularizers(v, true, &[]);
    let (total, terms, grads) = losses(v, &flow, &all, Some(&negatives), None);
    v.check("out.loss.total_with_mi_e", &[total]);
    grads.iter().for_each(|(name, g)| v.check(&format!("grad.total_with_mi_e.{name}"), g));
    for (ours, theirs) in NAMES {
        let value = terms.iter().find(|(n, _)| n == ours).unwrap().1;
        v.check(&format!("out.loss.{theirs}"), &[value]);
        let (_, _, grads) = losses(v, &flow, &all, Some(&negatives), Some(ours));
        for (name, g) in &grads {
            let key = format!("grad.{theirs}.{name}");
            if v.has(&key) {
                v.check(&key, g);
            }
        }
    }
    let other = regularizers(v, true, &[("balance", "signed", 1.0), ("latent-variance", "global", 1.0)]);
    let (_, terms, _) = losses(v, &flow, &other, Some(&negatives), None);
    let value = |terms: &[(String, f32)], name: &str| terms.iter().find(|(n, _)| n == name).unwrap().1;
    v.check("alt.loss.L_balance_signed", &[value(&terms, "balance")]);
    v.check("alt.loss.L_zreg_global_std", &[value(&terms, "latent-variance")]);
    // tau = 1 is written as a number; 1.0 in `regularizers` would become `true`.
    let root = Config::from_json("test", &serde_json::json!({"r": [{"kind": "entropy", "tau": 1.0}]}))
        .unwrap()
        .root()
        .unwrap();
    let section = root.components("r", &[]).unwrap().remove(0);
    let tau_one = vec![ccnf::core::build::<dyn Regularizer>(&section, &RegularizerSpec {}).unwrap()];
    let (_, terms, _) = losses(v, &flow, &tau_one, Some(&negatives), None);
    v.check("alt.loss.L_e_tau1", &[value(&terms, "entropy")]);
    // The hard negative: the most likely class other than the true one.
    let (class, position, classes) = token_indices(v, 0);
    let x = matrix(v.get("in.level0.x"));
    let zero: Index = vec![0; position.len()].into();
    let l: Vec<Vec<f32>> = classes
        .iter()
        .map(|c| flow_output(&flow, &constant(&x), &[*c], &zero, &position, None).unwrap().log_prob.as_vec())
        .collect();
    let hard: Vec<u32> = class
        .iter()
        .enumerate()
        .map(|(n, t)| {
            let others = (0..l.len() as u32).filter(|c| c != t);
            others.max_by(|a, b| l[*a as usize][n].total_cmp(&l[*b as usize][n])).unwrap()
        })
        .collect();
    v.check("alt.y_neg_hard", &hard.iter().map(|c| *c as f32).collect::<Vec<_>>());
    let (_, terms, _) = losses(v, &flow, &all, Some(&hard), None);
    v.check("alt.loss.L_mi_hard", &[value(&terms, "mutual-information")]);
}

/// Routing by the mean log-likelihood and the fused maps under every use of the class.
fn check_maps(v: &mut Vectors, log_prob: &[Vec<Vec<f32>>]) {
    let images = v.get("in.image_class").indices();
    let classes = log_prob[0].len();
    let dims = v.dims();
    let geometry: Vec<(usize, usize, usize)> = dims["levels"]
        .as_array()
        .unwrap()
        .iter()
        .map(|l| {
            (
                l["h"].as_u64().unwrap() as usize,
                l["w"].as_u64().unwrap() as usize,
                l["D"].as_u64().unwrap() as usize,
            )
        })
        .collect();
    let (mut means, mut routes) = (Vec::new(), Vec::new());
    for i in 0..images.len() {
        let mean: Vec<f32> = (0..classes)
            .map(|c| {
                let level = |l: usize| -> f64 {
                    let t = geometry[l].0 * geometry[l].1;
                    log_prob[l][c][i * t..(i + 1) * t].iter().map(|v| f64::from(*v)).sum::<f64>() / t as f64
                };
                ((0..geometry.len()).map(level).sum::<f64>() / geometry.len() as f64) as f32
            })
            .collect();
        let known: Vec<String> = (0..classes).map(|c| format!("c{c}")).collect();
        let root = Config::from_json("test", &serde_json::json!({"router": {"kind": "likelihood"}}))
            .unwrap()
            .root()
            .unwrap();
        let router = ccnf::core::build::<dyn Router>(&root.child("router"), &RouterSpec::default()).unwrap();
        let features: Vec<Vec<f32>> = vec![];
        let log_likelihood: Vec<Option<f32>> = mean.iter().copied().map(Some).collect();
        let input =
            RouteInput { classes: &known, log_likelihood: &log_likelihood, given: None, features: &features };
        routes.push(router.route(&input).unwrap());
        means.extend(mean);
    }
    v.check("out.routed.mean_logp", &means);
    v.check("out.routed.class", &routes.iter().map(|r| *r as f32).collect::<Vec<_>>());

    let side = dims["mask"].as_u64().unwrap() as usize;
    for (kind, z) in [("given", false), ("given_zfuse", true), ("min", false), ("routed", false)] {
        let (mut maps, mut blurred, mut scores) = (vec![], vec![], vec![]);
        for (i, given) in images.iter().enumerate() {
            let levels: Vec<LevelMap> = geometry
                .iter()
                .enumerate()
                .map(|(l, (h, w, d))| {
                    let t = h * w;
                    let score = |c: usize, k: usize| -log_prob[l][c][i * t + k] / *d as f32;
                    let data = (0..t)
                        .map(|k| match kind {
                            "min" => (0..classes).map(|c| score(c, k)).fold(f32::INFINITY, f32::min),
                            "routed" => score(routes[i], k),
                            _ => score(*given as usize, k),
                        })
                        .map(|s| {
                            let stat =
                                |what: &str| v.get(&format!("in.level{l}.map_{what}")).data[*given as usize];
                            if z { (s - stat("mean")) / stat("std") } else { s }
                        })
                        .collect();
                    LevelMap { height: *h, width: *w, data }
                })
                .collect();
            let mut config = FusionConfig { map_size: side, blur_sigma: 0.0, ..FusionConfig::default() };
            maps.extend(ccnf_engine::fuse(&levels, &config).unwrap().map.data);
            config.blur_sigma = f64::from(v.get("hp.blur_sigma").scalar());
            let fused = ccnf_engine::fuse(&levels, &config).unwrap();
            blurred.extend(fused.map.data);
            scores.push(fused.score);
        }
        v.check(&format!("out.fused.{kind}.map"), &maps);
        v.check(&format!("out.fused.{kind}.blurred"), &blurred);
        v.check(&format!("out.fused.{kind}.image_score"), &scores);
    }
}
