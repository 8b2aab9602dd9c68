//! A leader whose disk stands still does not lead.
//!
//! openraft goes on without the leader's own sync as long as a majority of the
//! others syncs, and a failed sync ends the process. In between there is the sync
//! that does not return: then every commit hangs on all the others, and none
//! comes when one of them is away. So leadership goes to a node that can write.

use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::base::Clock;
use crate::runtime;

use super::core::Core;
use super::start::ELECTION_MS_MAX;

/// How often the journal is looked at.
const LOOK_PERIOD: Duration = Duration::from_millis(100);
/// No sync for this long while entries wait for one: as long as a leader that
/// says nothing would be given.
const STALL_MAX: Duration = Duration::from_millis(ELECTION_MS_MAX);
/// A transfer that had no effect is tried again after this.
const RETRY_PAUSE: Duration = Duration::from_secs(2);

/// Appends that wait for their sync. Shared with the journal thread.
#[derive(Debug)]
pub(super) struct Backlog {
    start: Instant,
    submitted: AtomicU64,
    synced: AtomicU64,
    /// Milliseconds from the start to when something last moved.
    moved_ms: AtomicU64,
}

impl Default for Backlog {
    fn default() -> Self {
        Self {
            start: Clock::system().now(),
            submitted: AtomicU64::new(0),
            synced: AtomicU64::new(0),
            moved_ms: AtomicU64::new(0),
        }
    }
}

impl Backlog {
    /// Notes that an append was given to the journal.
    pub(super) fn submit(&self) {
        let before = self.submitted.fetch_add(1, Ordering::AcqRel);
        if before == self.synced.load(Ordering::Acquire) {
            self.moved();
        }
    }

    /// Notes that the oldest append is synced.
    pub(super) fn synced(&self) {
        self.moved();
        self.synced.fetch_add(1, Ordering::AcqRel);
    }

    /// How long appends have waited without a single one being synced.
    pub(super) fn stalled_for(&self) -> Duration {
        let synced = self.synced.load(Ordering::Acquire);
        if synced >= self.submitted.load(Ordering::Acquire) {
            return Duration::ZERO;
        }
        let moved = Duration::from_millis(self.moved_ms.load(Ordering::Acquire));
        self.elapsed().saturating_sub(moved)
    }

    fn moved(&self) {
        let elapsed_ms = u64::try_from(self.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.moved_ms.store(elapsed_ms, Ordering::Release);
    }

    fn elapsed(&self) -> Duration {
        Clock::system().now().saturating_duration_since(self.start)
    }
}

/// Looks at the journal until the core drops it.
pub(super) async fn watch_journal(core: Rc<Core>) {
    let backlog = core.log.backlog();
    loop {
        runtime::sleep(LOOK_PERIOD).await;
        let stalled_for = backlog.stalled_for();
        if stalled_for < STALL_MAX {
            continue;
        }
        let Some(successor) = core.successor() else {
            continue;
        };
        tracing::warn!(
            ?stalled_for,
            successor,
            "the journal stands still: another node is to lead"
        );
        core.options.metrics.journal.stalls.count();
        if core
            .raft
            .trigger()
            .transfer_leader(successor)
            .await
            .is_err()
        {
            return;
        }
        core.leader_changed(RETRY_PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backlog_stalls_only_while_something_waits_and_nothing_moves() {
        let backlog = Backlog::default();
        assert_eq!(backlog.stalled_for(), Duration::ZERO);
        backlog.submit();
        backlog.submit();
        let waited = Duration::from_millis(30);
        futures_lite::future::block_on(async {
            let (sender, receiver) = flume::bounded::<()>(1);
            assert!(receiver.recv_timeout(waited).is_err());
            drop(sender);
        });
        assert!(backlog.stalled_for() >= Duration::from_millis(25));
        backlog.synced();
        assert!(backlog.stalled_for() < Duration::from_millis(25));
        backlog.synced();
        assert_eq!(backlog.stalled_for(), Duration::ZERO);
    }
}
