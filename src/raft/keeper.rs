//! Keeps the log short: snapshots by bytes, beside openraft's own policy by
//! entries, and all purges. openraft's own purge knows nothing of snapshots on
//! their way: a receiver would find the log behind its snapshot gone, and start
//! again, for as long as others write.

use std::rc::Rc;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;

use crate::runtime;

use super::core::Core;

/// How often the size of the log is looked at.
const LOOK_PERIOD: Duration = Duration::from_millis(500);
/// Entries are purged in steps of at least this many.
const PURGE_ENTRIES_MIN: u64 = 256;
/// The log may hold this many times its bound for a node that is being sent a
/// snapshot.
const NEEDED_FACTOR_TIMES: u64 = 8;

/// Looks at the log until the core drops it.
pub(super) async fn keep(core: Rc<Core>) {
    let mut bytes_at_snapshot = 0;
    let mut snapshot_seen = None;
    loop {
        runtime::sleep(LOOK_PERIOD).await;
        let newest = core.raft.metrics().borrow_watched().snapshot;
        let snapshot = newest.map(|id| id.index);
        let written_bytes = core.log.written_bytes();
        if snapshot != snapshot_seen {
            snapshot_seen = snapshot;
            bytes_at_snapshot = written_bytes;
        }
        let purged = core.raft.metrics().borrow_watched().purged;
        let purge = Purge {
            snapshot,
            purged: purged.map(|id| id.index),
            held_bytes: core.log.held_bytes(),
            kept_bytes: core.options.log_bytes_kept,
            kept_entries: core.options.log_entries_kept,
            needed: core.needed.last_free(core.clock.now()),
        };
        let outcome = if written_bytes - bytes_at_snapshot >= core.options.snapshot_bytes {
            bytes_at_snapshot = written_bytes;
            core.raft.trigger().snapshot().await
        } else if let Some(last) = purge.last(|kept| core.log.cut(kept)) {
            core.raft.trigger().purge_log(last).await
        } else {
            Ok(())
        };
        if let Err(error) = outcome {
            tracing::debug!(%error, "the log was not shortened");
        }
    }
}

/// What decides where the log is cut.
#[derive(Debug, Clone, Copy)]
struct Purge {
    snapshot: Option<u64>,
    purged: Option<u64>,
    held_bytes: u64,
    kept_bytes: u64,
    kept_entries: u64,
    /// Last entry that a snapshot on its way covers: its receiver needs what
    /// follows.
    needed: Option<u64>,
}

impl Purge {
    /// Index of the last entry to purge, when the log holds too many entries or
    /// bytes and a snapshot covers entries that can go.
    fn last(self, cut: impl FnOnce(u64) -> Option<u64>) -> Option<u64> {
        let snapshot = self.snapshot?;
        let is_large = self.held_bytes > self.kept_bytes;
        let by_bytes = if is_large {
            // Half of what may stay, so that a busy log is not cut at every look.
            cut(self.kept_bytes / 2).and_then(|first| first.checked_sub(1))
        } else {
            None
        };
        let by_entries = snapshot.checked_sub(self.kept_entries);
        let last = by_bytes.max(by_entries)?.min(snapshot);
        // A receiver is waited for, but not until the disk is full.
        let is_too_large = self.held_bytes > NEEDED_FACTOR_TIMES * self.kept_bytes;
        let last = match self.needed {
            Some(needed) if !is_too_large => last.min(needed),
            Some(_) | None => last,
        };
        let before = self.purged.map_or(0, |purged| purged + 1);
        let is_worth_it = is_large || last >= before + PURGE_ENTRIES_MIN.min(self.kept_entries);
        (last >= before && is_worth_it).then_some(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: Purge = Purge {
        snapshot: Some(80),
        purged: Some(10),
        held_bytes: 100,
        kept_bytes: 60,
        kept_entries: 1000,
        needed: None,
    };

    #[test]
    fn a_log_within_its_bound_is_left_alone() {
        let small = Purge {
            held_bytes: 60,
            ..FULL
        };
        assert_eq!(small.last(|_| Some(50)), None);
    }

    #[test]
    fn a_large_log_is_cut_up_to_the_snapshot_and_no_further() {
        assert_eq!(FULL.last(|_| Some(50)), Some(49));
        assert_eq!(FULL.last(|_| Some(95)), Some(80));
        let unsnapshot = Purge {
            snapshot: None,
            ..FULL
        };
        assert_eq!(unsnapshot.last(|_| Some(50)), None);
    }

    #[test]
    fn what_is_purged_already_is_not_asked_for_again() {
        assert_eq!(FULL.last(|_| Some(11)), None);
    }

    #[test]
    fn a_long_log_is_cut_in_steps_to_the_entries_kept() {
        let long = Purge {
            snapshot: Some(3000),
            held_bytes: 1,
            ..FULL
        };
        assert_eq!(long.last(|_| None), Some(2000));
        let barely = Purge {
            snapshot: Some(1000 + 10 + PURGE_ENTRIES_MIN),
            ..long
        };
        assert_eq!(barely.last(|_| None), None);
        let fresh = Purge {
            purged: None,
            snapshot: Some(999),
            ..long
        };
        assert_eq!(fresh.last(|_| None), None);
    }

    #[test]
    fn what_a_receiver_of_a_snapshot_needs_stays_until_it_is_too_much() {
        let needed = Purge {
            needed: Some(30),
            ..FULL
        };
        assert_eq!(needed.last(|_| Some(50)), Some(30));
        let served = Purge {
            purged: Some(30),
            ..needed
        };
        assert_eq!(served.last(|_| Some(50)), None);
        let too_large = Purge {
            held_bytes: 60 * NEEDED_FACTOR_TIMES + 1,
            ..served
        };
        assert_eq!(too_large.last(|_| Some(50)), Some(49));
    }
}
