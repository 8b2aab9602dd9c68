//! The membership: who is in it, who could lead, who may ask, and what the leader is
//! asked about it.

use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::{RaftMetrics, ServerState};

use crate::metadata::{self, NodeState};
use crate::peer::{RefusalCode, Service};
use crate::runtime;

use super::core::{Core, Route};
use super::handle::Handle;
use super::members::{Member, Members, MembersError};
use super::message_request::{ClusterRequest, read_members};
use super::peers::{AskError, Question};
use super::reply::Denial;
use super::types::{LogId, Types};
use super::view::StateView;

/// The leader answers such questions from memory.
const ASK_LIMIT: Duration = Duration::from_secs(3);

/// A voter that lacks more entries than this is not made the leader on request: it
/// would have to get them first, and changes wait meanwhile.
const LEAD_LAG_ENTRIES_MAX: u64 = 512;

/// A leader that was just elected has not heard of everybody yet: it looks again after …
const NEAR_LOOK_PERIOD: Duration = Duration::from_millis(50);
/// … and so many times, for some heartbeats.
const NEAR_LOOKS_MAX: u32 = 20;

/// What a membership is told by: its entry, whether that is committed, the leader.
pub(super) type MembershipMark = (Option<LogId>, bool, Option<u64>);

/// Tells one membership from another, at no cost.
pub(super) fn mark(seen: &RaftMetrics<Types>) -> MembershipMark {
    let entry = *seen.membership_config.log_id();
    let is_settled = entry == *seen.committed_membership_config.log_id();
    (entry, is_settled, seen.current_leader)
}

/// The membership, with what the leader knows about how far its nodes are.
pub(super) fn leading_members(seen: &RaftMetrics<Types>) -> Members {
    let mut members = local_members(seen);
    for member in &mut members.nodes {
        let known = seen.replication.as_ref();
        let known = known.and_then(|known| known.get(&member.node)?.as_ref());
        member.matched_index = if member.node == seen.id {
            seen.last_log_index
        } else {
            known.map(|id| id.index)
        };
    }
    members
}

/// The membership as this node has it.
pub(super) fn local_members(seen: &RaftMetrics<Types>) -> Members {
    let membership = seen.membership_config.membership();
    let voters: Vec<u64> = membership.voter_ids().collect();
    let member = |(node, at): (&u64, &openraft::BasicNode)| Member {
        node: *node,
        address: at.addr.as_str().into(),
        is_voter: voters.contains(node),
        is_leader: seen.current_leader == Some(*node),
        matched_index: None,
    };
    let is_joint = membership.get_joint_config().len() > 1;
    let (_, is_settled, _) = mark(seen);
    Members {
        term: seen.current_term,
        last_index: seen.last_log_index,
        is_changing: is_joint || !is_settled,
        nodes: membership.nodes().map(member).collect(),
    }
}

/// The voter other than this node, among those that are near, with the most of
/// the log.
pub(super) fn successor(seen: &RaftMetrics<Types>, is_near: impl Fn(u64) -> bool) -> Option<u64> {
    if seen.state != ServerState::Leader {
        return None;
    }
    let replication = seen.replication.as_ref()?;
    let matched = |node: &u64| replication.get(node).copied().flatten();
    let voters = seen.membership_config.voter_ids();
    voters
        .filter(|node| *node != seen.id && is_near(*node))
        .max_by_key(matched)
}

/// Whether a node lacks so much of the log that changes would wait for it to lead.
fn is_behind(seen: &RaftMetrics<Types>, node: u64) -> bool {
    let known = seen.replication.as_ref();
    let known = known.and_then(|known| known.get(&node).copied().flatten());
    let lag = |matched: LogId| {
        seen.last_log_index
            .unwrap_or(0)
            .saturating_sub(matched.index)
    };
    known.is_none_or(|matched| lag(matched) > LEAD_LAG_ENTRIES_MAX)
}

/// Who belongs to the cluster, as the leader knows it.
pub(super) async fn members(core: &Core) -> Result<Members, MembersError> {
    match core.route() {
        Route::Here => Ok(leading_members(&core.raft.metrics().borrow_watched())),
        Route::Leader(leader) => ask(core, leader, ClusterRequest::Members, read_members).await,
        Route::Nobody | Route::Stopped => Err(MembersError::NoLeader),
    }
}

/// Makes `to` lead, or the voter with the most of the log.
pub(super) async fn transfer(core: &Core, to: Option<u64>) -> Result<(), MembersError> {
    match core.route() {
        Route::Here => transfer_here(core, to).await,
        Route::Leader(leader) if to == Some(leader) => Ok(()),
        Route::Leader(leader) => {
            let request = ClusterRequest::Transfer {
                to: to.unwrap_or(0),
            };
            ask(core, leader, request, |_| Ok(())).await
        }
        Route::Nobody | Route::Stopped => Err(MembersError::NoLeader),
    }
}

