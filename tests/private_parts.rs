//! What a later class of the detector `ccnf` has of its own: adapters, copies of the last blocks, free codes, a prototype.

use ccnf::core::{Config, PhaseConfig, PlainUpdate, TrainConfig, build, hashes};
use ccnf::dfdx::prelude::{Axes2, HasShape, PermuteTo, Rank0, SumTo, TryMatMul};
use ccnf::prelude::*;
use ccnf::tensor::ops::{Activation, Layer, composed};
use ccnf_bundle as _;
use ccnf_plugin_flow::{CcnfConfig, Flow, FlowSpec, flow_output};
use ccnf_testkit::compare;
use serde_json::{Value, json};
use std::sync::Arc;

fn levels() -> Vec<LevelSpec> {
    vec![LevelSpec { name: "grid".into(), height: 4, width: 4, channels: 6 }]
}

/// Tokens with a mean and a covariance of the class.
fn image(class: &str, number: usize) -> Arc<dyn ImageFeatures> {
    let s = Streams::new(9);
    let d = 6;
    let (mean, mix) = (s.normal(class, d), s.normal(&format!("{class}.mix"), d * d));
    let noise = s.normal(&format!("{class}.{number}"), 16 * d);
    let token = |i: usize| -> f32 {
        let own = &noise[i / d * d..(i / d + 1) * d];
        mean[i % d] + 0.5 * mix[i % d * d..(i % d + 1) * d].iter().zip(own).map(|(m, n)| m * n).sum::<f32>()
    };
    Arc::new(vec![(0..16 * d).map(token).collect::<Vec<f32>>()])
}

fn view(stage: usize, classes: &[&str]) -> TrainView {
    let class = |c: &&str| TrainClass::new(*c, (0..12).map(|i| image(c, i)).collect());
    TrainView::new(stage, levels(), classes.iter().map(class).collect())
}

fn built(keys: Value, later: u64) -> Result<Box<dyn Detector>> {
    let mut all = json!({ "kind": "ccnf", "blocks": 3, "position": 0, "regularizers": [] });
    all.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    let phase = |steps: u64, lr: f64| PhaseConfig { steps, tokens: 128, lr };
    let train = TrainConfig { first: phase(20, 5e-3), later: phase(later, 2e-2), ..TrainConfig::default() };
    let fusion = FusionConfig { levels: LevelNorm::Mean, ..FusionConfig::default() };
    let spec = DetectorSpec { levels: levels(), train, fusion, streams: Streams::new(4) };
    let root = Config::from_json("test", &json!({ "detector": all })).unwrap().root().unwrap();
    build::<dyn Detector>(&root.child("detector"), &spec)
}

/// Trains `a` and `b`, freezes, then learns `c` and `d` in `later` steps.
fn learnt(keys: Value, later: u64) -> Box<dyn Detector> {
    let mut d = built(keys, later).unwrap();
    for (stage, classes, scope) in [(0, ["a", "b"], TrainScope::All), (1, ["c", "d"], TrainScope::NewClasses)]
    {
        let view = view(stage, &classes);
        d.begin_stage(&view, scope).unwrap();
        for step in 0..d.steps(stage) {
            d.step(&view, step, &mut PlainUpdate).unwrap();
        }
        d.end_stage(&view).unwrap();
        if stage == 0 {
            d.freeze_shared().unwrap();
        }
    }
    d
}

/// Maps of images that were not trained on: nats per dimension.
fn maps(d: &dyn Detector, class: &str) -> Vec<f32> {
    let images: Vec<_> = (100..130).map(|i| image(class, i)).collect();
    let images: Vec<&dyn ImageFeatures> = images.iter().map(|i| i.as_ref()).collect();
    let scores = d.score(&images, ScoreRequest { given: Some(class), routed: false }).unwrap();
    scores.into_iter().flat_map(|s| s.given.into_iter().flat_map(|m| m.data)).collect()
}

