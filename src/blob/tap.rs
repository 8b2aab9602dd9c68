//! Bytes of an upload that go elsewhere too, while they come.
//!
//! ```text
//! buffer, hashed --> file of the upload
//!               \--> queue --> whoever listens      (the same memory, not a copy)
//! ```
//! Who listens, and what becomes of the bytes there, is for the rooms above.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Deref;
use std::time::Duration;

use super::import::Expected;
use super::upload_id::UploadId;
use crate::base::Clock;
use crate::base::limits::{INLINE_BLOB_BYTES_MAX, TEE_QUEUE_MOVES, TEE_RATE_BYTES_MIN, TEE_WAIT};
use crate::base::units::to_u64;
use crate::memory::SharedBuffer;
use crate::runtime::timeout;

/// Taps of sessions that nobody works on, kept by one shard; beyond, the one that lies
/// longest is closed. Without bytes they hold no memory of the pool.
const RESTING_TAPS_MAX: usize = 64;

/// What a listener hears: from the first byte on, each piece where the one before it
/// ended, then the end. Without an end, the bytes came to nothing.
#[derive(Debug)]
pub enum Heard {
    /// The next bytes.
    Bytes(TeedBytes),
    /// That was all; it has this digest, and is being made durable under this
    /// generation.
    End(Expected),
}

/// Bytes of an upload, where they were received.
#[derive(Debug, Clone)]
pub struct TeedBytes {
    buffer: SharedBuffer,
    /// What is behind this is padding.
    bytes: usize,
}

impl Deref for TeedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.buffer.get(..self.bytes).unwrap_or_default()
    }
}

/// The upload's end of one listener.
#[derive(Debug)]
pub struct Outlet {
    queue: flume::Sender<Heard>,
    holder: flume::Receiver<u64>,
}

/// The listener's end. Dropped, it is not waited for any more.
#[derive(Debug)]
pub struct Inlet {
    queue: flume::Receiver<Heard>,
    holder: flume::Sender<u64>,
}

impl Outlet {
    /// Both ends of a listener.
    #[must_use]
    pub fn new() -> (Self, Inlet) {
        let (sender, receiver) = flume::bounded(TEE_QUEUE_MOVES);
        let (told, holder) = flume::bounded(1);
        let inlet = Inlet {
            queue: receiver,
            holder: told,
        };
        let outlet = Self {
            queue: sender,
            holder,
        };
        (outlet, inlet)
    }

    /// The node that holds the blob now; `None` when nothing came of it.
    pub async fn holder(&self) -> Option<u64> {
        self.holder.recv_async().await.ok()
    }
}

impl Inlet {
    /// What comes next; `None` when the upload has gone.
    pub async fn next(&self) -> Option<Heard> {
        self.queue.recv_async().await.ok()
    }

    /// Says that a node holds the blob, durably.
    pub fn tell_holder(self, node: u64) {
        // Nobody waits when the push has failed.
        let _ = self.holder.send(node);
    }
}

/// Makes the listeners of an upload, when there is something to hear.
type Opening = Box<dyn FnOnce() -> Vec<Outlet>>;

/// Where the bytes of an upload go besides its file. Belongs to the upload; rests with
/// the store of the shard between two requests.
///
/// A listener that is slow slows the upload down, but not without bound: when it was
/// waited for longer than `TEE_WAIT` and it takes less than `TEE_RATE_BYTES_MIN` in a
/// second, it is left behind.
pub struct Tap {
    /// Until the first bytes come.
    opening: Option<Opening>,
    outlets: Vec<Outlet>,
    /// Where the next piece starts.
    next_bytes: u64,
    /// Time that listeners have cost.
    waited: Duration,
}

impl Tap {
    /// Has `open` called with the first bytes of an upload that will not live inline.
    #[must_use]
    pub fn new(open: impl FnOnce() -> Vec<Outlet> + 'static) -> Self {
        Self {
            opening: Some(Box::new(open)),
            outlets: Vec::new(),
            next_bytes: 0,
            waited: Duration::ZERO,
        }
    }

    /// Passes on the first `bytes` of a buffer, which lie at `offset_bytes`.
    ///
    /// - Cancel: whoever did not get them is left behind.
    pub(super) async fn put(
        &mut self,
        buffer: &SharedBuffer,
        bytes: usize,
        offset_bytes: u64,
        clock: &Clock,
    ) {
        let end_bytes = offset_bytes + to_u64(bytes);
        if let Some(open) = self.opening.take()
            && offset_bytes == 0
            && end_bytes > u64::from(INLINE_BLOB_BYTES_MAX)
        {
            self.outlets = open();
        }
        if offset_bytes != self.next_bytes {
            // Another shard went on with the session meanwhile.
            self.outlets.clear();
        }
        self.next_bytes = end_bytes;
        let next = || {
            let buffer = buffer.clone();
            Heard::Bytes(TeedBytes { buffer, bytes })
        };
        self.send_all(next, clock).await;
    }

    /// Says that this was all.
    pub(super) async fn end(&mut self, expected: &Expected, clock: &Clock) {
        if expected.size_bytes != self.next_bytes {
            self.outlets.clear();
        }
        self.send_all(|| Heard::End(expected.clone()), clock).await;
    }

    /// Those who listened to the end.
    pub(super) fn into_outlets(self) -> Vec<Outlet> {
        self.outlets
    }

    async fn send_all(&mut self, next: impl Fn() -> Heard, clock: &Clock) {
        for outlet in std::mem::take(&mut self.outlets) {
            if self.send(&outlet, next(), clock).await {
                self.outlets.push(outlet);
            }
        }
    }

    /// Whether a listener took it.
    async fn send(&mut self, outlet: &Outlet, heard: Heard, clock: &Clock) -> bool {
        let heard = match outlet.queue.try_send(heard) {
            Ok(()) => return true,
            Err(flume::TrySendError::Disconnected(_)) => return false,
            Err(flume::TrySendError::Full(heard)) => heard,
        };
        let earned = Duration::from_secs(self.next_bytes / TEE_RATE_BYTES_MIN);
        let patience = (TEE_WAIT + earned).saturating_sub(self.waited);
        let began = clock.now();
        let sent = timeout(patience, outlet.queue.send_async(heard)).await;
        self.waited += clock.now() - began;
        matches!(sent, Ok(Ok(())))
    }
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tap")
            .field("outlets", &self.outlets.len())
            .field("next_bytes", &self.next_bytes)
            .field("waited", &self.waited)
            .finish_non_exhaustive()
    }
}

/// The taps of sessions between two requests, oldest first.
#[derive(Debug, Default)]
pub(super) struct RestingTaps(VecDeque<(UploadId, Tap)>);

impl RestingTaps {
    /// Keeps the tap of a session.
    pub(super) fn put(&mut self, id: UploadId, tap: Tap) {
        drop(self.take(&id));
        self.0.push_back((id, tap));
        if self.0.len() > RESTING_TAPS_MAX {
            drop(self.0.pop_front());
        }
    }

    /// Gives the tap of a session out, if there is one here.
    pub(super) fn take(&mut self, id: &UploadId) -> Option<Tap> {
        let index = self.0.iter().position(|(resting, _)| resting == id)?;
        self.0.remove(index).map(|(_, tap)| tap)
    }
}

#[cfg(test)]
#[path = "tap_test.rs"]
mod tests;
