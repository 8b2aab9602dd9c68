//! The way to upload sessions that other nodes own.

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::error::Error;
use super::relay_message::{ANSWER_BYTES, RelayAnswer, RelayCall, RelayOperation, RelayRequest};
use super::remote_upload::{RemoteUpload, Room};
use crate::base::CodecError;
use crate::base::limits::{
    RELAY_BEGIN_TIMEOUT, RELAY_BUFFER_BYTES, RELAY_CALL_TIMEOUT, RELAY_OWNER_TIMEOUT,
    RELAY_PLACE_TIMEOUT, RELAY_POOL_PARTS,
};
use crate::base::units::index_of;
use crate::memory::Pool;
use crate::net;
use crate::peer::{CallError, Calls, Link, Links, PeerNode, Service};
use crate::runtime::timeout;
use crate::telemetry::{Metrics, RelayMetrics};

/// Relays requests for upload sessions to the nodes that own them. One per shard;
/// clones share its connections and its room.
///
/// A relayed upload holds one buffer from its begin to its end, and all of them
/// together a part of the pool. So a node that waits for the pool of another never
/// keeps that one from finding memory for the uploads it owns, which wait for nobody
/// but their clients and their disk: two nodes that relay to each other go on.
#[derive(Clone)]
pub struct Relay {
    shared: Rc<Shared>,
    /// How long a request waits for the owner of its session to come back.
    patience: Duration,
}

