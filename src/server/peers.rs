//! What one shard does for other nodes, and what it asks of them.

use std::sync::Arc;
use std::time::Duration;

use futures_lite::future::or;

use super::consensus::BlobCall;
use super::membership::Membership;
use super::shard::ShardParts;
use crate::blob;
use crate::cluster::Operations;
use crate::memory::Pool;
use crate::peer::{
    AuthError, Calls, HandedOver, Links, PeerNode, Purpose, Refusal, RefusalCode, Security, Service,
};
use crate::raft;
use crate::registry::{Relay, RelayServer};
use crate::replication::{self, Replicator};
use crate::runtime::{InFlight, InFlightGuard, Task, sleep, spawn};

/// Connections of other nodes that move bytes, most of them idle; further ones are
/// closed. A few for each shard of each node.
const LINKS_MAX: usize = 1024;
/// How often it is looked whether the other end still belongs to the cluster.
const LOOK_PERIOD: Duration = Duration::from_secs(2);

/// Replication on this shard, where there are other nodes.
pub(super) fn replicator(
    index: u16,
    parts: &ShardParts,
    store: &blob::Store,
) -> Option<Replicator> {
    let (membership, copies) = (parts.membership.as_ref()?, parts.copies.clone()?);
    let calls = Calls::new(membership.security.clone(), Arc::clone(&parts.metrics));
    Some(Replicator::new(copies, index, store.clone(), calls))
}

/// The way to upload sessions that other nodes own.
pub(super) fn relay(parts: &ShardParts, membership: &Membership, pool: Pool) -> Relay {
    let (security, metrics) = (&membership.security, &parts.metrics);
    let calls = Calls::new(security.clone(), Arc::clone(metrics));
    let links = Links::new(security.clone(), Arc::clone(metrics), Purpose::Upload);
    let journal = parts.journal.clone();
    let find = move |node| {
        let members = journal.membership();
        let member = members.nodes.iter().find(|member| member.node == node)?;
        Some(PeerNode {
            id: node,
            address: member.address.clone(),
        })
    };
    Relay::new(parts.journal.status().node, find, calls, links, pool)
}

/// Who serves the connections that other nodes open to move bytes.
#[derive(Clone)]
pub(super) struct Peers {
    /// For those that fetch blobs; where there are other nodes.
    pub(super) replicator: Option<Replicator>,
    /// For those that bring bytes of uploads.
    pub(super) relays: RelayServer,
    /// Uploads are waited for at the end, as those of clients are.
    pub(super) in_flight: InFlight,
    /// Who belongs to the cluster.
    pub(super) journal: raft::Handle,
    /// All connections that move bytes.
    pub(super) links: InFlight,
}

/// A place among so many connections at most, as long as it is kept.
fn place(links: &InFlight, links_max: usize) -> Option<InFlightGuard> {
    (links.count() < links_max).then(|| links.enter())
}

impl Peers {
    /// Takes the connections that the raft core hands over, on one of many nodes.
    pub(super) fn serve(self, parts: &ShardParts) -> Option<Task<()>> {
        let security = parts.membership.as_ref()?.security.clone();
        let handed = parts.hall.transfers.clone();
        Some(spawn(async move {
            while let Ok(handed) = handed.recv_async().await {
                let Some(place) = place(&self.links, LINKS_MAX) else {
                    tracing::warn!("other nodes hold too many connections to this one");
                    continue;
                };
                let (peers, security) = (self.clone(), security.clone());
                spawn(async move {
                    if let Err(error) = peers.serve_one(handed, &security).await {
                        tracing::warn!(%error, "a node is refused at the peer port");
                    }
                    drop(place);
                })
                .detach();
            }
        }))
    }

    async fn serve_one(&self, handed: HandedOver, security: &Security) -> Result<(), AuthError> {
        let newcomer = handed.attach().map_err(AuthError::Broken)?;
        let purpose = newcomer.purpose;
        let link = newcomer.authenticate(security).await?;
        let node = link.peer();
        let serving = async {
            match (purpose, &self.replicator) {
                (Purpose::Upload, _) => {
                    let guard = self.in_flight.enter();
                    self.relays.serve(link).await;
                    drop(guard);
                }
                (Purpose::Transfer, Some(replicator)) => replicator.serve_transfer(link).await,
                (Purpose::Transfer | Purpose::Calls | Purpose::Join | Purpose::Gather, _) => {}
            }
        };
        // Its certificate holds for longer than its place in the cluster may.
        let leaving = async {
            while self.journal.admits(node) {
                sleep(LOOK_PERIOD).await;
            }
            tracing::warn!(
                node,
                "a node that does not belong to the cluster is cut off"
            );
        };
        or(leaving, serving).await;
        Ok(())
    }

    /// Answers what other nodes ask beside consensus, each call as a task of its own: a
    /// copy may take a while.
    pub(super) async fn answer(
        self,
        calls: flume::Receiver<BlobCall>,
        operations: Operations,
        copies: Option<replication::Shared>,
    ) {
        while let Ok(BlobCall { call, answer }) = calls.recv_async().await {
            let (operations, copies) = (operations.clone(), copies.clone());
            let relays = self.relays.clone();
            spawn(async move {
                let answered = match (call.service, copies) {
                    (Service::Report, _) => Ok(operations.reported(&call.payload)),
                    (Service::Blob, Some(copies)) => copies.handle_call(call).await,
                    (Service::Upload, _) => {
                        let answered = relays.answer(&call.payload).await;
                        let malformed = RefusalCode::Malformed;
                        answered.map_err(|error| Refusal::new(malformed, error.to_string()))
                    }
                    _ => Err(Refusal::new(RefusalCode::UnknownService, "not served here")),
                };
                // The connection that asked may be gone.
                drop(answer.send(answered));
            })
            .detach();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_beyond_the_last_place_waits_for_one_that_ends() {
        let links = InFlight::new();
        let first = place(&links, 2);
        let second = place(&links, 2);
        assert!(first.is_some() && second.is_some() && place(&links, 2).is_none());
        drop(first);
        assert!(place(&links, 2).is_some());
    }
}
