//! One CCNF coupling block against the reference vectors: forward, inverse, spectral norm and all gradients, in both conditioning modes.

use ccnf::core::Config;
use ccnf::prelude::*;
use ccnf_testkit::{Tensor, Vectors};
use dfdx::prelude::*;
use std::sync::Arc;

use ccnf_bundle as _;

fn matrix(t: &Tensor) -> Mat {
    let (r, c) = t.dims2();
    mat(t.data.clone(), r, c).unwrap()
}

fn set(params: Vec<&mut Param>, mut value: impl FnMut(&str) -> Option<Vec<f32>>) {
    for p in params {
        let name = p.name().to_owned();
        if let Some(v) = value(&name) {
            p.set(v).unwrap();
        }
    }
}

struct Case {
    coupling: Box<dyn Coupling>,
    conditioner: Box<dyn Conditioner>,
}

/// A coupling and a conditioner with the file's parameters; names without the scope `block0.`.
fn build(v: &Vectors, film: bool, before: bool, mode: &str) -> Case {
    let (n, d) = v.get("in.x").dims2();
    assert!(n > 0);
    let (classes, width) = v.get("in.rows").dims2();
    let hidden = v.get("param.lin1.weight").shape[0];
    let config = serde_json::json!({
        "coupling": {"kind": "affine", "clamp": v.get("hp.alpha").scalar(), "warmup_steps": 1000,
            "subnet": {"hidden": hidden, "spectral_norm": mode, "last_layer": "uniform"}},
        "conditioner": if film { serde_json::json!({"kind": "film", "width": width, "before_activation": before}) }
            else { serde_json::json!({"kind": "embedding", "width": width}) },
    });
    let root = Config::from_json("test", &config).unwrap().root().unwrap();
    let streams = Streams::new(1);
    let spec = ConditionerSpec { scope: "level0".into(), dim: 0, streams };
    let mut conditioner = ccnf::core::build::<dyn Conditioner>(&root.child("conditioner"), &spec).unwrap();
    let spec = CouplingSpec {
        scope: "block0".into(),
        dim: d,
        grid: Grid { height: 1, width: 1 },
        class_width: conditioner.input_width(),
        position_width: v.get("in.pos").shape[1],
        warmup_steps: 1000,
        streams,
    };
    let mut coupling = ccnf::core::build::<dyn Coupling>(&root.child("coupling"), &spec).unwrap();
    conditioner.attach(0, &coupling.hidden()).unwrap();
    let rows = v.get("in.rows");
    for c in 0..classes {
        let row = rows.data[c * width..(c + 1) * width].to_vec();
        conditioner.grow(&format!("c{c}"), &RowInit::Values(row)).unwrap();
    }
    set(conditioner.params_mut(), |name| {
        let short = name.strip_prefix("level0.block0.")?;
        Some(v.get(&format!("param.{short}")).data.clone())
    });
    set(coupling.params_mut(), |name| {
        let short = name.strip_prefix("block0.")?;
        match short.strip_suffix(".u") {
            Some(lin) => Some(v.get(&format!("state.{lin}.u_before")).data.clone()),
            None if v.has(&format!("param.{short}")) => Some(v.get(&format!("param.{short}")).data.clone()),
            None => None,
        }
    });
    Case { coupling, conditioner }
}

fn condition(v: &Vectors, case: &Case) -> BlockCondition {
    let classes = v.get("in.rows").shape[0];
    let token: Index = v.get("in.class").indices().into();
    let all: Vec<usize> = (0..classes).collect();
    let mut c = case.conditioner.condition(&all, &token).unwrap().remove(0);
    let position: Vec<u32> = (0..token.len() as u32).collect();
    c.position =
        Some(RowTable { table: constant(&matrix(v.get("in.pos"))), index: Some(Arc::from(position)) });
    c
}

