//! Scorers:
//!
//! * one finite score per token, also for likelihoods as large as 1e6; the same twice, and independent of the other tokens;
//! * the score falls as the token's own likelihood grows while its peers stay;
//! * a class that is not there is an error;
//! * a snapshot of a calibrated scorer loaded into a fresh one gives the same scores bit for bit.

use super::common::{Must, finite, listed, refused, same_bits};
use super::entry::Case;
use ccnf::prelude::*;

const TOKENS: usize = 24;
const CLASSES: usize = 3;
const DIM: usize = 8;

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

fn score(s: &dyn Scorer, by_class: &[Vec<f32>], class: usize, peers: &[usize]) -> Result<Vec<f32>> {
    s.score(&TokenLikelihoods { level: 1, by_class, dim: DIM, class, peers })
}

pub(super) fn check(case: &Case<dyn Scorer>) {
    let at = case.at("scores");
    let calibrated = || {
        let mut s = case.build(&spec());
        s.calibrate(&[(DIM, table("calibration", 5.0)), (DIM, table("calibration", 9.0))])
            .must(&case.at("calibrate"));
        s
    };
    let mut s = calibrated();
    listed(&mut *s, &case.at("tensors"));
    let peers: Vec<usize> = if s.peers() == Peers::None { vec![] } else { (0..CLASSES).collect() };
    let likelihoods = table("tokens", 4.0);
    for class in 0..CLASSES {
        let scores = score(&*s, &likelihoods, class, &peers).must(&at);
        assert_eq!(scores.len(), TOKENS, "{at}: {} for {TOKENS} tokens", scores.len());
        finite(&scores, &at);
        same_bits(&score(&*s, &likelihoods, class, &peers).must(&at), &scores, &format!("{at}, twice"));
        let reversed: Vec<Vec<f32>> = likelihoods.iter().map(|l| l.iter().rev().copied().collect()).collect();
        let mut back = score(&*s, &reversed, class, &peers).must(&at);
        back.reverse();
        same_bits(&back, &scores, &format!("{at}, tokens in another order"));
        same_bits(
            &score(&*calibrated(), &likelihoods, class, &peers).must(&at),
            &scores,
            &format!("{at}, built twice"),
        );
        finite(
            &score(&*s, &table("tokens", 1e6), class, &peers).must(&at),
            &format!("{at}, large likelihoods"),
        );
    }
    monotone(case, &*s);
    refused(score(&*s, &likelihoods, CLASSES, &peers), &case.at("a class that is not there"));
    loads(case, &*s, &peers);
}

/// With one peer beside the own class left out, nothing but the own likelihood moves.
fn monotone(case: &Case<dyn Scorer>, s: &dyn Scorer) {
    let at = case.at("higher likelihood, lower score");
    let peers: Vec<usize> = if s.peers() == Peers::None { vec![] } else { (1..CLASSES).collect() };
    let mut likelihoods = table("tokens", 4.0);
    let mut last = score(s, &likelihoods, 0, &peers).must(&at);
    for _ in 0..6 {
        likelihoods[0].iter_mut().for_each(|l| *l += 3.0);
        let next = score(s, &likelihoods, 0, &peers).must(&at);
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

fn loads(case: &Case<dyn Scorer>, s: &dyn Scorer, peers: &[usize]) {
    let at = case.at("save and load");
    let mut fresh = case.build(&spec());
    Snapshot::of(s, serde_json::Value::Null).restore_into(&mut *fresh).must(&at);
    let likelihoods = table("tokens", 4.0);
    same_bits(
        &score(&*fresh, &likelihoods, 0, peers).must(&at),
        &score(s, &likelihoods, 0, peers).must(&at),
        &at,
    );
}
