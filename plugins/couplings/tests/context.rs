//! Subnets that see the neighbours: the Jacobian of a whole map, and what a token depends on.

use ccnf::core::{Config, build};
use ccnf::prelude::*;
use ccnf_plugin_couplings as _;
use serde_json::{Value, json};

const GRID: Grid = Grid { height: 3, width: 3 };
const D: usize = 3;

fn coupling(kind: &str, context: &str) -> Box<dyn Coupling> {
    let keys = |keys: Value| json!({ "coupling": keys });
    let subnet = json!({ "context": context, "hidden": 24, "last_layer": "uniform" });
    let config = keys(json!({ "kind": kind, "subnet": subnet }));
    let root = Config::from_json("test", &config).unwrap().root().unwrap();
    let spec = CouplingSpec {
        scope: "block0".into(),
        dim: D,
        grid: GRID,
        class_width: 0,
        position_width: 2,
        warmup_steps: 0,
        streams: Streams::new(3),
    };
    let mut coupling = build::<dyn Coupling>(&root.child("coupling"), &spec).unwrap();
    coupling.begin_step(None).unwrap();
    // Far from linear, so that a wrong Jacobian shows.
    for p in coupling.params_mut().into_iter().filter(|p| p.is_trainable()) {
        p.set(p.to_vec().iter().map(|v| 2.0 * v).collect()).unwrap();
    }
    coupling
}

fn condition(tokens: usize) -> BlockCondition {
    let codes = mat(Streams::new(4).normal("codes", 2 * GRID.tokens()), GRID.tokens(), 2).unwrap();
    let index = (0..tokens).map(|n| (n % GRID.tokens()) as u32).collect();
    let position = RowTable { table: constant(&codes), index: Some(index) };
    BlockCondition { class: None, position: Some(position), film: vec![], private: None }
}

fn forward(coupling: &dyn Coupling, x: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let n = x.len() / D;
    let out = coupling.forward(&constant(&mat(x.to_vec(), n, D).unwrap()), &condition(n)).unwrap();
    (out.y.as_vec(), out.log_det.as_vec())
}

fn map() -> Vec<f32> {
    Streams::new(5).normal("x", GRID.tokens() * D)
}

/// The Jacobian of a whole map by central differences, `[output][input]`.
fn jacobian(coupling: &dyn Coupling) -> Vec<Vec<f64>> {
    let (x, size, e) = (map(), GRID.tokens() * D, 4e-3f32);
    let moved = |j: usize, by: f32| {
        let mut x = x.clone();
        x[j] += by;
        forward(coupling, &x).0
    };
    let mut all = vec![vec![0.0; size]; size];
    for j in 0..size {
        let (up, down) = (moved(j, e), moved(j, -e));
        all.iter_mut().zip(up.iter().zip(&down)).for_each(|(row, (a, b))| {
            row[j] = f64::from(a - b) / (2.0 * f64::from(e));
        });
    }
    all
}

#[test]
fn the_log_determinant_of_a_map_is_that_of_its_full_jacobian() {
    for kind in ["affine", "additive", "spline"] {
        let coupling = coupling(kind, "depthwise");
        assert!(coupling.needs_maps());
        let stated: f64 = forward(&*coupling, &map()).1.iter().map(|v| f64::from(*v)).sum();
        let numeric = ccnf_testkit::log_abs_det(jacobian(&*coupling));
        assert!((stated - numeric).abs() < 5e-3, "{kind}: {stated} stated, {numeric} numeric");
        assert_eq!(kind == "additive", stated == 0.0, "{kind}: {stated}");
    }
}

#[test]
fn a_token_depends_on_its_neighbours_and_on_no_other() {
    let jacobian = jacobian(&*coupling("affine", "depthwise"));
    for (to, from) in (0..GRID.tokens()).flat_map(|to| (0..GRID.tokens()).map(move |from| (to, from))) {
        let apart = |of: fn(usize) -> usize| of(to).abs_diff(of(from));
        let near = apart(|t| t / GRID.width) < 2 && apart(|t| t % GRID.width) < 2;
        let rows = jacobian[to * D..(to + 1) * D].iter();
        let largest = rows.flat_map(|r| &r[from * D..(from + 1) * D]).fold(0f64, |m, v| m.max(v.abs()));
        assert_eq!(near, largest > 0.0, "token {to} by token {from}: {largest}");
        // x_a passes unchanged and x_b of another token never counts: triangular in the halves
        let kept = D.div_ceil(2);
        for i in (0..D).filter(|_| to != from) {
            for j in (0..D).filter(|j| i < kept || *j >= kept) {
                assert_eq!(
                    jacobian[to * D + i][from * D + j],
                    0.0,
                    "output {i} of {to} by input {j} of {from}"
                );
            }
        }
    }
}

#[test]
fn without_context_no_coupling_needs_maps() {
    for kind in ["affine", "additive", "spline"] {
        assert!(!coupling(kind, "none").needs_maps());
    }
}
