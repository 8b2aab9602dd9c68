//! What other nodes ask of this one, on the raft core.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use openraft::ReadPolicy;
use openraft::async_runtime::WatchReceiver;
use openraft::error::{ClientWriteError, LinearizableReadError, RaftError};
use openraft::raft::{AppendEntriesRequest, VoteRequest};
use tokio::sync::oneshot;

use crate::metadata::Proposal;
use crate::peer::{Call, Refusal, RefusalCode, Service};
use crate::runtime;

use super::barrier::{Barrier, Barriers, see};
use super::candidates::promote_here;
use super::core::{Core, Route};
use super::fill::filled;
use super::mark::MARK_END;
use super::membership::{Acquaintance, admit, leading_members, transfer_here};
use super::message_append::{decode_append, write_appended};
use super::message_request::{
    ClusterRequest, Hello, Proposed, WITHHELD_ID, decode_propose, decode_read_index, encode_index,
    write_filled, write_hello, write_members, write_proposed,
};
use super::message_snapshot::{SnapshotMessage, SnapshotProgress, SnapshotStep, write_progress};
use super::message_vote::{Ballot, write_transferred, write_voted};
use super::proposal::{ProposalResponder, WriteResult};
use super::read_rounds::ReadRounds;
use super::reply::{Denial, Reply, encode_reply};
use super::types::{Change, Types, Vote};
use super::view::StateView;

/// A proposal of another node is waited for no longer than this, whatever it
/// says: it holds one of its connection's places.
const PROPOSE_LIMIT_MAX: Duration = Duration::from_secs(30);

/// Answers other nodes. Lives on the raft core; give it to `peer::serve_calls`
/// for the services of consensus.
#[derive(Clone)]
pub struct RaftService(Rc<Core>);

impl fmt::Debug for RaftService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RaftService").finish_non_exhaustive()
    }
}

impl RaftService {
    pub(super) const fn new(core: Rc<Core>) -> Self {
        Self(core)
    }

    /// Whether nothing else of consensus is left on this executor.
    #[cfg(test)]
    pub(super) fn is_last(&self) -> bool {
        Rc::strong_count(&self.0) == 1 && self.0.log.is_last()
    }

    /// Whether calls of this kind are for consensus.
    #[must_use]
    pub const fn is_for(service: Service) -> bool {
        match service {
            Service::Append
            | Service::Vote
            | Service::Snapshot
            | Service::ReadIndex
            | Service::Propose
            | Service::Cluster => true,
            #[cfg(feature = "mutants")]
            Service::Greeting => true,
            Service::Join | Service::Blob | Service::Upload | Service::Report => false,
        }
    }

    /// Serves one call of an authenticated node.
    ///
    /// - Errors: what cannot be read, or is for another service.
    /// - Cancel: what the call asked for may go on.
    pub async fn handle(&self, call: Call) -> Result<Bytes, Refusal> {
        if let Err(denial) = self.admit(call.from) {
            tracing::debug!(node = call.from, %denial, "a call is refused");
            let denied: Reply<()> = Err(denial);
            return Ok(encode_reply(&denied, |_, ()| {}));
        }
        self.0.peers.heard(call.from);
        match call.service {
            Service::Append => self.append(&call).await,
            Service::Vote => self.ballot(&call).await,
            Service::Snapshot => self.snapshot(&call).await,
            Service::ReadIndex => self.read_index(&call).await,
            Service::Propose => self.propose(&call).await,
            Service::Cluster => self.cluster(&call).await,
            #[cfg(feature = "mutants")]
            Service::Greeting => Ok(encode_reply(&Ok(()), |_, ()| {})),
            Service::Join | Service::Blob | Service::Upload | Service::Report => {
                let reason = "consensus does not serve this";
                Err(Refusal::new(RefusalCode::UnknownService, reason))
            }
        }
    }

    /// Whether a node may ask anything now.
    fn admit(&self, from: u64) -> Result<(), Denial> {
        let metrics = self.0.raft.metrics();
        let seen = metrics.borrow_watched();
        if seen.running_state.is_err() {
            return Err(Denial::Stopped);
        }
        let membership = seen.membership_config.membership();
        let known = Acquaintance {
            is_member: membership.get_node(&from).is_some(),
            is_empty: membership.nodes().next().is_none(),
            applied_index: seen.last_applied.as_ref().map_or(0, |id| id.index),
        };
        admit(from, &known, &StateView(self.0.machine.view()))
    }

    /// Notes that a leader spoke to this node.
    fn led(&self) {
        self.0.peers.led();
        self.0.hearsay.hear_leader();
    }

    async fn append(&self, call: &Call) -> Result<Bytes, Refusal> {
        let request = decode_append(&call.payload).map_err(malformed)?;
        check_leader(&request.vote, call.from)?;
        if self.is_news(&request) {
            ReadRounds::hear_news(&self.0);
        }
        // One that was deposed, and has not heard so, is no contact with a leader.
        if request.vote >= self.0.raft.metrics().borrow_watched().vote {
            self.led();
        }
        let appended = self.append_here(request).await;
        Ok(encode_reply(&appended, write_appended))
    }

