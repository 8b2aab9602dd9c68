//! Passes the bytes of an upload on to other nodes while they come, so that a push
//! waits for one round of syncs after its last byte. What goes wrong with it is not
//! repeated: `hold.rs` asks for the copies that are lacking.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_lite::future::or;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

use super::message::Hold;
use super::replicator::{Replicator, Worker};
use super::share::{Held, Holding};
use crate::base::limits::TEE_IDLE_TIMEOUT;
use crate::base::units::{index_of, to_u64};
use crate::blob::{Expected, Heard, Inlet, Outlet, UploadId};
use crate::oci::Algorithm;
use crate::peer::PeerNode;
use crate::runtime::{spawn_prompt, timeout};
use crate::telemetry::TeeEnd;
use crate::transfer::{Outgoing, TakeRequest, TransferError};

/// A node that did not take an upload is asked last for so long: most likely it is
/// away, full, or too old.
const REFUSAL_REST: Duration = Duration::from_secs(10);

/// One upload on its way to one node.
pub(super) struct Tee {
    inlet: Inlet,
    request: TakeRequest,
    /// Whom to ask, best first.
    candidates: Vec<PeerNode>,
    held: Held,
}

/// Why a node does not get an upload.
#[derive(Debug, thiserror::Error)]
enum TeeError {
    #[error("no node takes it")]
    Nobody,
    #[error("the upload ended otherwise")]
    Abandoned,
    #[error("the other node")]
    Peer(#[from] TransferError),
}

/// Nodes that did not take an upload lately. One for each shard.
#[derive(Debug, Default)]
pub(super) struct Refusals(BTreeMap<u64, Instant>);

impl Refusals {
    fn note(&mut self, node: u64, now: Instant) {
        self.0.insert(node, now + REFUSAL_REST);
    }

    fn is_resting(&self, node: u64, now: Instant) -> bool {
        self.0.get(&node).is_some_and(|until| now < *until)
    }
}

impl Replicator {
    /// Begins to pass an upload on to `copies` other voters; fewer when this shard, or
    /// the cluster, has no more to offer. Whoever is listed takes the bytes from the
    /// first one on.
    #[must_use]
    pub fn tee(&self, id: &UploadId, algorithm: Algorithm, copies: usize) -> Vec<Outlet> {
        let worker = self.worker();
        let shares = share_out(self.takers(id), copies);
        let mut outlets = Vec::new();
        for candidates in shares {
            let Some(held) = worker.share.take(Holding::Tee) else {
                let tees = &worker.shared.metrics().replication.tees;
                tees.of(TeeEnd::Refused).count();
                break;
            };
            let (outlet, inlet) = Outlet::new();
            let request = TakeRequest {
                id: *id.as_bytes(),
                algorithm,
            };
            outlets.push(outlet);
            // Its task lives as long as this.
            drop(worker.tees.send(Tee {
                inlet,
                request,
                candidates,
                held,
            }));
        }
        outlets
    }