struct Shared {
    node: u64,
    find: Box<dyn Fn(u64) -> Option<PeerNode>>,
    calls: Calls,
    links: Links,
    pool: Pool,
    places: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

/// Why an exchange with the owner of a session did not come to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    /// The connection broke.
    #[error("the connection to the owner broke")]
    Lost(#[from] net::Error),
    /// The owner says nothing.
    #[error("the owner did not answer in time")]
    Stalled,
    /// What came is no answer.
    #[error("the owner answered nonsense")]
    Answer(#[from] CodecError),
    /// What came answers another question.
    #[error("the owner answered out of turn")]
    OutOfTurn,
}

impl Relay {
    /// A relay of node `node`, which finds the address of another by `find`.
    #[must_use]
    pub fn new(
        node: u64,
        find: impl Fn(u64) -> Option<PeerNode> + 'static,
        calls: Calls,
        links: Links,
        pool: Pool,
    ) -> Self {
        let pool_bytes = pool.usage().total_bytes / u64::from(RELAY_POOL_PARTS);
        let places = index_of(pool_bytes / u64::from(RELAY_BUFFER_BYTES)).max(1);
        let shared = Rc::new(Shared {
            node,
            find: Box::new(find),
            links,
            pool,
            places: Arc::new(Semaphore::new(places)),
            metrics: Arc::clone(calls.metrics()),
            calls,
        });
        Self {
            shared,
            patience: RELAY_OWNER_TIMEOUT,
        }
    }

    /// The same, waiting for another time.
    #[cfg(test)]
    pub(super) fn patient_for(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// The node this is.
    pub(super) fn node(&self) -> u64 {
        self.shared.node
    }

    /// Where relays are counted.
    pub(super) fn metrics(&self) -> &RelayMetrics {
        &self.shared.metrics.relay
    }

    /// How long a request waits for the owner of its session to come back.
    pub(super) const fn patience(&self) -> Duration {
        self.patience
    }

    /// A node of the membership.
    pub(super) fn find(&self, node: u64) -> Option<PeerNode> {
        (self.shared.find)(node)
    }

    /// Takes a session of another node for one request.
    ///
    /// - Errors: as its owner says; `Unavailable` when it cannot be reached, `Busy`
    ///   when too many uploads are relayed.
    pub(super) async fn resume(
        &self,
        owner: PeerNode,
        request: &RelayRequest,
    ) -> Result<RemoteUpload, Error> {
        let room = self.room().await?;
        self.metrics().requests.count();
        let (link, answer) = self.ask(&owner, request).await?;
        match answer {
            RelayAnswer::Held(held_bytes) => Ok(RemoteUpload::new(
                self.clone(),
                owner,
                link,
                room,
                held_bytes,
            )),
            RelayAnswer::Failed(error) => {
                self.put(&owner, link);
                Err(error.into())
            }
            RelayAnswer::Ended(_) => Err(self.unavailable(&owner, &Broken::OutOfTurn)),
        }
    }

    /// How much a session of another node holds.
    pub(super) async fn held(&self, owner: &PeerNode, call: &RelayCall) -> Result<u64, Error> {
        match self.call(owner, call).await? {
            RelayAnswer::Held(held_bytes) => Ok(held_bytes),
            RelayAnswer::Failed(error) => Err(error.into()),
            RelayAnswer::Ended(_) => Err(self.unavailable(owner, &Broken::OutOfTurn)),
        }
    }

    /// Ends a session of another node.
    ///
    /// - Errors: `Undecided` when it may have ended.
    pub(super) async fn cancel(&self, owner: &PeerNode, call: &RelayCall) -> Result<(), Error> {
        match self.call(owner, call).await? {
            RelayAnswer::Ended(_) => Ok(()),
            RelayAnswer::Failed(error) => Err(error.into()),
            RelayAnswer::Held(_) => Err(self.unavailable(owner, &Broken::OutOfTurn)),
        }
    }

    /// Keeps a connection on which everything asked was answered.
    pub(super) fn put(&self, owner: &PeerNode, link: Link) {
        self.shared.links.put(owner, link);
    }

    /// Memory first, the owner afterwards: whoever holds a session waits for nothing
    /// of this node any more.
    async fn room(&self) -> Result<Room, Error> {
        let places = Arc::clone(&self.shared.places);
        let place = timeout(RELAY_PLACE_TIMEOUT, places.acquire_owned()).await;
        let place = place.map_err(|_| Error::Busy)?;
        Ok(Room {
            buffer: self.shared.pool.acquire(RELAY_BUFFER_BYTES).await,
            _place: place.expect("invariant: the semaphore is never closed"),
        })
    }

    /// Sends a request. An idle connection that turns out to be dead is replaced.
    async fn ask(
        &self,
        owner: &PeerNode,
        request: &RelayRequest,
    ) -> Result<(Link, RelayAnswer), Error> {
        while let Some(mut link) = self.shared.links.take(owner) {
            match begin(&mut link, request).await {
                Ok(answer) => return Ok((link, answer)),
                Err(Broken::Lost(_)) => {}
                Err(error) => return Err(unreached(owner, &error)),
            }
        }
        let connecting = self.shared.links.connect(owner).await;
        let mut link = connecting.map_err(|error| unreached(owner, &error))?;
        let begun = begin(&mut link, request).await;
        let answer = begun.map_err(|error| unreached(owner, &error))?;
        Ok((link, answer))
    }

    async fn call(&self, owner: &PeerNode, call: &RelayCall) -> Result<RelayAnswer, Error> {
        self.metrics().requests.count();
        let payload = call.encode();
        let calling = self
            .shared
            .calls
            .call(owner, Service::Upload, payload, RELAY_CALL_TIMEOUT);
        let answer = calling.await.map_err(|error| {
            let may_be_done = matches!(error, CallError::Lost | CallError::TimedOut);
            match call.operation {
                RelayOperation::Held => unreached(owner, &error),
                RelayOperation::Cancel => {
                    let error = self.unavailable(owner, &error);
                    if may_be_done { Error::Undecided } else { error }
                }
            }
        })?;
        RelayAnswer::decode_payload(&answer).map_err(|error| self.unavailable(owner, &error))
    }

    /// The owner of a session was waited for in vain.
    pub(super) fn give_up(&self, owner: u64) {
        self.metrics().failures.count();
        tracing::warn!(owner, "the owner of an upload session cannot be reached");
    }

    /// The owner of a session cannot be asked now: logged and counted here, where
    /// it stops travelling.
    pub(super) fn unavailable(
        &self,
        owner: &PeerNode,
        error: &(dyn std::error::Error + 'static),
    ) -> Error {
        self.metrics().failures.count();
        tracing::warn!(
            owner = owner.id,
            error,
            "an upload session cannot be relayed"
        );
        Error::Unavailable
    }
}

/// The owner of a session cannot be asked now; perhaps in a moment.
fn unreached(owner: &PeerNode, error: &(dyn std::error::Error + 'static)) -> Error {
    tracing::debug!(owner = owner.id, error, "an owner is not reached");
    Error::Unavailable
}

async fn begin(link: &mut Link, request: &RelayRequest) -> Result<RelayAnswer, Broken> {
    let asking = async {
        link.write_all(&request.encode()).await?;
        let mut record = [0; ANSWER_BYTES];
        link.read_exact(&mut record).await?;
        Ok::<_, net::Error>(record)
    };
    let asked = timeout(RELAY_BEGIN_TIMEOUT, asking).await;
    let record = asked.map_err(|_| Broken::Stalled)??;
    Ok(RelayAnswer::decode(&record)?)
}

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay")
            .field("node", &self.shared.node)
            .field("links", &self.shared.links)
            .field("places", &self.shared.places.available_permits())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "relay_test.rs"]
mod tests;
