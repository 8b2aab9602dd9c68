//! What consensus says about itself.

use openraft::{RaftMetrics, ServerState};

use super::types::Types;

/// A moment of consensus on this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Status {
    /// Whether it runs; false before the start and after a fatal error or the end.
    pub is_running: bool,
    /// Whether this node leads.
    pub is_leader: bool,
    /// Whether it is the only voter, so that its own state is always the newest.
    pub is_sole_voter: bool,
    /// Current term.
    pub term: u64,
    /// Index of the last entry in the log.
    pub last_index: Option<u64>,
    /// Index of the last applied entry.
    pub applied_index: Option<u64>,
    /// Index of the last entry that the newest snapshot covers.
    pub snapshot_index: Option<u64>,
    /// Index of the last entry that was purged from the log.
    pub purged_index: Option<u64>,
}

impl Status {
    pub(super) fn of(metrics: &RaftMetrics<Types>) -> Self {
        let mut voters = metrics.membership_config.voter_ids();
        let is_sole_voter = voters.next() == Some(metrics.id) && voters.next().is_none();
        Self {
            is_running: metrics.running_state.is_ok(),
            is_leader: metrics.state == ServerState::Leader,
            is_sole_voter,
            term: metrics.current_term,
            last_index: metrics.last_log_index,
            applied_index: metrics.last_applied.map(|id| id.index),
            snapshot_index: metrics.snapshot.map(|id| id.index),
            purged_index: metrics.purged.map(|id| id.index),
        }
    }

    /// Whether whatever this node has applied is the newest there is: nobody
    /// else can have committed anything.
    #[must_use]
    pub const fn is_sole_leader(&self) -> bool {
        self.is_running && self.is_leader && self.is_sole_voter
    }
}
