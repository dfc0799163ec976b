//! Strategies:
//!
//! * for several protocols, the stages cover every class of the tasks exactly once, no stage is empty, the first trains everything, and
//!   asking twice gives the same stages; a protocol without tasks has no stages;
//! * one that promises no forgetting trains the new classes only in every stage but the first;
//! * the state before the first stage can be put back;
//! * a small detector is led through all stages, from their start and from the middle (`strategy_resume.rs`).

use super::common::Must;
use super::entry::Case;
use super::strategy_resume;
use ccnf::core::TrainConfig;
use ccnf::prelude::*;

pub(super) fn spec() -> StrategySpec {
    StrategySpec { train: TrainConfig::default(), streams: Streams::new(1) }
}

/// Classes per task.
const PROTOCOLS: [&[usize]; 7] =
    [&[1], &[4], &[1, 1, 1], &[2, 1], &[1, 3, 2], &[5, 5, 5], &[10, 1, 1, 1, 1, 1]];

pub(super) fn check(case: &Case<dyn Strategy>) {
    for sizes in PROTOCOLS {
        let at = case.at(format!("stages of tasks with {sizes:?} classes"));
        let mut next = 0..;
        // Names in falling order: a strategy must not rely on sorted ones.
        let mut task =
            |n: &usize| next.by_ref().take(*n).map(|i: usize| format!("c{:02}", 99 - i)).collect::<Vec<_>>();
        let tasks: Vec<Vec<String>> = sizes.iter().map(&mut task).collect();
        let strategy = case.build(&spec());
        let stages = strategy.stages(&tasks);
        assert!(stages.iter().all(|s| !s.classes.is_empty()), "{at}: an empty stage in {stages:?}");
        let mut covered: Vec<String> = stages.iter().flat_map(|s| s.classes.clone()).collect();
        let mut all = tasks.concat();
        covered.sort();
        all.sort();
        assert_eq!(covered, all, "{at}: not every class exactly once");
        assert_eq!(strategy.stages(&tasks), stages, "{at}: other stages the second time");
        assert_eq!(case.build(&spec()).stages(&tasks), stages, "{at}: other stages when built again");
        let first = stages.first().map(|s| s.scope);
        assert_eq!(first, Some(TrainScope::All), "{at}: the first stage has to train everything");
        if strategy.promises_no_forgetting() {
            let wide = stages.iter().skip(1).position(|s| s.scope != TrainScope::NewClasses);
            assert!(
                wide.is_none(),
                "{at}: it promises no forgetting, and a later stage trains everything: {stages:?}"
            );
        }
    }
    let none = case.build(&spec()).stages(&[]);
    assert!(none.is_empty(), "{}", case.at(format!("no tasks give the stages {none:?}")));

    let at = case.at("the state before the first stage");
    let (first, mut second) = (case.build(&spec()), case.build(&spec()));
    let state = first.state().must(&at);
    second.restore(&state).must(&at);
    assert!(second.state().must(&at) == state, "{at}: another one after putting it back");

    strategy_resume::check(case);
}
