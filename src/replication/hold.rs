//! Copies that a push waits for: those that were made while its bytes came, and others
//! asked of other nodes, and made for them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

use super::blob_file::BlobFile;
use super::feed::{Listener, Stage};
use super::letter::{Answer, Want};
use super::message::{Hold, decode_done, encode_done};
use super::replicator::{Replicator, Worker};
use super::shared::Shared;
use crate::base::CodecError;
use crate::base::units::index_of;
use crate::blob::{Expected, Outlet, Sealed};
use crate::peer::{Call, CallError, PeerNode, Refusal, RefusalCode, Service};
use crate::runtime::{sleep, timeout};
use crate::telemetry::HoldEnd;

/// Nodes asked at a time beyond those that are needed: the push does not wait for the
/// slowest then, and the others need the blob anyway.
const SPARE_NODES: usize = 1;
/// Pause before nodes are asked again that did not take the blob.
const ASK_AGAIN_PERIOD: Duration = Duration::from_millis(500);
/// Nodes that took the bytes while they came have so long for their last ones, and for
/// their syncs, before others are asked.
const TEE_PATIENCE: Duration = Duration::from_secs(3);
/// A push fails when no node works on its copy and this much time has passed: a client
/// waits no longer for an election, either.
const SEARCH_MAX: Duration = Duration::from_secs(10);

/// Why a blob is not held by enough other nodes.
#[derive(Debug, thiserror::Error)]
#[error("{} of {wanted} other nodes hold the blob", held.len())]
pub struct HoldError {
    /// Copies that were wanted.
    pub wanted: usize,
    /// Nodes that hold it.
    pub held: Vec<u64>,
}

/// Why one node does not hold a blob.
#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error("call")]
    Call(#[from] CallError),
    #[error("read the answer")]
    Answer(#[from] CodecError),
}

impl Replicator {
    /// Returns when `copies` other voters hold a blob that was sealed here, durably;
    /// says which. To be called before the blob is proposed.
    ///
    /// - Errors: not so many hold it in time (`Options::hold_timeout`, and more for a
    ///   large blob). What some hold stays there.
    /// - Cancel: the others go on with what they began.
    pub async fn hold_elsewhere(
        &self,
        sealed: &Sealed,
        copies: usize,
    ) -> Result<Vec<u64>, HoldError> {
        // Inline content travels with its proposal.
        if copies == 0 || sealed.inline.is_some() {
            return Ok(Vec::new());
        }
        let worker = self.worker();
        let expected = Expected {
            digest: sealed.digest,
            generation: sealed.generation,
            size_bytes: sealed.size_bytes,
            extent_checksums: Arc::from(sealed.extent_checksums.as_slice()),
        };
        let began = worker.clock.now();
        let limit = worker.shared.options().hold_limit(sealed.size_bytes);
        let mut held = Vec::new();
        let listening = listen(&sealed.outlets, copies, &mut held);
        // Those that take longer are asked like all others.
        let _ = timeout(TEE_PATIENCE, listening).await;
        // A node that took it may have lost its vote since the upload began.
        let voting = voters(worker, &expected);
        held.retain(|holder| voting.iter().any(|node| node.id == *holder));
        let asking = Box::pin(ask_all(worker, expected, copies, &mut held));
        // What was reached by then counts.
        let _ = timeout(limit, asking).await;
        if held.len() < copies {
            return Err(HoldError {
                wanted: copies,
                held,
            });
        }
        let metrics = &worker.shared.metrics().replication;
        metrics.hold_seconds.observe(worker.clock.now() - began);
        Ok(held)
    }
}

/// Waits for nodes that took the bytes while they came, until `copies` hold the blob,
/// or none of the others will.
async fn listen(outlets: &[Outlet], copies: usize, held: &mut Vec<u64>) {
    let holders = outlets.iter().map(Outlet::holder);
    let mut holders: FuturesUnordered<_> = holders.collect();
    while held.len() < copies
        && let Some(holder) = holders.next().await
    {
        held.extend(holder);
    }
}

/// Asks voters until `copies` hold the blob, or none of them will.
async fn ask_all(worker: &Worker, expected: Expected, copies: usize, held: &mut Vec<u64>) {
    let options = worker.shared.options();
    let limit = options.hold_limit(expected.size_bytes);
    let began = worker.clock.now();
    let mut candidates = voters(worker, &expected);
    candidates.retain(|node| !held.contains(&node.id));
    let hold = Hold {
        origin: options.node,
        expected,
    };
    let payload = hold.encode();
    let mut asked = FuturesUnordered::new();
    let mut refused = VecDeque::new();
    while held.len() < copies {
        while held.len() + asked.len() < copies + SPARE_NODES
            && let Some(node) = candidates.pop_front()
        {
            asked.push(ask(worker, node, payload.clone(), limit));
        }
        match asked.next().await {
            Some((node, Ok(()))) => held.push(node.id),
            Some((node, Err(error))) => {
                let error = &error as &dyn std::error::Error;
                tracing::debug!(node = node.id, error, "a node does not hold a blob");
                refused.push_back(node);
            }
            None if worker.clock.now() - began > SEARCH_MAX || refused.is_empty() => return,
            None => {
                sleep(ASK_AGAIN_PERIOD).await;
                std::mem::swap(&mut candidates, &mut refused);
            }
        }
    }
}

/// The other voters, in an order that differs from blob to blob.
fn voters(worker: &Worker, expected: &Expected) -> VecDeque<PeerNode> {
    let shared = &worker.shared;
    let peers = shared.peers().others(shared.options().node);
    let voters = peers.into_iter().filter(|peer| peer.is_voter);
    let mut voters: VecDeque<PeerNode> = voters.map(|peer| peer.node).collect();
    if !voters.is_empty() {
        let first = expected.digest.as_bytes().first_chunk::<8>();
        let number = first.map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let count = voters.len();
        voters.rotate_left(index_of(number) % count);
    }
    voters
}

/// Counts a question that nobody waits for any more.
struct Question<'a>(&'a Worker, HoldEnd);

