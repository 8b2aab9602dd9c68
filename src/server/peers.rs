//! What one shard does for other nodes, and what it asks of them.

use std::sync::Arc;

use super::consensus::BlobCall;
use super::membership::Membership;
use super::shard::ShardParts;
use crate::blob;
use crate::cluster::Operations;
use crate::memory::Pool;
use crate::peer::{
    AuthError, Calls, HandedOver, Links, PeerNode, Purpose, Refusal, RefusalCode, Security, Service,
};
use crate::registry::{Relay, RelayServer};
use crate::replication::{self, Replicator};
use crate::runtime::{InFlight, Task, spawn};

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
}

impl Peers {
    /// Takes the connections that the raft core hands over, on one of many nodes.
    pub(super) fn serve(self, parts: &ShardParts) -> Option<Task<()>> {
        let security = parts.membership.as_ref()?.security.clone();
        let handed = parts.hall.transfers.clone();
        Some(spawn(async move {
            while let Ok(handed) = handed.recv_async().await {
                let (peers, security) = (self.clone(), security.clone());
                spawn(async move {
                    if let Err(error) = peers.serve_one(handed, &security).await {
                        tracing::warn!(%error, "a node is refused at the peer port");
                    }
                })
                .detach();
            }
        }))
    }

    async fn serve_one(&self, handed: HandedOver, security: &Security) -> Result<(), AuthError> {
        let newcomer = handed.attach().map_err(AuthError::Broken)?;
        let purpose = newcomer.purpose;
        let link = newcomer.authenticate(security).await?;
        match (purpose, &self.replicator) {
            (Purpose::Upload, _) => {
                let guard = self.in_flight.enter();
                self.relays.serve(link).await;
                drop(guard);
            }
            (Purpose::Transfer, Some(replicator)) => replicator.serve_transfer(link).await,
            (Purpose::Transfer | Purpose::Calls | Purpose::Join | Purpose::Gather, _) => {}
        }
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
                    (Service::Report, _) => Ok(operations.reported()),
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
