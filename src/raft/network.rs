//! The way to other nodes, as openraft wants it: one client per target.

use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use openraft::BasicNode;
use openraft::error::{
    NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable,
};
use openraft::network::v2::RaftNetworkV2;
use openraft::network::{Backoff, RPCOption, RPCTypes};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RaftNetworkFactory};

use crate::peer::Service;

use super::message_append::{Sent, encode_append, read_appended};
use super::message_vote::{Ballot, read_transferred, read_voted};
use super::peers::{AskError, Peers, Question};
use super::snapshot::SnapshotData;
use super::snapshot_send::{SendError, SnapshotSender};
use super::types::{Snapshot, Types, Vote};

/// An append waits this long for its answer: a follower answers after its sync,
/// which on a busy disk takes far longer than a heartbeat.
const APPEND_LIMIT: Duration = Duration::from_secs(2);
/// Waits after a node could not be reached, shortest and longest. A node that
/// comes back is fed within a second; one that does not costs a call per second.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// Makes clients. Lives on the raft core.
#[derive(Debug, Clone)]
pub(super) struct Network {
    pub peers: Rc<Peers>,
    pub sender: Rc<SnapshotSender>,
}

/// Speaks to one node.
#[derive(Debug)]
pub(super) struct Client {
    network: Network,
    target: u64,
    /// Whether it only carries heartbeats, which are worth nothing when late.
    is_heartbeat: bool,
}

impl Network {
    fn client(&self, target: u64, node: &BasicNode, is_heartbeat: bool) -> Client {
        self.peers.introduce(target, &node.addr);
        Client {
            network: self.clone(),
            target,
            is_heartbeat,
        }
    }
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Client;

    async fn new_client(&mut self, target: u64, node: &BasicNode) -> Client {
        self.client(target, node, false)
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &BasicNode) -> Client {
        self.client(target, node, true)
    }
}

impl Client {
    /// What went wrong, as openraft tells it apart: it repeats at once, or after
    /// a backoff when the node is unreachable.
    fn error(&self, action: RPCTypes, limit: Duration, error: &AskError) -> RPCError<Types> {
        match error {
            AskError::TimedOut => RPCError::Timeout(Timeout {
                action,
                id: self.network.peers.me(),
                target: self.target,
                timeout: limit,
            }),
            AskError::Lost => RPCError::Network(NetworkError::new(error)),
            AskError::Unreachable { .. }
            | AskError::Refused { .. }
            | AskError::Unusable { .. }
            | AskError::Denied(_) => RPCError::Unreachable(Unreachable::new(error)),
        }
    }

    async fn ballot(
        &self,
        ballot: Ballot,
        limit: Duration,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let question = Question {
            service: Service::Vote,
            payload: ballot.encode(),
            limit,
        };
        let asked = self.network.peers.ask(self.target, question, read_voted);
        asked
            .await
            .map_err(|error| self.error(RPCTypes::Vote, limit, &error))
    }
}

impl RaftNetworkV2<Types> for Client {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let limit = if self.is_heartbeat {
            option.hard_ttl()
        } else {
            APPEND_LIMIT
        };
        let (payload, sent) = encode_append(&request);
        let question = Question {
            service: Service::Append,
            payload,
            limit,
        };
        let asked = self.network.peers.ask(self.target, question, read_appended);
        let response = asked
            .await
            .map_err(|error| self.error(RPCTypes::AppendEntries, limit, &error))?;
        match (response, sent) {
            (AppendEntriesResponse::Success, Sent::UpTo(last)) => {
                Ok(AppendEntriesResponse::PartialSuccess(last))
            }
            // Before the first entry there is nothing to differ in.
            (AppendEntriesResponse::Conflict, _) if request.prev_log_id.is_none() => {
                let reason = "a conflict before the first entry";
                Err(RPCError::Unreachable(Unreachable::from_string(reason)))
            }
            (response, _) => Ok(response),
        }
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.ballot(Ballot::Vote(request), option.hard_ttl()).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.ballot(Ballot::PreVote(request), option.hard_ttl())
            .await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let sender = Rc::clone(&self.network.sender);
        let sending = async {
            let sent = sender.send(self.target, vote, snapshot).await;
            sent.map(SnapshotResponse::new).map_err(|error| {
                let node = self.target;
                if matches!(error, SendError::Absent(_) | SendError::Resting) {
                    tracing::debug!(node, %error, "a snapshot waits");
                } else {
                    tracing::warn!(node, %error, "a snapshot was not sent");
                }
                StreamingError::Unreachable(Unreachable::new(&error))
            })
        };
        let cancelled = async { Err(StreamingError::Closed(cancel.await)) };
        futures_lite::future::or(cancelled, sending).await
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        let limit = option.hard_ttl();
        let question = Question {
            service: Service::Vote,
            payload: Ballot::Transfer(request).encode(),
            limit,
        };
        let asked = self
            .network
            .peers
            .ask(self.target, question, read_transferred);
        asked
            .await
            .map_err(|error| self.error(RPCTypes::TransferLeader, limit, &error))
    }

    fn backoff(&self) -> Option<Backoff> {
        let doubled = |wait: &Duration| Some((*wait * 2).min(BACKOFF_MAX));
        Some(Backoff::new(std::iter::successors(
            Some(BACKOFF_MIN),
            doubled,
        )))
    }
}