impl Drop for Question<'_> {
    fn drop(&mut self) {
        let holds = &self.0.shared.metrics().replication.holds;
        holds.of(self.1).count();
    }
}

async fn ask(
    worker: &Worker,
    node: PeerNode,
    payload: Bytes,
    limit: Duration,
) -> (PeerNode, Result<(), AskError>) {
    let mut question = Question(worker, HoldEnd::Abandoned);
    let called = worker.calls.call(&node, Service::Blob, payload, limit);
    let outcome = called.await.map_err(AskError::from);
    let outcome = outcome.and_then(|answer| Ok(decode_done(&answer)?));
    question.1 = if outcome.is_ok() {
        HoldEnd::Held
    } else {
        HoldEnd::Failed
    };
    drop(question);
    (node, outcome)
}

impl Shared {
    /// Serves a call of `Service::Blob`, on whatever executor it arrived: has the blob
    /// fetched, and answers when it is durable here.
    ///
    /// - Errors: what the calling node is told.
    /// - Cancel: a fetch that has begun goes on.
    pub async fn handle_call(&self, call: Call) -> Result<Bytes, Refusal> {
        let hold = Hold::decode(&call.payload).map_err(|error| {
            let code = match error {
                CodecError::Version { .. } => RefusalCode::UnknownService,
                _ => RefusalCode::Malformed,
            };
            Refusal::new(code, error.to_string())
        })?;
        let expected = hold.expected;
        let limit = self.options().hold_limit(expected.size_bytes);
        let want = Want {
            file: BlobFile {
                digest: expected.digest,
                generation: expected.generation,
            },
            size_bytes: expected.size_bytes,
            origin: Some(hold.origin),
            extent_checksums: Some(expected.extent_checksums),
        };
        match self.want(want).await {
            Some(Answer::Here) => Ok(encode_done()),
            Some(Answer::Coming(interest, listener)) => {
                let sealed = timeout(limit, until_sealed(listener)).await;
                drop(interest);
                sealed.unwrap_or_else(|_| {
                    let reason = "the copy takes too long";
                    Err(Refusal::new(RefusalCode::Unavailable, reason))
                })
            }
            Some(Answer::NoRoom) => {
                let reason = "there is no room on the disk";
                Err(Refusal::new(RefusalCode::Unavailable, reason))
            }
            Some(Answer::Busy) => {
                let reason = "too many blobs are waited for";
                Err(Refusal::new(RefusalCode::Busy, reason))
            }
            None => Err(Refusal::new(RefusalCode::Unavailable, "no answer")),
        }
    }
}

/// Waits for the end of a fetch.
async fn until_sealed(mut listener: Listener) -> Result<Bytes, Refusal> {
    let failed = |reason| Err(Refusal::new(RefusalCode::Failed, reason));
    loop {
        let stage = *listener.borrow_and_update();
        match stage {
            Stage::Sealed => return Ok(encode_done()),
            Stage::Corrupt => return failed("the content does not have the digest"),
            Stage::Unwritable => return failed("this node cannot write"),
            Stage::Waiting | Stage::Building { .. } => {}
        }
        if listener.changed().await.is_err() {
            return failed("the blob is not wanted any more");
        }
    }
}
