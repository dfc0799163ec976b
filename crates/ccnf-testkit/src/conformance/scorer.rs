//! Scorers:
//!
//! * one finite score per token, also for likelihoods of some 1e6, for every class and level; the same twice;
//! * a token's score has the same bits with the tokens in another order, in a part of them, and alone;
//! * the score falls as the token's own likelihood grows while its peers stay, also from -1e3 and -1e6 per dimension on;
//! * it is per dimension: far off, 8 times the dimensions with 8 times the likelihoods leave it within a tenth of itself;
//! * a class that is not there is an error;
//! * a snapshot of a calibrated scorer loaded into a fresh one gives the same scores bit for bit.

use super::common::{Must, finite, listed, refused, same_bits};
use super::entry::Case;
use ccnf::prelude::*;

const TOKENS: usize = 24;
const CLASSES: usize = 3;
const DIM: usize = 8;
/// How many times the dimensions of the wider level.
const WIDER: usize = 8;

pub(super) fn spec() -> ScorerSpec {
    ScorerSpec { levels: 2 }
}

fn table(name: &str, scale: f32) -> Vec<Vec<f32>> {
    (0..CLASSES)
        .map(|c| {
            Streams::new(1).normal(&format!("{name}{c}"), TOKENS).iter().map(|v| v * scale - 9.0).collect()
        })
        .collect()
}

/// Where likelihoods are and who looks.
#[derive(Clone, Copy)]
struct Under<'a> {
    level: usize,
    class: usize,
    peers: &'a [usize],
}

impl Under<'_> {
    fn score(&self, s: &dyn Scorer, by_class: &[Vec<f32>]) -> Result<Vec<f32>> {
        self.score_at(s, by_class, DIM)
    }
    fn score_at(&self, s: &dyn Scorer, by_class: &[Vec<f32>], dim: usize) -> Result<Vec<f32>> {
        let Under { level, class, peers } = *self;
        s.score(&TokenLikelihoods { level, by_class, dim, class, peers })
    }
}

pub(super) fn check(case: &Case<dyn Scorer>) {
    let calibrated = || {
        let mut s = case.build(&spec());
        let levels = [(DIM, table("calibration", 5.0)), (DIM, table("calibration", 9.0))];
        s.calibrate(&levels[..spec().levels]).must(&case.at("calibrate"));
        s
    };
    let mut s = calibrated();
    listed(&mut *s, &case.at("tensors"));
    let all: Vec<usize> = (0..CLASSES).collect();
    let peers = if s.peers() == Peers::None { &[][..] } else { &all };
    for level in 0..spec().levels {
        for class in 0..CLASSES {
            let under = Under { level, class, peers };
            let at = case.at(format!("scores of level {level} under class {class}"));
            let scores = own_scores(&*s, under, &at);
            let again = under.score(&*calibrated(), &table("tokens", 4.0)).must(&at);
            same_bits(&again, &scores, &format!("{at}, built twice"));
        }
        falls(case, &*s, level);
        per_dimension(case, &*s, level);
        let under = Under { level, class: CLASSES, peers };
        refused(under.score(&*s, &table("tokens", 4.0)), &case.at("a class that is not there"));
        loads(case, &*s, Under { level, class: 0, peers });
    }
}

/// Scores that depend on nothing but the token: the same in any company.
fn own_scores(s: &dyn Scorer, under: Under<'_>, at: &str) -> Vec<f32> {
    let likelihoods = table("tokens", 4.0);
    let scores = under.score(s, &likelihoods).must(at);
    assert_eq!(scores.len(), TOKENS, "{at}: {} for {TOKENS} tokens", scores.len());
    finite(&scores, at);
    same_bits(&under.score(s, &likelihoods).must(at), &scores, &format!("{at}, twice"));
    let reversed = ((0..TOKENS).rev().collect(), "tokens in another order".to_owned());
    let part = ((0..TOKENS).step_by(3).collect(), "every third token".to_owned());
    let single = (0..TOKENS).map(|t| (vec![t], format!("token {t} alone")));
    for (tokens, what) in [reversed, part].into_iter().chain(single) {
        let pick = |of: &[f32]| -> Vec<f32> { tokens.iter().map(|t: &usize| of[*t]).collect() };
        let some: Vec<Vec<f32>> = likelihoods.iter().map(|l| pick(l)).collect();
        same_bits(&under.score(s, &some).must(at), &pick(&scores), &format!("{at}, {what}"));
    }
    let large = under.score(s, &table("tokens", 1e6)).must(at);
    finite(&large, &format!("{at}, large likelihoods"));
    scores
}

/// The peers of class 0 but for itself, so that nothing but the own likelihood moves.
fn others(s: &dyn Scorer) -> Vec<usize> {
    if s.peers() == Peers::None { vec![] } else { (1..CLASSES).collect() }
}

/// Six rises of the own likelihood from where it usually is, from -1e3 and from -1e6 nats per dimension.
fn falls(case: &Case<dyn Scorer>, s: &dyn Scorer, level: usize) {
    let peers = others(s);
    let under = Under { level, class: 0, peers: &peers };
    for (per_dim, rise) in [(0.0, 3.0), (-1e3, 80.0), (-1e6, 8e4)] {
        let at = case.at(format!("higher likelihood, lower score, from {per_dim} per dimension"));
        let mut likelihoods = table("tokens", 4.0);
        likelihoods[0].iter_mut().for_each(|l| *l += per_dim * DIM as f32);
        let mut last = under.score(s, &likelihoods).must(&at);
        for _ in 0..6 {
            likelihoods[0].iter_mut().for_each(|l| *l += rise);
            let next = under.score(s, &likelihoods).must(&at);
            finite(&next, &at);
            for (t, (a, b)) in last.iter().zip(&next).enumerate() {
                assert!(
                    b < a,
                    "{at}: token {t} goes from {a} to {b} as its likelihood grows to {}",
                    likelihoods[0][t]
                );
            }
            last = next;
        }
    }
}

/// Scores of tokens that lie far off, once more with `WIDER` times the dimensions and `WIDER` times the likelihoods.
fn per_dimension(case: &Case<dyn Scorer>, s: &dyn Scorer, level: usize) {
    let at = case.at("the same likelihood per dimension, more dimensions");
    let peers = others(s);
    let under = Under { level, class: 0, peers: &peers };
    let mut likelihoods = table("tokens", 4.0);
    likelihoods[0].iter_mut().for_each(|l| *l -= 1e3 * DIM as f32);
    let narrow = under.score(s, &likelihoods).must(&at);
    likelihoods.iter_mut().flatten().for_each(|l| *l *= WIDER as f32);
    let wide = under.score_at(s, &likelihoods, WIDER * DIM).must(&at);
    for (t, (a, b)) in narrow.iter().zip(&wide).enumerate() {
        let near = (a - b).abs() <= 0.1 * a.abs().max(b.abs());
        assert!(near, "{at}: token {t} has {a} with {DIM} of them and {b} with {}", WIDER * DIM);
    }
}

fn loads(case: &Case<dyn Scorer>, s: &dyn Scorer, under: Under<'_>) {
    let at = case.at("save and load");
    let mut fresh = case.build(&spec());
    Snapshot::of(s, serde_json::Value::Null).restore_into(&mut *fresh).must(&at);
    let likelihoods = table("tokens", 4.0);
    let (found, expected) = (under.score(&*fresh, &likelihoods), under.score(s, &likelihoods));
    same_bits(&found.must(&at), &expected.must(&at), &at);
}
