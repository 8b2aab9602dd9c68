//! Publishes what openraft says about itself, and ends the process when it
//! stopped for any reason but our asking.

use std::rc::Rc;
use std::sync::Arc;

use openraft::async_runtime::WatchReceiver;
use openraft::error::Fatal;
use openraft::{RaftMetrics, ServerState};
use tokio::sync::watch;

use crate::runtime;

use super::core::Core;
use super::members::Members;
use super::membership::{local_members, mark};
use super::status::{Role, Status};
use super::types::Types;

/// Follows openraft's metrics until it ends.
pub(super) async fn observe(
    core: Rc<Core>,
    status: watch::Sender<Status>,
    members: watch::Sender<Arc<Members>>,
) {
    let mut changes = core.raft.metrics();
    let metrics = Arc::clone(&core.options.metrics);
    let mut recovery = Recovery::default();
    let mut known = None;
    let mut candidacies = Candidacies::default();
    let mut committed;
    let (peers, wishes) = (Rc::clone(&core.peers), Rc::clone(&core.wishes));
    let (grants, clock) = (Rc::clone(&core.grants), core.clock.clone());
    let mut removal = peers.removal();
    // The core must be able to end while this waits.
    drop(core);
    loop {
        let now = {
            let seen = changes.borrow_and_update();
            if let Err(Fatal::StorageError(error)) = &seen.running_state {
                runtime::end_process(&format!("consensus lost its storage: {error}"));
            }
            if let Err(Fatal::Panicked) = &seen.running_state {
                runtime::end_process("consensus panicked");
            }
            let marked = mark(&seen);
            if known.replace(marked) != Some(marked) {
                wishes.notify_one();
                peers.learn(seen.membership_config.membership());
                members.send_replace(Arc::new(local_members(&seen)));
            }
            if let Some(acked) = &seen.last_quorum_acked {
                peers.led_others(acked.elapsed());
            }
            if seen.state == ServerState::Leader {
                grants.lead(seen.current_term, clock.now());
            }
            metrics.journal.follower_lags.set(lags(&seen));
            committed = seen.local_committed.map(|id| id.index);
            if candidacies.observe(&seen) {
                metrics.journal.elections.count();
            }
            let mut now = Status::of(&seen);
            now.is_recovered = recovery.observe(&seen);
            now
        };
        metrics.journal.term.set(now.term);
        metrics.journal.committed_index.set(committed.unwrap_or(0));
        metrics.journal.is_leader.set(u64::from(now.is_leader()));
        metrics.journal.last_index.set(now.last_index.unwrap_or(0));
        status.send_if_modified(|status| {
            if (status.leader, status.term) != (now.leader, now.term) {
                metrics
                    .journal
                    .leader_changes
                    .add(u64::from(now.leader.is_some()));
                tracing::info!(leader = now.leader, term = now.term, "leadership changes");
            }
            std::mem::replace(status, now) != now
        });
        if changes.changed().await.is_err() {
            break;
        }
    }
    status.send_modify(|status| {
        status.is_running = false;
        if *removal.borrow_and_update() {
            status.role = Role::Removed;
        }
    });
}

/// The terms in which this node stands for election.
#[derive(Debug, Default)]
struct Candidacies {
    last: Option<u64>,
}

impl Candidacies {
    /// Whether it stands in a term in which it was not seen to stand before. A vote
    /// for itself that was saved before the start counts only if it is in force.
    fn observe(&mut self, seen: &RaftMetrics<Types>) -> bool {
        let vote = seen.vote.leader_id;
        let is_active = matches!(seen.state, ServerState::Leader | ServerState::Candidate);
        let is_new = vote.node_id == seen.id && is_active && self.last != Some(vote.term);
        if is_new {
            self.last = Some(vote.term);
        }
        is_new
    }
}

/// Entries that each follower lacks, while this node leads.
fn lags(seen: &RaftMetrics<Types>) -> impl Iterator<Item = (u64, u64)> {
    let (me, entries) = (seen.id, seen.last_log_index.map_or(0, |last| last + 1));
    let followers = seen.replication.iter().flatten();
    followers
        .filter(move |(node, _)| **node != me)
        .map(move |(node, matched)| {
            let held = matched.as_ref().map_or(0, |id| id.index + 1);
            (*node, entries.saturating_sub(held))
        })
}

/// Whether this node has caught up, once, with what was committed before it
/// started. Until then its state may be older than what it has served before.
#[derive(Debug, Default)]
struct Recovery {
    /// Entries of the log when this node started.
    tail: Option<u64>,
    target: Option<u64>,
    is_done: bool,
}

impl Recovery {
    fn observe(&mut self, seen: &RaftMetrics<Types>) -> bool {
        let committed = seen.cluster_committed.as_ref().map(|id| id.index);
        self.step(
            committed,
            seen.last_log_index,
            seen.last_applied.as_ref().map(|id| id.index),
        )
    }

    /// A commit that covers the log of the start, or all that a leader left of
    /// it, covers what was applied before the start.
    fn step(&mut self, committed: Option<u64>, last: Option<u64>, applied: Option<u64>) -> bool {
        let entries = |last: Option<u64>| last.map_or(0, |last| last + 1);
        let tail = *self.tail.get_or_insert_with(|| entries(last));
        let is_covered = entries(committed) >= tail.min(entries(last));
        if self.target.is_none() && committed.is_some() && is_covered {
            self.target = committed;
        }
        self.is_done |= self.target.is_some() && applied >= self.target;
        self.is_done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_has_recovered_when_it_has_applied_a_commit_that_covers_its_log() {
        let mut recovery = Recovery::default();
        assert!(!recovery.step(None, Some(9), Some(9)));
        // An old commit says nothing about the end of the log.
        assert!(!recovery.step(Some(5), Some(20), Some(9)));
        assert!(!recovery.step(Some(12), Some(30), Some(9)));
        assert!(!recovery.step(Some(20), Some(30), Some(11)));
        assert!(recovery.step(Some(20), Some(30), Some(12)));
        // It stays so.
        assert!(recovery.step(Some(20), Some(40), Some(12)));
    }

    #[test]
    fn a_log_whose_end_was_cut_counts_as_far_as_it_reaches() {
        let mut recovery = Recovery::default();
        assert!(!recovery.step(None, Some(9), Some(4)));
        assert!(!recovery.step(Some(6), Some(9), Some(4)));
        assert!(recovery.step(Some(6), Some(6), Some(6)));
    }

    #[test]
    fn an_empty_node_has_recovered_when_it_has_what_the_leader_has() {
        let mut recovery = Recovery::default();
        assert!(!recovery.step(None, None, None));
        assert!(!recovery.step(Some(7), None, None));
        assert!(recovery.step(Some(7), Some(7), Some(7)));
    }
}
