//! Training semantics against the reference vectors: 50 steps of the first task, baking, 20 steps of one new row.

use ccnf::core::{Config, LevelSpec};
use ccnf::prelude::*;
use ccnf::tensor::{AdamSettings, SpectralNorm};
use ccnf_plugin_flow::{CcnfConfig, Flow, FlowSpec, StepLosses, flow_output, step_loss};
use ccnf_testkit::Vectors;

use ccnf_bundle as _;

fn build(v: &Vectors) -> (Flow, Vec<Box<dyn Regularizer>>) {
    let dims = v.dims();
    let size = |k: &str| dims[k].as_u64().unwrap() as usize;
    let (_, width) = v.get("init.rows").dims2();
    let hp = |k: &str| v.get(&format!("hp.{k}")).scalar();
    let config = serde_json::json!({
        "blocks": size("B"), "position": size("P"),
        "coupling": {"kind": "affine", "clamp": hp("alpha"), "warmup_steps": hp("warmup_steps") as u64,
            "subnet": {"hidden": v.get("init.block0.lin1.weight").shape[0], "spectral_norm": "literal", "last_layer": "uniform"}},
        "conditioner": {"kind": "embedding", "width": width},
        "regularizers": [
            {"kind": "log-det", "weight": hp("l_det")}, {"kind": "balance", "weight": hp("l_b")},
            {"kind": "latent-variance", "weight": hp("l_z")}, {"kind": "scale", "weight": hp("l_s")},
            {"kind": "mutual-information", "weight": hp("l_mi"), "margin": hp("margin")}, {"kind": "entropy", "weight": hp("l_e")},
        ],
    });
    let section = Config::from_json("test", &config).unwrap().root().unwrap();
    let read: CcnfConfig = section.read().unwrap();
    let grid: Vec<usize> =
        dims["grid"].as_array().unwrap().iter().map(|g| g.as_u64().unwrap() as usize).collect();
    let spec = FlowSpec {
        scope: "l".into(),
        level: LevelSpec { name: "l".into(), height: grid[0], width: grid[1], channels: size("D") },
        warmup_steps: 0,
        streams: Streams::new(1),
    };
    let mut flow = Flow::new(&read, &Build { section: &section, spec: &() }, &spec).unwrap();
    let (classes, width) = v.get("init.rows").dims2();
    let rows = v.get("init.rows").data.clone();
    for c in 0..classes {
        flow.conditioner_mut()
            .grow(&format!("c{c}"), &RowInit::Values(rows[c * width..(c + 1) * width].to_vec()))
            .unwrap();
    }
    for p in flow.params_mut() {
        let name = format!("init.{}", p.name().strip_prefix("l.").unwrap());
        if v.has(&name) {
            p.set(v.get(&name).data.clone()).unwrap();
        }
    }
    let regularizers = section
        .components("regularizers", &[])
        .unwrap()
        .iter()
        .map(|s| ccnf::core::build::<dyn Regularizer>(s, &RegularizerSpec {}).unwrap())
        .collect();
    (flow, regularizers)
}

/// Start vectors of the power iteration: 20 iterations from the file's random vectors.
fn start_power_iteration(v: &mut Vectors, flow: &mut Flow) {
    let mut start = std::collections::BTreeMap::new();
    for p in flow.params().iter().filter(|p| p.name().ends_with(".weight")) {
        let stem = p.name().strip_suffix(".weight").unwrap().to_owned();
        let short = stem.strip_prefix("l.").unwrap().to_owned();
        let u = v.get(&format!("init.{short}.u_random")).data.clone();
        let norm = SpectralNorm::from_vector(p, SpectralMode::Literal, u).unwrap();
        let [u, v_] = norm.params();
        v.check(&format!("out.init.{short}.u"), &u.to_vec());
        v.check(&format!("out.init.{short}.v"), &v_.to_vec());
        start.insert(format!("{stem}.u"), u.to_vec());
        start.insert(format!("{stem}.v"), v_.to_vec());
    }
    for p in flow.params_mut() {
        if let Some(values) = start.remove(p.name()) {
            p.set(values).unwrap();
        }
    }
}

struct Batch {
    x: Mat,
    class: Vec<u32>,
    position: Index,
}

