//! How far nodes are that are to vote, as their leader sees it. Pure.
//!
//! A node catches up in rounds. Each has a target, the last entry that is committed when
//! it begins, and ends when the node is filled up to there: when it holds every blob
//! that the state had then. A node that ended a round quickly lacks only what was pushed
//! in that time, so that it may vote; else the next round begins, which is shorter. Where
//! pushes never let it end a round quickly it votes after so many of them all the same.
//!
//! - Source: Ongaro, Consensus: bridging theory and practice, 4.2.1.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// A round that took less was quick: what is pushed in such a time to a busy registry is
/// copied while an operator looks.
const ROUND_QUICK_MAX: Duration = Duration::from_secs(30);
/// The last round, however long it took: each one before it was as good as the pushes
/// allow, and so will be the next.
const ROUNDS_MAX: u32 = 10;

/// Every node that is to vote and waits for blobs only. Lives on the raft core, and says
/// something only while that leads: the next leader begins anew.
#[derive(Debug, Default)]
pub(super) struct CatchingUp {
    term: u64,
    candidates: BTreeSet<u64>,
    /// Of candidates that were asked, also while they are none for a moment, and of nodes
    /// that are excused.
    nodes: BTreeMap<u64, Standing>,
}

#[derive(Debug, Default)]
struct Standing {
    /// Rounds that it has ended.
    rounds: u32,
    stage: Stage,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Unasked,
    Filling {
        target: u64,
        began: Instant,
    },
    Filled,
    /// An operator does not wait for what it lacks.
    Excused,
}

/// A round that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Round {
    /// Which one, from 1.
    pub number: u32,
    /// What the node holds everything of.
    pub target: u64,
    /// How long it took.
    pub took: Duration,
    /// Whether the node may vote now.
    pub is_last: bool,
}

impl Standing {
    const fn begin(&mut self, target: u64, began: Instant) {
        self.stage = Stage::Filling { target, began };
    }
}

impl CatchingUp {
    /// Goes on with `candidates` in `term`, and forgets everybody who is not to vote.
    ///
    /// One of those `to_vote` that is no candidate just now, because it was silent for a
    /// moment or lags behind in heavy use, begins its round anew when it is one again:
    /// that it is excused stays, and how many rounds it has ended.
    pub(super) fn keep(&mut self, term: u64, to_vote: &BTreeSet<u64>, candidates: &BTreeSet<u64>) {
        self.enter(term);
        self.nodes.retain(|node, _| to_vote.contains(node));
        for (node, standing) in &mut self.nodes {
            if !candidates.contains(node) && standing.stage != Stage::Excused {
                standing.stage = Stage::Unasked;
            }
        }
        self.candidates.clone_from(candidates);
    }

    /// Whom to ask.
    pub(super) fn candidates(&self) -> Vec<u64> {
        self.candidates.iter().copied().collect()
    }

    /// Whether a candidate may vote.
    pub(super) fn is_fit(&self, node: u64) -> bool {
        let standing = self.nodes.get(&node);
        standing.is_some_and(|standing| matches!(standing.stage, Stage::Filled | Stage::Excused))
    }

    /// Lets a node vote whatever it lacks.
    pub(super) fn excuse(&mut self, term: u64, node: u64) {
        self.enter(term);
        self.nodes.entry(node).or_default().stage = Stage::Excused;
    }

    /// What a candidate is to be asked about now; its first round begins with the first
    /// question. `None` when it may vote.
    pub(super) fn target(&mut self, node: u64, committed: u64, now: Instant) -> Option<u64> {
        let standing = self.nodes.entry(node).or_default();
        match standing.stage {
            Stage::Unasked => {
                standing.begin(committed, now);
                Some(committed)
            }
            Stage::Filling { target, .. } => Some(target),
            Stage::Filled | Stage::Excused => None,
        }
    }

    /// Takes in that a node is filled up to `filled`; says which round that ended. The
    /// next one is about `committed`.
    pub(super) fn note(
        &mut self,
        node: u64,
        filled: Option<u64>,
        (committed, now): (u64, Instant),
    ) -> Option<Round> {
        let standing = self.nodes.get_mut(&node)?;
        let Stage::Filling { target, began } = standing.stage else {
            return None;
        };
        if filled < Some(target) {
            return None;
        }
        standing.rounds += 1;
        let number = standing.rounds;
        let took = now.saturating_duration_since(began);
        let is_last = took < ROUND_QUICK_MAX || number >= ROUNDS_MAX;
        if is_last {
            standing.stage = Stage::Filled;
        } else {
            standing.begin(committed, now);
        }
        Some(Round {
            number,
            target,
            took,
            is_last,
        })
    }