    /// Whether it shows that the leader has a quorum: what one without repeats is no news,
    /// and neither are entries that it may never commit.
    fn is_news(&self, request: &AppendEntriesRequest<Types>) -> bool {
        let metrics = self.0.raft.metrics();
        let seen = metrics.borrow_watched();
        let leader = request.vote.leader_id;
        let is_new =
            (leader.term, Some(leader.node_id)) != (seen.current_term, seen.current_leader);
        leader.term >= seen.current_term && (is_new || request.leader_commit > seen.local_committed)
    }

    async fn append_here(
        &self,
        request: AppendEntriesRequest<Types>,
    ) -> Reply<openraft::raft::AppendEntriesResponse<Types>> {
        let appended = self.0.raft.append_entries(request).await;
        appended.map_err(|_| Denial::Stopped)
    }

    async fn ballot(&self, call: &Call) -> Result<Bytes, Refusal> {
        let raft = &self.0.raft;
        match Ballot::decode(&call.payload).map_err(malformed)? {
            Ballot::Vote(request) => {
                check_candidate(&request, call.from)?;
                let voted = raft.vote(request).await.map_err(|_| Denial::Stopped);
                Ok(encode_reply(&voted, write_voted))
            }
            Ballot::PreVote(request) => {
                check_candidate(&request, call.from)?;
                let voted = raft.pre_vote(request).await.map_err(|_| Denial::Stopped);
                Ok(encode_reply(&voted, write_voted))
            }
            Ballot::Transfer(request) => {
                check_leader(request.from_leader(), call.from)?;
                let transferred = raft.handle_transfer_leader(request).await;
                let transferred = transferred.map_err(|_| Denial::Stopped);
                Ok(encode_reply(&transferred, write_transferred))
            }
        }
    }

    async fn snapshot(&self, call: &Call) -> Result<Bytes, Refusal> {
        let message = SnapshotMessage::decode(&call.payload).map_err(malformed)?;
        if let SnapshotStep::Begin { vote, .. } = &message.step {
            check_leader(vote, call.from)?;
            let mine = self.0.raft.metrics().borrow_watched().vote;
            if mine.leader_id > vote.leader_id {
                let refused = Ok(SnapshotProgress::Done { vote: mine });
                return Ok(encode_reply(&refused, write_progress));
            }
            ReadRounds::hear_news(&self.0);
        }
        self.led();
        let taken = self.0.receiver.take(&self.0.raft, message).await;
        let progress = taken.map_err(|error| {
            tracing::error!(%error, "a snapshot cannot be received");
            Refusal::new(RefusalCode::Failed, "the snapshot cannot be written")
        })?;
        Ok(encode_reply(&Ok(progress), write_progress))
    }