/// Tokens `index` of the features, which are `[classes, T, D]` class after class; `offset` is the first class's number.
fn batch(v: &Vectors, index: &[u32], offset: usize) -> Batch {
    let f = v.get("in.features");
    let (t, d) = (f.shape[1], f.shape[2]);
    let cells = v.get("in.token_position").indices();
    let at = |i: u32| offset * t + i as usize;
    let x = index.iter().flat_map(|i| f.data[at(*i) * d..(at(*i) + 1) * d].to_vec()).collect();
    Batch {
        x: mat(x, index.len(), d).unwrap(),
        class: index.iter().map(|i| (at(*i) / t) as u32).collect(),
        position: index.iter().map(|i| cells[at(*i) % t]).collect(),
    }
}

struct Trainer<'a> {
    flow: Flow,
    regularizers: &'a [Box<dyn Regularizer>],
    adam: Adam,
    lr: f64,
}

impl Trainer<'_> {
    /// One step as the detector makes it; returns losses, gradient norm and the gradients.
    fn step(
        &mut self,
        b: &Batch,
        negatives: &[u32],
        warmup: Option<u64>,
    ) -> (StepLosses, f64, Vec<(String, Vec<f32>)>) {
        self.flow.begin_step(warmup).unwrap();
        let mut classes: Vec<usize> = b.class.iter().map(|c| *c as usize).collect();
        classes.sort_unstable();
        classes.dedup();
        let class: Index =
            b.class.iter().map(|c| classes.iter().position(|k| *k == *c as usize).unwrap() as u32).collect();
        let (_, losses, mut grads) = gradients(|| {
            let output =
                flow_output(&self.flow, &constant(&b.x), &classes, &class, &b.position, Some(negatives))?;
            let losses = step_loss(output, self.regularizers)?;
            Ok::<_, Error>((losses.total.clone(), losses))
        })
        .unwrap();
        let by_name = self
            .flow
            .params()
            .iter()
            .filter(|p| p.is_trainable())
            .map(|p| (p.name().strip_prefix("l.").unwrap().to_owned(), grads.of(p.value()).unwrap()))
            .collect();
        let norm = self.adam.step(&mut self.flow.params_mut(), &mut grads, self.lr).unwrap();
        (losses, norm, by_name)
    }
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

#[derive(Default)]
struct Curves(std::collections::BTreeMap<String, Vec<f32>>);

impl Curves {
    fn push(&mut self, losses: &StepLosses, norm: f64) {
        for t in &losses.terms {
            let theirs = NAMES.iter().find(|(ours, _)| *ours == t.name).unwrap().1;
            self.0.entry(theirs.into()).or_default().push(t.value);
        }
        self.0.entry("total".into()).or_default().extend(losses.total.as_vec());
        self.0.entry("grad_norm".into()).or_default().push(norm as f32);
    }
    fn check(&self, v: &mut Vectors, prefix: &str) {
        for (name, values) in &self.0 {
            v.check(&format!("out.{prefix}.{name}"), values);
        }
    }
}

fn rows_of(grads: &[(String, Vec<f32>)]) -> Vec<f32> {
    grads.iter().filter(|(n, _)| n.starts_with("row.")).flat_map(|(_, g)| g.clone()).collect()
}

