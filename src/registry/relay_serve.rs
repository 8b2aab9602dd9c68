//! The owner's end of relayed uploads: what other nodes bring for sessions of this one.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

use super::error::Error;
use super::journal::Registry;
use super::relay_error::RelayedError;
use super::relay_message::{
    RECORD_BYTES, REQUEST_BYTES, RelayAnswer, RelayCall, RelayOperation, RelayRecord, RelayRequest,
    SEAL_BYTES, WhenCut, decode_seal,
};
use super::upload::Upload;
use crate::base::CodecError;
use crate::base::limits::{
    PEER_SERVED_LINK_IDLE_TIMEOUT, RELAY_SILENCE_MAX, RELAY_STALL_TIMEOUT, SERVED_RELAYS_MAX,
};
use crate::base::units::{to_u64, to_usize};
use crate::net;
use crate::oci::Digest;
use crate::peer::Link;
use crate::runtime::{Shutdown, timeout};
use crate::telemetry::{Metrics, RelayMetrics};

/// Serves the sessions of this node to other nodes. One per shard; clones are the same.
#[derive(Clone)]
pub struct RelayServer {
    registry: Rc<Registry>,
    shutdown: Shutdown,
    links: Rc<Cell<usize>>,
    metrics: Arc<Metrics>,
}

