//! Changes of the cluster, asked for on any node. Each is a wish in the state,
//! which the leader carries out; so a wish outlives whoever leads.

use std::time::Duration;

use crate::base::Clock;
use crate::base::limits::TOKEN_LEEWAY_SECONDS;
use crate::metadata::{
    self, Command, JoinTokenHash, NodeAddress, NodeCommand, NodeState, NodeUuid, Outcome,
};

use super::handle::Handle;
use super::members::{Members, MembersError};

/// A change is waited for this long: an election, a membership change of two
/// entries, and some more.
const CHANGE_LIMIT: Duration = Duration::from_secs(15);
/// A node that holds everything has its vote within this time; others are not waited for.
const PROMOTE_LIMIT: Duration = Duration::from_secs(3);
/// Clocks of nodes may differ by this.
const CLOCKS_APART_MS: u64 = TOKEN_LEEWAY_SECONDS * 1000;

/// A machine that asks to be a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    /// Names the machine; the same when it asks again.
    pub node_uuid: NodeUuid,
    /// Where it will be reached.
    pub address: NodeAddress,
    /// Whether it is to vote once it runs and holds everything; else it is a read
    /// replica for ever.
    pub is_voter: bool,
    /// Hash of the token it brought; `None` when an operator vouches for it.
    pub token: Option<JoinTokenHash>,
}

impl Handle {
    /// Gives a machine its number and makes the leader feed it. It becomes a
    /// voter by itself, if it is to be one. A machine that asks again before it
    /// has run gets the same number.
    ///
    /// A token that is none is refused before anything is written: whoever reaches this
    /// node may come with one, as often as it likes.
    ///
    /// - Errors: `Refused` for a bad token and a machine that must not come back;
    ///   `Pending` when it has a number but the leader does not feed it yet, which
    ///   asking again tells.
    pub async fn admit(&self, admission: Admission) -> Result<u64, MembersError> {
        let Admission {
            node_uuid,
            address,
            is_voter,
            token,
        } = admission;
        if let Some(token) = &token {
            self.check_token(&node_uuid, token).await?;
        }
        let command = NodeCommand::Admit {
            node_uuid,
            address,
            is_voter,
            token,
        };
        let node = match self.propose(Command::Node(command)).await? {
            Outcome::NodeAdmitted { node } => node,
            outcome => return Err(refused(outcome, 0)),
        };
        self.await_change(CHANGE_LIMIT, move |members| find(members, node).is_some())
            .await?;
        Ok(node)
    }

    /// - Errors: `Refused` for a token that the newest state does not take.
    async fn check_token(
        &self,
        node_uuid: &NodeUuid,
        token: &JoinTokenHash,
    ) -> Result<(), MembersError> {
        let newest = self.read_index().await;
        newest.map_err(|_| MembersError::NoLeader)?;
        // Whether it has ended is decided by the clock of the leader.
        let now_ms = Clock::system().unix_ms().saturating_sub(CLOCKS_APART_MS);
        match metadata::token_fault(&self.view(), node_uuid, token, now_ms) {
            Ok(Some(refusal)) => Err(MembersError::Refused(refusal)),
            Ok(None) => Ok(()),
            Err(error) => {
                tracing::error!(%error, "the state does not say what a token is");
                Err(MembersError::Unreadable)
            }
        }
    }

    /// Adds a token that admits one machine until `expires_ms`, in ms since the
    /// Unix epoch.
    pub async fn add_join_token(
        &self,
        hash: JoinTokenHash,
        expires_ms: u64,
    ) -> Result<(), MembersError> {
        let command = NodeCommand::AddJoinToken { hash, expires_ms };
        self.wish(command, 0).await
    }

    /// Gives a node a vote, as soon as it has caught up and holds every blob.
    ///
    /// - Errors: `Pending` while it does not; it will get it by itself.
    pub async fn promote(&self, node: u64) -> Result<(), MembersError> {
        self.set_role(node, true, PROMOTE_LIMIT).await
    }

    /// Gives a node a vote as soon as it has caught up, whatever blobs it lacks: of those
    /// that were acknowledged before, a majority may then lack some.
    ///
    /// - Errors: `Behind` for a node that does not answer, or lacks too much of the
    ///   journal, and nothing has changed; `Pending` when it came to that behind the wish,
    ///   and the vote follows as after [`Handle::promote`].
    pub async fn promote_unfilled(&self, node: u64) -> Result<(), MembersError> {
        let votes = move |members: &Members| find(members, node) == Some(true);
        let is_new = !votes(&self.membership()) && self.is_known(node).await?;
        if is_new {
            // What the leader refuses is not wished. Before the wish it forgets the node
            // again, unless it was to vote already.
            self.excuse(node).await?;
        }
        let command = NodeCommand::SetRole {
            node,
            is_voter: true,
        };
        self.wish(command, node).await?;
        if !votes(&self.membership())
            && let Err(error) = self.excuse(node).await
        {
            tracing::warn!(node, %error, "a node is to vote, and not whatever it lacks");
            return Err(MembersError::Pending);
        }
        self.await_change(CHANGE_LIMIT, votes).await
    }

    /// Whether the newest state has such a node.
    async fn is_known(&self, node: u64) -> Result<bool, MembersError> {
        let newest = self.read_index().await;
        newest.map_err(|_| MembersError::NoLeader)?;
        match metadata::node(&self.view(), node) {
            Ok(record) => Ok(record.is_some_and(|record| record.state != NodeState::Removed)),
            Err(error) => {
                tracing::error!(%error, "the state does not say who belongs to the cluster");
                Err(MembersError::NoLeader)
            }
        }
    }

    /// Takes a node's vote; it goes on as a read replica.
    pub async fn demote(&self, node: u64) -> Result<(), MembersError> {
        self.set_role(node, false, CHANGE_LIMIT).await
    }

    async fn set_role(
        &self,
        node: u64,
        is_voter: bool,
        limit: Duration,
    ) -> Result<(), MembersError> {
        self.wish(NodeCommand::SetRole { node, is_voter }, node)
            .await?;
        self.await_change(limit, move |members| find(members, node) == Some(is_voter))
            .await
    }

    /// Removes a node for ever. It ends by itself when it learns of it; its
    /// number never comes back.
    pub async fn remove(&self, node: u64) -> Result<(), MembersError> {
        self.wish(NodeCommand::Remove { node }, node).await?;
        if self.status().node == node {
            // Nobody tells this node any more that it is out.
            return Ok(());
        }
        self.await_change(CHANGE_LIMIT, move |members| find(members, node).is_none())
            .await
    }

    async fn wish(&self, command: NodeCommand, node: u64) -> Result<(), MembersError> {
        match self.propose(Command::Node(command)).await? {
            Outcome::Applied => Ok(()),
            outcome => Err(refused(outcome, node)),
        }
    }

    async fn await_change(
        &self,
        limit: Duration,
        mut is_so: impl FnMut(&Members) -> bool,
    ) -> Result<(), MembersError> {
        let is_done = |members: &Members| !members.is_changing && is_so(members);
        if self.wait_for_membership(limit, is_done).await {
            Ok(())
        } else {
            Err(MembersError::Pending)
        }
    }
}

/// Whether a member votes; `None` when it is no member.
fn find(members: &Members, node: u64) -> Option<bool> {
    let mut members = members.nodes.iter();
    let member = members.find(|member| member.node == node)?;
    Some(member.is_voter)
}

fn refused(outcome: Outcome, node: u64) -> MembersError {
    match outcome {
        Outcome::Refused(refusal) => MembersError::Refused(refusal),
        _ => MembersError::Unknown { node },
    }
}