    fn enter(&mut self, term: u64) {
        if self.term != term {
            self.term = term;
            self.nodes.clear();
            self.candidates.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Clock;

    const SLOW: Duration = ROUND_QUICK_MAX;

    /// Node 9 in its first round, whose target is entry 100.
    fn begun(clock: &Clock) -> CatchingUp {
        let mut rounds = CatchingUp::default();
        let nodes = BTreeSet::from([9]);
        rounds.keep(3, &nodes, &nodes);
        assert_eq!(rounds.candidates(), [9]);
        assert_eq!(rounds.target(9, 100, clock.now()), Some(100));
        rounds
    }

    #[test]
    fn a_node_that_is_filled_quickly_may_vote() {
        let clock = Clock::hand_moved();
        let mut rounds = begun(&clock);
        assert_eq!(rounds.target(9, 150, clock.now()), Some(100), "as it began");
        clock.advance(SLOW / 2);
        for filled in [None, Some(0), Some(99)] {
            assert_eq!(rounds.note(9, filled, (150, clock.now())), None);
        }
        assert!(!rounds.is_fit(9));
        let round = rounds.note(9, Some(100), (150, clock.now())).unwrap();
        assert!(round.is_last && rounds.is_fit(9));
        assert_eq!((round.number, round.target), (1, 100));
        assert_eq!(rounds.target(9, 150, clock.now()), None);
        assert_eq!(rounds.note(9, Some(150), (150, clock.now())), None);
    }

    #[test]
    fn a_slow_round_is_followed_by_one_about_what_came_meanwhile() {
        let clock = Clock::hand_moved();
        let mut rounds = begun(&clock);
        clock.advance(SLOW);
        let round = rounds.note(9, Some(120), (150, clock.now())).unwrap();
        assert!(!round.is_last && !rounds.is_fit(9));
        assert_eq!(rounds.target(9, 170, clock.now()), Some(150));
        assert_eq!(rounds.note(9, Some(149), (170, clock.now())), None);
        let round = rounds.note(9, Some(150), (170, clock.now())).unwrap();
        assert!(round.is_last && rounds.is_fit(9));
        assert_eq!((round.number, round.took), (2, Duration::ZERO));
    }

    #[test]
    fn pushes_without_end_do_not_keep_a_node_from_its_vote() {
        let clock = Clock::hand_moved();
        let mut rounds = begun(&clock);
        let mut committed = 100;
        for number in 1..=ROUNDS_MAX {
            assert!(!rounds.is_fit(9));
            clock.advance(SLOW);
            let filled = Some(committed);
            committed += 100;
            let round = rounds.note(9, filled, (committed, clock.now())).unwrap();
            assert_eq!(round.number, number);
        }
        assert!(rounds.is_fit(9));
    }

    #[test]
    fn a_node_that_is_no_candidate_for_a_moment_keeps_its_rounds_and_its_excuse() {
        let clock = Clock::hand_moved();
        let mut rounds = begun(&clock);
        let (nodes, nobody) = (BTreeSet::from([9]), BTreeSet::new());
        for number in 1..=ROUNDS_MAX {
            assert!(!rounds.is_fit(9));
            // What it is asked about is what there is when it is back.
            rounds.keep(3, &nodes, &nobody);
            assert_eq!(rounds.note(9, Some(900), (900, clock.now())), None);
            rounds.keep(3, &nodes, &nodes);
            assert_eq!(rounds.target(9, 200, clock.now()), Some(200));
            clock.advance(SLOW);
            let round = rounds.note(9, Some(200), (300, clock.now())).unwrap();
            assert_eq!((round.number, round.took), (number, SLOW));
        }
        assert!(rounds.is_fit(9));
        rounds.keep(3, &nodes, &nobody);
        assert!(!rounds.is_fit(9), "it has to say so again");
        rounds.excuse(3, 9);
        rounds.keep(3, &nodes, &nobody);
        rounds.keep(3, &nodes, &nodes);
        assert!(rounds.is_fit(9));
    }

    #[test]
    fn another_term_and_a_node_that_was_not_to_vote_begin_anew() {
        let clock = Clock::hand_moved();
        let mut rounds = begun(&clock);
        rounds.note(9, Some(100), (100, clock.now()));
        let candidates = BTreeSet::from([9]);
        rounds.keep(3, &candidates, &candidates);
        assert!(rounds.is_fit(9), "nothing has changed");
        rounds.keep(4, &candidates, &candidates);
        assert!(!rounds.is_fit(9), "another leader said so");
        rounds.excuse(4, 9);
        assert!(rounds.is_fit(9));
        rounds.keep(4, &BTreeSet::new(), &BTreeSet::new());
        rounds.keep(4, &candidates, &candidates);
        assert!(!rounds.is_fit(9), "it was not to vote");
        assert_eq!(rounds.note(7, Some(100), (100, clock.now())), None);
    }
}
