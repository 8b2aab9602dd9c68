//! The other nodes as the raft core sees them: where they are, when they were
//! last heard of, and questions to them.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::watch;

use crate::base::Clock;
use crate::base::codec::{CodecError, Reader};
use crate::peer::{CallError, Calls, PeerNode, RefusalCode, Service};

use super::reply::{Denial, decode_reply};
use super::types::Membership;

/// A node that was heard of within this time counts as reachable: a few
/// heartbeats and an election.
const REACHABLE_WITHIN: Duration = Duration::from_secs(3);

/// The other nodes. One per raft core, shared by everything that runs there.
pub(super) struct Peers {
    me: u64,
    calls: Option<Calls>,
    clock: Clock,
    addresses: RefCell<BTreeMap<u64, Box<str>>>,
    heard_at: RefCell<BTreeMap<u64, Instant>>,
    /// Nodes of which the log says that they are away.
    away: RefCell<BTreeSet<u64>>,
    /// Nodes that were waited for in vain and have answered nothing since.
    deaf: RefCell<BTreeSet<u64>>,
    led_at: Cell<Option<Instant>>,
    is_removed: watch::Sender<bool>,
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peers")
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

/// What is asked of another node.
#[derive(Debug)]
pub(super) struct Question {
    /// Which service answers.
    pub service: Service,
    /// What it is told.
    pub payload: Bytes,
    /// How long an answer is waited for.
    pub limit: Duration,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    /// The question was not asked.
    #[error("node {node} cannot be reached: {reason}")]
    Unreachable {
        /// The node.
        node: u64,
        /// Why not, for people.
        reason: Box<str>,
    },
    /// The connection ended before the answer; what was asked may have been done.
    #[error("the connection ended before the answer")]
    Lost,
    /// No answer in time; what was asked may have been done.
    #[error("no answer in time")]
    TimedOut,
    /// The other node did not begin with it.
    #[error("the node refuses it: {reason}")]
    Refused {
        /// Why.
        code: RefusalCode,
        /// Why, for people.
        reason: Box<str>,
    },
    /// The other node failed over it, or answered what cannot be read.
    #[error("the answer cannot be used: {reason}")]
    Unusable {
        /// Why not, for people.
        reason: Box<str>,
    },
    /// The other node did not do it.
    #[error(transparent)]
    Denied(#[from] Denial),
}

impl AskError {
    /// Whether what was asked has certainly not been done.
    pub(super) const fn is_undone(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. } | Self::Refused { .. } | Self::Denied(_)
        )
    }

    /// Whether the other node may not have got it.
    pub(super) const fn is_unheard(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Lost | Self::TimedOut)
    }
}

impl Peers {
    /// The peers of node `me`; without `calls` it reaches nobody.
    pub(super) fn new(me: u64, calls: Option<Calls>) -> Self {
        Self {
            me,
            calls,
            clock: Clock::system(),
            addresses: RefCell::default(),
            heard_at: RefCell::default(),
            away: RefCell::default(),
            deaf: RefCell::default(),
            led_at: Cell::new(None),
            is_removed: watch::Sender::new(false),
        }
    }

    /// This node's own number.
    pub(super) const fn me(&self) -> u64 {
        self.me
    }

    /// Takes over where the nodes of a membership are.
    pub(super) fn learn(&self, membership: &Membership) {
        let mut addresses = self.addresses.borrow_mut();
        let known = membership.nodes().filter(|(_, at)| !at.addr.is_empty());
        for known in [&self.away, &self.deaf] {
            let is_member = |node: &u64| membership.get_node(node).is_some();
            known.borrow_mut().retain(is_member);
        }
        *addresses = known
            .map(|(node, at)| (*node, at.addr.as_str().into()))
            .collect();
    }

    /// Takes over where a node is that no membership named before.
    pub(super) fn introduce(&self, node: u64, address: &str) {
        if !address.is_empty() {
            let mut addresses = self.addresses.borrow_mut();
            addresses.entry(node).or_insert_with(|| address.into());
        }
    }

    /// The next node by number, from the first one again after the last.
    pub(super) fn next_after(&self, node: u64) -> Option<u64> {
        let addresses = self.addresses.borrow();
        let others = || addresses.keys().copied().filter(|other| *other != self.me);
        others()
            .find(|other| *other > node)
            .or_else(|| others().next())
    }

    /// Notes that a node spoke to this one.
    pub(super) fn heard(&self, node: u64) {
        let now = self.clock.now();
        self.heard_at.borrow_mut().insert(node, now);
        if self.away.borrow_mut().remove(&node) {
            tracing::info!(node, "a node is back");
        }
    }

    /// Notes that a node is not there, and why.
    fn unheard(&self, node: u64, reason: &dyn fmt::Display) {
        self.heard_at.borrow_mut().remove(&node);
        if self.away.borrow_mut().insert(node) {
            tracing::warn!(node, %reason, "a node is away");
        }
    }

