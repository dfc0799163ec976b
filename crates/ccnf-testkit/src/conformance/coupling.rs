//! Couplings, for dims 2, 5 and 8, with and without class rows, position and FiLM, after perturbing all parameters:
//!
//! * the forward is finite, and inverse(forward(x)) is x within 1e-4, past the warm-up and in its middle;
//! * the log-determinant is that of the numeric Jacobian within 1e-3 (D <= 6);
//! * of a coupling that mixes every output depends on every input (D <= 6);
//! * gradients are exact and reach everything (`coupling_gradients.rs`);
//! * tensors are listed alike for reading and writing, carry the scope in their name, and are shared or of a private part;
//! * private parts of classes keep to themselves (`coupling_private.rs`), and all the rest holds under one, too;
//! * a forward or inverse changes no tensor; the same seed gives the same bits;
//! * tokens are independent: their order, and which others are there, does not matter (1e-6); of a coupling that needs whole maps, maps are;
//! * large inputs, many tokens, and what `log_scale` being `None` promises, tensors that are not listed (`coupling_inputs.rs`);
//! * a snapshot loaded into a fresh coupling gives the same bits, baked or not;
//! * baking keeps outputs bit for bit, and afterwards `begin_step` changes nothing; where it changed something before, `is_baked` says so.

use super::common::{Must, close, finite, listed, same_bits, unchanged};
use super::coupling_bench::{Bench, GRID, OWNERS, Out, Setup, TOKENS, WARMUP};
use super::entry::Case;
use super::{coupling_gradients, coupling_inputs, coupling_private};
use ccnf::core::{CouplingSpec, hashes};
use ccnf::prelude::{Coupling, Owner, Snapshot, Streams, mat};

pub(super) const INVERSE_TOLERANCE: f64 = 1e-4;
/// f32 differences: about 1e-7 / 1e-2 per entry of the Jacobian.
const LOG_DET_TOLERANCE: f64 = 1e-3;
pub(super) const TOKEN_TOLERANCE: f64 = 1e-6;

pub(super) fn spec() -> CouplingSpec {
    Setup { dim: 4, class: false, position: false, film: false, private: false, seed: 1 }.spec()
}

pub(super) fn check(case: &Case<dyn Coupling>) {
    let (mut inverse, mut log_det, mut gradient) = (0f64, 0f64, 0f64);
    let private = case.build(&spec()).has_private();
    let mut setups = Setup::all(false);
    if private {
        setups.extend(Setup::all(true));
    }
    coupling_private::check(case);
    for setup in setups {
        let mut bench = Bench::new(case, setup);
        let at = |check: &str| case.at(format!("{check} ({setup})"));
        state(&mut bench, &at("tensors"));
        for step in [None, Some(WARMUP / 2)] {
            bench.coupling.begin_step(step).must(&at("begin_step"));
            let when = if step.is_none() { "past warm-up" } else { "in the middle of warm-up" };
            inverse = inverse.max(inverts(&bench, &at(&format!("inverse, {when}"))));
            if setup.dim <= 6 {
                log_det = log_det.max(jacobian(&bench, &at(&format!("log-determinant, {when}"))));
            }
        }
        unchanged_by_use(&bench, &at("forward and inverse"));
        tokens_are_independent(&bench, &at("independent tokens"));
        coupling_inputs::check(case, &mut bench);
        gradient = gradient.max(coupling_gradients::check(case, setup));
        repeatable(case, setup, &at("same seed, same bits"));
        loads(case, &bench, false, &at("save and load"));
        bakes(case, bench, &at("bake"));
    }
    println!(
        "{}",
        case.at(format!(
            "largest errors: inverse {inverse:.1e}, log-det {log_det:.1e}, gradients {gradient:.1e}"
        ))
    );
}

