//! The types openraft is told to use, and short names for what it makes of them.

use std::fmt;

use bytes::Bytes;
use openraft::BasicNode;
use serde::{Deserialize, Serialize};

use crate::metadata::Outcome;

use super::async_runtime::GlommioRuntime;
use super::proposal::ProposalResponder;

/// An encoded proposal, as it stands in the log.
///
/// openraft's `serde` feature asks for the derives; entries are written by
/// `encoding.rs` and nothing is ever serialised through them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Change {
    /// The proposal.
    #[serde(skip)]
    pub bytes: Bytes,
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "change of {} bytes", self.bytes.len())
    }
}

/// What applying an entry said; `None` for entries that are raft's own.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Answer {
    /// The outcome.
    #[serde(skip)]
    pub outcome: Option<Outcome>,
}

/// Our choice of types.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Types;

impl openraft::RaftTypeConfig for Types {
    type D = Change;
    type R = Answer;
    type NodeId = u64;
    type Node = BasicNode;
    type Term = u64;
    type LeaderId = openraft::impls::leader_id_adv::LeaderId<u64, u64>;
    type Vote = openraft::impls::Vote<Self::LeaderId>;
    type Payload = openraft::EntryPayload<Change, u64, BasicNode>;
    type Entry = openraft::Entry<Self::LeaderId, Self::Payload>;
    type AsyncRuntime = GlommioRuntime;
    type Responder<T>
        = ProposalResponder<T>
    where
        T: openraft::OptionalSend + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: openraft::OptionalSend + 'static;
    type ErrorSource = openraft::impls::BoxedErrorSource;
}

/// Identity of a log entry: leader's term and node, index.
pub(super) type LogId = openraft::alias::LogIdOf<Types>;
/// A node's vote.
pub(super) type Vote = openraft::alias::VoteOf<Types>;
/// A log entry.
pub(super) type Entry = openraft::alias::EntryOf<Types>;
/// Voters and learners.
pub(super) type Membership = openraft::Membership<u64, BasicNode>;
/// A membership and the entry it came with.
pub(super) type StoredMembership = openraft::alias::StoredMembershipOf<Types>;
/// What a snapshot covers.
pub(super) type SnapshotMeta = openraft::alias::SnapshotMetaOf<Types>;
/// A snapshot and its data.
pub(super) type Snapshot = openraft::alias::SnapshotOf<Types, super::snapshot::SnapshotData>;
/// The consensus itself. Never leaves its executor.
pub(super) type Raft = openraft::Raft<Types, super::state_machine::StateMachine>;