fn mean(values: &[f32]) -> f64 {
    values.iter().map(|v| f64::from(*v)).sum::<f64>() / values.len() as f64
}

fn private(kind: &str, blocks: usize) -> Value {
    let subnet = json!({ "private": kind, "rank": 3, "hidden": 16 });
    json!({ "private_blocks": blocks, "coupling": { "kind": "affine", "subnet": subnet } })
}

fn plain() -> Value {
    private("none", 0)
}

#[test]
fn the_first_stage_and_its_maps_are_those_of_the_plain_method() {
    let reference = learnt(plain(), 5);
    for kind in ["low-rank", "copy"] {
        let d = learnt(private(kind, 3), 5);
        for class in ["a", "b"] {
            assert_eq!(maps(&*d, class), maps(&*reference, class), "{kind}: class {class}");
        }
        let own = hashes(&*d);
        assert!(
            hashes(&*reference).iter().filter(|t| t.1 == Owner::Shared).all(|t| own.contains(t)),
            "{kind}"
        );
    }
}

#[test]
fn a_class_without_training_is_scored_as_by_the_shared_flow() {
    let reference = learnt(plain(), 0);
    for (kind, blocks) in [("low-rank", 3), ("copy", 3), ("copy", 1)] {
        let d = learnt(private(kind, blocks), 0);
        for class in ["c", "d"] {
            assert_eq!(
                maps(&*d, class),
                maps(&*reference, class),
                "{kind} of {blocks} blocks: class {class}"
            );
        }
    }
}

#[test]
fn more_of_its_own_makes_a_later_class_more_likely() {
    // A row, adapters, one copied block, the whole flow copied: each has more freedom than a row alone, and the last the most.
    let nll = |keys: Value| mean(&maps(&*learnt(keys, 60), "c"));
    let row = nll(plain());
    let [adapters, last, all] = [("low-rank", 3), ("copy", 1), ("copy", 3)].map(|(k, b)| nll(private(k, b)));
    assert!(adapters < row - 0.02, "{adapters} nats per dimension with adapters, {row} with a row");
    assert!(last < row - 0.02, "{last} nats per dimension with the last block, {row} with a row");
    assert!(
        all < adapters.min(last),
        "{all} with all blocks, {adapters} with adapters, {last} with the last"
    );
}

#[test]
fn private_tensors_are_in_the_last_blocks_and_of_later_classes_only() {
    let names = |d: &dyn Detector, class: &str| -> Vec<String> {
        let own = hashes(d).into_iter().filter(|t| t.1 == Owner::Class(class.into()));
        own.map(|t| t.0).filter(|n| n.contains("private")).collect()
    };
    let d = learnt(private("low-rank", 2), 0);
    assert!(names(&*d, "a").is_empty() && names(&*d, "b").is_empty());
    let of_c = names(&*d, "c");
    let expected: Vec<String> = (1..3)
        .flat_map(|b| (0..3).flat_map(move |l| ["a", "b"].map(|t| (b, l, t))))
        .map(|(b, l, t)| format!("level0.block{b}.private.c.lin{l}.{t}"))
        .collect();
    assert_eq!(of_c, expected);
    // Two blocks; layers [16, 3 + 64], [16, 16], [6, 16]; rank 3.
    let values = |d: &dyn Detector, c: &str| -> usize {
        let own = |p: &&Param| *p.owner() == Owner::Class(c.into()) && p.name().contains("private");
        d.params().into_iter().filter(own).map(Param::len).sum()
    };
    assert_eq!(values(&*d, "c"), 2 * 3 * ((16 + 67) + (16 + 16) + (6 + 16)));
    let copy = learnt(private("copy", 1), 0);
    assert_eq!(values(&*copy, "d"), (16 * 67 + 16) + (16 * 16 + 16) + (6 * 16 + 6));
}