fn state(bench: &mut Bench, at: &str) {
    for (name, owner, _) in listed(&mut *bench.coupling, at) {
        assert!(name.starts_with("block0."), "{at}: `{name}` does not start with the scope `block0.`");
        let own = matches!(&owner, Owner::Class(c) if bench.setup.private && OWNERS.contains(&c.as_str()));
        assert!(owner == Owner::Shared || own, "{at}: `{name}` belongs to {owner}");
    }
}

fn inverts(bench: &Bench, at: &str) -> f64 {
    let out = bench.forward(at);
    finite(&out.y, &format!("{at}: y of the forward"));
    finite(&out.log_det, &format!("{at}: log_det of the forward"));
    let y = mat(out.y, TOKENS, bench.setup.dim).must(at);
    let rows: Vec<usize> = (0..TOKENS).collect();
    let back = bench.coupling.inverse(&y, &bench.condition(&rows, ccnf::tensor::constant)).must(at);
    close(&back.as_vec(), &bench.x.as_vec(), INVERSE_TOLERANCE, at)
}

/// The log-determinant of every token's Jacobian by fourth-order differences, against the one that the forward states.
fn jacobian(bench: &Bench, at: &str) -> f64 {
    let (d, stated) = (bench.setup.dim, bench.forward(at).log_det);
    let x = bench.x.as_vec();
    let moved = |j: usize, by: f32| -> Vec<f32> {
        let mut x = x.clone();
        x.iter_mut().skip(j).step_by(d).for_each(|v| *v += by);
        bench.forward_of(&mat(x, TOKENS, d).must(at)).must(at).y
    };
    let mut best = [f64::MAX; TOKENS];
    for e in [5e-3f32, 1e-2, 4e-2] {
        let mut jacobians = vec![vec![vec![0f64; d]; d]; TOKENS];
        for j in 0..d {
            let [a, b, c, f] = [-2.0, -1.0, 1.0, 2.0].map(|k| moved(j, k * e));
            for (n, jacobian) in jacobians.iter_mut().enumerate() {
                for (i, row) in jacobian.iter_mut().enumerate() {
                    let k = n * d + i;
                    let [a, b, c, f] = [a[k], b[k], c[k], f[k]].map(f64::from);
                    row[j] = (8.0 * (c - b) - (f - a)) / (12.0 * f64::from(e));
                }
            }
        }
        if bench.coupling.mixes() {
            let reached = |i: usize, j: usize| jacobians.iter().any(|of| of[i][j].abs() > 1e-4);
            let apart = (0..d * d).find(|k| !reached(k / d, k % d));
            assert!(apart.is_none(), "{at}: it says that it mixes, and entry {apart:?} of its Jacobian is 0");
        }
        for ((best, jacobian), stated) in best.iter_mut().zip(jacobians).zip(&stated) {
            *best = best.min((crate::log_abs_det(jacobian) - f64::from(*stated)).abs());
        }
    }
    let worst = best.iter().fold(0f64, |a, b| a.max(*b));
    assert!(
        worst <= LOG_DET_TOLERANCE,
        "{at}: off by {worst:e} from the numeric Jacobian, allowed {LOG_DET_TOLERANCE:e}"
    );
    worst
}

fn unchanged_by_use(bench: &Bench, at: &str) {
    let before = hashes(&*bench.coupling);
    let first = bench.forward(at);
    finite(&first.y, at);
    finite(&first.log_det, at);
    assert_eq!(first.log_det.len(), TOKENS, "{at}: one log-determinant per token");
    inverts(bench, at);
    unchanged(&before, &hashes(&*bench.coupling), at);
    same(&bench.forward(at), &first, at);
}

fn same(a: &Out, b: &Out, at: &str) {
    same_bits(&a.y, &b.y, &format!("{at}, y"));
    same_bits(&a.log_det, &b.log_det, &format!("{at}, log_det"));
    same_bits(&a.log_scale, &b.log_scale, &format!("{at}, log_scale"));
}

