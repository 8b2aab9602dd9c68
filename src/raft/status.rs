//! What consensus says about itself.

use openraft::{RaftMetrics, ServerState};

use super::types::Types;

/// What a node does in its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Role {
    /// It leads.
    Leader,
    /// It votes.
    Voter,
    /// It learns: it follows without a vote, or is not a member yet.
    #[default]
    Learner,
    /// It was removed from the cluster and has ended.
    Removed,
}

/// A moment of consensus on this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Status {
    /// Its number.
    pub node: u64,
    /// Whether it runs; false before the start and after a fatal error or the end.
    pub is_running: bool,
    /// What it does.
    pub role: Role,
    /// Who leads, as far as this node knows; it may have ended meanwhile.
    pub leader: Option<u64>,
    /// Whether it is the only voter, so that its own state is always the newest.
    pub is_sole_voter: bool,
    /// Whether it has caught up, since its start, with what was committed before.
    pub is_recovered: bool,
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
            node: metrics.id,
            is_running: metrics.running_state.is_ok(),
            role: match metrics.state {
                ServerState::Leader => Role::Leader,
                ServerState::Follower | ServerState::Candidate => Role::Voter,
                ServerState::Learner | ServerState::Shutdown => Role::Learner,
            },
            leader: metrics.current_leader,
            is_sole_voter,
            is_recovered: false,
            term: metrics.current_term,
            last_index: metrics.last_log_index,
            applied_index: metrics.last_applied.map(|id| id.index),
            snapshot_index: metrics.snapshot.map(|id| id.index),
            purged_index: metrics.purged.map(|id| id.index),
        }
    }

    /// Whether this node leads. It may not reach a quorum any more.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.role == Role::Leader
    }

    /// Whether this node was removed from its cluster, and has ended.
    #[must_use]
    pub fn is_removed(&self) -> bool {
        self.role == Role::Removed
    }

    /// Whether whatever this node has applied is the newest there is: nobody
    /// else can have committed anything.
    #[must_use]
    pub fn is_sole_leader(&self) -> bool {
        self.is_running && self.is_leader() && self.is_sole_voter
    }

    /// What a change of leader changes.
    pub(super) const fn leadership(&self) -> (bool, Option<u64>, u64, Role) {
        (self.is_running, self.leader, self.term, self.role)
    }
}