#[test]
fn impossible_private_blocks_are_config_errors() {
    for (keys, key) in [
        (private("copy", 4), "private_blocks"),
        (private("none", 1), "private_blocks"),
        (
            json!({ "private_blocks": 1, "mixing": "none", "coupling": { "kind": "all-in-one" } }),
            "private_blocks",
        ),
        (
            json!({ "coupling": { "kind": "affine", "subnet": { "private": "low-rank", "rank": 0 } } }),
            "subnet.rank",
        ),
        (
            json!({ "coupling": { "kind": "affine", "subnet": { "adapter_norm": -1.0 } } }),
            "subnet.adapter_norm",
        ),
    ] {
        let Err(e) = built(keys.clone(), 0) else { panic!("accepted: {keys}") };
        assert!(e.kind() == ErrorKind::Config && e.to_string().contains(key), "{keys}: {e}");
    }
}

fn film(free_codes: bool) -> Value {
    let subnet = json!({ "hidden": 16 });
    json!({ "coupling": { "kind": "affine", "subnet": subnet },
            "conditioner": { "kind": "film", "width": 4, "free_codes": free_codes } })
}

#[test]
fn free_codes_start_at_the_row_and_say_more_than_it_when_trained() {
    let (row, free) = (learnt(film(false), 0), learnt(film(true), 0));
    for class in ["a", "b", "c", "d"] {
        assert_eq!(maps(&*free, class), maps(&*row, class), "class {class}");
    }
    let nll = |free: bool| mean(&maps(&*learnt(film(free), 60), "c"));
    let (row, free) = (nll(false), nll(true));
    assert!(free < row - 0.02, "{free} nats per dimension with free codes, {row} with a row");
}

#[test]
fn free_codes_are_what_a_later_class_trains() {
    let mut d = learnt(film(true), 0);
    d.begin_stage(&view(2, &["e"]), TrainScope::NewClasses).unwrap();
    let trained: Vec<&str> = d.params().iter().filter(|p| p.is_trainable()).map(|p| p.name()).collect();
    let expected: Vec<String> =
        (0..3).flat_map(|b| (0..2).map(move |k| format!("level0.block{b}.film{k}.code.e"))).collect();
    assert_eq!(trained, expected);
    assert_eq!(d.trainable(), 3 * 2 * 32, "gamma and beta of two layers of 16 in three blocks");
    let of_a = hashes(&*d).into_iter().filter(|t| t.1 == Owner::Class("a".into()) && t.0.contains("code"));
    assert_eq!(of_a.count(), 0, "a class of the first stage has codes of its own");
}

#[test]
fn a_prototype_is_the_mean_of_the_standardised_tokens_and_nothing_is_trained_later() {
    let d = learnt(json!({ "conditioner": { "kind": "prototype", "width": 5, "hidden": 8 } }), 60);
    assert_eq!((d.steps(1), d.trainable()), (0, 0));
    let get = |name: &str| d.params().into_iter().find(|p| p.name() == name).unwrap().to_vec();
    let (mean, std) = (get("level0.standard.mean"), get("level0.standard.std"));
    for class in ["a", "c"] {
        let mut expected = [0.0f64; 6];
        for i in 0..12 {
            for (n, v) in image(class, i).level(0).unwrap().iter().enumerate() {
                expected[n % 6] += f64::from((v - mean[n % 6]) / std[n % 6]) / (12.0 * 16.0);
            }
        }
        let expected: Vec<f32> = expected.iter().map(|v| *v as f32).collect();
        compare(&get(&format!("level0.row.{class}")), &expected, 1e-5, class);
    }
    // The class acts through its prototype.
    let images = [image("c", 100)];
    let under = |class: &str| {
        let request = ScoreRequest { given: Some(class), routed: false };
        d.score(&[images[0].as_ref()], request).unwrap()[0].given[0].data.clone()
    };
    assert_ne!(under("c"), under("d"));
}

