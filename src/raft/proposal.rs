//! A proposal on its way: from a shard to the raft core and its answer back.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use openraft::raft::responder::Responder;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::base::limits::{ENTRY_BYTES_MAX, WAITING_PROPOSALS_MAX};
use crate::base::units::{MIB, to_usize};
use crate::metadata::{Outcome, Repeat};
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
    /// The proposal.
    pub change: Bytes,
    /// It is proposed no later than this.
    pub deadline: Instant,
    /// What may be done when nobody knows what became of it.
    pub repeat: Repeat,
    /// Who waits for it.
    pub waiter: Waiter,
}

/// A change that is committed, and applied on this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// Index of its entry.
    pub index: u64,
    /// What applying it said.
    pub outcome: Outcome,
}

/// Whoever waits for the outcome of a proposal, on some shard. The answer wakes
/// it across threads; when it is dropped instead, that is an answer, too.
#[derive(Debug)]
pub(super) struct Waiter {
    answer: Option<oneshot::Sender<Result<Committed, ProposeError>>>,
    place: Option<Place>,
    is_handed_over: bool,
}

impl Waiter {
    /// A waiter with its room, and where the answer arrives.
    pub(super) fn new(
        place: Option<Place>,
    ) -> (Self, oneshot::Receiver<Result<Committed, ProposeError>>) {
        let (answer, answered) = oneshot::channel();
        let waiter = Self {
            answer: Some(answer),
            place,
            is_handed_over: false,
        };
        (waiter, answered)
    }

    /// Notes that the change may be committed from now on, or, with `false`,
    /// that it certainly is not.
    pub(super) const fn hand_over(&mut self, is_handed_over: bool) {
        self.is_handed_over = is_handed_over;
    }

    /// Ends the wait.
    pub(super) fn answer(mut self, outcome: Result<Committed, ProposeError>) {
        self.send(outcome);
    }

    fn send(&mut self, outcome: Result<Committed, ProposeError>) {
        drop(self.place.take());
        if let Some(answer) = self.answer.take() {
            // Nobody waits any more when the client has gone; that is its right.
            drop(answer.send(outcome));
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let is_handed_over = self.is_handed_over;
        self.send(Err(if is_handed_over {
            ProposeError::TimedOut
        } else {
            ProposeError::Unavailable
        }));
    }
}

/// Takes openraft's answer to a write, on the raft core.
pub(super) struct ProposalResponder<T>(Box<dyn FnOnce(T)>);

impl<T> ProposalResponder<T> {
    /// Calls `finish` with the answer; drops it when there is none.
    pub(super) fn new(finish: impl FnOnce(T) + 'static) -> Self {
        Self(Box::new(finish))
    }
}

impl<T> fmt::Debug for ProposalResponder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProposalResponder").finish_non_exhaustive()
    }
}

impl<T: 'static> Responder<Types, T> for ProposalResponder<T> {
    fn on_complete(self, result: T) {
        (self.0)(result);
    }
}

/// Why a proposal has no outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Too many proposals wait already. Not proposed; answered 429.
    #[error("too many changes are waiting")]
    Busy,
    /// It was held for a leader and none came, though one is expected: this node
    /// hears of enough others. Not proposed; answered 429.
    #[error("the cluster has no leader yet")]
    NoLeader,
    /// This node cannot serve: it stops, was removed, or is cut off. Not
    /// proposed; answered 503.
    #[error("the journal takes no changes")]
    Unavailable,
    /// No answer in time. The change may or may not be applied; repeating is
    /// safe. Answered 500.
    #[error("the journal did not answer in time")]
    TimedOut,
    /// The change is larger than an entry may be. Not proposed.
    #[error("the change has {bytes} bytes, an entry at most {ENTRY_BYTES_MAX}")]
    TooLarge {
        /// Its encoded size.
        bytes: usize,
    },
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
    fn a_dropped_waiter_says_whether_the_change_was_handed_over() {
        let (mut waiter, mut answered) = Waiter::new(None);
        waiter.hand_over(true);
        drop(waiter);
        assert_eq!(answered.try_recv(), Ok(Err(ProposeError::TimedOut)));
        let (waiter, mut answered) = Waiter::new(None);
        drop(waiter);
        assert_eq!(answered.try_recv(), Ok(Err(ProposeError::Unavailable)));
        let (waiter, mut answered) = Waiter::new(None);
        let committed = Committed {
            index: 7,
            outcome: Outcome::Applied,
        };
        waiter.answer(Ok(committed.clone()));
        assert_eq!(answered.try_recv(), Ok(Ok(committed)));
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
