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
    #[error("no other voter answers that could lead")]
    NoVoter,
    /// The node that was named does not vote.
    #[error("node {node} does not vote: `windlass cluster promote {node}` gives it a vote")]
    NotVoter {
        /// The number asked for.
        node: u64,
    },
    /// The node that was named cannot lead yet.
    #[error(
        "node {node} does not answer the leader, or lacks too much of the journal: \
         `windlass cluster status` shows how much"
    )]
    Behind {
        /// The number asked for.
        node: u64,
    },
    /// The leader was asked through another node, and refuses.
    #[error("{reason}")]
    Denied {
        /// Why, for people.
        reason: Box<str>,
    },
    /// The state refuses it.
    #[error("{}", remedy(.0))]
    Refused(Refusal),
    /// There is no such node.
    #[error("there is no node {node}: `windlass cluster status` shows all of them")]
    Unknown {
        /// The number asked for.
        node: u64,
    },
    /// The wish could not be committed.
    #[error(transparent)]
    Propose(#[from] ProposeError),
    /// The wish is committed; the leader carries it out as soon as it can, for
    /// instance when the node has caught up.
    #[error(
        "the change is decided but not carried out yet: the leader does it as soon as it can; \
         `windlass cluster status` shows when it has"
    )]
    Pending,
    /// The disk or the state of the node that was asked failed.
    #[error(
        "this node cannot read its state: its log says why; ask another node, and look after \
         the disk of this one"
    )]
    Unreadable,
}

/// Why the state does not take a change, and what to do.
fn remedy(refusal: &Refusal) -> String {
    let text = match refusal {
        Refusal::TokenUnknown => {
            "the join token is not known: make a new one with `windlass cluster add`"
        }
        Refusal::TokenUsed => {
            "the join token has admitted another machine: make a new one with `windlass cluster add`"
        }
        Refusal::TokenExpired => {
            "the join token has ended: make a new one with `windlass cluster add`"
        }
        Refusal::TokensExhausted => {
            "too many join tokens wait to be used: use one of them, or wait an hour until they end"
        }
        Refusal::NodeKnown => "this machine is a member already, or another one has its number",
        Refusal::NodeRemoved => {
            "the node was removed, and its number never comes back: its machine joins again with an \
             empty data directory"
        }
        Refusal::LastVoter => {
            "nobody else would vote: give another node a vote first, with `windlass cluster promote N`"
        }
        Refusal::AddressTaken { node } => {
            return format!(
                "node {node} is reached at this address: if it is gone for good, make room with \
                 `windlass cluster remove {node}`"
            );
        }
        Refusal::Outdated { .. } => "a later change of this node was there before: ask again",
        Refusal::TagImmutable(_)
        | Refusal::TagMoved(_)
        | Refusal::DeletesRefused
        | Refusal::RobotKnown
        | Refusal::RobotsExhausted => "the cluster refuses it, for a reason that is about no node",
    };
    text.to_owned()
}