/// A flow with rows for four classes, of which the last two have private parts.
fn flow(kind: &str, private_blocks: usize) -> Flow {
    let config = json!({
        "blocks": 3, "private_blocks": private_blocks, "position": 8,
        "coupling": { "kind": "affine", "warmup_steps": 0,
            "subnet": { "hidden": 8, "last_layer": "uniform", "private": kind, "rank": 2 } },
        "conditioner": { "kind": "film", "width": 5 },
    });
    let section = Config::from_json("test", &config).unwrap().root().unwrap();
    let read: CcnfConfig = section.read().unwrap();
    let level = LevelSpec { name: "l".into(), height: 3, width: 3, channels: 5 };
    let spec = FlowSpec { scope: "level0".into(), level, warmup_steps: 0, streams: Streams::new(2) };
    let mut flow = Flow::new(&read, &Build { section: &section, spec: &() }, &spec).unwrap();
    for class in ["a", "b", "c", "d"] {
        flow.conditioner_mut().grow(class, &RowInit::Random).unwrap();
    }
    flow.bake().unwrap();
    flow.params_mut().into_iter().for_each(|p| p.set_trainable(false));
    for class in ["c", "d"] {
        flow.grow_private(class).unwrap();
    }
    let s = Streams::new(3);
    for p in flow.params_mut().into_iter().filter(|p| p.is_trainable()) {
        let noise = s.normal(p.name(), p.len());
        p.set(p.to_vec().iter().zip(noise).map(|(v, n)| v + 0.3 * n).collect()).unwrap();
    }
    flow
}

/// Tokens of all classes, mixed.
fn batch() -> (Mat, Index, Index) {
    let n = 22;
    let x = mat(Streams::new(5).normal("x", n * 5), n, 5).unwrap();
    let class = (0..n).map(|i| [0, 3, 2, 2, 1, 3, 0][i % 7]).collect();
    (x, class, (0..n).map(|i| (i % 9) as u32).collect())
}

#[test]
fn a_token_among_tokens_of_other_classes_has_the_bits_that_it_has_alone() {
    for (kind, blocks) in [("low-rank", 3), ("copy", 2)] {
        let flow = flow(kind, blocks);
        let (x, class, position) = batch();
        let under = |x: &Mat, classes: &[usize], class: &Index, position: &Index| {
            flow_output(&flow, &constant(x), classes, class, position, None).unwrap()
        };
        let all = under(&x, &[0, 1, 2, 3], &class, &position);
        let back = flow
            .inverse(
                &mat(all.z.as_vec(), 22, 5).unwrap(),
                &flow.condition(&[0, 1, 2, 3], &class, &position).unwrap(),
            )
            .unwrap();
        compare(&back.as_vec(), &x.as_vec(), 1e-4, "the inverse of a batch of several classes");
        for n in 0..22 {
            let token = mat(x.as_vec()[n * 5..(n + 1) * 5].to_vec(), 1, 5).unwrap();
            let one = under(&token, &[class[n] as usize], &vec![0].into(), &vec![position[n]].into());
            assert_eq!(one.z.as_vec(), all.z.as_vec()[n * 5..(n + 1) * 5], "{kind}: latents of token {n}");
            assert_eq!(one.log_prob.as_vec()[0], all.log_prob.as_vec()[n], "{kind}: likelihood of token {n}");
            for (one, all) in one.log_scales.iter().zip(&all.log_scales) {
                let width = one.shape().1;
                assert_eq!(
                    one.as_vec(),
                    all.as_vec()[n * width..(n + 1) * width],
                    "{kind}: scales of token {n}"
                );
            }
        }
    }
}

