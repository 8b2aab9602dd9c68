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
//! A node that reaches no quorum serves what it has. It learns that by a wait of
//! [`HIT_WAIT`] without a word from any other node, once: then it is excused until a
//! round succeeds, which is tried in the background while it is in use, or a leader
//! speaks to it that had been silent. One that hears of others may be slow, or may have
//! been away until just now, or has no leader yet: it waits for up to [`HIT_WAIT_MAX`].
//!
//! This leans on one thing beyond consensus: that for a second the monotonic clocks of
//! two nodes run equally fast, but for [`MARGIN`]. A machine that is stopped with its
//! clock, as a virtual one can be, trusts its state for what was left of that second.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::start::HEARTBEAT_MS;

/// A state is trusted so long after the round that confirmed it began: long enough for
/// one round in a while, short enough for a delete to wait for it when a node is down.
const FRESH_MAX_US: u64 = 1_000_000;
/// See [`FRESH_MAX_US`].
const FRESH_MAX: Duration = Duration::from_micros(FRESH_MAX_US);
/// A mark is renewed when it is so old: what is left is enough for a slow round.
const RENEW_AFTER_US: u64 = FRESH_MAX_US / 2;
/// Nobody asks for a renewal again before this.
const RENEW_PAUSE_US: u64 = FRESH_MAX_US / 4;
/// Clocks of two nodes differ by no more in the time that a mark lasts.
const MARGIN: Duration = Duration::from_millis(100);
/// By then no mark is trusted any more that was made before: anywhere.
pub(super) const MARK_END: Duration = FRESH_MAX.saturating_add(MARGIN);
/// A hit waits so long for a round on a node that hears nobody: ten heartbeats.
pub(super) const HIT_WAIT: Duration = Duration::from_secs(1);
/// And so long on one that hears of others: as long as an election may take.
pub(super) const HIT_WAIT_MAX: Duration = Duration::from_secs(3);
/// A leader that said nothing for so long had been away; it speaks in every heartbeat.
const SILENCE_MAX_US: u64 = 3 * 1000 * HEARTBEAT_MS;

/// When this node was last shown to have everything. One per node: the raft core writes
/// it, every shard reads it. Ends with the process, so that a node that starts, whose
/// state may be older than what it served before, trusts nothing.
#[derive(Debug)]
pub(super) struct Mark {
    epoch: Instant,
    /// When the newest round began that succeeded; 0 before the first. All times are in
    /// microseconds, and begin with 1 at `epoch`.
    confirmed_us: AtomicU64,
    /// From when on a renewal is asked for again.
    renewal_us: AtomicU64,
    /// When a leader spoke last.
    led_us: AtomicU64,
    /// Whether it serves without a quorum.
    is_excused: AtomicBool,
}

/// What a shard may do with a hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Serve it.
    Trusted,
    /// Serve it, and ask for a renewal that nobody waits for.
    Ageing,
    /// Wait for a round first.
    Unknown,
}

impl Mark {
    /// Nothing is known at `now`.
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            epoch: now,
            confirmed_us: AtomicU64::new(0),
            renewal_us: AtomicU64::new(0),
            led_us: AtomicU64::new(0),
            is_excused: AtomicBool::new(false),
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
        } else if !is_fresh && !self.is_excused.load(Ordering::Relaxed) {
            Standing::Unknown
        } else if self.takes_turn(now_us) {
            Standing::Ageing
        } else {
            Standing::Trusted
        }
    }

    /// Whether the caller is the one to ask for a renewal.
    fn takes_turn(&self, now_us: u64) -> bool {
        let due_us = self.renewal_us.load(Ordering::Relaxed);
        let next_us = now_us.saturating_add(RENEW_PAUSE_US);
        let (taken, missed) = (Ordering::Relaxed, Ordering::Relaxed);
        let turn = &self.renewal_us;
        due_us <= now_us
            && turn
                .compare_exchange(due_us, next_us, taken, missed)
                .is_ok()
    }

    /// Notes that a round succeeded which began at `began`; what it found is applied.
    pub(super) fn confirm(&self, began: Instant) {
        let began_us = self.micros(began);
        self.confirmed_us.fetch_max(began_us, Ordering::AcqRel);
        if self.is_excused.swap(false, Ordering::Relaxed) {
            tracing::info!("a quorum confirms again what is served by digest");
        }
    }

    /// Notes that a leader speaks.
    pub(super) fn lead(&self, now: Instant) {
        let now_us = self.micros(now);
        let led_us = self.led_us.swap(now_us, Ordering::Relaxed);
        if led_us == 0 || now_us.saturating_sub(led_us) > SILENCE_MAX_US {
            self.is_excused.store(false, Ordering::Relaxed);
        }
    }

    /// Notes that nobody confirms a round, however long it is waited for.
    pub(super) fn excuse(&self) {
        if !self.is_excused.swap(true, Ordering::Relaxed) {
            tracing::warn!("no quorum confirms what is served by digest: it is served as it is");
        }
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
        mark.confirm(at(100));
        mark.confirm(at(50));
        assert_eq!(mark.standing(at(400)), Standing::Trusted);
        assert_eq!(mark.standing(at(599)), Standing::Trusted);
        assert_eq!(mark.standing(at(600)), Standing::Ageing);
        assert_eq!(mark.standing(at(601)), Standing::Trusted, "one asks");
        assert_eq!(mark.standing(at(850)), Standing::Ageing, "and again");
        assert_eq!(mark.standing(at(1099)), Standing::Trusted);
        assert_eq!(mark.standing(at(1100)), Standing::Unknown);
        // A clock that was read before the mark was made.
        mark.confirm(at(1200));
        assert_eq!(mark.standing(at(1199)), Standing::Trusted);
    }

    #[test]
    fn a_node_without_a_quorum_is_excused_until_it_hears_of_one() {
        let start = Clock::system().now();
        let at = |ms| start + Duration::from_millis(ms);
        let mark = Mark::new(start);
        mark.excuse();
        assert_eq!(mark.standing(at(5000)), Standing::Ageing, "it tries on");
        assert_eq!(mark.standing(at(5001)), Standing::Trusted);
        mark.lead(at(5100));
        assert_eq!(mark.standing(at(5100)), Standing::Unknown);
        // It hears a leader and still gets no answer.
        mark.excuse();
        mark.lead(at(5400));
        assert_eq!(mark.standing(at(5400)), Standing::Trusted);
        mark.lead(at(5700));
        assert_eq!(mark.standing(at(5700)), Standing::Trusted);
        mark.lead(at(6001));
        assert_eq!(mark.standing(at(6001)), Standing::Unknown);
        mark.excuse();
        mark.confirm(at(6100));
        assert_eq!(mark.standing(at(6101)), Standing::Trusted);
        assert_eq!(mark.standing(at(7100)), Standing::Unknown);
    }
}