fn tokens_are_independent(bench: &Bench, at: &str) {
    let (d, all) = (bench.setup.dim, bench.forward(at));
    let size = if bench.coupling.needs_maps() { GRID.tokens() } else { 1 };
    let units: Vec<Vec<usize>> = (0..TOKENS / size).map(|u| (u * size..(u + 1) * size).collect()).collect();
    let order: Vec<usize> = units.iter().rev().flatten().copied().collect();
    let single = units.into_iter();
    for rows in std::iter::once(order).chain(single) {
        let some = bench.forward_rows(&bench.x, &rows).must(at);
        for (k, n) in rows.iter().enumerate() {
            let at = format!("{at}, token {n} among {rows:?}");
            close(&some.y[k * d..(k + 1) * d], &all.y[n * d..(n + 1) * d], TOKEN_TOLERANCE, &at);
            close(&some.log_det[k..=k], &all.log_det[*n..=*n], TOKEN_TOLERANCE, &at);
        }
    }
}

fn repeatable(case: &Case<dyn Coupling>, setup: Setup, at: &str) {
    let (a, b) = (Bench::new(case, setup), Bench::new(case, setup));
    assert_eq!(hashes(&*a.coupling), hashes(&*b.coupling), "{at}: tensors differ");
    same(&a.forward(at), &b.forward(at), at);
    assert_eq!(a.coupling.hidden(), b.coupling.hidden(), "{at}: hidden widths differ");
}

/// Restores the bench's coupling into one that was built with another seed.
fn loads(case: &Case<dyn Coupling>, bench: &Bench, baked: bool, at: &str) {
    let snapshot = Snapshot::of(&*bench.coupling, serde_json::Value::Null);
    let mut fresh = case.build(&CouplingSpec { streams: Streams::new(999), ..bench.setup.spec() });
    if baked {
        fresh.set_baked();
    }
    if bench.setup.private {
        OWNERS.into_iter().for_each(|class| fresh.grow(class).must(at));
    }
    snapshot.restore_into(&mut *fresh).must(at);
    assert_eq!(hashes(&*fresh), hashes(&*bench.coupling), "{at}: tensors differ");
    let (setup, x, tables) = (bench.setup, bench.x.clone(), bench.tables.clone());
    let again = Bench { setup, coupling: fresh, x, tables };
    same(&again.forward(at), &bench.forward(at), at);
}

fn bakes(case: &Case<dyn Coupling>, mut bench: Bench, at: &str) {
    assert!(!bench.coupling.is_baked(), "{at}: baked before anyone asked for it");
    let before = bench.forward(at);
    bench.coupling.bake().must(at);
    assert!(
        bench.coupling.is_baked() || !moves(case, bench.setup, at),
        "{at}: `is_baked` is false afterwards, and `begin_step` changes tensors or outputs"
    );
    same(&bench.forward(at), &before, &format!("{at}, outputs before and after"));
    let tensors = hashes(&*bench.coupling);
    for step in [Some(0), Some(WARMUP), None] {
        bench.coupling.begin_step(step).must(at);
        unchanged(
            &tensors,
            &hashes(&*bench.coupling),
            &format!("{at}, begin_step({step:?}) of a baked coupling"),
        );
        same(&bench.forward(at), &before, &format!("{at}, begin_step({step:?}) of a baked coupling"));
    }
    loads(case, &bench, true, &format!("{at}, save and load"));
}

/// Whether `begin_step` changes a tensor or an output.
fn moves(case: &Case<dyn Coupling>, setup: Setup, at: &str) -> bool {
    let mut bench = Bench::new(case, setup);
    let state = |bench: &Bench| (hashes(&*bench.coupling), bits(&bench.forward(at)));
    let before = state(&bench);
    [Some(0), Some(WARMUP), None].into_iter().any(|step| {
        bench.coupling.begin_step(step).must(at);
        state(&bench) != before
    })
}

fn bits(out: &Out) -> Vec<u32> {
    [&out.y, &out.log_det, &out.log_scale].into_iter().flatten().map(|v| v.to_bits()).collect()
}