#[test]
fn the_gradient_of_a_batch_is_the_sum_of_those_of_its_tokens() {
    for (kind, blocks) in [("low-rank", 3), ("copy", 2)] {
        let flow = flow(kind, blocks);
        let (x, class, position) = batch();
        // Of likelihoods and log-scales, by parameter.
        let of = |x: &Mat, classes: &[usize], class: &Index, position: &Index| -> Vec<Vec<f32>> {
            let (_, (), mut grads) = gradients(|| {
                let out = flow_output(&flow, &constant(x), classes, class, position, None)?;
                let mut sum = out.log_prob.sum::<Rank0, _>();
                for s in &out.log_scales {
                    sum = sum + ops::square_sum(s)?.sum::<Rank0, _>();
                }
                Ok::<_, Error>((sum, ()))
            })
            .unwrap();
            flow.params().iter().map(|p| grads.of(p.value()).unwrap()).collect()
        };
        let all = of(&x, &[0, 1, 2, 3], &class, &position);
        let mut sums: Vec<Vec<f32>> = all.iter().map(|g| vec![0.0; g.len()]).collect();
        for n in 0..class.len() {
            let token = mat(x.as_vec()[n * 5..(n + 1) * 5].to_vec(), 1, 5).unwrap();
            let one = of(&token, &[class[n] as usize], &vec![0].into(), &vec![position[n]].into());
            for (sum, one) in sums.iter_mut().zip(&one) {
                sum.iter_mut().zip(one).for_each(|(s, g)| *s += g);
            }
        }
        for ((all, sum), p) in all.iter().zip(&sums).zip(flow.params()) {
            if p.is_trainable() {
                assert!(all.iter().any(|g| g.abs() > 1e-3), "{kind}: no gradient reaches `{}`", p.name());
                compare(all, sum, 1e-4, &format!("{kind}: {}", p.name()));
            }
        }
    }
}

#[test]
fn adapters_have_the_values_and_gradients_of_their_composed_twin() {
    let subnet = json!({ "hidden": 6, "spectral_norm": "off", "last_layer": "uniform", "private": "low-rank",
                         "rank": 2, "adapter_norm": 0.0 });
    let config = json!({ "c": { "kind": "affine", "warmup_steps": 0, "clamp": 0.9, "subnet": subnet } });
    let root = Config::from_json("test", &config).unwrap().root().unwrap();
    let spec = CouplingSpec {
        scope: "b".into(),
        dim: 5,
        grid: Grid { height: 1, width: 1 },
        class_width: 0,
        position_width: 0,
        warmup_steps: 0,
        streams: Streams::new(1),
    };
    let mut coupling = build::<dyn Coupling>(&root.child("c"), &spec).unwrap();
    coupling.grow("k").unwrap();
    let s = Streams::new(2);
    for p in coupling.params_mut().into_iter().filter(|p| p.name().ends_with(".a")) {
        p.set(s.normal(p.name(), p.len())).unwrap();
    }
    let x = mat(s.normal("x", 9 * 5), 9, 5).unwrap();
    let condition = BlockCondition { class: None, position: None, film: vec![], private: Some("k".into()) };
    let param = |name: String| coupling.params().into_iter().find(|p| p.name() == name).unwrap().clone();
    let twin_layers = || -> Vec<Layer> {
        (0..3)
            .map(|l| {
                let get =
                    |what: &str| coupling.params().into_iter().find(|p| p.name() == what).unwrap().var();
                let (w, b) = (get(&format!("b.lin{l}.weight")), get(&format!("b.lin{l}.bias")));
                let down = get(&format!("b.private.k.lin{l}.b")).permute::<_, Axes2<1, 0>>();
                let weight = w + get(&format!("b.private.k.lin{l}.a")).matmul(down);
                let activation = if l < 2 { Activation::Relu } else { Activation::Identity };
                Layer { weight, tables: vec![RowTable { table: b, index: None }], activation, film: None }
            })
            .collect()
    };
    let scalar = |y: Var, log_det: VarVec| {
        let weights = constant(&mat(s.normal("weights", 9 * 5), 9, 5).unwrap());
        (y * weights).sum::<Rank0, _>() + log_det.sum::<Rank0, _>()
    };
    let (own, (), mut own_grads) = gradients(|| {
        let out = coupling.forward(&tracked(&x), &condition)?;
        Ok::<_, Error>((scalar(out.y, out.log_det), ()))
    })
    .unwrap();
    let (twin, (), mut twin_grads) = gradients(|| {
        let out = composed::affine_coupling(&tracked(&x), &twin_layers(), 0.9)?;
        Ok::<_, Error>((scalar(out.y, out.log_det), ()))
    })
    .unwrap();
    assert!((own - twin).abs() < 1e-4 * twin.abs().max(1.0), "{own} and {twin}");
    compare(&own_grads.of(&x).unwrap(), &twin_grads.of(&x).unwrap(), 1e-4, "x");
    for l in 0..3 {
        for what in ["a", "b"] {
            let p = param(format!("b.private.k.lin{l}.{what}"));
            let (own, twin) = (own_grads.of(p.value()).unwrap(), twin_grads.of(p.value()).unwrap());
            assert!(twin.iter().any(|g| g.abs() > 1e-3), "{}: no gradient", p.name());
            compare(&own, &twin, 1e-4, p.name());
        }
    }
}

