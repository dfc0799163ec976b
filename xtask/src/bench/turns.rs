//! Taking turns: ours, then every peer, again and again, never two at once.

use super::machine::Watch;
use super::peer::{Peer, Reply};
use super::stats::Samples;
use crate::Result;
use std::time::{Duration, Instant};

/// Turns that are not counted.
pub(crate) const WARM_UP: usize = 3;
/// Idle time after each turn, so that threads that wait by spinning have gone to sleep.
const PAUSE: Duration = Duration::from_millis(20);
/// Cores that other processes may use during a turn that counts: 10 % of those that the turn uses.
pub(crate) const QUIET: f64 = 0.2;
/// On a machine that is never quiet, so many times the wanted turns are tried; then the disturbed ones count, and the report says so.
const PATIENCE: usize = 3;

/// One peer's times.
pub(crate) struct PeerTimes {
    /// Short key: `torch_eager`.
    pub(crate) key: &'static str,
    /// The peer with its version.
    pub(crate) version: String,
    pub(crate) times: Samples,
}

/// Turns of all sides that count.
#[derive(Default)]
pub(crate) struct Turns {
    pub(crate) ours: Samples,
    pub(crate) peers: Vec<PeerTimes>,
    /// Turns in which others used the machine.
    pub(crate) disturbed: usize,
    /// Whether the disturbed turns had to be counted.
    pub(crate) noisy: bool,
}

impl Turns {
    /// The times of the peer `key`.
    pub(crate) fn peer(&self, key: &str) -> Option<&Samples> {
        self.peers.iter().find(|p| p.key == key).map(|p| &p.times)
    }
}

/// Lets ours and the peers take turns; `check` sees the results of all of one turn, in the order of `peers`.
///
/// A turn in which other processes used more than [`QUIET`] cores does not count while there is hope for better ones. The rule is
/// the same for all sides and looks at the system's accounts, never at the time that the turn took.
pub(crate) fn interleave<T>(
    rounds: usize,
    peers: &mut [(&'static str, Peer)],
    ours: impl FnMut() -> Result<T>,
    check: impl FnMut(usize, &T, &[Reply]) -> Result<()>,
) -> Result<Turns> {
    interleave_as(&Plan { warm_up: WARM_UP, rounds, patience: PATIENCE }, peers, ours, check)
}

/// How many turns there are.
pub(crate) struct Plan {
    /// Turns that are not counted.
    pub(crate) warm_up: usize,
    /// Turns that are.
    pub(crate) rounds: usize,
    /// See [`PATIENCE`]; 1: no turn is repeated.
    pub(crate) patience: usize,
}

/// [`interleave`] for benches whose turns take minutes.
pub(crate) fn interleave_as<T>(
    plan: &Plan,
    peers: &mut [(&'static str, Peer)],
    mut ours: impl FnMut() -> Result<T>,
    mut check: impl FnMut(usize, &T, &[Reply]) -> Result<()>,
) -> Result<Turns> {
    let mut turns = Turns::default();
    for (key, peer) in peers.iter() {
        turns.peers.push(PeerTimes { key, version: peer.version(), times: Samples::default() });
    }
    let mut disturbed: Vec<(f64, Vec<f64>)> = Vec::new();
    let own = std::process::id();
    for round in 0.. {
        let watch = Watch::start(own);
        let start = Instant::now();
        let value = ours()?;
        let seconds = start.elapsed().as_secs_f64();
        let mut quiet = watch.others().is_none_or(|o| o <= QUIET);
        std::thread::sleep(PAUSE);
        let mut replies = Vec::with_capacity(peers.len());
        for (_, peer) in peers.iter_mut() {
            let watch = Watch::start(peer.id());
            replies.push(peer.step()?);
            quiet &= watch.others().is_none_or(|o| o <= QUIET);
            std::thread::sleep(PAUSE);
        }
        check(round, &value, &replies)?;
        if round < plan.warm_up {
            continue;
        }
        let theirs: Vec<f64> = replies.iter().map(|r| r.seconds).collect();
        if quiet {
            turns.push(seconds, &theirs);
        } else {
            turns.disturbed += 1;
            disturbed.push((seconds, theirs));
        }
        if turns.ours.len() >= plan.rounds {
            break;
        }
        if turns.ours.len() + disturbed.len() >= plan.patience * plan.rounds {
            turns.noisy = true;
            disturbed.iter().for_each(|(ours, theirs)| turns.push(*ours, theirs));
            break;
        }
    }
    Ok(turns)
}

impl Turns {
    fn push(&mut self, ours: f64, theirs: &[f64]) {
        self.ours.push(ours);
        self.peers.iter_mut().zip(theirs).for_each(|(p, s)| p.times.push(*s));
    }
}
