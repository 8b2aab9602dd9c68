//! What a node refuses to do for others, whoever they say they are.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::impls::leader_id_adv::LeaderId;
use openraft::raft::{AppendEntriesRequest, VoteRequest};

use super::{Node, cluster, leader, security, stop};
use crate::peer::{CallError, Calls, PeerNode, RefusalCode, Service};
use crate::raft::Options;
use crate::raft::message_append::encode_append;
use crate::raft::message_request::{ClusterRequest, encode_propose, encode_read_index, read_hello};
use crate::raft::message_vote::Ballot;
use crate::raft::reply::{Denial, decode_reply};
use crate::raft::types::Vote;
use crate::runtime::run_alone;
use crate::telemetry::Metrics;

const LIMIT: Duration = Duration::from_secs(5);

const fn as_usual(_: &mut Options) {}

/// Somebody who knows the secret of the cluster and says that it is node `id`.
struct Caller {
    calls: Calls,
    target: PeerNode,
}

impl Caller {
    fn of(node: &Node, id: u64, cluster: Option<&str>) -> Self {
        let mut identity = node.identity();
        identity.raft_id = id;
        if let Some(cluster) = cluster {
            identity.cluster = cluster.to_owned();
        }
        let target = PeerNode {
            id: node.id,
            address: node.address().to_string().into(),
        };
        Self {
            calls: Calls::new(security(&identity), Arc::new(Metrics::new())),
            target,
        }
    }

    async fn call(&self, service: Service, payload: Bytes) -> Result<Bytes, CallError> {
        self.calls.call(&self.target, service, payload, LIMIT).await
    }

    async fn hello(&self) -> Result<Option<u64>, Denial> {
        let answer = self.call(Service::Cluster, ClusterRequest::Hello.encode());
        let hello = decode_reply(&answer.await.unwrap(), read_hello).unwrap();
        hello.map(|hello| hello.leader)
    }
}

fn vote(term: u64, node_id: u64, committed: bool) -> Vote {
    let leader_id = LeaderId { term, node_id };
    Vote {
        leader_id,
        committed,
    }
}

fn append(vote: Vote) -> Bytes {
    let request = AppendEntriesRequest {
        vote,
        prev_log_id: None,
        leader_commit: None,
        entries: Vec::new(),
    };
    encode_append(&request).0
}

#[test]
fn a_stranger_a_removed_node_and_another_cluster_are_refused() {
    run_alone(|| async {
        let nodes = cluster(2, as_usual).await;
        let member = Caller::of(&nodes[0], nodes[1].id, None);
        assert_eq!(member.hello().await, Ok(Some(nodes[0].id)));
        // The entry that admitted a node with a number beyond may be on its way.
        let unheard = Caller::of(&nodes[0], 1_000_000, None);
        assert!(unheard.hello().await.is_ok());
        let stranger = Caller::of(&nodes[0], 2, None);
        assert_eq!(stranger.hello().await, Err(Denial::Stranger));
        let elected = Ballot::Vote(VoteRequest::new(vote(100, 2, false), None));
        let refused = stranger
            .call(Service::Vote, elected.encode())
            .await
            .unwrap();
        let refused = decode_reply(&refused, |_| Ok(())).unwrap();
        assert_eq!(refused, Err(Denial::Stranger));

        let third = nodes[0].admit(false).await;
        let gone = third.id;
        nodes[0].handle.remove(gone).await.unwrap();
        third.stop();
        let removed = Caller::of(&nodes[0], gone, None);
        assert_eq!(removed.hello().await, Err(Denial::Removed));
        // What is beside consensus refuses the same ones.
        let admits = |node| nodes[0].handle.admits(node);
        assert!(admits(nodes[0].id) && admits(nodes[1].id) && admits(1_000_000));
        assert!(!admits(gone) && !admits(2));

        let cluster = "0".repeat(32);
        let foreign = Caller::of(&nodes[0], nodes[1].id, Some(&cluster));
        let hello = foreign.call(Service::Cluster, ClusterRequest::Hello.encode());
        let refused = hello.await;
        assert!(
            matches!(refused, Err(CallError::Unreachable { .. })),
            "{refused:?}"
        );
        stop(nodes);
    });
}

#[test]
fn members_speak_for_themselves_and_make_sense() {
    run_alone(|| async {
        let nodes = cluster(2, as_usual).await;
        let (first, second) = (nodes[0].id, nodes[1].id);
        let caller = Caller::of(&nodes[0], second, None);
        let term = nodes[0].handle.status().term;
        let request = |vote| VoteRequest::new(vote, None);
        let nonsense = [
            (Service::Append, append(vote(100, first, true))),
            (Service::Append, append(vote(100, second, false))),
            (Service::Append, Bytes::from_static(b"what?")),
            (
                Service::Vote,
                Ballot::Vote(request(vote(100, first, false))).encode(),
            ),
            (
                Service::Vote,
                Ballot::PreVote(request(vote(100, second, true))).encode(),
            ),
            (Service::Snapshot, Bytes::new()),
            (Service::ReadIndex, Bytes::new()),
            (Service::Propose, Bytes::new()),
            (Service::Cluster, Bytes::from_static(&[1, 9])),
        ];
        for (service, payload) in nonsense {
            let answer = caller.call(service, payload).await;
            let is_refused = matches!(
                answer,
                Err(CallError::Refused {
                    code: RefusalCode::Malformed,
                    ..
                })
            );
            assert!(is_refused, "{service:?}: {answer:?}");
        }
        let blob = caller.call(Service::Blob, Bytes::new()).await;
        assert!(matches!(
            blob,
            Err(CallError::Refused {
                code: RefusalCode::UnknownService,
                ..
            })
        ));
        let index = caller.call(Service::ReadIndex, encode_read_index()).await;
        assert!(index.is_ok());
        assert_eq!(nodes[0].handle.status().term, term);
        nodes[0].propose(1).await.unwrap();
        stop(nodes);
    });
}

#[test]
fn a_proposal_that_the_leader_does_not_know_never_reaches_the_log() {
    run_alone(|| async {
        let nodes = cluster(3, as_usual).await;
        let leads = leader(&nodes).await;
        let follower = &nodes[(leads + 1) % 3];
        let caller = Caller::of(&nodes[leads], follower.id, None);
        // A command of a later version, and an entry of one.
        for unknown in [[&[1][..], &[0; 8], &[200]].concat(), vec![2]] {
            let proposing = caller.call(Service::Propose, encode_propose(&unknown, LIMIT));
            let refused = proposing.await;
            let is_refused = matches!(
                refused,
                Err(CallError::Refused {
                    code: RefusalCode::Malformed,
                    ..
                })
            );
            assert!(is_refused, "{refused:?}");
        }
        for node in &nodes {
            node.propose(node.id).await.unwrap();
        }
        stop(nodes);
    });
}