/// Why a connection is of no use any more.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the connection broke")]
    Lost(#[from] net::Error),
    #[error("the other end stalled")]
    Stalled,
    #[error("what came is no message about uploads")]
    Message(#[from] CodecError),
}

/// How a relayed request ends.
enum End {
    Keep,
    Release,
    Seal(Digest),
}

/// Why there is no end.
enum Unfinished {
    /// The other node broke off.
    Cut(Ended),
    /// The session does not take the bytes; so many of the record were not read.
    Refused(Error, usize),
}

impl From<Ended> for Unfinished {
    fn from(ended: Ended) -> Self {
        Self::Cut(ended)
    }
}

impl RelayServer {
    /// Serves the sessions of `registry` until `shutdown`.
    #[must_use]
    pub fn new(registry: Rc<Registry>, shutdown: Shutdown, metrics: Arc<Metrics>) -> Self {
        Self {
            registry,
            shutdown,
            links: Rc::default(),
            metrics,
        }
    }

    /// Serves one connection until the other node closes it, or until shutdown finds it
    /// idle. Each request runs as one of a client would.
    pub async fn serve(&self, mut link: Link) {
        let count = self.links.get();
        if count >= SERVED_RELAYS_MAX {
            tracing::warn!(
                from = link.peer(),
                "too many uploads are relayed to this node"
            );
            return;
        }
        self.links.set(count + 1);
        let _place = Place(Rc::clone(&self.links));
        let ended = loop {
            match self.next(&mut link).await {
                Ok(Some(request)) => {
                    self.metrics.relay.served_requests.count();
                    if let Err(ended) = self.serve_request(&mut link, request).await {
                        self.metrics.relay.served_failures.count();
                        break ended;
                    }
                }
                Ok(None) => return,
                Err(ended) => break ended,
            }
        };
        let from = link.peer();
        tracing::debug!(
            from,
            error = &ended as &dyn std::error::Error,
            "a relay of uploads ended"
        );
    }

    /// Answers a call about a session.
    ///
    /// - Errors: what came is no such call.
    pub async fn answer(&self, payload: &[u8]) -> Result<Bytes, CodecError> {
        let call = RelayCall::decode(payload)?;
        self.metrics.relay.served_requests.count();
        let (repository, id) = (&call.repository, &call.id);
        let answer = match call.operation {
            RelayOperation::Held => {
                let held = self.registry.held_here(repository, id).await;
                held.map(RelayAnswer::Held)
            }
            RelayOperation::Cancel => {
                let cancelled = self.registry.cancel_here(repository, id).await;
                cancelled.map(|()| RelayAnswer::Ended(None))
            }
        };
        Ok(answer.unwrap_or_else(refusal).encode().into())
    }

    /// The next request; `None` when there is none any more.
    async fn next(&self, link: &mut Link) -> Result<Option<RelayRequest>, Ended> {
        let mut record = [0; REQUEST_BYTES];
        let waiting = async {
            let read = timeout(PEER_SERVED_LINK_IDLE_TIMEOUT, link.read(&mut record)).await;
            read.unwrap_or(Ok(0))
        };
        let stopped = async {
            self.shutdown.wait().await;
            Ok(0)
        };
        let begun = match futures_lite::future::or(waiting, stopped).await? {
            0 => return Ok(None),
            begun => begun,
        };
        let rest = record.get_mut(begun..).unwrap_or_default();
        fill(link, rest).await?;
        Ok(Some(RelayRequest::decode(&record)?))
    }

    /// Serves one request to its end, or until the other node breaks it off.
    async fn serve_request(&self, link: &mut Link, request: RelayRequest) -> Result<(), Ended> {
        let RelayRequest {
            repository,
            id,
            when_cut,
        } = request;
        let resumed = self.registry.resume_here(&repository, &id).await;
        let mut upload = match resumed {
            Ok(upload) => Upload::from(upload),
            Err(error) => return say(link, refusal(error)).await,
        };
        say(link, RelayAnswer::Held(upload.held_bytes())).await?;
        match receive(link, &mut upload, &self.metrics.relay).await {
            Ok(End::Keep) => {
                let kept = upload.keep().await.map(RelayAnswer::Held);
                say(link, kept.unwrap_or_else(refusal)).await
            }
            Ok(End::Release) => {
                let held_bytes = upload.held_bytes();
                upload.release().await;
                say(link, RelayAnswer::Held(held_bytes)).await
            }
            Ok(End::Seal(digest)) => {
                let sealing = self.registry.seal_upload(&repository, upload, &digest);
                let sealed = sealing.await.map(RelayAnswer::Ended);
                say(link, sealed.unwrap_or_else(refusal)).await
            }
            Err(Unfinished::Refused(error, left_bytes)) => {
                break_off(upload, when_cut).await;
                say(link, refusal(error)).await?;
                pass_over(link, left_bytes).await
            }
            Err(Unfinished::Cut(ended)) => {
                break_off(upload, when_cut).await;
                Err(ended)
            }
        }
    }
}

/// Ends a request of which no end came, as that of a client that goes away.
async fn break_off(upload: Upload, when_cut: WhenCut) {
    match when_cut {
        WhenCut::Forget => drop(upload),
        WhenCut::Keep => {
            if let Err(error) = upload.keep().await {
                tracing::debug!(%error, "an upload that broke off is not kept");
            }
        }
    }
}

/// Moves data from the connection into the session's own buffers until an end comes.
async fn receive(
    link: &mut Link,
    upload: &mut Upload,
    metrics: &RelayMetrics,
) -> Result<End, Unfinished> {
    loop {
        let mut left_bytes = match next_record(link).await? {
            RelayRecord::Data(bytes) => to_usize(bytes),
            RelayRecord::Keep => return Ok(End::Keep),
            RelayRecord::Release => return Ok(End::Release),
            RelayRecord::Seal => return Ok(End::Seal(read_seal(link).await?)),
        };
        while left_bytes > 0 {
            let space = upload.space().await;
            let space = space.map_err(|error| Unfinished::Refused(error, left_bytes))?;
            let wanted = space.len().min(left_bytes);
            let space = space.get_mut(..wanted).unwrap_or_default();
            let count = read(link, space).await?;
            left_bytes -= count;
            metrics.received_bytes.add(to_u64(count));
            let taken = upload.advance(count).await;
            taken.map_err(|error| Unfinished::Refused(error, left_bytes))?;
        }
    }
}

/// Reads on to the end of a request whose answer has gone already.
async fn pass_over(link: &mut Link, mut left_bytes: usize) -> Result<(), Ended> {
    let mut unwanted = [0; UNWANTED_BYTES];
    loop {
        while left_bytes > 0 {
            let wanted = left_bytes.min(UNWANTED_BYTES);
            let (into, _) = unwanted.split_at_mut(wanted);
            left_bytes -= read(link, into).await?;
        }
        left_bytes = match next_record(link).await? {
            RelayRecord::Data(bytes) => to_usize(bytes),
            RelayRecord::Keep | RelayRecord::Release => return Ok(()),
            RelayRecord::Seal => return read_seal(link).await.map(drop),
        };
    }
}

/// Unwanted bytes are read in steps of this: few, from a node that stops at once.
const UNWANTED_BYTES: usize = 4096;

async fn next_record(link: &mut Link) -> Result<RelayRecord, Ended> {
    let mut record = [0; RECORD_BYTES];
    fill(link, &mut record).await?;
    Ok(RelayRecord::decode(record)?)
}

async fn read_seal(link: &mut Link) -> Result<Digest, Ended> {
    let mut seal = [0; SEAL_BYTES];
    fill(link, &mut seal).await?;
    Ok(decode_seal(&seal)?)
}

/// Reads what is there, at least one byte.
async fn read(link: &mut Link, into: &mut [u8]) -> Result<usize, Ended> {
    let read = timeout(RELAY_SILENCE_MAX, link.read(into)).await;
    match read.map_err(|_| Ended::Stalled)?? {
        0 => Err(Ended::Lost(net::Error::Broken(
            std::io::ErrorKind::UnexpectedEof.into(),
        ))),
        count => Ok(count),
    }
}

async fn fill(link: &mut Link, into: &mut [u8]) -> Result<(), Ended> {
    let read = timeout(RELAY_SILENCE_MAX, link.read_exact(into)).await;
    Ok(read.map_err(|_| Ended::Stalled)??)
}

async fn say(link: &mut Link, answer: RelayAnswer) -> Result<(), Ended> {
    let record = answer.encode();
    let sending = link.write_all_unless_stalled(&record, RELAY_STALL_TIMEOUT);
    Ok(sending.await?)
}

fn refusal(error: Error) -> RelayAnswer {
    RelayAnswer::Failed(RelayedError::from(error))
}

/// A connection's place among those served.
struct Place(Rc<Cell<usize>>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl fmt::Debug for RelayServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RelayServer")
            .field("links", &self.links.get())
            .finish_non_exhaustive()
    }
}