#[test]
fn training_matches_the_reference_step_by_step() {
    let Some(mut v) = Vectors::open("ccnf_train") else { return };
    let (mut flow, regularizers) = build(&v);
    start_power_iteration(&mut v, &mut flow);
    let hp = |k: &str| f64::from(v.get(&format!("hp.{k}")).scalar());
    let settings = AdamSettings {
        betas: [hp("beta1"), hp("beta2")],
        eps: hp("eps"),
        weight_decay: hp("weight_decay"),
        clip: Some(hp("clip")),
    };
    let (lr, inc_lr) = (hp("lr"), hp("inc_lr"));
    let mut trainer = Trainer { flow, regularizers: &regularizers, adam: Adam::new(settings), lr };
    let (steps, n) = v.get("in.batch_index").dims2();
    let (indices, negatives) = (v.get("in.batch_index").indices(), v.get("in.batch_y_neg").indices());
    let (mut curves, mut warmups) = (Curves::default(), Vec::new());
    for k in 0..steps {
        let b = batch(&v, &indices[k * n..(k + 1) * n], 0);
        let (losses, norm, grads) = trainer.step(&b, &negatives[k * n..(k + 1) * n], Some(k as u64));
        curves.push(&losses, norm);
        warmups
            .push(trainer.flow.params().iter().find(|p| p.name().ends_with("warmup")).unwrap().to_vec()[0]);
        if v.names().any(|t| t.starts_with(&format!("grad.step{k:03}."))) {
            for (name, g) in grads.iter().filter(|(n, _)| !n.starts_with("row.")) {
                v.check(&format!("grad.step{k:03}.{name}"), g);
            }
            v.check(&format!("grad.step{k:03}.rows"), &rows_of(&grads));
        }
        let after = format!("out.step{:03}.", k + 1);
        if v.names().any(|t| t.starts_with(&after)) {
            let mut rows = Vec::new();
            for p in trainer.flow.params() {
                let short = p.name().strip_prefix("l.").unwrap();
                if short.starts_with("row.") {
                    rows.extend(p.to_vec());
                } else if v.has(&format!("{after}{short}")) {
                    v.check(&format!("{after}{short}"), &p.to_vec());
                }
            }
            v.check(&format!("{after}rows"), &rows);
        }
    }
    curves.check(&mut v, "task0");
    v.check("out.task0.w", &warmups);

    trainer.flow.bake().unwrap();
    for p in trainer.flow.params_mut() {
        let short = p.name().strip_prefix("l.").unwrap().to_owned();
        if short.ends_with(".weight") {
            v.check(&format!("out.baked.{short}"), &p.to_vec());
        }
        p.set_trainable(false);
    }
    increment(&mut v, trainer, settings, inc_lr);
    v.finish(|_| false);
}

fn increment(v: &mut Vectors, mut trainer: Trainer<'_>, settings: AdamSettings, lr: f64) {
    let known = trainer.flow.conditioner().classes().len();
    let width = trainer.flow.conditioner().row_width();
    let rows: Vec<Vec<f32>> = (0..known).map(|c| trainer.flow.conditioner().row(c).unwrap()).collect();
    let mean = (0..width).map(|j| rows.iter().map(|r| r[j]).sum::<f32>() / known as f32).collect();
    trainer.flow.conditioner_mut().grow("new", &RowInit::Values(mean)).unwrap();
    trainer.adam = Adam::new(settings);
    trainer.lr = lr;
    let before: Vec<_> =
        trainer.flow.params().iter().filter(|p| !p.is_trainable()).map(|p| p.hash()).collect();
    let (steps, n) = v.get("in.inc_batch_index").dims2();
    let (indices, negatives) = (v.get("in.inc_batch_index").indices(), v.get("in.inc_y_neg").indices());
    let mut curves = Curves::default();
    let row_name = |k: usize| format!("out.inc.row_step{k:03}");
    if v.has(&row_name(0)) {
        let row = trainer.flow.conditioner().row(known).unwrap();
        v.check(&row_name(0), &row);
    }
    for k in 0..steps {
        let b = batch(v, &indices[k * n..(k + 1) * n], known);
        let (losses, norm, grads) = trainer.step(&b, &negatives[k * n..(k + 1) * n], None);
        curves.push(&losses, norm);
        if v.has(&format!("grad.inc.step{k:03}.row")) {
            v.check(&format!("grad.inc.step{k:03}.row"), &rows_of(&grads));
        }
        if v.has(&row_name(k + 1)) {
            let row = trainer.flow.conditioner().row(known).unwrap();
            v.check(&row_name(k + 1), &row);
        }
    }
    curves.check(v, "inc");
    let after: Vec<_> =
        trainer.flow.params().iter().filter(|p| !p.is_trainable()).map(|p| p.hash()).collect();
    assert_eq!(before, after, "a frozen tensor changed");
    let names: Vec<String> = v.names().filter(|n| n.contains("probe")).map(str::to_owned).collect();
    let probes = v.get("in.probe_index").indices();
    assert!(names.len() >= 2);
    let classes = known + 1;
    let b = batch(v, &probes, 0);
    let zero: Index = vec![0; probes.len()].into();
    let mut all = vec![0.0; probes.len() * classes];
    for c in 0..classes {
        let out = flow_output(&trainer.flow, &constant(&b.x), &[c], &zero, &b.position, None).unwrap();
        out.log_prob.as_vec().iter().enumerate().for_each(|(n, l)| all[n * classes + c] = *l);
    }
    v.check("out.inc.probe_logp", &all);
}
