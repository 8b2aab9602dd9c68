//! How far this node holds the blobs of its state, as the number of an entry.
//!
//! Blobs come in any order, and new ones without end. So it is claimed mark by mark: a
//! mark is an entry, taken when the plan knows all that was missing at that entry, and
//! the number of the last blob that was in the plan then. Once no older blob is left
//! there, all that the state had at that entry is here; and the next mark is taken.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::candidates::holders;
use super::coordinator::Coordinator;
use crate::raft::Filled;

/// Where blobs are left that may be beyond reach, they are looked at so often …
const LOOK_PERIOD: Duration = Duration::from_millis(500);
/// … and no more of them at a time, some milliseconds of reading the state; the next look
/// goes on behind them …
const LOOK_BLOBS_MAX: usize = 4096;
/// … unless nobody has asked for so long: what was beyond reach then may not be now.
const PASS_GAP_MAX: Duration = Duration::from_secs(10);

/// See the file's head. Lives in the coordinator; a restart begins anew.
#[derive(Debug, Default)]
pub(super) struct Watermark {
    claim: Option<Claim>,
    mark: Option<Mark>,
    pass: Pass,
}

/// A way through the blobs of a mark that are left, in as many looks as it takes. One
/// that somebody can give ends it, so that all were beyond reach within some seconds.
#[derive(Debug, Clone, Default)]
struct Pass {
    look_due: Option<Instant>,
    /// Those of lower numbers are beyond reach.
    next_number: u64,
    /// Nodes that could still have them.
    away: BTreeSet<u64>,
}

#[derive(Debug, Clone)]
struct Claim {
    index: u64,
    /// Nodes that could still have what is not here of it.
    unreached: BTreeSet<u64>,
}

#[derive(Debug, Clone, Copy)]
struct Mark {
    index: u64,
    last_number: u64,
}

/// What can be seen at one moment.
#[derive(Debug, Clone, Copy)]
struct Sight {
    /// An entry of which the plan knows all that is missing; `None` while it may not.
    known: Option<u64>,
    /// The last blob of the plan.
    last_number: u64,
}

impl Pass {
    /// Whether it may be looked now, which is noted.
    fn is_due(&mut self, now: Instant) -> bool {
        if self.look_due.is_some_and(|due| now < due) {
            return false;
        }
        if self.look_due.is_some_and(|due| now - due > PASS_GAP_MAX) {
            self.restart();
        }
        self.look_due = Some(now + LOOK_PERIOD);
        true
    }

    /// Looks at the next blobs, from `next_number` on: who could have all that are left,
    /// at the end. `away` says of one who could have it, or that somebody gives it.
    fn look(
        &mut self,
        numbers: impl Iterator<Item = u64>,
        mut away: impl FnMut(u64) -> Option<Vec<u64>>,
    ) -> Option<BTreeSet<u64>> {
        for (count, number) in numbers.enumerate() {
            if count == LOOK_BLOBS_MAX {
                self.next_number = number;
                return None;
            }
            let Some(away) = away(number) else {
                self.restart();
                return None;
            };
            self.away.extend(away);
        }
        let away = std::mem::take(&mut self.away);
        self.restart();
        Some(away)
    }

    fn restart(&mut self) {
        self.next_number = 0;
        self.away.clear();
    }
}

impl Watermark {
    /// Nothing is claimed any more: something that was here is not.
    pub(super) fn withdraw(&mut self) {
        *self = Self::default();
    }

    /// Goes on as far as can be seen. `left` says of the blobs up to a number whether one
    /// of them is still to come, by `None`, or else who could have those that are not.
    fn go_on(&mut self, sight: Sight, mut left: impl FnMut(u64) -> Option<BTreeSet<u64>>) {
        self.end_mark(&mut left);
        if self.mark.is_some() {
            return;
        }
        self.mark = sight.known.map(|index| Mark {
            index,
            last_number: sight.last_number,
        });
        self.end_mark(&mut left);
    }

    fn end_mark(&mut self, left: &mut impl FnMut(u64) -> Option<BTreeSet<u64>>) {
        let ended = self.mark.and_then(|mark| {
            let unreached = left(mark.last_number)?;
            let index = mark.index;
            Some(Claim { index, unreached })
        });
        if ended.is_some() {
            (self.claim, self.mark) = (ended, None);
        }
    }
}

impl Coordinator {
    /// Answers whoever asks how far this node is.
    pub(super) fn tell_filled(&mut self) {
        let shared = self.worker.shared.clone();
        // First: what is applied by then was told, so that it is in the channel or has
        // come to the plan.
        let applied = shared.journal().status().applied_index;
        let knows_all = shared.blob_changes().is_empty()
            && self.survey.has_found_all()
            && !shared.has_disputed_files();
        let sight = Sight {
            known: applied.filter(|_| knows_all),
            last_number: self.plan.last_number(),
        };
        let mut filled = std::mem::take(&mut self.filled);
        let mut pass = std::mem::take(&mut filled.pass);
        filled.go_on(sight, |last| self.left(last, &mut pass));
        filled.pass = pass;
        self.filled = filled;
        self.tell_claim();
    }

    /// Something is not here that was.
    pub(super) fn withdraw_claim(&mut self) {
        self.filled.withdraw();
        self.tell_claim();
    }

    fn tell_claim(&self) {
        let shared = &self.worker.shared;
        let claim = self.filled.claim.as_ref();
        let unreached = claim.map(|claim| claim.unreached.iter().copied().collect());
        shared.fill().tell(Filled {
            index: claim.map(|claim| claim.index),
            missing_blobs: shared.missing_count(),
            unreached: unreached.unwrap_or_default(),
        });
    }

    /// Who could have the blobs up to a number that are missing still; `None` when some
    /// node can give one of them, it was looked at just now, or there is more to look at.
    fn left(&self, last: u64, pass: &mut Pass) -> Option<BTreeSet<u64>> {
        if self.plan.known_between(0, last).next().is_none() {
            pass.restart();
            return Some(BTreeSet::new());
        }
        let now = self.worker.clock.now();
        if !pass.is_due(now) {
            return None;
        }
        let shared = &self.worker.shared;
        let peers = shared.peers().others(shared.options().node);
        let view = shared.journal().view();
        let numbers = self.plan.known_between(pass.next_number, last);
        pass.look(numbers, |number| {
            let file = self.plan.file(number)?;
            let origin = self.entries.get(&file).and_then(|entry| entry.origin);
            let holders = holders(&view, &peers, &file, origin);
            self.plan.beyond_reach(number, &holders, now)
        })
    }
}

#[cfg(test)]
#[path = "filled_test.rs"]
mod tests;