    async fn read_index(&self, call: &Call) -> Result<Bytes, Refusal> {
        decode_read_index(&call.payload).map_err(malformed)?;
        // A delete would have to outlast it, and it does not hear what it lacks.
        if self.0.peers.is_deaf(call.from) && matches!(self.0.route(), Route::Here) {
            // Without a quorum it is told so: then it serves what it has.
            let withheld = if self.0.could_commit() {
                Ok(WITHHELD_ID)
            } else {
                Err(Denial::NotLeader { hint: None })
            };
            return Ok(encode_index(&withheld));
        }
        self.0.grants.note(call.from, self.0.clock.now());
        let asked = self.0.raft.get_read_linearizer(ReadPolicy::ReadIndex).await;
        let index = match asked {
            Ok(linearizer) => Ok(linearizer.read_log_id().index()),
            Err(RaftError::Fatal(_)) => Err(Denial::Stopped),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward))) => {
                let hint = forward.leader_id;
                Err(Denial::NotLeader { hint })
            }
            Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))) => {
                Err(Denial::NotLeader { hint: None })
            }
        };
        Ok(encode_index(&index))
    }

    /// Proposes for another node, if this one leads: a change is handed on once.
    async fn propose(&self, call: &Call) -> Result<Bytes, Refusal> {
        let (bytes, limit) = decode_propose(&call.payload).map_err(malformed)?;
        // What this build does not know must not reach the log: no node of its version
        // could go on behind it.
        Proposal::decode(&bytes).map_err(malformed)?;
        if self.0.is_ending.get() {
            // Not proposed: what consensus does not get to see any more has no outcome.
            let denied: Reply<Proposed> = Err(Denial::Stopped);
            return Ok(encode_reply(&denied, write_proposed));
        }
        if matches!(self.0.route(), Route::Here) && !self.0.could_commit() {
            let denied: Reply<Proposed> = Err(Denial::NotLeader { hint: None });
            return Ok(encode_reply(&denied, write_proposed));
        }
        let _answered = self.0.proposals.enter();
        let (answer, answered) = oneshot::channel();
        let responder = ProposalResponder::new(move |written: WriteResult| {
            drop(answer.send(written));
        });
        let handed = self
            .0
            .raft
            .client_write_ff(Change { bytes }, Some(responder));
        let proposed = if handed.await.is_err() {
            Err(Denial::Stopped)
        } else {
            let limit = limit.min(PROPOSE_LIMIT_MAX);
            match runtime::timeout(limit, answered).await {
                Ok(Ok(written)) => proposed(written),
                Ok(Err(_)) | Err(_) => Ok(Proposed::Unknown),
            }
        };
        Ok(encode_reply(&proposed, write_proposed))
    }

    async fn cluster(&self, call: &Call) -> Result<Bytes, Refusal> {
        let request = ClusterRequest::decode(&call.payload).map_err(malformed)?;
        let leads = match self.0.route() {
            Route::Here => Ok(()),
            Route::Leader(leader) => Err(Denial::NotLeader { hint: Some(leader) }),
            Route::Nobody => Err(Denial::NotLeader { hint: None }),
            Route::Stopped => Err(Denial::Stopped),
        };
        match request {
            ClusterRequest::Hello => {
                let leader = match leads {
                    Ok(()) => Some(self.0.peers.me()),
                    Err(Denial::NotLeader { hint }) => hint,
                    Err(_) => None,
                };
                Ok(encode_reply(&Ok(Hello { leader }), write_hello))
            }
            ClusterRequest::Members => {
                let metrics = self.0.raft.metrics();
                let members = leads.map(|()| leading_members(&metrics.borrow_watched()));
                Ok(encode_reply(&members, write_members))
            }
            ClusterRequest::Transfer { to } => {
                if let Err(denial) = leads {
                    return Ok(encode_reply(&Err(denial), |_, ()| {}));
                }
                let to = Some(to).filter(|to| *to != 0);
                let transferred = transfer_here(&self.0, to).await;
                transferred
                    .map_err(|error| Refusal::new(RefusalCode::NotAllowed, error.to_string()))?;
                Ok(encode_reply(&Ok(()), |_, ()| {}))
            }
            ClusterRequest::Barrier { index } => {
                let mut seen = leads;
                if seen.is_ok() && !self.barrier(index).await {
                    seen = Err(Denial::NotLeader { hint: None });
                }
                Ok(encode_reply(&seen, |_, ()| {}))
            }
            #[cfg(feature = "mutants")]
            ClusterRequest::Greeting => Ok(encode_reply(&Ok(()), |_, ()| {})),
            ClusterRequest::Seen { index } => {
                see(&self.0, index).await;
                Ok(encode_reply(&Ok(()), |_, ()| {}))
            }
            ClusterRequest::Filled { index } => {
                let filled = filled(&self.0, index).await;
                Ok(encode_reply(&Ok(filled), write_filled))
            }
            ClusterRequest::Promote { node } => {
                if leads.is_ok() {
                    let promoted = promote_here(&self.0, node);
                    promoted.map_err(|error| {
                        Refusal::new(RefusalCode::NotAllowed, error.to_string())
                    })?;
                }
                Ok(encode_reply(&leads, |_, ()| {}))
            }
        }
    }

    /// Whether no node serves what an entry deleted, if this one leads.
    async fn barrier(&self, index: u64) -> bool {
        let (answer, answered) = oneshot::channel();
        let barrier = Barrier {
            index,
            deadline: self.0.clock.now() + MARK_END,
            is_own: false,
            answer,
        };
        Barriers::join(&self.0, barrier);
        answered.await.unwrap_or(false)
    }
}

/// What openraft says about a write, for the node that handed it on.
fn proposed(written: WriteResult) -> Reply<Proposed> {
    match written {
        Ok(written) => {
            let outcome = written.data.outcome.ok_or(Denial::Stopped)?;
            let index = written.log_id.index;
            Ok(Proposed::Applied { index, outcome })
        }
        Err(ClientWriteError::ForwardToLeader(forward)) => Err(Denial::NotLeader {
            hint: forward.leader_id,
        }),
        Err(_) => Ok(Proposed::Unknown),
    }
}

/// Leaders speak for themselves, and have been elected.
fn check_leader(vote: &Vote, from: u64) -> Result<(), Refusal> {
    if vote.committed && vote.leader_id.node_id == from {
        Ok(())
    } else {
        Err(malformed("the vote is not the caller's"))
    }
}

/// Candidates speak for themselves, and have not been elected yet.
fn check_candidate(request: &VoteRequest<Types>, from: u64) -> Result<(), Refusal> {
    if !request.vote.committed && request.vote.leader_id.node_id == from {
        Ok(())
    } else {
        Err(malformed("the vote is not the caller's"))
    }
}

fn malformed(error: impl fmt::Display) -> Refusal {
    Refusal::new(RefusalCode::Malformed, error.to_string())
}
