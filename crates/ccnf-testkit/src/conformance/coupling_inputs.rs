//! Couplings with inputs that training seldom has, and tensors that nobody knows of (called by `coupling.rs`):
//!
//! * tokens of 10 and 100 deviations give finite values, forward and inverse, or an error of kind `NonFinite`;
//! * tokens among 200 or 201 others (200 or 204 where whole maps are needed) give what they give among eight (1e-6), and the inverse of
//!   so many is right (1e-4);
//! * without log-scales the log-determinant of every token is 0;
//! * where all listed tensors and all inputs are constants, nothing that comes out has a gradient: a tensor that is used and not listed
//!   shows here.

use super::common::{Must, close, finite_or_refused};
use super::coupling::{INVERSE_TOLERANCE, TOKEN_TOLERANCE};
use super::coupling_bench::{Bench, GRID, TOKENS};
use super::entry::Case;
use ccnf::dfdx::prelude::{Rank0, SplitTape, SumTo};
use ccnf::prelude::{Coupling, Error, Result, constant, gradients, mat};

pub(super) fn check(case: &Case<dyn Coupling>, bench: &mut Bench) {
    let setup = bench.setup;
    let at = |check: &str| case.at(format!("{check} ({setup})"));
    large(bench, &at("large inputs"));
    many(bench, &at("many tokens"));
    volume(bench, &at("no log-scales"));
    unlisted(bench, &at("tensors that are not listed"));
}

/// The inverse of `y`, whose rows have the condition of the tokens `rows`.
fn inverse(bench: &Bench, y: Vec<f32>, rows: &[usize]) -> Result<Vec<f32>> {
    let y = mat(y, rows.len(), bench.setup.dim)?;
    Ok(bench.coupling.inverse(&y, &bench.condition(rows, constant))?.as_vec())
}

fn large(bench: &Bench, at: &str) {
    let rows: Vec<usize> = (0..TOKENS).collect();
    for factor in [10.0f32, 100.0] {
        let x: Vec<f32> = bench.x.as_vec().iter().map(|v| v * factor).collect();
        let of = mat(x.clone(), TOKENS, bench.setup.dim).must(at);
        let forward = bench.forward_of(&of).map(|out| [out.y, out.log_det, out.log_scale].concat());
        finite_or_refused(forward, &format!("{at}: forward at {factor} deviations"));
        finite_or_refused(inverse(bench, x, &rows), &format!("{at}: inverse at {factor} deviations"));
    }
}

fn many(bench: &Bench, at: &str) {
    let (d, all) = (bench.setup.dim, bench.forward(at));
    let unit = if bench.coupling.needs_maps() { GRID.tokens() } else { 1 };
    for n in [200, 200 + unit] {
        let at = format!("{at}, {n} of them");
        let rows: Vec<usize> = (0..n).map(|k| k % TOKENS).collect();
        let pick = |of: &[f32], width: usize| -> Vec<f32> {
            rows.iter().flat_map(|r| of[r * width..(r + 1) * width].to_vec()).collect()
        };
        let some = bench.forward_rows(&bench.x, &rows).must(&at);
        close(&some.y, &pick(&all.y, d), TOKEN_TOLERANCE, &format!("{at}: y"));
        close(&some.log_det, &pick(&all.log_det, 1), TOKEN_TOLERANCE, &format!("{at}: log_det"));
        let back = inverse(bench, some.y, &rows).must(&at);
        close(&back, &pick(&bench.x.as_vec(), d), INVERSE_TOLERANCE, &format!("{at}: inverse"));
    }
}

fn volume(bench: &Bench, at: &str) {
    let out = bench.forward(at);
    if out.log_scale.is_empty() {
        let moved = out.log_det.iter().position(|v| v.abs() > 1e-6);
        let found = moved.map(|n| out.log_det[n]);
        assert!(
            moved.is_none(),
            "{at}: `log_scale` is `None`, and the log-determinant of token {moved:?} is {found:?}"
        );
    }
}

fn unlisted(bench: &mut Bench, at: &str) {
    let before: Vec<bool> = bench.coupling.params().iter().map(|p| p.is_trainable()).collect();
    bench.coupling.params_mut().into_iter().for_each(|p| p.set_trainable(false));
    let rows: Vec<usize> = (0..TOKENS).collect();
    let (_, found, _) = gradients(|| {
        let out = bench.coupling.forward(&constant(&bench.x), &bench.condition(&rows, constant))?;
        let y = out.y.clone().split_tape().1.is_on();
        let log_det = out.log_det.split_tape().1.is_on();
        let log_scale = out.log_scale.is_some_and(|s| s.split_tape().1.is_on());
        Ok::<_, Error>((out.y.sum::<Rank0, _>(), [("y", y), ("log_det", log_det), ("log_scale", log_scale)]))
    })
    .must(at);
    bench.coupling.params_mut().into_iter().zip(before).for_each(|(p, was)| p.set_trainable(was));
    for (what, on) in found {
        assert!(
            !on,
            "{at}: with all listed tensors frozen `{what}` still has a gradient: list every tensor in `stateful!`"
        );
    }
}
