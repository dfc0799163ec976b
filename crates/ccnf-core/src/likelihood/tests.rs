//! Which classes are evaluated for what, and what the router gets to see. Images are their number; class `c` gives image `i` the
//! log-likelihood `-|i - c|` at every token.

use super::*;
use crate::scoring::{Ranking, Shortlist};
use crate::view::TrainClass;
use ccnf_tensor::Streams;
use std::cell::RefCell;
use std::sync::Arc;

struct Minus(Peers);
crate::stateless!(Minus, Nearest);

impl Scorer for Minus {
    fn score(&self, tokens: &TokenLikelihoods<'_>) -> Result<Vec<f32>> {
        assert!(tokens.peers.iter().all(|p| !tokens.by_class[*p].is_empty()), "a peer was not evaluated");
        Ok(tokens.by_class[tokens.class].iter().map(|l| -l).collect())
    }
    fn peers(&self) -> Peers {
        self.0
    }
}

/// Takes the most likely class; its shortlist, if it has one, are the first classes in a fixed order.
struct Nearest {
    order: Vec<usize>,
    top: usize,
    needs_likelihoods: bool,
}

impl Ranking for Nearest {
    fn rank(&self, _: &[String], _: &dyn ImageFeatures) -> Result<Vec<usize>> {
        Ok(self.order.clone())
    }
}

impl Router for Nearest {
    fn route(&self, input: &RouteInput<'_>) -> Result<usize> {
        if !self.needs_likelihoods {
            assert!(input.log_likelihood.iter().all(Option::is_none));
            return Ok(self.order[0]);
        }
        let l: Vec<f32> = input.log_likelihood.iter().map(|l| l.unwrap_or(f32::NEG_INFINITY)).collect();
        Ok((0..l.len()).fold(0, |best, c| if l[c] > l[best] { c } else { best }))
    }
    fn needs_likelihoods(&self) -> bool {
        self.needs_likelihoods
    }
    fn shortlist(&self) -> Option<Shortlist<'_>> {
        (self.top > 0).then_some(Shortlist { ranking: self, top: self.top })
    }
}

const CLASSES: usize = 6;

fn names() -> Vec<String> {
    (0..CLASSES).map(|c| format!("c{c}")).collect()
}

fn image(number: f32) -> Vec<Vec<f32>> {
    vec![vec![number; 4], vec![number]]
}

/// Everything that was evaluated: level, class, image.
type Log = RefCell<Vec<(usize, usize, usize)>>;

fn likelihood(log: &Log) -> impl Fn(usize, &[Candidate<'_>]) -> Result<Vec<Vec<f32>>> {
    |level, candidates| {
        let one = |c: &Candidate<'_>| {
            let values = c.image.level(level).unwrap();
            log.borrow_mut().push((level, c.class, values[0] as usize));
            values.iter().map(|v| -(v - c.class as f32).abs()).collect()
        };
        Ok(candidates.iter().map(one).collect())
    }
}

/// Scoring that learnt three classes, then three more.
fn scoring(peers: Peers, router: Nearest) -> LikelihoodScoring {
    let level = |side, name: &str| LevelSpec { name: name.into(), height: side, width: side, channels: 1 };
    let levels = vec![level(2, "fine"), level(1, "coarse")];
    let mut s =
        LikelihoodScoring::new(Box::new(Minus(peers)), Box::new(router), LevelNorm::Mean, levels.clone());
    for stage in 0..2 {
        let class = |c: usize| TrainClass::new(format!("c{c}"), vec![Arc::new(image(c as f32))]);
        let view = TrainView::new(stage, levels.clone(), (3 * stage..3 * stage + 3).map(class).collect());
        let log = Log::default();
        s.end_stage(&view, &names()[..3 * stage + 3], &likelihood(&log)).unwrap();
    }
    s
}

fn router(order: [usize; CLASSES], top: usize) -> Nearest {
    Nearest { order: order.to_vec(), top, needs_likelihoods: true }
}

/// Scores images; returns routed classes and, sorted, the classes evaluated for each image at the first level.
fn evaluated(
    s: &LikelihoodScoring,
    numbers: &[f32],
    given: Option<&str>,
    routed: bool,
) -> (Vec<String>, Vec<Vec<usize>>) {
    let images: Vec<Vec<Vec<f32>>> = numbers.iter().map(|n| image(*n)).collect();
    let views: Vec<&dyn ImageFeatures> = images.iter().map(|i| i as &dyn ImageFeatures).collect();
    let log = Log::default();
    let scores = s.score(&views, ScoreRequest { given, routed }, &names(), &likelihood(&log)).unwrap();
    let log = log.into_inner();
    let of = |n: &f32| {
        let mut all: Vec<usize> =
            log.iter().filter(|(l, _, i)| *l == 0 && *i == *n as usize).map(|e| e.1).collect();
        all.sort_unstable();
        all
    };
    (scores.into_iter().map(|s| s.routed_class).collect(), numbers.iter().map(of).collect())
}