    /// The other voters, in an order that differs from upload to upload; those that
    /// took none lately last.
    fn takers(&self, id: &UploadId) -> Vec<PeerNode> {
        let worker = self.worker();
        let now = worker.clock.now();
        let peers = worker.shared.peers().others(worker.shared.options().node);
        let voters = peers.into_iter().filter(|peer| peer.is_voter);
        let mut takers: Vec<PeerNode> = voters.map(|peer| peer.node).collect();
        if !takers.is_empty() {
            let count = takers.len();
            takers.rotate_left(index_of(id.spread()) % count);
        }
        let refusals = worker.refusals.borrow();
        takers.sort_by_key(|node| refusals.is_resting(node.id, now));
        takers
    }
}

/// Gives each of `copies` ways a first node and some to turn to when that one does not
/// answer; no node is given twice.
fn share_out(takers: Vec<PeerNode>, copies: usize) -> Vec<Vec<PeerNode>> {
    let mut shares: Vec<Vec<PeerNode>> = Vec::new();
    let mut turn = 0;
    for taker in takers {
        if shares.len() < copies {
            shares.push(vec![taker]);
        } else if let Some(share) = shares.get_mut(turn) {
            share.push(taker);
            turn = (turn + 1) % copies;
        }
    }
    shares
}

/// Carries out what [`Replicator::tee`] begins. A task of the shard.
pub(super) async fn run_tees(worker: Rc<Worker>, inbox: flume::Receiver<Tee>) {
    let mut tees = FuturesUnordered::new();
    loop {
        let next = async { inbox.recv_async().await.ok() };
        let reaping = async {
            // A panic was logged by the task.
            while tees.next().await.is_some() {}
            std::future::pending().await
        };
        match or(next, reaping).await {
            Some(tee) => tees.push(spawn_prompt(run(Rc::clone(&worker), tee))),
            None => return,
        }
    }
}

/// Counts an upload among those passed on, and its end, whatever it is.
struct Place {
    worker: Rc<Worker>,
    end: TeeEnd,
    _held: Held,
}

impl Drop for Place {
    fn drop(&mut self) {
        let tees = &self.worker.shared.metrics().replication.tees;
        tees.of(self.end).count();
    }
}

async fn run(worker: Rc<Worker>, tee: Tee) {
    let Tee {
        inlet,
        request,
        candidates,
        held,
    } = tee;
    let mut place = Place {
        worker: Rc::clone(&worker),
        end: TeeEnd::Failed,
        _held: held,
    };
    let passing = Box::pin(pass_on(&worker, &inlet, &request, &candidates));
    match passing.await {
        Ok(node) => {
            place.end = TeeEnd::Held;
            inlet.tell_holder(node);
        }
        Err(error) => {
            place.end = match &error {
                TeeError::Abandoned => TeeEnd::Abandoned,
                TeeError::Nobody | TeeError::Peer(TransferError::Refused(_)) => TeeEnd::Refused,
                TeeError::Peer(_) => TeeEnd::Failed,
            };
            let error = &error as &dyn std::error::Error;
            tracing::debug!(upload = %UploadId::from_bytes(request.id), error, "an upload is not passed on");
        }
    }
}

/// Sends an upload to the first node that takes it; says which one holds it then.
async fn pass_on(
    worker: &Worker,
    inlet: &Inlet,
    request: &TakeRequest,
    candidates: &[PeerNode],
) -> Result<u64, TeeError> {
    let mut outgoing = open(worker, request, candidates).await?;
    let node = outgoing.node();
    match send_all(worker, inlet, &mut outgoing).await {
        Ok(expected) => {
            let limit = worker.shared.options().hold_limit(expected.size_bytes);
            let origin = worker.shared.options().node;
            let end = Hold { origin, expected }.encode();
            let held = outgoing.end(&end, limit).await;
            held.inspect_err(|_| refused(worker, node))?;
            Ok(node)
        }
        Err(error) => {
            if matches!(error, TeeError::Peer(_)) {
                refused(worker, node);
            }
            Err(error)
        }
    }
}

async fn open(
    worker: &Worker,
    request: &TakeRequest,
    candidates: &[PeerNode],
) -> Result<Outgoing, TeeError> {
    for node in candidates {
        match worker.transfers.tee(node, request).await {
            Ok(outgoing) => return Ok(outgoing),
            Err(error) => {
                refused(worker, node.id);
                let error = &error as &dyn std::error::Error;
                tracing::debug!(node = node.id, error, "a node takes no upload");
            }
        }
    }
    Err(TeeError::Nobody)
}

fn refused(worker: &Worker, node: u64) {
    let now = worker.clock.now();
    worker.refusals.borrow_mut().note(node, now);
}

/// Sends what comes, up to the end, which is returned.
async fn send_all(
    worker: &Worker,
    inlet: &Inlet,
    outgoing: &mut Outgoing,
) -> Result<Expected, TeeError> {
    let (metrics, node) = (&worker.shared.metrics().replication, outgoing.node());
    loop {
        match timeout(TEE_IDLE_TIMEOUT, inlet.next()).await {
            Ok(Some(Heard::Bytes(bytes))) => {
                outgoing.send(&bytes).await?;
                metrics.sent(node, to_u64(bytes.len()));
            }
            Ok(Some(Heard::End(expected))) => return Ok(expected),
            Ok(None) | Err(_) => return Err(TeeError::Abandoned),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Clock;

    fn nodes(ids: impl IntoIterator<Item = u64>) -> Vec<PeerNode> {
        let node = |id| PeerNode {
            id,
            address: "here".into(),
        };
        ids.into_iter().map(node).collect()
    }

    #[test]
    fn every_copy_has_a_first_node_and_no_node_is_asked_for_two() {
        let shared = |count, copies| -> Vec<Vec<u64>> {
            let shares = share_out(nodes(1..=count), copies).into_iter();
            shares
                .map(|share| share.into_iter().map(|node| node.id).collect())
                .collect()
        };
        assert_eq!(shared(2, 1), [vec![1, 2]]);
        assert_eq!(shared(4, 2), [vec![1, 3], vec![2, 4]]);
        assert_eq!(shared(5, 2), [vec![1, 3, 5], vec![2, 4]]);
        assert_eq!(shared(1, 2), [vec![1]]);
        assert!(shared(3, 0).is_empty() && shared(0, 1).is_empty());
    }

    #[test]
    fn a_node_that_refused_rests_for_a_while() {
        let clock = Clock::hand_moved();
        let mut refusals = Refusals::default();
        refusals.note(2, clock.now());
        assert!(refusals.is_resting(2, clock.now()) && !refusals.is_resting(3, clock.now()));
        clock.advance(REFUSAL_REST);
        assert!(!refusals.is_resting(2, clock.now()));
    }
}

#[cfg(test)]
#[path = "tee_test.rs"]
mod node_tests;
