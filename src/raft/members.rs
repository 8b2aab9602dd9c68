//! Who belongs to the cluster, as its leader sees it.

use crate::metadata::Refusal;

use super::proposal::ProposeError;

/// A node of the membership.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its number.
    pub node: u64,
    /// Where it is reached; empty for a node that runs alone.
    pub address: Box<str>,
    /// Whether it votes; else it learns.
    pub is_voter: bool,
    /// Whether it leads.
    pub is_leader: bool,
    /// Its last entry that the leader knows to be there; `None` where the leader
    /// was not asked, or has not heard of the node.
    pub matched_index: Option<u64>,
}

/// The membership at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Members {
    /// Term of whoever says so.
    pub term: u64,
    /// Its last entry; the distance to `Member::matched_index` is a node's lag.
    pub last_index: Option<u64>,
    /// Whether a change of the membership is under way: until it is committed,
    /// the majorities of before and after are both needed.
    pub is_changing: bool,
    /// Every node, by number.
    pub nodes: Vec<Member>,
}

/// Why the cluster was not asked, or not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MembersError {
    /// No leader answers.
    #[error("the cluster has no leader that answers")]
    NoLeader,
    /// No node that could lead, or not the one that was named.
    #[error("there is no such voter")]
    NoVoter,
    /// The node that was named does not vote.
    #[error("node {node} does not vote")]
    NotVoter {
        /// The number asked for.
        node: u64,
    },
    /// The node that was named cannot lead yet.
    #[error("node {node} does not answer the leader, or lacks too much of the journal")]
    Behind {
        /// The number asked for.
        node: u64,
    },
    /// The state refuses it.
    #[error("refused: {0:?}")]
    Refused(Refusal),
    /// There is no such node.
    #[error("there is no node {node}")]
    Unknown {
        /// The number asked for.
        node: u64,
    },
    /// The wish could not be committed.
    #[error(transparent)]
    Propose(#[from] ProposeError),
    /// The wish is committed; the leader carries it out as soon as it can, for
    /// instance when the node has caught up.
    #[error("the change is decided but not carried out yet")]
    Pending,
}