fn check_case(v: &mut Vectors, film: bool, mode: &str) {
    let warmup = v.get("hp.warmup").data.clone();
    for (label, w) in ["w000", "w050", "w100"].iter().zip(&warmup) {
        let mut case = build(v, film, false, mode);
        case.coupling.begin_step(Some((w * 1000.0).round() as u64)).unwrap();
        let x = matrix(v.get("in.x"));
        let (g1, g2) = (matrix(v.get("in.g1")), v.get("in.g2").data.clone());
        let mix = matrix(v.get("param.mix"));
        let (_, out, mut grads) = gradients(|| {
            let out = case.coupling.forward(&tracked(&x), &condition(v, &case))?;
            let y = ops::linear(&out.y, &constant(&mix), None)?;
            let g2 = ccnf::tensor::constant_vec(g2.clone())?;
            let objective =
                (y.clone() * constant(&g1)).sum::<Rank0, _>() + (out.log_det.clone() * g2).sum::<Rank0, _>();
            Ok::<_, Error>((objective, (out, y)))
        })
        .unwrap();
        let key = |what: &str| format!("out.{mode}.{label}.{what}");
        let (out, y) = out;
        v.check(&key("y_coupling"), &out.y.as_vec());
        v.check(&key("y"), &y.as_vec());
        v.check(&key("logdet"), &out.log_det.as_vec());
        let s = out.log_scale.unwrap();
        v.check(&key("s"), &s.as_vec());
        let (n, d) = *x.shape();
        let db = s.shape().1;
        let (xs, ys, ss) = (x.as_vec(), out.y.as_vec(), s.as_vec());
        let t: Vec<f32> = (0..n * db)
            .map(|k| {
                let (row, j) = (k / db, k % db);
                let at = row * d + (d - db) + j;
                ys[at] - xs[at] * ss[k].exp()
            })
            .collect();
        v.check(&key("t"), &t);
        let before_mix =
            ops::linear(&constant(&matrix(v.get(&key("y")))), &constant(&transposed(&mix)), None).unwrap();
        let before_mix = mat(before_mix.as_vec(), n, d).unwrap();
        let back = case.coupling.inverse(&before_mix, &condition(v, &case)).unwrap();
        v.check(&key("x_inverse"), &back.as_vec());

        let grad = |what: &str| format!("grad.{mode}.{label}.{what}");
        v.check(&grad("x"), &grads.of(&x).unwrap());
        let mut rows = Vec::new();
        for p in case.conditioner.params() {
            let g = grads.of(p.value()).unwrap();
            match p.name().strip_prefix("level0.block0.") {
                Some(short) => v.check(&grad(short), &g),
                None => rows.extend(g),
            }
        }
        v.check(&grad("rows"), &rows);
        for p in case.coupling.params() {
            if p.is_trainable() {
                let short = p.name().strip_prefix("block0.").unwrap();
                v.check(&grad(short), &grads.of(p.value()).unwrap());
            }
        }
    }
}

fn transposed(m: &Mat) -> Mat {
    let (r, c) = *m.shape();
    let v = m.as_vec();
    mat((0..r * c).map(|k| v[(k % r) * c + k / r]).collect(), c, r).unwrap()
}

fn check_spectral(v: &mut Vectors) {
    for i in 0.. {
        if !v.has(&format!("param.lin{i}.weight")) {
            assert!(i > 0);
            return;
        }
        let w = v.get(&format!("param.lin{i}.weight")).clone();
        let (out, inp) = w.dims2();
        let weight =
            Param::weight(format!("lin{i}.weight"), Owner::Shared, w.data.clone(), out, inp).unwrap();
        let u0 = v.get(&format!("state.lin{i}.u_before")).data.clone();
        for mode in [SpectralMode::Literal, SpectralMode::Cap] {
            // `from_vector` iterates 20 times; one iteration is made from the same start by setting the state back.
            let twenty = SpectralNorm::from_vector(&weight, mode, u0.clone()).unwrap();
            let mut one = twenty.clone();
            one.params_mut()[0].set(u0.clone()).unwrap();
            one.iterate(&weight).unwrap();
            let name = if mode == SpectralMode::Literal { "literal" } else { "cap" };
            v.check(
                &format!("out.{name}.lin{i}.weight_effective"),
                &one.effective(&weight).unwrap().as_vec(),
            );
            v.check(&format!("out.lin{i}.sigma_1step"), &[one.sigma(weight.value())]);
            v.check(&format!("out.lin{i}.u_after"), &one.params()[0].to_vec());
            v.check(&format!("out.lin{i}.v_after"), &one.params()[1].to_vec());
            v.check(&format!("out.lin{i}.sigma_20steps"), &[twenty.sigma(weight.value())]);
            v.check(&format!("out.lin{i}.u_after20"), &twenty.params()[0].to_vec());
            let mut exact = twenty;
            for _ in 0..5000 {
                exact.iterate(&weight).unwrap();
            }
            v.check(&format!("out.lin{i}.sigma_exact"), &[exact.sigma(weight.value())]);
        }
    }
}

#[test]
fn the_concatenating_block_matches_the_reference() {
    let Some(mut v) = Vectors::open("ccnf_coupling_concat") else { return };
    check_spectral(&mut v);
    check_case(&mut v, false, "literal");
    check_case(&mut v, false, "cap");
    v.finish(|_| false);
}

#[test]
fn the_modulated_block_matches_the_reference() {
    let Some(mut v) = Vectors::open("ccnf_coupling_film") else { return };
    check_spectral(&mut v);
    check_case(&mut v, true, "literal");
    check_case(&mut v, true, "cap");
    for mode in ["literal", "cap"] {
        let mut case = build(&v, true, true, mode);
        case.coupling.begin_step(None).unwrap();
        let out = case.coupling.forward(&constant(&matrix(v.get("in.x"))), &condition(&v, &case)).unwrap();
        let y = ops::linear(&out.y, &constant(&matrix(v.get("param.mix"))), None).unwrap();
        v.check(&format!("alt.film_pre.{mode}.y"), &y.as_vec());
        v.check(&format!("alt.film_pre.{mode}.logdet"), &out.log_det.as_vec());
    }
    v.finish(|_| false);
}
