//! How new the state of this node is known to be: what lets a shard serve what is
//! named by digest without asking anybody.
//!
//! What a digest names never changes, but it may be deleted, and a node that lags does
//! not know yet. Two sides together keep it from saying 200 after the delete was
//! acknowledged:
//!
//! - *Whoever serves* trusts its state for [`FRESH_MAX`] from the moment at which a read
//!   round began, once all that the round found committed is applied here. Until then a
//!   hit is served at once, later it waits for the next round, which all that wait share.
//!   A node in use asks anew before the mark is old, so that nobody waits; an idle one
//!   asks nothing. A request costs a look at the clock.
//! - *Whoever deletes* answers when no node trusts a state that is older: `barrier`.
//!
//! A node that reaches no quorum serves what it has. The raft core says when that is so:
//! no round has found one for some heartbeats, and no leader that gets on has spoken
//! meanwhile (`read_rounds`). Such an excuse ends with [`EXCUSE_LIFE`], unless the rounds
//! that are tried in the background while the node is in use fail, too; and at once when
//! a leader brings news or a round finds a quorum. A node that reaches a quorum and lags
//! is never excused: a hit there waits as long as a read by tag does, and is then refused
//! like one.
//!
//! This leans on one thing beyond consensus: that for a second the monotonic clocks of
//! two nodes run equally fast, but for [`MARGIN`]. A machine that is stopped with its
//! clock, as a virtual one can be, trusts its state for what was left of that second.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;

/// A state is trusted so long after the round that confirmed it began: long enough for
/// one round in a while, short enough for a delete to wait for it when a node is down.
const FRESH_MAX_US: u64 = 1_000_000;
/// See [`FRESH_MAX_US`].
const FRESH_MAX: Duration = Duration::from_micros(FRESH_MAX_US);
/// A mark is renewed when it is so old: what is left is enough for a slow round.
const RENEW_AFTER_US: u64 = FRESH_MAX_US / 2;
/// Nobody asks for a round again before this.
const TURN_US: u64 = FRESH_MAX_US / 4;
/// See [`TURN_US`].
pub(super) const TURN: Duration = Duration::from_micros(TURN_US);
/// Clocks of two nodes differ by no more in the time that a mark lasts.
const MARGIN: Duration = Duration::from_millis(100);
/// By then no mark is trusted any more that was made before: anywhere.
pub(super) const MARK_END: Duration = FRESH_MAX.saturating_add(MARGIN);
/// An excuse outlives the slowest round that fails, and not much more.
const EXCUSE_LIFE: Duration = Duration::from_secs(3);

/// When this node was last shown to have everything. One per node: the raft core writes
/// it, every shard reads it. Ends with the process, so that a node that starts, whose
/// state may be older than what it served before, trusts nothing.
#[derive(Debug)]
pub(super) struct Mark {
    epoch: Instant,
    /// When the newest round began that succeeded; 0 without one. All times are in
    /// microseconds, and begin with 1 at `epoch`.
    confirmed_us: AtomicU64,
    /// Rounds that began by then confirm nothing, unless `revoked_index` is applied. Of
    /// the core alone.
    revoked_us: AtomicU64,
    /// Index of the newest entry for which the state was not new enough. Of the core alone.
    revoked_index: AtomicU64,
    /// Until when it serves without a quorum.
    excused_us: AtomicU64,
    /// Whether the log says that it serves without a quorum. Of the core alone.
    is_said: AtomicBool,
    /// From when on a round is asked for again.
    turn_us: AtomicU64,
    /// Told when a hit that waits may be served.
    moved: watch::Sender<()>,
}

/// What a shard may do with a hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Serve it.
    Trusted,
    /// Serve it, and ask for a round that nobody waits for.
    Ageing,
    /// Wait for a round first.
    Unknown,
}