#[test]
fn without_a_shortlist_every_class_is_evaluated_once() {
    let s = scoring(Peers::None, router([0, 1, 2, 3, 4, 5], 0));
    let (routes, classes) = evaluated(&s, &[4.0, 1.0], Some("c2"), true);
    assert_eq!(routes, ["c4", "c1"]);
    assert_eq!(classes, [[0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5]]);
}

#[test]
fn with_a_shortlist_only_its_classes_and_the_one_given_are_evaluated() {
    let s = scoring(Peers::None, router([5, 4, 0, 1, 2, 3], 2));
    let (routes, classes) = evaluated(&s, &[4.0, 1.0], None, true);
    assert_eq!(routes, ["c4", "c4"]);
    assert_eq!(classes, [[4, 5], [4, 5]]);
    assert_eq!(evaluated(&s, &[4.0], Some("c1"), true).1, [[1, 4, 5]]);
    assert_eq!(evaluated(&s, &[4.0], Some("c1"), false).1, [[1]]);
}

#[test]
fn the_class_given_does_not_help_the_router() {
    let s = scoring(Peers::None, router([5, 4, 0, 1, 2, 3], 2));
    assert_eq!(evaluated(&s, &[1.0], Some("c1"), true).0, evaluated(&s, &[1.0], None, true).0);
    let with_peers = scoring(Peers::Known, router([5, 4, 0, 1, 2, 3], 2));
    assert_eq!(evaluated(&with_peers, &[1.0], Some("c1"), true).0, ["c4"]);
}

#[test]
fn a_router_without_likelihoods_costs_its_class_only() {
    let r = Nearest { needs_likelihoods: false, ..router([3, 4, 0, 1, 2, 5], 0) };
    let (routes, classes) = evaluated(&scoring(Peers::None, r), &[1.0], None, true);
    assert_eq!((routes, classes), (vec!["c3".to_owned()], vec![vec![3]]));
}

#[test]
fn peers_of_the_classes_scored_under_are_evaluated_and_no_others() {
    let s = scoring(Peers::FixedSet, router([4, 5, 0, 1, 2, 3], 1));
    // c1 was learnt with c0 and c2; c4 in the second stage, after all of them.
    assert_eq!(evaluated(&s, &[1.0], Some("c1"), false).1, [[0, 1, 2]]);
    assert_eq!(evaluated(&s, &[1.0], None, true).1, [[0, 1, 2, 3, 4, 5]]);
}

#[test]
fn routes_without_the_shortlist_are_those_of_all_classes() {
    let numbers = Streams::new(2).uniform("images", 20, 3.0);
    let images: Vec<Vec<Vec<f32>>> = numbers.iter().map(|n| image(n + 2.5)).collect();
    let views: Vec<&dyn ImageFeatures> = images.iter().map(|i| i as &dyn ImageFeatures).collect();
    let log = Log::default();
    let all = scoring(Peers::None, router([0, 1, 2, 3, 4, 5], 0));
    let request = ScoreRequest { given: None, routed: true };
    let expected: Vec<String> = all
        .score(&views, request, &names(), &likelihood(&log))
        .unwrap()
        .into_iter()
        .map(|s| s.routed_class)
        .collect();
    assert!(all.routes_without_shortlist(&views, &names(), &likelihood(&log)).unwrap().is_none());
    let short = scoring(Peers::None, router([2, 0, 1, 3, 4, 5], 1));
    let found = short.routes_without_shortlist(&views, &names(), &likelihood(&log)).unwrap();
    assert_eq!(found, Some(expected));
}

#[test]
fn a_detector_that_gives_too_little_is_found_out() {
    let s = scoring(Peers::None, router([0, 1, 2, 3, 4, 5], 0));
    let image = image(1.0);
    let request = ScoreRequest { given: Some("c1"), routed: false };
    let short = |_: usize, candidates: &[Candidate<'_>]| Ok(vec![vec![0.0]; candidates.len()]);
    let e = s.score(&[&image], request, &names(), &short).unwrap_err();
    assert!(e.kind() == ErrorKind::Contract && e.to_string().contains("fine"), "{e}");
}