#[test]
fn an_adapter_never_exceeds_its_norm() {
    // One layer: the difference of the last weight under the class shows in the output of unit inputs.
    for (cap, scale) in [(0.5f32, 3.0f32), (0.5, 0.05), (2.0, 3.0)] {
        let subnet = json!({ "hidden": 7, "layers": 1, "spectral_norm": "off", "private": "low-rank", "rank": 3,
                             "adapter_norm": cap });
        let root = Config::from_json("test", &json!({ "c": { "kind": "additive", "subnet": subnet } }));
        let spec = CouplingSpec {
            scope: "b".into(),
            dim: 12,
            grid: Grid { height: 1, width: 1 },
            class_width: 0,
            position_width: 0,
            warmup_steps: 0,
            streams: Streams::new(1),
        };
        let mut coupling = build::<dyn Coupling>(&root.unwrap().root().unwrap().child("c"), &spec).unwrap();
        coupling.grow("k").unwrap();
        let s = Streams::new(2);
        // The first layer becomes the identity on six positive inputs, so that the last adapter is all that acts.
        for p in coupling.params_mut() {
            let values = match p.name() {
                "b.lin0.weight" => (0..42).map(|i| f32::from(u8::from(i / 6 == i % 6))).collect(),
                "b.private.k.lin1.a" => s.normal("a", p.len()).iter().map(|v| v * scale).collect(),
                "b.private.k.lin1.b" => s.normal("b", p.len()),
                "b.private.k.lin0.b" => p.to_vec(),
                _ => vec![0.0; p.len()],
            };
            p.set(values).unwrap();
        }
        let shift = |x: Vec<f32>| -> Vec<f32> {
            let condition =
                BlockCondition { class: None, position: None, film: vec![], private: Some("k".into()) };
            let y = coupling.forward(&constant(&mat(x, 1, 12).unwrap()), &condition).unwrap().y.as_vec();
            y[6..].to_vec()
        };
        let columns: Vec<Vec<f32>> =
            (0..6).map(|i| shift((0..12).map(|j| f32::from(u8::from(i == j))).collect())).collect();
        // The largest singular value by power iteration on the matrix of the six columns.
        let mut v = vec![1.0f64; 6];
        let mut sigma = 0.0;
        for _ in 0..500 {
            let u: Vec<f64> =
                (0..6).map(|r| columns.iter().zip(&v).map(|(c, v)| f64::from(c[r]) * v).sum()).collect();
            let w: Vec<f64> =
                columns.iter().map(|c| c.iter().zip(&u).map(|(c, u)| f64::from(*c) * u).sum()).collect();
            let n = w.iter().map(|x| x * x).sum::<f64>().sqrt();
            sigma = n.sqrt();
            v = w.iter().map(|x| x / n).collect();
        }
        let wide = scale > 1.0;
        assert!(sigma < f64::from(cap) * 1.0001, "{sigma} with a bound of {cap}");
        assert!(!wide || sigma > f64::from(cap) * 0.9, "{sigma}: the bound {cap} is not reached");
    }
}
