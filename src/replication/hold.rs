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
use crate::oci::Digest;
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
    Call(#[source] CallError),
    #[error("refused here ({:?}): {}", .0.code, .0.reason)]
    Refused(Refusal),
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
        if sealed.inline.is_some() {
            return Ok(Vec::new());
        }
        let worker = self.worker();
        if copies == 0 {
            self.note(sealed, &[]);
            return Ok(Vec::new());
        }
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
        let mut voting = voters(worker, &expected.digest);
        held.retain(|holder| voting.iter().any(|node| node.id == *holder));
        voting.retain(|node| !held.contains(&node.id));
        let expected = (self.node(), expected);
        let asking = Box::pin(ask_all(worker, voting, expected, copies, &mut held));
        // What was reached by then counts.
        let _ = timeout(limit, asking).await;
        self.note(sealed, &held);
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

    /// Remembers that `others` hold what was sealed here, as this node does.
    fn note(&self, sealed: &Sealed, others: &[u64]) {
        let worker = self.worker();
        let file = BlobFile {
            digest: sealed.digest,
            generation: sealed.generation,
        };
        let nodes = [&[self.node()], others].concat();
        let now = worker.clock.now();
        worker.told.borrow_mut().note(file, &nodes, now);
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

/// Asks nodes, this one perhaps among them, until `copies` hold a blob that `origin`
/// has, or none of them will.
pub(super) async fn ask_all(
    worker: &Worker,
    mut candidates: VecDeque<PeerNode>,
    (origin, expected): (u64, Expected),
    copies: usize,
    held: &mut Vec<u64>,
) {
    let limit = worker.shared.options().hold_limit(expected.size_bytes);
    let began = worker.clock.now();
    let hold = Hold { origin, expected };
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
pub(super) fn voters(worker: &Worker, digest: &Digest) -> VecDeque<PeerNode> {
    let shared = &worker.shared;
    let peers = shared.peers().others(shared.options().node);
    let voters = peers.into_iter().filter(|peer| peer.is_voter);
    let mut voters: VecDeque<PeerNode> = voters.map(|peer| peer.node).collect();
    if !voters.is_empty() {
        let first = digest.as_bytes().first_chunk::<8>();
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
    let answered = if node.id == worker.shared.options().node {
        let kept = worker.shared.keep(&payload).await;
        kept.map_err(AskError::Refused)
    } else {
        let called = worker.calls.call(&node, Service::Blob, payload, limit);
        called.await.map_err(AskError::Call)
    };
    let outcome = answered.and_then(|answer| Ok(decode_done(&answer)?));
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
        self.keep(&call.payload).await
    }

    async fn keep(&self, hold: &[u8]) -> Result<Bytes, Refusal> {
        let hold = Hold::decode(hold).map_err(|error| {
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