    /// Notes that somebody waited for a node in vain, though it may still ask this one.
    pub(super) fn find_deaf(&self, node: u64) {
        if self.deaf.borrow_mut().insert(node) {
            tracing::warn!(
                node,
                "a node does not answer: it gets no read index until it does"
            );
        }
    }

    /// Whether a node has answered nothing since it was found deaf.
    pub(super) fn is_deaf(&self, node: u64) -> bool {
        self.deaf.borrow().contains(&node)
    }

    /// Notes that a leader spoke to this node.
    pub(super) fn led(&self) {
        self.led_at.set(Some(self.clock.now()));
    }

    /// Notes that this node led, with a quorum, so long ago.
    pub(super) fn led_others(&self, ago: Duration) {
        let at = self.clock.now().checked_sub(ago);
        self.led_at.set(self.led_at.get().max(at));
    }

    /// How long no leader has spoken to this node; `None` when none ever did.
    pub(super) fn unled_for(&self) -> Option<Duration> {
        let led_at = self.led_at.get()?;
        Some(self.clock.now().saturating_duration_since(led_at))
    }

    /// Whether a node was heard of just now.
    pub(super) fn is_near(&self, node: u64) -> bool {
        let heard_at = self.heard_at.borrow().get(&node).copied();
        let now = self.clock.now();
        heard_at.is_some_and(|at| now.saturating_duration_since(at) < REACHABLE_WITHIN)
    }

    /// Whether this node hears of enough of `voters` for one of them to lead.
    pub(super) fn reaches_quorum(&self, voters: impl Iterator<Item = u64>) -> bool {
        let (mut reached_count, mut voter_count) = (0_u64, 0_u64);
        for voter in voters {
            voter_count += 1;
            reached_count += u64::from(voter == self.me || self.is_near(voter));
        }
        2 * reached_count > voter_count
    }

    /// Tells when this node is told that it was removed.
    pub(super) fn removal(&self) -> watch::Receiver<bool> {
        self.is_removed.subscribe()
    }

    /// Asks a node where the membership says it is.
    pub(super) async fn ask<T>(
        &self,
        node: u64,
        question: Question,
        read: impl FnOnce(&mut Reader<'_>) -> Result<T, CodecError>,
    ) -> Result<T, AskError> {
        let unreachable = |reason: &str| AskError::Unreachable {
            node,
            reason: reason.into(),
        };
        let calls = self
            .calls
            .as_ref()
            .ok_or_else(|| unreachable("this node runs alone"))?;
        let address = self.addresses.borrow().get(&node).cloned();
        let address = address.ok_or_else(|| unreachable("nobody knows its address"))?;
        let target = PeerNode { id: node, address };
        let called = calls.call(&target, question.service, question.payload, question.limit);
        let answer = called.await.map_err(|error| failed(node, error));
        let answer = answer.inspect_err(|error| {
            if let AskError::Unreachable { reason, .. } = error {
                self.unheard(node, reason);
            }
        })?;
        self.heard(node);
        self.deaf.borrow_mut().remove(&node);
        let reply = decode_reply(&answer, read).map_err(|error| AskError::Unusable {
            reason: error.to_string().into(),
        })?;
        match reply {
            Err(Denial::Removed) => drop(self.is_removed.send_replace(true)),
            Err(denial @ Denial::Stopped) => self.unheard(node, &denial),
            Ok(_) | Err(Denial::NotLeader { .. } | Denial::Stranger) => {}
        }
        Ok(reply?)
    }
}

fn failed(node: u64, error: CallError) -> AskError {
    match error {
        CallError::Unreachable {
            address, source, ..
        } => AskError::Unreachable {
            node,
            reason: format!("{address}: {}", causes(&*source)).into(),
        },
        CallError::Lost => AskError::Lost,
        CallError::TimedOut => AskError::TimedOut,
        CallError::Refused {
            code: RefusalCode::Failed,
            reason,
        } => AskError::Unusable { reason },
        CallError::Refused { code, reason } => AskError::Refused { code, reason },
    }
}

/// An error and what caused it, in one line.
fn causes(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        line.push_str(": ");
        line.push_str(&cause.to_string());
        next = cause.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quorum_is_reached_when_more_than_half_of_the_voters_were_heard() {
        let peers = Peers::new(1, None);
        let voters = || [1, 2, 3].into_iter();
        assert!(!peers.reaches_quorum(voters()));
        peers.heard(9);
        assert!(!peers.reaches_quorum(voters()));
        peers.heard(2);
        assert!(peers.reaches_quorum(voters()));
        assert!(!peers.reaches_quorum([1, 2, 3, 4].into_iter()));
        assert!(peers.reaches_quorum([1].into_iter()));
    }
}