impl Mark {
    /// Nothing is known at `now`.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            epoch: now,
            confirmed_us: AtomicU64::new(0),
            revoked_us: AtomicU64::new(0),
            revoked_index: AtomicU64::new(0),
            excused_us: AtomicU64::new(0),
            is_said: AtomicBool::new(false),
            turn_us: AtomicU64::new(0),
            moved: watch::Sender::new(()),
        }
    }

    fn micros(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.epoch).as_micros();
        u64::try_from(since).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// What may be done now. A view must be taken after this, not before: then it holds
    /// what the mark promises.
    pub(super) fn standing(&self, now: Instant) -> Standing {
        let now_us = self.micros(now);
        let confirmed_us = self.confirmed_us.load(Ordering::Acquire);
        let age_us = now_us.saturating_sub(confirmed_us);
        let is_fresh = confirmed_us != 0 && age_us < FRESH_MAX_US;
        if is_fresh && age_us < RENEW_AFTER_US {
            Standing::Trusted
        } else if !is_fresh && now_us >= self.excused_us.load(Ordering::Acquire) {
            Standing::Unknown
        } else if self.takes_turn(now) {
            Standing::Ageing
        } else {
            Standing::Trusted
        }
    }

    /// Whether the caller is the one to ask for a round.
    pub(super) fn takes_turn(&self, now: Instant) -> bool {
        let now_us = self.micros(now);
        let due_us = self.turn_us.load(Ordering::Relaxed);
        let next_us = now_us.saturating_add(TURN_US);
        let (taken, missed) = (Ordering::Relaxed, Ordering::Relaxed);
        let turn = &self.turn_us;
        due_us <= now_us
            && turn
                .compare_exchange(due_us, next_us, taken, missed)
                .is_ok()
    }

    /// Whether a round succeeded that began then or later.
    pub(super) fn is_confirmed_since(&self, since: Instant) -> bool {
        self.confirmed_us.load(Ordering::Acquire) >= self.micros(since)
    }

    /// Tells when to look at the standing again.
    pub(super) fn moves(&self) -> watch::Receiver<()> {
        self.moved.subscribe()
    }

    /// Notes that a round succeeded which began at `began`; what it found is applied, as
    /// everything is up to the entry at `applied`.
    pub(super) fn confirm(&self, began: Instant, applied: u64) {
        let began_us = self.micros(began);
        let is_older = began_us <= self.revoked_us.load(Ordering::Relaxed);
        if is_older && applied < self.revoked_index.load(Ordering::Relaxed) {
            return;
        }
        self.confirmed_us.fetch_max(began_us, Ordering::AcqRel);
        self.excused_us.store(0, Ordering::Release);
        if self.is_said.swap(false, Ordering::Relaxed) {
            tracing::info!("a quorum confirms again what is served by digest");
        }
        self.moved.send_replace(());
    }

    /// Trusts the state no more until a round succeeds that begins after `now`, or the
    /// entry at `index` is applied.
    pub(super) fn revoke(&self, now: Instant, index: u64) {
        self.revoked_index.fetch_max(index, Ordering::Relaxed);
        self.revoked_us.store(self.micros(now), Ordering::Relaxed);
        self.excused_us.store(0, Ordering::Release);
        self.confirmed_us.store(0, Ordering::Release);
    }

    /// Takes back what [`Mark::excuse`] gave.
    pub(super) fn end_excuse(&self) {
        self.excused_us.store(0, Ordering::Release);
    }

    /// Lets hits be served for a while, though no quorum confirms them.
    pub(super) fn excuse(&self, now: Instant) {
        let until_us = self.micros(now + EXCUSE_LIFE);
        self.excused_us.store(until_us, Ordering::Release);
        if !self.is_said.swap(true, Ordering::Relaxed) {
            tracing::warn!("no quorum confirms what is served by digest: it is served as it is");
        }
        self.moved.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Clock;

    #[test]
    fn a_mark_is_trusted_for_a_second_from_the_begin_of_its_round() {
        let start = Clock::system().now();
        let at = |ms| start + Duration::from_millis(ms);
        let mark = Mark::new(start);
        assert_eq!(mark.standing(at(0)), Standing::Unknown);
        // It took 300 ms; an older one that comes late changes nothing.
        mark.confirm(at(100), 0);
        mark.confirm(at(50), 0);
        assert_eq!(mark.standing(at(400)), Standing::Trusted);
        assert_eq!(mark.standing(at(599)), Standing::Trusted);
        assert_eq!(mark.standing(at(600)), Standing::Ageing);
        assert_eq!(mark.standing(at(601)), Standing::Trusted, "one asks");
        assert_eq!(mark.standing(at(850)), Standing::Ageing, "and again");
        assert_eq!(mark.standing(at(1099)), Standing::Trusted);
        assert_eq!(mark.standing(at(1100)), Standing::Unknown);
        assert!(mark.takes_turn(at(1100)) && !mark.takes_turn(at(1101)));
        // A clock that was read before the mark was made.
        mark.confirm(at(1200), 0);
        assert_eq!(mark.standing(at(1199)), Standing::Trusted);
        assert!(mark.is_confirmed_since(at(1200)) && !mark.is_confirmed_since(at(1201)));
    }

    #[test]
    fn what_is_revoked_comes_back_by_a_round_that_begins_later() {
        let start = Clock::system().now();
        let at = |ms| start + Duration::from_millis(ms);
        let mark = Mark::new(start);
        mark.confirm(at(100), 0);
        mark.excuse(at(400));
        mark.revoke(at(500), 7);
        assert_eq!(mark.standing(at(500)), Standing::Unknown);
        // A round that was out meanwhile.
        mark.confirm(at(500), 0);
        assert_eq!(mark.standing(at(501)), Standing::Unknown);
        mark.confirm(at(499), 7);
        assert_eq!(mark.standing(at(501)), Standing::Trusted);
        mark.revoke(at(600), 9);
        mark.revoke(at(700), 8);
        mark.confirm(at(650), 8);
        assert_eq!(mark.standing(at(700)), Standing::Unknown);
        mark.confirm(at(701), 0);
        assert_eq!(mark.standing(at(702)), Standing::Trusted);
    }

    #[test]
    fn a_node_without_a_quorum_is_excused_while_that_is_so() {
        let start = Clock::system().now();
        let at = |ms| start + Duration::from_millis(ms);
        let mark = Mark::new(start);
        let moves = mark.moves();
        mark.excuse(at(300));
        assert!(moves.has_changed().unwrap());
        assert_eq!(mark.standing(at(300)), Standing::Ageing, "it tries on");
        assert_eq!(mark.standing(at(301)), Standing::Trusted);
        assert_eq!(mark.standing(at(3299)), Standing::Ageing);
        assert_eq!(mark.standing(at(3300)), Standing::Unknown, "nobody tried");
        mark.excuse(at(4000));
        assert_eq!(mark.standing(at(4000)), Standing::Ageing);
        mark.end_excuse();
        assert_eq!(mark.standing(at(4100)), Standing::Unknown);
        mark.excuse(at(4500));
        assert_eq!(mark.standing(at(4500)), Standing::Ageing);
        mark.confirm(at(6000), 0);
        assert_eq!(mark.standing(at(6001)), Standing::Trusted);
        assert_eq!(mark.standing(at(7001)), Standing::Unknown);
    }
}