/// As [`transfer`], on the leader.
pub(super) async fn transfer_here(core: &Core, to: Option<u64>) -> Result<(), MembersError> {
    if to == Some(core.peers.me()) {
        return Ok(());
    }
    let mut looks = 1;
    while !could_lead(core, to)? {
        if let Some(node) = to.filter(|_| looks >= NEAR_LOOKS_MAX) {
            return Err(MembersError::Behind { node });
        }
        looks += 1;
        runtime::sleep(NEAR_LOOK_PERIOD).await;
    }
    let to = to.or_else(|| core.successor());
    let to = to.ok_or(MembersError::NoVoter)?;
    let transferred = core.raft.trigger().transfer_leader(to).await;
    transferred.map_err(|_| MembersError::NoLeader)
}

/// Whether a node that was named could lead now.
///
/// - Errors: it is no node, or no voter.
fn could_lead(core: &Core, to: Option<u64>) -> Result<bool, MembersError> {
    let Some(node) = to else { return Ok(true) };
    let metrics = core.raft.metrics();
    let seen = metrics.borrow_watched();
    let membership = seen.membership_config.membership();
    if membership.get_node(&node).is_none() {
        return Err(MembersError::Unknown { node });
    }
    if !membership.voter_ids().any(|voter| voter == node) {
        return Err(MembersError::NotVoter { node });
    }
    Ok(core.peers.is_near(node) && !is_behind(&seen, node))
}

async fn ask<T>(
    core: &Core,
    leader: u64,
    request: ClusterRequest,
    read: impl FnOnce(&mut crate::base::Reader<'_>) -> Result<T, crate::base::CodecError>,
) -> Result<T, MembersError> {
    let question = Question {
        service: Service::Cluster,
        payload: request.encode(),
        limit: ASK_LIMIT,
    };
    core.peers
        .ask(leader, question, read)
        .await
        .map_err(|error| {
            tracing::debug!(leader, %error, "the leader did not answer");
            match error {
                AskError::Refused {
                    code: RefusalCode::NotAllowed,
                    reason,
                } => MembersError::Denied { reason },
                _ => MembersError::NoLeader,
            }
        })
}

/// What this node's membership says of another one.
pub(super) struct Acquaintance {
    /// Whether the node that asks is in it.
    pub is_member: bool,
    /// Whether nobody is.
    pub is_empty: bool,
    /// Index of the last entry that is applied here.
    pub applied_index: u64,
}

/// Whether node `from` may ask anything, whatever it can prove about itself: its
/// certificate outlives its place in the cluster. Members may; so may a node that this
/// one has not heard of yet: its entry may still be on its way here.
pub(super) fn admit(from: u64, known: &Acquaintance, view: &StateView) -> Result<(), Denial> {
    if known.is_member || known.is_empty {
        return Ok(());
    }
    match metadata::node(view, from) {
        Ok(Some(record)) if record.state == NodeState::Removed => Err(Denial::Removed),
        Ok(Some(_)) => Ok(()),
        Ok(None) if from > known.applied_index => Ok(()),
        Ok(None) => Err(Denial::Stranger),
        Err(error) => {
            tracing::error!(%error, "the state does not say who belongs to the cluster");
            Err(Denial::Stopped)
        }
    }
}

impl Handle {
    /// Whether a node may ask anything of this one, beside consensus, too. One that was
    /// removed may not, though it still has its certificate.
    #[must_use]
    pub fn admits(&self, from: u64) -> bool {
        let members = self.membership();
        let known = Acquaintance {
            is_member: members.nodes.iter().any(|member| member.node == from),
            is_empty: members.nodes.is_empty(),
            applied_index: self.status().applied_index.unwrap_or(0),
        };
        // Asked often, and of members nearly always: the state is looked at for others.
        known.is_member || admit(from, &known, &self.view()).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use openraft::impls::leader_id_adv::LeaderId;

    #[test]
    fn a_node_that_lacks_much_of_the_log_is_not_made_the_leader() {
        let mut seen = RaftMetrics::<Types>::new_initial(1);
        let leader_id = LeaderId {
            term: 1,
            node_id: 1,
        };
        let at = |index| Some(LogId { leader_id, index });
        seen.last_log_index = Some(10_000);
        seen.replication = Some(BTreeMap::from([(2, at(9_900)), (3, at(9_000)), (4, None)]));
        assert!(!is_behind(&seen, 2));
        assert!(is_behind(&seen, 3), "it lacks a thousand entries");
        assert!(is_behind(&seen, 4) && is_behind(&seen, 5));
    }
}
