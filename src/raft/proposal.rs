//! A proposal on its way: from a shard to the raft core and its answer back.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use openraft::raft::responder::Responder;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::base::limits::{ENTRY_BYTES_MAX, WAITING_PROPOSALS_MAX};
use crate::base::units::{MIB, to_usize};
use crate::metadata::Outcome;
use crate::telemetry::Metrics;

use super::types::Types;

/// Bytes of proposals that may wait for the raft core, all shards together:
/// a few large manifests, thousands of small changes.
const WAITING_BYTES_MAX: usize = to_usize(16 * MIB);

const _: () = assert!(
    ENTRY_BYTES_MAX < 16 * MIB,
    "the largest proposal fits what may wait"
);

/// What openraft answers to a write.
pub(super) type WriteResult = openraft::raft::ClientWriteResult<Types>;

/// Room for proposals, shared by all shards.
#[derive(Debug, Clone)]
pub(super) struct Waiting {
    count: Arc<tokio::sync::Semaphore>,
    bytes: Arc<tokio::sync::Semaphore>,
    metrics: Arc<Metrics>,
}

impl Waiting {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            count: Arc::new(tokio::sync::Semaphore::new(WAITING_PROPOSALS_MAX)),
            bytes: Arc::new(tokio::sync::Semaphore::new(WAITING_BYTES_MAX)),
            metrics,
        }
    }

    /// A place in the queue, at once or not at all.
    pub(super) fn enter(&self) -> Option<Place> {
        let count = Arc::clone(&self.count).try_acquire_owned().ok()?;
        self.metrics.journal.proposals_waiting.rise();
        Some(Place {
            count: Some(count),
            bytes: None,
            metrics: Arc::clone(&self.metrics),
        })
    }

    /// Waits until the bytes fit, first come first served.
    pub(super) async fn reserve(&self, place: &mut Place, bytes: usize) {
        let bytes = u32::try_from(bytes.min(WAITING_BYTES_MAX)).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.bytes).acquire_many_owned(bytes).await;
        place.bytes = permit.ok();
    }
}

/// One proposal's room. Held until the proposal has ended, not until its
/// client has gone: what was handed over stays in the queue.
#[derive(Debug)]
pub(super) struct Place {
    count: Option<OwnedSemaphorePermit>,
    bytes: Option<OwnedSemaphorePermit>,
    metrics: Arc<Metrics>,
}

impl Drop for Place {
    fn drop(&mut self) {
        drop((self.bytes.take(), self.count.take()));
        self.metrics.journal.proposals_waiting.fall();
    }
}

/// A proposal handed to the raft core.
#[derive(Debug)]
pub(super) struct Submitted {
    pub change: Bytes,
    pub responder: ProposalResponder<WriteResult>,
}

/// Answers the shard that proposed. The answer wakes it across threads.
pub(super) struct ProposalResponder<T> {
    answer: oneshot::Sender<T>,
    place: Option<Place>,
}

impl<T> ProposalResponder<T> {
    /// A responder and where its answer arrives.
    pub(super) fn new(place: Option<Place>) -> (Self, oneshot::Receiver<T>) {
        let (answer, answered) = oneshot::channel();
        let responder = Self { answer, place };
        (responder, answered)
    }
}

impl<T> fmt::Debug for ProposalResponder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProposalResponder").finish_non_exhaustive()
    }
}

impl<T: 'static> Responder<Types, T> for ProposalResponder<T> {
    fn on_complete(self, result: T) {
        // Nobody waits any more when the client has gone; that is its right.
        drop((self.answer.send(result), self.place));
    }
}

/// Why a proposal has no outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Too many proposals wait already. Not proposed; answered 429.
    #[error("too many changes are waiting")]
    Busy,
    /// This node cannot commit now. Not applied through this proposal; answered 503.
    #[error("the journal takes no changes")]
    Unavailable,
    /// No answer in time. The change may or may not be applied; repeating is safe.
    #[error("the journal did not answer in time")]
    TimedOut,
    /// The change is larger than an entry may be. Not proposed.
    #[error("the change has {bytes} bytes, an entry at most {ENTRY_BYTES_MAX}")]
    TooLarge {
        /// Its encoded size.
        bytes: usize,
    },
}

/// Reads openraft's answer.
pub(super) fn outcome_of(result: WriteResult) -> Result<Outcome, ProposeError> {
    let written = result.map_err(|_| ProposeError::Unavailable)?;
    written.data.outcome.ok_or(ProposeError::Unavailable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_is_bounded_and_a_place_is_given_back() {
        let waiting = Waiting::new(Arc::new(Metrics::new()));
        let mut places: Vec<Place> = std::iter::from_fn(|| waiting.enter()).collect();
        assert_eq!(places.len(), WAITING_PROPOSALS_MAX);
        places.pop();
        assert!(waiting.enter().is_some());
    }

    #[test]
    fn bytes_beyond_the_bound_wait_for_those_before() {
        let waiting = Waiting::new(Arc::new(Metrics::new()));
        let mut first = waiting.enter().unwrap();
        let mut second = waiting.enter().unwrap();
        let all = WAITING_BYTES_MAX;
        futures_lite::future::block_on(waiting.reserve(&mut first, all));
        let blocked = futures_lite::future::block_on(futures_lite::future::poll_once(
            waiting.reserve(&mut second, 1),
        ));
        assert!(blocked.is_none());
        drop(first);
        futures_lite::future::block_on(waiting.reserve(&mut second, 1));
    }
}
