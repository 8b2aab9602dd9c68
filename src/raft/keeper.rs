//! Keeps the log short: snapshots and purges by bytes, beside openraft's own
//! policy by entries.

use std::rc::Rc;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;

use crate::runtime;

use super::core::Core;

/// How often the size of the log is looked at.
const LOOK_PERIOD: Duration = Duration::from_millis(500);

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

/// What decides whether the log is cut by bytes.
#[derive(Debug, Clone, Copy)]
struct Purge {
    snapshot: Option<u64>,
    purged: Option<u64>,
    held_bytes: u64,
    kept_bytes: u64,
}

impl Purge {
    /// Index of the last entry to purge, when the log holds too many bytes and
    /// a snapshot covers entries that can go.
    fn last(self, cut: impl FnOnce(u64) -> Option<u64>) -> Option<u64> {
        if self.held_bytes <= self.kept_bytes {
            return None;
        }
        // Half of what may stay, so that a busy log is not cut at every look.
        let last = cut(self.kept_bytes / 2)?
            .checked_sub(1)?
            .min(self.snapshot?);
        self.purged
            .is_none_or(|purged| last > purged)
            .then_some(last)
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
}
