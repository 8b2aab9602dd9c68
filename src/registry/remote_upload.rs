//! An upload whose session another node owns, in the hands of one request.

use std::fmt;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;

use super::error::Error;
use super::relay::{Broken, Relay};
use super::relay_message::{ANSWER_BYTES, RECORD_BYTES, RelayAnswer, RelayRecord, encode_seal};
use crate::base::limits::{RELAY_BEGIN_TIMEOUT, RELAY_END_TIMEOUT, RELAY_STALL_TIMEOUT};
use crate::base::units::{to_u32, to_u64};
use crate::memory::Buffer;
use crate::oci::Digest;
use crate::peer::{Link, PeerNode};
use crate::runtime::timeout;

/// The memory of one relayed upload.
pub(super) struct Room {
    pub(super) buffer: Buffer,
    pub(super) _place: OwnedSemaphorePermit,
}

/// A session that its owner keeps for this request. Bytes go to the owner as they come;
/// a write that waits holds the client back.
///
/// Dropped before its end, it closes the connection, and the owner does as the request
/// said.
pub(super) struct RemoteUpload {
    relay: Relay,
    owner: PeerNode,
    /// Gone once the owner has answered or cannot be reached.
    link: Option<Link>,
    /// The head of a record, and behind it room for what follows: both go in one write.
    room: Room,
    held_bytes: u64,
}

impl RemoteUpload {
    pub(super) const fn new(
        relay: Relay,
        owner: PeerNode,
        link: Link,
        room: Room,
        held_bytes: u64,
    ) -> Self {
        Self {
            relay,
            owner,
            link: Some(link),
            room,
            held_bytes,
        }
    }

    /// Bytes of the session, those included that are on their way.
    pub(super) const fn held_bytes(&self) -> u64 {
        self.held_bytes
    }

    /// Room for the next bytes.
    pub(super) fn space(&mut self) -> &mut [u8] {
        let space = self.room.buffer.get_mut(RECORD_BYTES..);
        space.expect("invariant: a buffer is longer than the head of a record")
    }

    /// Sends the first `count` bytes of the space.
    ///
    /// - Errors: what the owner says instead of taking them; `Unavailable`.
    /// - Cancel: breaks the upload off.
    pub(super) async fn advance(&mut self, count: usize) -> Result<(), Error> {
        let mut link = self.link.take().ok_or(Error::Unavailable)?;
        let head = RelayRecord::Data(to_u32(count)).encode();
        let place = self.room.buffer.first_chunk_mut();
        *place.expect("invariant: a buffer is longer than the head of a record") = head;
        let record = self.room.buffer.get(..RECORD_BYTES + count);
        let record = record.expect("caller: advance by no more than the space");
        match send(&mut link, record).await {
            Ok(None) => {
                self.link = Some(link);
                self.held_bytes += to_u64(count);
                self.relay.metrics().sent_bytes.add(to_u64(count));
                Ok(())
            }
            Ok(Some(RelayAnswer::Failed(error))) => Err(error.into()),
            Ok(Some(_)) => Err(self.relay.unavailable(&self.owner, &Broken::OutOfTurn)),
            Err(error) => Err(self.relay.unavailable(&self.owner, &error)),
        }
    }

    /// Ends the request; what came is kept. Says how much is held.
    pub(super) async fn keep(self) -> Result<u64, Error> {
        self.put_down(RelayRecord::Keep).await
    }

    /// Ends the request, which brought nothing.
    pub(super) async fn release(self) -> Result<u64, Error> {
        self.put_down(RelayRecord::Release).await
    }

    async fn put_down(mut self, end: RelayRecord) -> Result<u64, Error> {
        match self.end(&end.encode()).await? {
            Ok(RelayAnswer::Held(held_bytes)) => Ok(held_bytes),
            Ok(RelayAnswer::Failed(error)) => Err(error.into()),
            Ok(RelayAnswer::Ended(_)) => {
                Err(self.relay.unavailable(&self.owner, &Broken::OutOfTurn))
            }
            Err(error) => Err(self.relay.unavailable(&self.owner, &error)),
        }
    }

    /// Has the owner make the upload a blob. Says which entry did it, if the owner does.
    ///
    /// - Errors: as its owner says; `Undecided` when it says nothing.
    pub(super) async fn seal(mut self, digest: &Digest) -> Result<Option<u64>, Error> {
        let end = [&RelayRecord::Seal.encode(), encode_seal(digest).as_slice()].concat();
        match self.end(&end).await? {
            Ok(RelayAnswer::Ended(index)) => Ok(index),
            Ok(RelayAnswer::Failed(error)) => Err(error.into()),
            Ok(RelayAnswer::Held(_)) => {
                self.relay.unavailable(&self.owner, &Broken::OutOfTurn);
                Err(Error::Undecided)
            }
            Err(error) => {
                self.relay.unavailable(&self.owner, &error);
                Err(Error::Undecided)
            }
        }
    }

    /// Sends an end and waits for what it comes to. A connection on which it was
    /// answered is used again.
    async fn end(&mut self, end: &[u8]) -> Result<Result<RelayAnswer, Broken>, Error> {
        let mut link = self.link.take().ok_or(Error::Unavailable)?;
        let answered = match send(&mut link, end).await {
            // Said before the whole end was sent.
            Ok(Some(answer)) => return Ok(Ok(answer)),
            Ok(None) => read_answer(&mut link, [0; ANSWER_BYTES], 0, RELAY_END_TIMEOUT).await,
            Err(error) => Err(error),
        };
        if answered.is_ok() {
            self.relay.put(&self.owner, link);
        }
        Ok(answered)
    }
}

/// Sends a record; what the owner says meanwhile, if anything, is an error.
async fn send(link: &mut Link, record: &[u8]) -> Result<Option<RelayAnswer>, Broken> {
    let mut answer = [0; ANSWER_BYTES];
    let writing = link.write_all_unless_answered(record, &mut answer, RELAY_STALL_TIMEOUT);
    match writing.await? {
        0 => Ok(None),
        count => {
            let answer = read_answer(link, answer, count, RELAY_BEGIN_TIMEOUT).await?;
            Ok(Some(answer))
        }
    }
}

/// Reads an answer of which `begun` bytes are there.
async fn read_answer(
    link: &mut Link,
    mut record: [u8; ANSWER_BYTES],
    begun: usize,
    limit: Duration,
) -> Result<RelayAnswer, Broken> {
    let rest = record.get_mut(begun..).unwrap_or_default();
    let read = timeout(limit, link.read_exact(rest)).await;
    read.map_err(|_| Broken::Stalled)??;
    Ok(RelayAnswer::decode(&record)?)
}

impl fmt::Debug for RemoteUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteUpload")
            .field("owner", &self.owner.id)
            .field("held_bytes", &self.held_bytes)
            .finish_non_exhaustive()
    }
}
